//! `hopwise demo`.

use std::{
    io,
    process::{Command, ExitCode, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use clap::Args;
use hopwise_diagnose::{Diagnosis, diagnose};
use hopwise_lab::{Base, KeeperProgram, LabError, LabName, Shape, down, up};
use hopwise_report::{Report, text, text::Guide};
use hopwise_snapshot::{Snapshot, hop};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::{
    diagnose::guide,
    failure::{WRONG, report},
    lab::KEEPER_WORDS,
    output::{Look, complain},
    program::Program,
    progress::{Step, proved, seconds},
};

/// What is broken: a kernel switch of one node, and a file of another with the pod that copied it.
const FAULTS: [&str; 3] = [
    "w2: sysctl net.ipv4.ip_forward=0",
    "w1: write /etc/resolv.conf ''",
    "pod/kube-system/coredns-a: write /etc/resolv.conf ''",
];

/// What is broken where no node shows it: the bridge between the nodes drops the tunnel's packets, as a security group
/// would.
const INVISIBLE: &str = "add table bridge security-group; \
    add chain bridge security-group forward { type filter hook forward priority 0; }; \
    add rule bridge security-group forward iifname { w1, w2 } oifname { w1, w2 } udp dport 8472 drop";

/// Watch Hopwise find and repair faults in a throw-away cluster, seen and unseen; the best first thing to try.
///
/// The cluster is made of network namespaces of this machine, takes a few seconds, and is removed at the end.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    #[command(flatten)]
    look: Look,
}

/// Why the demo could not go on.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error(transparent)]
    Lab(#[from] LabError),
    #[error("`hopwise {words}` failed: {said}")]
    Step { words: String, said: String },
    #[error("cannot start this program again")]
    Start(#[source] io::Error),
    #[error("the snapshot of the lab cannot be read")]
    Snapshot(#[from] hop::HopError),
    #[error("cannot watch for signals")]
    Signals(#[source] io::Error),
    /// The number of the signal.
    #[error("interrupted")]
    Interrupted(usize),
}

impl Demo {
    pub(crate) fn run(&self, program: Program) -> ExitCode {
        match self.show(program) {
            Ok(()) => ExitCode::SUCCESS,
            // As shells say it.
            Err(DemoError::Interrupted(signal)) => {
                ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX))
            }
            Err(error) => {
                report(&error, crate::failure::Output::Text);
                ExitCode::from(WRONG)
            }
        }
    }

    fn show(&self, program: Program) -> Result<(), DemoError> {
        let interrupt = Interrupt::watch().map_err(DemoError::Signals)?;
        let lab = DemoLab::build(&interrupt)?;

        self.head("A cluster of three nodes, made of network namespaces on this machine");
        self.say(&format!("  lab `{}` was built in {}", lab.name, seconds(lab.took)));
        interrupt.check()?;

        self.head("Its network as it is");
        let found = Found::of(&lab, &interrupt)?;
        self.show_found(&found, &Guide { program: program.words(), next: Vec::new() });

        self.head("Broken on purpose");
        hopwise(&[&["lab", "inject", lab.name.as_str()], &FAULTS[..]].concat(), &interrupt)?;
        for fault in FAULTS {
            self.say(&format!("  {fault}"));
        }

        self.head("What Hopwise finds out, from the kernels' state and the API objects alone");
        self.show_findings(&Found::of(&lab, &interrupt)?, program);

        self.head("Repaired, step by step, and seen to hold");
        self.show_output(&["repair", "--lab", lab.name.as_str(), "--apply", "--yes"], &interrupt)?;

        self.head("Broken where no node shows it");
        hopwise(&["lab", "exec", lab.name.as_str(), "fab", "--", "nft", INVISIBLE], &interrupt)?;
        self.say("  between w1 and w2: UDP 8472 is dropped, as by a security group");

        self.head("What a few packets tell");
        self.show_findings(&Found::of(&lab, &interrupt)?, program);

        self.head("The repair taken back: everything is as broken as it was before");
        self.show_output(&["undo", "--lab", lab.name.as_str()], &interrupt)?;

        self.head("To go on");
        let name = lab.name.to_string();
        lab.remove()?;
        self.say(&format!(
            "  lab `{name}` is removed, and nothing is left of it; one to play with is made by"
        ));
        let words = program.words();
        for line in [
            "lab up play",
            "lab inject play node-ip-forward-off@w2",
            "diagnose --lab play",
            "repair --lab play --apply",
            "lab down play",
        ] {
            self.say(&format!("    {words} {line}"));
        }
        Ok(())
    }

    fn head(&self, text: &str) {
        self.look.print_text(&format!("\n\u{1b}[1m{text}\u{1b}[0m\n"));
    }

    fn say(&self, text: &str) {
        self.look.print_text(text);
    }

    /// Shows what this program prints with other words.
    fn show_output(&self, words: &[&str], interrupt: &Interrupt) -> Result<(), DemoError> {
        let step = Step::new("repairing");
        let output = hopwise(words, interrupt)?;
        drop(step);
        self.say(String::from_utf8_lossy(&output).trim_end());
        Ok(())
    }

    /// Shows what was found and how to learn more of it. The lab is about to go.
    fn show_findings(&self, found: &Found, program: Program) {
        let mut guide = guide(&Report::new(&found.snapshot, &found.diagnosis), "", program);
        guide.next.truncate(1);
        self.show_found(found, &guide);
    }

    fn show_found(&self, found: &Found, guide: &Guide) {
        let report = Report::new(&found.snapshot, &found.diagnosis);
        self.say(&text::diagnosis(&report, guide, &self.look.layout()));
    }
}

/// A diagnosis with what it is about.
struct Found {
    snapshot: Snapshot,
    diagnosis: Diagnosis,
}

impl Found {
    fn of(lab: &DemoLab, interrupt: &Interrupt) -> Result<Self, DemoError> {
        let start = Instant::now();
        let step = Step::new("reading nodes and pods");
        // Another process reads: only one without threads can enter the namespaces of a plain user's lab.
        let bytes = hopwise(&["collect", "--lab", lab.name.as_str(), "-o", "-"], interrupt)?;
        let snapshot = hop::read(&bytes)?;
        let read = start.elapsed();
        step.says("proving what is promised");
        let diagnosis = diagnose(&snapshot);
        drop(step);
        interrupt.check()?;
        let proved = proved(diagnosis.n_promised, start.elapsed().saturating_sub(read));
        complain(&format!("  read in {}; {proved}", seconds(read)));
        Ok(Self { snapshot, diagnosis })
    }
}

/// The lab of the demo, which does not outlive it.
struct DemoLab {
    name: LabName,
    took: std::time::Duration,
    is_up: bool,
}

/// Runs this program with other words, and returns what it prints.
fn hopwise(words: &[&str], interrupt: &Interrupt) -> Result<Vec<u8>, DemoError> {
    let mut command = Command::new("/proc/self/exe");
    let output = command.args(words).stdin(Stdio::null()).output().map_err(DemoError::Start)?;
    interrupt.check()?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(DemoError::Step { words: words.join(" "), said })
}

impl DemoLab {
    fn build(interrupt: &Interrupt) -> Result<Self, DemoError> {
        let Ok(name) = format!("demo-{}", std::process::id()).parse() else {
            unreachable!("letters, a dash and digits name a lab")
        };
        let start = Instant::now();
        let step = Step::new("building a lab");
        // Whatever happens from here on, the lab is removed.
        let mut lab = Self { name, took: start.elapsed(), is_up: true };
        let shape = Shape { base: Base::Vxlan, n_nodes: 3 };
        up(&lab.name, shape, &KeeperProgram::this(KEEPER_WORDS), |text| step.says(text.to_owned()))?;
        lab.took = start.elapsed();
        interrupt.check()?;
        Ok(lab)
    }

    fn remove(mut self) -> Result<(), DemoError> {
        self.is_up = false;
        let _step = Step::new("removing the lab");
        down(&self.name)?;
        Ok(())
    }
}

impl Drop for DemoLab {
    fn drop(&mut self) {
        if self.is_up
            && let Err(error) = down(&self.name)
        {
            complain(&format!("lab `{}` could not be removed: {error}", self.name));
        }
    }
}

/// Whether somebody wants this to end.
struct Interrupt {
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    fn watch() -> io::Result<Self> {
        let signal = Arc::new(AtomicUsize::new(0));
        for number in [SIGINT, SIGTERM, SIGHUP] {
            let value = usize::try_from(number).unwrap_or_default();
            signal_hook::flag::register_usize(number, Arc::clone(&signal), value)?;
        }
        Ok(Self { signal })
    }

    fn check(&self) -> Result<(), DemoError> {
        match self.signal.load(Ordering::SeqCst) {
            0 => Ok(()),
            signal => Err(DemoError::Interrupted(signal)),
        }
    }
}
