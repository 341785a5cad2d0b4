//! What ssh means by what it says.

use super::OpenError;

/// The error behind what ssh said before it ended. OpenSSH 9.2, `ssh.c`, `sshconnect.c`, `sshconnect2.c`.
pub(super) fn of_ssh(host: &str, said: &str) -> OpenError {
    let has = |words: &[&str]| words.iter().any(|it| said.contains(it));
    let (host, text) = (host.to_owned(), said.to_owned());
    if has(&["Could not resolve hostname"]) {
        return OpenError::UnknownHost { hosts: vec![host] };
    }
    if has(&[
        "Host key verification failed",
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "host key is known for",
    ]) {
        return OpenError::HostKey { host, said: text };
    }
    if has(&["Permission denied (", "Too many authentication failures"]) {
        return OpenError::Denied { host, said: text };
    }
    let silence = [
        "Connection timed out",
        "Operation timed out",
        "Connection refused",
        "No route to host",
        "Network is unreachable",
        "banner exchange",
        "kex_exchange_identification",
        "Connection closed by",
        "Connection reset",
        "not responding",
    ];
    if has(&silence) {
        return OpenError::NoAnswer { host, said: text };
    }
    if text.is_empty() {
        return OpenError::Other(format!("the connection to {host} ended before anything was said"));
    }
    OpenError::Other(format!("{host}: {text}"))
}

/// What is wrong with the directories that were tried, from words like `/tmp:noexec`.
pub(super) fn of_places(words: &str) -> String {
    let told = words.split_ascii_whitespace().map(|word| match word.rsplit_once(':') {
        Some((directory, "noexec")) => format!("{directory} does not let programs run (noexec)"),
        Some((directory, "full")) => format!("{directory} is full"),
        Some((directory, "closed")) => format!("nothing can be made in {directory}"),
        Some((directory, "damaged")) => format!("what was written to {directory} is not what was sent"),
        _ => word.to_owned(),
    });
    told.collect::<Vec<_>>().join(", ")
}

/// What a program is made for, from its ELF header (`e_machine`, include/uapi/linux/elf-em.h), as `uname -m` calls it.
pub(super) fn machine(program: &[u8]) -> Option<&'static str> {
    let header = program.first_chunk::<20>().filter(|it| it.starts_with(b"\x7fELF"))?;
    let number = match header[5] {
        2 => u16::from_be_bytes([header[18], header[19]]),
        _ => u16::from_le_bytes([header[18], header[19]]),
    };
    match number {
        3 => Some("i686"),
        21 if header[5] == 1 => Some("ppc64le"),
        22 => Some("s390x"),
        40 => Some("armv7l"),
        62 => Some("x86_64"),
        183 => Some("aarch64"),
        243 => Some("riscv64"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_ssh_says_is_told_in_ones_own_words() {
        let said = |text| of_ssh("w1", text).to_string();
        assert!(
            said("ssh: Could not resolve hostname w1: Name or service not known")
                .starts_with("no machine is known as w1")
        );
        assert!(said("root@w1: Permission denied (publickey).").starts_with("w1 does not let this user in"));
        assert!(said("Host key verification failed.").starts_with("the key of w1 is not trusted"));
        assert!(
            said("ssh: connect to host w1 port 22: Connection refused").starts_with("w1 does not answer")
        );
        assert_eq!(said("what is this"), "w1: what is this");
        assert!(said("").contains("ended before anything was said"));
    }

    #[test]
    fn a_program_knows_what_it_is_made_for() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert_eq!(machine(&own), Some(std::env::consts::ARCH));
        assert_eq!(machine(b"#!/bin/sh\nexit 0\n     "), None);
    }

    proptest! {
        #[test]
        fn no_words_and_no_header_panic(words in ".{0,80}", bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = (of_ssh("w1", &words), of_places(&words), machine(&bytes));
            let _ = machine(&[b"\x7fELF".as_slice(), &bytes].concat());
        }
    }
}
