//! `hopwise image`.

mod archive;
mod elf;

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;

use crate::{
    failure::Failure,
    image::{archive::archive, elf::Elf},
    output::{Format, complain},
};

/// Write a container image that holds this program alone, for nodes without a registry.
///
/// The file is an OCI image archive. On each node `ctr -n k8s.io images import FILE` takes it in. The same program gives
/// the same bytes. The image has no C library, so that the program must be linked statically: `make static` makes such a
/// one.
#[derive(Debug, Args)]
pub(crate) struct ImageCommand {
    /// The file to write; `-` is standard output
    #[arg(short = 'o', long = "output-file", value_name = "FILE")]
    file: PathBuf,
    /// The program for the image; without it this one
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

/// What nodes know the image by.
pub(crate) fn reference() -> String {
    format!("{REPOSITORY}:{}", env!("CARGO_PKG_VERSION"))
}

/// No registry is called so: who has not imported the image gets an error at once.
const REPOSITORY: &str = "hopwise.local/hopwise";

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageError {
    /// The program cannot be read.
    #[error("failed to read the program {path}")]
    Read { path: String, source: io::Error },
    /// It is no program for Linux.
    #[error(
        "{path} is no program for an image: expected a 64-bit ELF file for x86-64 or AArch64, found {found}"
    )]
    NotElf { path: String, found: &'static str },
    /// It needs a C library.
    #[error("{path} is dynamically linked: it is started by {interpreter}, and the image has no C library")]
    Dynamic { path: String, interpreter: String },
}

impl ImageError {
    /// What to do about it, where that is known.
    pub(crate) fn next(&self) -> Option<String> {
        match self {
            Self::Dynamic { .. } => Some(
                "`make static` builds target/x86_64-unknown-linux-gnu/release/hopwise; run that, or name it as --program"
                    .to_owned(),
            ),
            Self::Read { .. } | Self::NotElf { .. } => None,
        }
    }
}

impl ImageCommand {
    pub(crate) fn run(&self) -> ExitCode {
        self.write().unwrap_or_else(|it| it.report(Format::Text))
    }

    fn write(&self) -> Result<ExitCode, Failure> {
        let path = self.program.clone().unwrap_or_else(|| PathBuf::from("/proc/self/exe"));
        let name = match &self.program {
            Some(path) => path.display().to_string(),
            None => std::env::current_exe().unwrap_or_else(|_| path.clone()).display().to_string(),
        };
        let program = fs::read(&path).map_err(|source| ImageError::Read { path: name.clone(), source })?;
        let elf = Elf::of(&program).map_err(|found| ImageError::NotElf { path: name.clone(), found })?;
        if let Some(interpreter) = elf.interpreter {
            return Err(ImageError::Dynamic { path: name, interpreter }.into());
        }
        let reference = reference();
        let to = self.file.display().to_string();
        let failed = |source| Failure::Write { path: to.clone(), source };
        let bytes = archive(&program, elf.architecture, &reference).map_err(failed)?;
        if self.file.as_os_str() == "-" {
            io::stdout().write_all(&bytes).map_err(failed)?;
        } else {
            fs::write(&self.file, &bytes).map_err(failed)?;
            complain(&format!(
                "wrote {} bytes to {to}: image {reference} for {}",
                bytes.len(),
                elf.architecture
            ));
            let file = crate::source::quoted(&self.file);
            complain(&format!("next, on each node: ctr -n k8s.io images import {file}"));
        }
        Ok(ExitCode::SUCCESS)
    }
}
