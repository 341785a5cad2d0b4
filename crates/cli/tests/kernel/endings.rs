//! How agents end.

use std::{
    env, fs,
    io::{Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use hopwise_agent::{Local, Nodes, Target};
use hopwise_snapshot::Place;

use crate::harness::{FakeNode, Fakes, hopwise};

/// The variable that tells the test below that it is the client that is killed: the arguments of its agent.
const CLIENT: &str = "HOPWISE_TEST_CLIENT";

#[test]
fn a_client_that_is_killed_leaves_no_agent_and_no_program_behind() {
    if let Some(arguments) = env::var_os(CLIENT) {
        return be_the_client(arguments.to_str().unwrap());
    }
    let w1 = FakeNode::new("w1");
    let arguments: Vec<String> = w1.arguments().into_iter().map(|it| it.into_string().unwrap()).collect();
    let mut client = Command::new(env::current_exe().unwrap())
        .args(["--exact", "endings::a_client_that_is_killed_leaves_no_agent_and_no_program_behind"])
        .env(CLIENT, arguments.join(" "))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // The agent, the shell, and two that sleep, of which one was left behind by a shell that has ended.
    let limit = Instant::now() + Duration::from_secs(30);
    let family = loop {
        let family = descendants(client.id());
        let n_sleeping = family.iter().filter(|it| name(**it) == "sleep").count();
        if n_sleeping == 2 && family.len() >= 4 {
            break family;
        }
        assert!(Instant::now() < limit, "only {family:?} were started");
        std::thread::sleep(Duration::from_millis(20));
    };
    client.kill().unwrap();
    client.wait().unwrap();
    let limit = Instant::now() + Duration::from_secs(10);
    for pid in family {
        while is_running(pid) {
            assert!(Instant::now() < limit, "{pid} ({}) still runs", name(pid));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn be_the_client(arguments: &str) {
    let arguments = arguments.split(' ').map(Into::into).collect();
    let local = Local { program: hopwise(), arguments };
    let target = Target { name: "w1".into(), hosts: Vec::new(), pods: Vec::new(), starting: Vec::new() };
    let nodes = Nodes::new(Box::new(local), vec![target]);
    let words = ["sh", "-c", "(setsid sleep 1000 &) ; sleep 1000"].map(str::to_owned);
    let _ = nodes.run(&hopwise_change::Command::new(Some(Place::node("w1")), words.to_vec()));
}

/// The processes that a process started, and those that these started.
fn descendants(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        let threads = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
        for thread in threads {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            found.extend(children.split_ascii_whitespace().filter_map(|it| it.parse::<u32>().ok()));
        }
        at += 1;
    }
    found.remove(0);
    found
}

fn name(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

fn is_running(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|it| !it.is_empty() && !it.starts_with(" Z"))
}

fn agent(more: &[&str]) -> Child {
    let mut command = Command::new(hopwise());
    command.arg("on-node").args(more);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn end_of(mut agent: Child) -> (Option<i32>, String, String) {
    let limit = Instant::now() + Duration::from_secs(20);
    while agent.try_wait().unwrap().is_none() {
        assert!(Instant::now() < limit, "the agent stays");
        std::thread::sleep(Duration::from_millis(10));
    }
    let (mut output, mut said) = (String::new(), String::new());
    agent.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    agent.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (agent.wait().unwrap().code(), output, said)
}

#[test]
fn an_agent_ends_with_its_input_and_at_its_deadlines() {
    let mut ended = agent(&[]);
    drop(ended.stdin.take());
    let (code, output, said) = end_of(ended);
    assert_eq!((code, output.as_str()), (Some(2), "hopwise-node 1\n"));
    assert_eq!(said, "no greeting of Hopwise came\n");

    let mut ended = agent(&[]);
    ended.stdin.as_mut().unwrap().write_all(b"hopwise-client 1\n").unwrap();
    drop(ended.stdin.take());
    assert_eq!(end_of(ended), (Some(0), "hopwise-node 1\n".to_owned(), String::new()));

    for deadline in ["--idle", "--life"] {
        let mut waiting = agent(&[deadline, "1"]);
        waiting.stdin.as_mut().unwrap().write_all(b"hopwise-client 1\n").unwrap();
        let stdin = waiting.stdin.take();
        assert_eq!(end_of(waiting).0, Some(0), "{deadline}");
        drop(stdin);
    }
}

#[test]
fn a_client_of_another_version_and_one_that_talks_nonsense_are_told_so() {
    let mut other = agent(&[]);
    other.stdin.as_mut().unwrap().write_all(b"hopwise-client 9\n").unwrap();
    let (code, _, said) = end_of(other);
    assert_eq!(code, Some(2));
    assert!(said.contains("the other side speaks version 9 of this protocol, expected 1"), "{said}");

    let mut other = agent(&[]);
    other.stdin.as_mut().unwrap().write_all(b"hopwise-client 1\n\xff\xff\xff\xffrest").unwrap();
    let (code, _, said) = end_of(other);
    assert_eq!(code, Some(2));
    assert!(said.contains("a message of 4294967295 bytes is larger"), "{said}");
}

#[test]
fn an_agent_removes_what_it_was_put_into() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("hopwise-x");
    fs::create_dir(&place).unwrap();
    fs::copy(hopwise(), place.join("hopwise")).unwrap();
    let mut child = Command::new(place.join("hopwise"))
        .args(["on-node", "--remove"])
        .arg(&place)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut greeting = [0; 15];
    child.stdout.as_mut().unwrap().read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"hopwise-node 1\n");
    assert!(!Path::new(&place).exists(), "it runs without its file");
    drop(child.stdin.take());
    child.wait().unwrap();
}

#[test]
fn a_session_that_ended_is_begun_anew() {
    let w1 = FakeNode::new("w1");
    let mut arguments = w1.arguments();
    arguments.extend(["--idle".into(), "1".into()]);
    let local = Local { program: hopwise(), arguments };
    let nodes = Nodes::new(Box::new(local), vec![w1.target()]);
    let words = ["ip", "link"].map(str::to_owned).to_vec();
    let command = hopwise_change::Command::new(Some(Place::node("w1")), words);
    assert_eq!(nodes.run(&command).unwrap().code, 0);
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(nodes.run(&command).unwrap().code, 0);
    // And one that is open is not begun twice.
    let also = Nodes::new(Fakes::to(&[&w1]), vec![w1.target()]);
    assert_eq!(also.run(&command).unwrap().code, 0);
}
