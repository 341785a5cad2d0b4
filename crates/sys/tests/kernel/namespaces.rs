//! Entering namespaces and mounting in them.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use hopwise_sys::{
    mount,
    namespace::{Namespace, NamespaceKind, NamespaceSet, may_make_namespaces},
    process::{enter_before_exec, fork, kill, poll, run_in_foreground, wait_for_end},
};

use crate::{alone_in, ip};

/// Opens the network namespace of the calling thread.
fn own_net() -> Namespace {
    Namespace::of_this_thread(NamespaceKind::Net).unwrap()
}

/// A process in namespaces of its own, ended with this.
struct Stranger(std::process::Child);

impl Stranger {
    fn new() -> Self {
        let mut command = Command::new("unshare");
        let child = command
            .args(["-n", "-m", "-p", "-u", "-f", "--mount-proc", "--kill-child", "sleep", "60"])
            .spawn();
        let stranger = Self(child.expect("unshare(1) of util-linux"));
        // Until the child that sleeps is there.
        let deadline = Instant::now() + Duration::from_secs(5);
        while stranger.inside().is_none() {
            assert!(Instant::now() < deadline, "no rights: see the head of main.rs");
            thread::sleep(Duration::from_millis(5));
        }
        stranger
    }

    /// The number of the process that sleeps.
    fn inside(&self) -> Option<u32> {
        let pid = self.0.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        let child: u32 = children.split_whitespace().next()?.parse().ok()?;
        let program = fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
        (program.trim() == "sleep").then_some(child)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

const ALL_BUT_USER: [NamespaceKind; 5] =
    [NamespaceKind::Mount, NamespaceKind::Net, NamespaceKind::Uts, NamespaceKind::Ipc, NamespaceKind::Pid];

fn inside(stranger: &Stranger, program: &str) -> Command {
    let set =
        NamespaceSet::of_process(Path::new("/proc"), stranger.inside().unwrap(), &ALL_BUT_USER).unwrap();
    let mut command = Command::new(program);
    enter_before_exec(&mut command, set);
    command
}

#[test]
fn a_thread_enters_a_network_namespace_and_comes_back() {
    alone_in(&[NamespaceKind::Net]);
    let first = own_net();
    alone_in(&[NamespaceKind::Net]);
    let second = own_net().inode().unwrap();
    first.enter().unwrap();
    assert_eq!(own_net().inode().unwrap(), first.inode().unwrap());
    assert_ne!(first.inode().unwrap(), second);
    assert!(may_make_namespaces());
}

#[test]
fn a_command_runs_with_all_namespaces_of_a_process() {
    let stranger = Stranger::new();
    let mut command = inside(&stranger, "sh");
    command.args(["-c", "echo $$; ls /sys/class/net; cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"through").unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    let number: u32 = text.lines().next().unwrap().parse().unwrap();
    assert!(number < 20, "a new process namespace counts from 1: {text}");
    assert!(text.ends_with("through"));
}

#[test]
fn the_end_of_a_command_inside_is_that_of_the_process_that_was_spawned() {
    let stranger = Stranger::new();
    assert_eq!(inside(&stranger, "sh").args(["-c", "exit 7"]).status().unwrap().code(), Some(7));
    assert_eq!(inside(&stranger, "sh").args(["-c", "kill -KILL $$"]).status().unwrap().code(), Some(128 + 9));
    assert_eq!(
        inside(&stranger, "/no/such/program").spawn().unwrap_err().kind(),
        std::io::ErrorKind::NotFound
    );
}

#[test]
fn killing_the_spawned_process_kills_the_command_inside() {
    let stranger = Stranger::new();
    let mut child = inside(&stranger, "sleep").arg("61").spawn().unwrap();
    let is_there = || {
        inside(&stranger, "pgrep").args(["-f", "sleep 61"]).stdout(Stdio::null()).status().unwrap().success()
    };
    let deadline = Instant::now() + Duration::from_secs(5);
    while !is_there() {
        assert!(Instant::now() < deadline);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    while is_there() {
        assert!(Instant::now() < deadline, "the command outlived its spawned process");
    }
}

#[test]
fn the_end_of_any_process_can_be_waited_for() {
    let mut child = Command::new("sleep").arg("62").spawn().unwrap();
    let pid = child.id();
    let soon = || Instant::now() + Duration::from_millis(50);
    assert_eq!(wait_for_end(pid, soon()).unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    kill(pid).unwrap();
    wait_for_end(pid, Instant::now() + Duration::from_secs(5)).unwrap();
    child.wait().unwrap();
    wait_for_end(pid, soon()).unwrap();
}

#[test]
fn a_process_with_threads_is_not_copied() {
    assert_eq!(fork().unwrap_err().raw_os_error(), Some(16), "EBUSY");
}

#[test]
fn what_is_mounted_in_a_new_mount_namespace_stays_in_it() {
    let directory = std::env::temp_dir().join(format!("hopwise-mount-{}", std::process::id()));
    fs::create_dir(&directory).unwrap();
    let inside = directory.clone();
    thread::spawn(move || {
        alone_in(&[NamespaceKind::Mount]);
        mount::keep_to_this_namespace().unwrap();
        mount::tmpfs(&inside, "1m", 0o755).unwrap();
        fs::write(inside.join("a"), "a").unwrap();
        fs::write(inside.join("b"), "").unwrap();
        mount::bind(&inside.join("a"), &inside.join("b")).unwrap();
        assert_eq!(fs::read_to_string(inside.join("b")).unwrap(), "a");
        mount::detach(&inside.join("b")).unwrap();
        assert_eq!(fs::read_to_string(inside.join("b")).unwrap(), "");
    })
    .join()
    .unwrap();
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    fs::remove_dir(directory).unwrap();
}

#[test]
fn sysfs_shows_the_interfaces_of_the_own_network_namespace() {
    let directory = std::env::temp_dir().join(format!("hopwise-sysfs-{}", std::process::id()));
    fs::create_dir(&directory).unwrap();
    let inside = directory.clone();
    thread::spawn(move || {
        alone_in(&[NamespaceKind::Net, NamespaceKind::Mount]);
        mount::keep_to_this_namespace().unwrap();
        ip("link add only-here type veth peer name other");
        mount::sysfs(&inside).unwrap();
        let mut names: Vec<_> =
            fs::read_dir(inside.join("class/net")).unwrap().map(|it| it.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["lo", "only-here", "other"]);
    })
    .join()
    .unwrap();
    fs::remove_dir(directory).unwrap();
}

#[test]
fn poll_tells_which_files_are_ready_and_keeps_its_deadline() {
    use std::os::fd::AsFd;
    let (reader, writer) = std::io::pipe().unwrap();
    let (silent, _silent_writer) = std::io::pipe().unwrap();
    let begin = Instant::now();
    let deadline = Some(begin + Duration::from_millis(30));
    assert_eq!(poll(&[silent.as_fd(), reader.as_fd()], deadline).unwrap(), Vec::<usize>::new());
    assert!(begin.elapsed() >= Duration::from_millis(30));
    drop(writer);
    assert_eq!(poll(&[silent.as_fd(), reader.as_fd()], None).unwrap(), [1]);
}

#[test]
fn a_command_in_the_foreground_ends_with_its_code() {
    // On a thread of its own: signals stay blocked in it.
    let end = thread::spawn(|| run_in_foreground(Command::new("sh").args(["-c", "exit 5"])).unwrap())
        .join()
        .unwrap();
    assert_eq!(end.shell_code(), 5);
}
