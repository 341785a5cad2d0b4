//! The way over ssh, with a program in the place of ssh that runs the command on this machine, as sshd does on a node.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use hopwise_agent::{NodesVia, OpenError, Session, Ssh, SshProgram, Target};

/// A machine that is reached by ssh: programs that it has in place of its usual ones.
struct Machine {
    directory: tempfile::TempDir,
}

impl Machine {
    /// One where whoever logs in is root, so that no test needs sudo unless it is about that.
    fn new() -> Self {
        let machine = Self { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(machine.path("bin")).unwrap();
        machine.has("id", "echo 0");
        // sshd hands the command to the login shell.
        machine.write(
            "ssh",
            &format!(
                "for last; do :; done\nPATH={}:$PATH exec sh -c \"$last\"",
                machine.path("bin").display()
            ),
        );
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, script: &str) {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The machine's program of a name is this script.
    fn has(&self, name: &str, script: &str) {
        self.write(&format!("bin/{name}"), script);
    }

    /// What is sent: a program that notes where it lies and becomes the real one.
    fn program(&self) -> Vec<u8> {
        let (log, real) = (self.path("log"), env!("CARGO_BIN_EXE_hopwise"));
        format!("#!/bin/sh\necho \"$0\" >>{}\nexec {real} \"$@\"\n", log.display()).into_bytes()
    }

    fn ssh(&self) -> Ssh {
        Ssh { ssh: self.path("ssh"), options: Vec::new(), program: SshProgram::new(self.program()) }
    }

    /// Where the program lay when it was started.
    fn ran_at(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap().trim().to_owned()
    }
}

fn target(hosts: &[&str]) -> Target {
    let hosts = hosts.iter().map(|it| (*it).to_owned()).collect();
    Target { name: "w1".into(), hosts, pods: Vec::new(), starting: Vec::new() }
}

#[track_caller]
fn refused(ssh: &Ssh) -> (OpenError, String) {
    let error = ssh.open(&target(&["w1"])).unwrap_err();
    let said = error.to_string();
    (error, said)
}

#[track_caller]
fn works(ssh: &Ssh, hosts: &[&str]) {
    let session = Session::open(ssh.open(&target(hosts)).unwrap()).unwrap();
    let welcome = session.begin(&"w1".into(), &[]).unwrap();
    assert_eq!(welcome.program, env!("CARGO_PKG_VERSION"));
}

#[test]
fn the_program_is_sent_runs_and_is_removed() {
    let machine = Machine::new();
    works(&machine.ssh(), &["w1"]);
    let ran_at = machine.ran_at();
    assert!(ran_at.starts_with("/tmp/hopwise-"), "{ran_at}");
    assert!(!Path::new(&ran_at).parent().unwrap().exists());
}

#[test]
fn a_login_shell_may_say_what_it_wants() {
    let machine = Machine::new();
    let ssh = fs::read_to_string(machine.path("ssh")).unwrap();
    machine.write("ssh", &format!("echo Welcome to w1; echo; echo careful >&2\n{ssh}"));
    works(&machine.ssh(), &["w1"]);
}

#[test]
fn the_very_same_program_is_not_sent_again() {
    let machine = Machine::new();
    fs::write(machine.path("bin/hopwise"), machine.program()).unwrap();
    fs::set_permissions(machine.path("bin/hopwise"), fs::Permissions::from_mode(0o755)).unwrap();
    works(&machine.ssh(), &["w1"]);
    assert_eq!(Path::new(&machine.ran_at()), machine.path("bin/hopwise"));
    // Another one of the same name is not used.
    machine.has("hopwise", "exit 1");
    fs::remove_file(machine.path("log")).unwrap();
    works(&machine.ssh(), &["w1"]);
    assert!(machine.ran_at().starts_with("/tmp/hopwise-"));
}

#[test]
fn who_is_not_root_becomes_root_or_is_told_why_not() {
    let machine = Machine::new();
    machine.has("id", "echo 1000");
    let asked = machine.path("asked");
    machine.has(
        "sudo",
        &format!("[ \"$1\" = -n ] || exit 1\nshift\necho \"$1\" >>{}\nexec \"$@\"", asked.display()),
    );
    works(&machine.ssh(), &["w1"]);
    assert!(fs::read_to_string(asked).unwrap().contains("/hopwise"));

    machine.has("sudo", "echo 'sudo: a password is required' >&2; exit 1");
    let (error, said) = refused(&machine.ssh());
    assert!(matches!(error, OpenError::Sudo { .. }));
    assert_eq!(
        said,
        "root is needed on w1: sudo: a password is required; expected root, or a user who may use sudo without a password"
    );
}

#[test]
fn a_full_disk_is_passed_over_and_where_all_are_full_each_is_named() {
    let machine = Machine::new();
    let df =
        "printf 'Filesystem 1024-blocks Used Available Capacity Mounted on\\n/dev/vda 100 100 0 100%% /\\n'";
    machine.has("df", &format!("case $2 in /tmp/*) {df} ;; *) exec /bin/df \"$@\" ;; esac"));
    works(&machine.ssh(), &["w1"]);
    assert!(machine.ran_at().starts_with("/var/tmp/hopwise-"), "{}", machine.ran_at());

    machine.has("df", df);
    let (error, said) = refused(&machine.ssh());
    assert!(matches!(error, OpenError::NoPlace { .. }));
    assert!(
        said.starts_with("there is no place for the program on w1: /tmp is full, /var/tmp is full, "),
        "{said}"
    );
    assert!(said.contains("/dev/shm is full"), "{said}");
}

#[test]
fn a_disk_that_becomes_full_while_the_program_is_sent_is_named() {
    let machine = Machine::new();
    machine.has("head", "exec dd bs=10 count=1 2>/dev/null");
    let (_, said) = refused(&machine.ssh());
    assert_eq!(said, "there is no place for the program on w1: /tmp is full");
    machine.has("head", "printf %0$2d 0");
    let (_, said) = refused(&machine.ssh());
    assert_eq!(
        said,
        "there is no place for the program on w1: what was written to /tmp is not what was sent"
    );
}

#[test]
fn a_directory_that_lets_no_program_run_is_named() {
    let machine = Machine::new();
    machine.has("chmod", "exit 0");
    let (_, said) = refused(&machine.ssh());
    assert!(said.contains("/tmp does not let programs run (noexec), /var/tmp does not let"), "{said}");
}

#[test]
fn a_machine_of_another_kind_is_told_before_anything_is_sent() {
    let machine = Machine::new();
    machine.has("uname", "case $1 in -s) echo Linux ;; *) echo sparc64 ;; esac");
    let own = fs::read("/proc/self/exe").unwrap();
    let ssh = Ssh { program: SshProgram::new(own), ..machine.ssh() };
    let (error, said) = refused(&ssh);
    assert!(matches!(error, OpenError::OtherMachine { .. }));
    assert!(said.starts_with("w1 is Linux on sparc64, and this program is made for Linux on "), "{said}");
}

#[test]
fn what_ssh_says_is_told() {
    let machine = Machine::new();
    let said = |text: &str| {
        machine.write("ssh", &format!("echo '{text}' >&2; exit 255"));
        refused(&machine.ssh())
    };
    let (error, text) = said("ssh: Could not resolve hostname w1: Name or service not known");
    assert!(matches!(error, OpenError::UnknownHost { .. }));
    assert!(text.starts_with("no machine is known as w1: expected an entry in ~/.ssh/config"), "{text}");
    let (error, text) = said("me@w1: Permission denied (publickey,password).");
    assert!(matches!(error, OpenError::Denied { .. }));
    assert!(
        text.starts_with("w1 does not let this user in: me@w1: Permission denied (publickey,password).;"),
        "{text}"
    );
    assert!(matches!(said("Host key verification failed.").0, OpenError::HostKey { .. }));
    let (error, _) = said("ssh: connect to host w1 port 22: Connection timed out");
    assert!(matches!(error, OpenError::NoAnswer { .. }));
    let (error, text) = said("");
    assert!(matches!(error, OpenError::Other(_)), "{text}");
    let none = Ssh { ssh: Path::new("/nonexistent/ssh").into(), ..machine.ssh() };
    assert_eq!(refused(&none).1, "`/nonexistent/ssh` could not be started");
}

#[test]
fn a_node_is_looked_for_by_its_name_and_then_by_its_addresses() {
    let machine = Machine::new();
    let ssh = fs::read_to_string(machine.path("ssh")).unwrap();
    let unknown = "case $* in *' -- w1 '*) echo ssh: Could not resolve hostname w1: x >&2; exit 255 ;; esac";
    machine.write("ssh", &format!("{unknown}\n{ssh}"));
    works(&machine.ssh(), &["w1", "192.0.2.11"]);
}

#[test]
fn ssh_asks_nobody_and_waits_for_nobody() {
    let machine = Machine::new();
    let words = machine.path("words");
    machine.write("ssh", &format!("for it; do echo \"$it\"; done >{}; exit 255", words.display()));
    let ssh = Ssh { options: vec!["-F".into(), "my config".into()], ..machine.ssh() };
    refused(&ssh);
    let words = fs::read_to_string(words).unwrap();
    let first: Vec<&str> = words.lines().take(15).collect();
    assert!(first.contains(&"BatchMode=yes") && first.contains(&"ConnectTimeout=10"), "{first:?}");
    assert!(words.contains("-F\nmy config\n--\nw1\nexec sh -c '"), "{words}");
}
