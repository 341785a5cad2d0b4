//! Labs as a user has them: made, broken and measured by the command `hopwise`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use hopwise_lab::truth::Truth;
use hopwise_snapshot::{Snapshot, hop};
use hopwise_testkit::tentative;

/// A directory of labs, which goes with all its labs when it is dropped.
#[derive(Debug)]
pub struct Laboratory {
    program: PathBuf,
    directory: PathBuf,
}

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaboratoryError {
    /// The program could not be started, or a file not be written.
    #[error("{path}")]
    Io {
        /// Of what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A command failed.
    #[error("`hopwise {words}` failed: {said}")]
    Command {
        /// Its words.
        words: String,
        /// What it said.
        said: String,
    },
    /// It printed something else than expected.
    #[error("`hopwise {words}` printed something else than its document: {problem}")]
    Document {
        /// Its words.
        words: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl Laboratory {
    /// A directory for labs that the program makes.
    pub fn new(program: &Path) -> Result<Self, LaboratoryError> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("hopwise-trials-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory)
            .map_err(|source| LaboratoryError::Io { path: directory.clone(), source })?;
        Ok(Self { program: program.to_owned(), directory })
    }

    /// Makes a lab.
    pub fn up(&self, lab: &str, base: &str) -> Result<(), LaboratoryError> {
        self.run(&["lab", "up", lab, "--base", base]).map(drop)
    }

    /// Removes a lab.
    pub fn down(&self, lab: &str) -> Result<(), LaboratoryError> {
        self.run(&["lab", "down", lab]).map(drop)
    }

    /// Injects faults as `hopwise lab inject` calls them.
    pub fn inject(&self, lab: &str, faults: &[String]) -> Result<(), LaboratoryError> {
        let mut words = vec!["lab", "inject", lab];
        words.extend(faults.iter().map(String::as_str));
        self.run(&words).map(drop)
    }

    /// Runs a shell command in a member.
    pub fn exec(&self, lab: &str, member: &str, command: &str) -> Result<(), LaboratoryError> {
        self.run(&["lab", "exec", lab, member, "--", "sh", "-ec", command]).map(drop)
    }

    /// What Hopwise reads of a lab.
    pub fn snapshot(&self, lab: &str) -> Result<Snapshot, LaboratoryError> {
        self.collect(lab, "none")
    }

    /// The same, with what the probes of a diagnosis see.
    pub fn probed(&self, lab: &str) -> Result<Snapshot, LaboratoryError> {
        self.collect(lab, "auto")
    }

    fn collect(&self, lab: &str, probes: &str) -> Result<Snapshot, LaboratoryError> {
        let path = self.directory.join(format!("{lab}.hop.tmp"));
        let path_text = path.display().to_string();
        let words = ["collect", "--lab", lab, "--probe", probes, "-o", &path_text];
        self.run(&words)?;
        let bytes = fs::read(&path).map_err(|source| LaboratoryError::Io { path: path.clone(), source })?;
        drop(fs::remove_file(&path));
        let problem =
            |it: hop::HopError| LaboratoryError::Document { words: words.join(" "), problem: it.to_string() };
        hop::read(&bytes).map_err(problem)
    }

    /// What packets do in a lab.
    pub fn truth(&self, lab: &str) -> Result<Truth, LaboratoryError> {
        let words = ["lab", "truth", lab, "-o", "json"];
        let output = self.run(&words)?;
        serde_json::from_slice(&output.stdout)
            .map_err(|it| LaboratoryError::Document { words: words.join(" "), problem: it.to_string() })
    }

    /// Takes back what was injected.
    pub fn heal(&self, lab: &str) -> Result<(), LaboratoryError> {
        self.run(&["lab", "heal", lab]).map(drop)
    }

    /// Repairs all that can be: the code that the command ended with, and its document.
    pub fn repair(&self, lab: &str) -> Result<(i32, serde_json::Value), LaboratoryError> {
        self.answer(&["repair", "--lab", lab, "--apply", "--yes", "-o", "json"])
    }

    /// Repairs all that can be, and kills the repair at the point of its way that has this number. Was there one?
    ///
    /// Only a program with debug assertions has such points.
    pub fn repair_killed_at(&self, lab: &str, point: usize) -> Result<bool, LaboratoryError> {
        let words = ["repair", "--lab", lab, "--apply", "--yes", "-o", "json"];
        let output = self.start_at(&words, &format!("{point}:kill"))?;
        match output.status.code() {
            None => Ok(true),
            Some(0) => Ok(false),
            Some(_) => Err(failed(&words, &output)),
        }
    }

    /// Takes the last repair back: the code that the command ended with, and its document.
    pub fn undo(&self, lab: &str) -> Result<(i32, serde_json::Value), LaboratoryError> {
        self.answer(&["undo", "--lab", lab, "-o", "json"])
    }

    fn answer(&self, words: &[&str]) -> Result<(i32, serde_json::Value), LaboratoryError> {
        let output = self.start(words)?;
        let document = serde_json::from_slice(&output.stdout);
        let problem = |it: serde_json::Error| LaboratoryError::Document {
            words: words.join(" "),
            problem: format!("{it}: {}", String::from_utf8_lossy(&output.stderr).trim()),
        };
        Ok((output.status.code().unwrap_or(-1), document.map_err(problem)?))
    }

    fn start(&self, words: &[&str]) -> Result<Output, LaboratoryError> {
        self.start_at(words, "")
    }

    fn start_at(&self, words: &[&str], point: &str) -> Result<Output, LaboratoryError> {
        Command::new(&self.program)
            .args(words)
            .env("HOPWISE_LAB_DIR", &self.directory)
            .env("HOPWISE_AT_POINT", point)
            .stdin(Stdio::null())
            .output()
            .map_err(|source| LaboratoryError::Io { path: self.program.clone(), source })
    }

    fn run(&self, words: &[&str]) -> Result<Output, LaboratoryError> {
        let output = self.start(words)?;
        if output.status.success() {
            return Ok(output);
        }
        Err(failed(words, &output))
    }
}

fn failed(words: &[&str], output: &Output) -> LaboratoryError {
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    LaboratoryError::Command { words: words.join(" "), said }
}

/// A lab's snapshot as soon as no address is being probed for duplicates (RFC 4862, section 5.4).
pub(crate) fn settled(laboratory: &Laboratory, lab: &str) -> Result<Snapshot, LaboratoryError> {
    const N_TIMES: usize = 100;
    let mut snapshot = laboratory.snapshot(lab)?;
    for _ in 0..N_TIMES {
        if tentative(&snapshot).is_none() {
            break;
        }
        thread::sleep(Duration::from_millis(100));
        snapshot = laboratory.snapshot(lab)?;
    }
    Ok(snapshot)
}

impl Drop for Laboratory {
    fn drop(&mut self) {
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            drop(self.down(&entry.file_name().to_string_lossy()));
        }
        drop(fs::remove_dir_all(&self.directory));
    }
}
