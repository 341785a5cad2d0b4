//! Programs that do something: run in other namespaces, with an input, and gone afterwards.

use std::{
    io,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Command, Stdio},
    time::Instant,
};

use crate::{
    ProgramError, ProgramLimits,
    namespace::NamespaceSet,
    process::die_with_parent,
    program::{Output, Running, search_path},
};

/// A program to run in other namespaces.
#[derive(Debug)]
pub struct Errand<'a> {
    /// Its name, looked for in the directories of system programs of the mount namespace that it runs in, or its path.
    pub program: &'a str,
    /// Its arguments.
    pub arguments: &'a [String],
    /// What it reads from its standard input.
    pub input: &'a [u8],
    /// What is entered before. No process namespace: whoever ends it must be its parent.
    pub namespaces: NamespaceSet,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Its code as a shell gives it: 128 and the number of the signal where one ended it.
    pub code: i32,
    /// What it printed.
    pub output: Vec<u8>,
    /// What it said on its standard error, cut at 4 KiB.
    pub complaint: Vec<u8>,
}

impl Errand<'_> {
    /// Runs it to its end. That it fails is no error: its code tells.
    ///
    /// It has no environment but `PATH` and `LC_ALL=C`. It runs in a process group of its own, and no process of that
    /// group is left when this returns. With the calling thread it ends too.
    pub fn run(self, limits: &ProgramLimits) -> Result<Ran, ProgramError> {
        let Self { program, arguments, input, namespaces } = self;
        let deadline = Instant::now() + limits.timeout;
        let mut command = Command::new(program);
        command.args(arguments).env_clear().env("PATH", search_path()).env("LC_ALL", "C");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let enter = move || {
            die_with_parent()?;
            namespaces.enter()
        };
        // SAFETY: `enter` runs between fork and exec. prctl(2) and setns(2) are system calls without locks, and nothing
        // in it allocates, unless it fails, where the error carries a bare number.
        unsafe { command.pre_exec(enter) };
        let child = command.spawn().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => ProgramError::Missing { program: program.to_owned() },
            _ => ProgramError::NotStarted { program: program.to_owned(), source },
        })?;
        let mut running = Running::new(child);
        let mut output = Output { limit: limits.bytes, ..Output::default() };
        let read = output.read(&mut running.child, input, deadline).and_then(|()| running.end(deadline));
        let status = read.map_err(|it| it.of(program, limits))?;
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
        Ok(Ran { code, output: output.standard, complaint: output.error })
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use super::*;

    fn sh(script: &str, input: &[u8], limits: &ProgramLimits) -> Result<Ran, ProgramError> {
        let arguments = ["-c".to_owned(), script.to_owned()];
        let namespaces = NamespaceSet::of_process(Path::new("/proc"), std::process::id(), &[]).unwrap();
        Errand { program: "sh", arguments: &arguments, input, namespaces }.run(limits)
    }

    #[test]
    fn an_input_of_any_length_is_given_whole() {
        let input = vec![b'x'; 300_000];
        let ran = sh("cat; echo aside >&2; exit 3", &input, &ProgramLimits::default()).unwrap();
        assert_eq!(ran, Ran { code: 3, output: input, complaint: b"aside\n".to_vec() });
    }

    #[test]
    fn a_program_need_not_read_its_input() {
        let input = vec![b'x'; 300_000];
        let ran = sh("exec <&-; echo done", &input, &ProgramLimits::default()).unwrap();
        assert_eq!((ran.code, ran.output.as_slice()), (0, b"done\n".as_slice()));
    }

    #[test]
    fn a_program_that_hangs_is_killed_and_one_that_is_killed_says_by_what() {
        let limits = ProgramLimits { timeout: Duration::from_millis(300), ..ProgramLimits::default() };
        assert!(matches!(sh("sleep 1000", &[], &limits), Err(ProgramError::TimedOut { .. })));
        assert_eq!(sh("kill -9 $$", &[], &ProgramLimits::default()).unwrap().code, 137);
    }
}
