//! Namespaces, processes, mounts and sockets against the kernel.
//!
//! Each test has a network namespace of its own, and changes nothing of the machine's.
//!
//! ```text
//! CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="unshare -Urnm" cargo test -p hopwise-sys --test kernel
//! ```

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod namespaces;
mod sockets;

use hopwise_sys::namespace::{NamespaceKind, unshare};

/// Puts the calling thread into new namespaces of these kinds.
fn alone_in(kinds: &[NamespaceKind]) {
    unshare(kinds).unwrap_or_else(|error| {
        panic!(
            "no rights to make namespaces ({error}); run \
             CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=\"unshare -Urnm\" cargo test -p hopwise-sys --test kernel"
        )
    });
}

/// Runs `ip` in the calling thread's network namespace.
fn ip(words: &str) {
    let output = std::process::Command::new("/sbin/ip").args(words.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}
