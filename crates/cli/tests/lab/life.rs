//! Labs come, and go without a trace.

use std::{
    fs,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::harness::{Labs, Remains, User, lost, plain_user, program, users};

#[test]
fn up_gives_all_members_and_down_leaves_nothing() {
    for user in users() {
        let labs = Labs::new(*user);
        Remains::of(&labs).assert_none("before");
        let begin = Instant::now();
        labs.ok(&["up", "demo"]);
        assert!(begin.elapsed() < Duration::from_secs(20), "up took {:?}", begin.elapsed());

        let members = labs.members("demo");
        let kinds = |kind: &str| members.iter().filter(|it| it["kind"] == kind).count();
        assert_eq!([kinds("node"), kinds("pod"), kinds("fab"), kinds("outside")], [3, 17, 1, 1]);
        let remains = Remains::of(&labs);
        // The keeper, 22 members, 17 containers, the programs of nodes.
        assert!(remains.n_processes() > 40, "{remains:?}");
        assert!(remains.n_namespaces() > 22 * 4, "{remains:?}");

        labs.ok(&["down", "demo"]);
        Remains::of(&labs).assert_none("after down");
    }
}

#[test]
fn down_twice_is_no_error_and_up_twice_is() {
    let labs = Labs::new(plain_user());
    labs.ok(&["up", "demo", "--nodes", "1"]);
    let said = labs.fails(2, &["up", "demo"]);
    assert!(said.contains("there is a lab called `demo` already"), "{said}");
    labs.ok(&["down", "demo"]);
    labs.ok(&["down", "demo"]);
}

#[test]
fn wrong_words_are_answered_with_what_would_be_right() {
    let labs = Labs::new(plain_user());
    let said = labs.fails(2, &["up", "../x"]);
    assert!(said.contains("`../x` is not the name of a lab: expected 1 to 32 of a-z"), "{said}");
    let said = labs.fails(2, &["truth", "nothing"]);
    assert!(said.contains("there is no lab called `nothing` in"), "{said}");
    for (words, what) in [
        (["--base", "hostgw"], "--base hostgw"),
        (["--proxy", "nftables"], "--proxy nftables"),
        (["--dns", "coredns"], "--dns coredns"),
    ] {
        let said = labs.fails(2, &[&["up", "demo"], words.as_slice()].concat());
        assert_eq!(said, format!("error: {what} is not built yet\n"));
    }
    assert!(labs.ok(&["list"]).contains("no labs"));
}

#[test]
fn up_that_is_killed_at_any_moment_leaves_nothing_that_down_cannot_remove() {
    const N_KILLS: u32 = 40;
    for user in users() {
        let labs = Labs::new(*user);
        let begin = Instant::now();
        labs.ok(&["up", "demo"]);
        let whole = begin.elapsed();
        labs.ok(&["down", "demo"]);
        for number in 0..N_KILLS {
            // Spread over the whole time that `up` takes, and a little more; the places shift from run to run.
            let jitter = whole.mul_f64(f64::from(std::process::id() % 97) / 97.0 / f64::from(N_KILLS));
            let delay = whole.mul_f64(1.1 * f64::from(number) / f64::from(N_KILLS)) + jitter;
            let mut up = labs.command(program());
            up.args(["lab", "up", "demo"]).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
            let mut up = up.spawn().unwrap();
            thread::sleep(delay);
            up.kill().unwrap();
            up.wait().unwrap();
            labs.ok(&["down", "demo"]);
            Remains::of(&labs).assert_none(&format!("after a kill at {delay:?} of {whole:?} as {user:?}"));
        }
    }
}

#[test]
fn a_killed_keeper_takes_everything_along_but_the_files() {
    for user in users() {
        let labs = Labs::new(*user);
        labs.ok(&["up", "demo", "--nodes", "2"]);
        let keeper = fs::read_to_string(labs.directory.join("demo/keeper.pid")).unwrap();
        let killed = Command::new("kill").args(["-KILL", keeper.trim()]).status().unwrap();
        assert!(killed.success());
        let deadline = Instant::now() + Duration::from_secs(5);
        // The table of open files of a process that ends, by which `Remains` knows it, is empty a moment before the
        // files in it are released, and with them the lab's lock (`exit_files`, `fput`: Linux 6.18, fs/file.c).
        while Remains::of(&labs).n_processes() > 0 || !labs.ok(&["list"]).contains("demo (dead)") {
            assert!(Instant::now() < deadline, "{:?}", Remains::of(&labs));
            thread::sleep(Duration::from_millis(10));
        }
        let said = labs.fails(2, &["truth", "demo"]);
        assert!(said.contains("the lab `demo` is dead"), "{said}");
        labs.ok(&["down", "demo"]);
        Remains::of(&labs).assert_none("after down");
    }
}

#[test]
fn down_ends_an_up_that_is_still_building() {
    let labs = Labs::new(plain_user());
    let mut up = labs.command(program());
    up.args(["lab", "up", "demo", "--nodes", "9"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut up = up.spawn().unwrap();
    while !labs.directory.join("demo/keeper.pid").exists() {
        thread::sleep(Duration::from_millis(1));
    }
    labs.ok(&["down", "demo"]);
    up.wait().unwrap();
    labs.ok(&["down", "demo"]);
    Remains::of(&labs).assert_none("after down");
}

#[test]
fn two_labs_at_once_do_not_meet() {
    let labs = Labs::new(plain_user());
    labs.ok(&["up", "a", "--nodes", "2"]);
    labs.ok(&["up", "b", "--nodes", "2"]);
    labs.exec("a", "w1", &["sysctl", "-w", "net.ipv4.ip_forward=0"]);
    labs.exec("a", "w1", &["sh", "-c", "echo 192.0.2.1 only-in-a >> /etc/hosts"]);

    assert_eq!(lost(&labs.truth("b", &[])), Vec::<String>::new());
    assert!(!lost(&labs.truth("a", &["pod/default/client-w1"])).is_empty());
    assert!(!labs.exec("b", "w1", &["cat", "/etc/hosts"]).contains("only-in-a"));
    labs.ok(&["down", "a"]);
    assert_eq!(lost(&labs.truth("b", &[])), Vec::<String>::new());
}

#[test]
fn a_user_without_user_namespaces_is_told_which_switch_forbids_them() {
    let labs = Labs::new(User::Own);
    // Root of a user namespace that allows no further one, without the right to do without.
    let script = format!(
        "echo 0 > /proc/sys/user/max_user_namespaces && \
         exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all {} lab up demo",
        program().display()
    );
    let output = labs.command("unshare").args(["-U", "-r", "--", "sh", "-c", &script]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("user.max_user_namespaces = 0"), "{said}");
    Remains::of(&labs).assert_none("after the refusal");
}

#[test]
fn where_proc_and_sys_cannot_be_mounted_the_lab_does_without_and_says_so() {
    let labs = Labs::new(plain_user());
    // As in a container: parts of /proc and /sys are hidden by mounts that belong to another user namespace.
    let script = format!(
        "mount -t tmpfs hidden /proc/irq && mount -t tmpfs hidden /sys/kernel && \
         exec unshare -U -r -m -- sh -ec '{program} lab up demo; {program} lab truth demo; {program} lab exec demo w1 -- ip netns; {program} lab down demo'",
        program = program().display()
    );
    let output =
        labs.command("unshare").args(["-U", "-r", "-m", "--", "sh", "-c", &script]).output().unwrap();
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{complained}");
    assert!(said.contains("its members do without a /proc of its own (Operation not permitted"), "{said}");
    assert!(said.contains("its members do without a /sys of its own (Operation not permitted"), "{said}");
    assert!(said.contains("1818 of 1818 probes answered"), "{said}");
    assert_eq!(said.lines().filter(|it| it.starts_with("cni-")).count(), 6, "{said}");
    Remains::of(&labs).assert_none("after down");
}

#[test]
fn a_user_can_have_a_few_labs_but_not_many() {
    let labs = Labs::new(plain_user());
    for name in ["a", "b", "c", "d"] {
        labs.ok(&["up", name, "--nodes", "1"]);
    }
    let said = labs.fails(2, &["up", "e", "--nodes", "1"]);
    assert!(said.contains("4 labs are up already"), "{said}");
    labs.ok(&["down", "c"]);
    labs.ok(&["up", "e", "--nodes", "1"]);
}
