//! The log of a pod's container, where kubelet and containerd keep it.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::Path,
};

use jiff::Timestamp;

/// A container's log.
///
/// Lines are in the format of the container runtime interface: time, stream, `F` for a full line, text.
#[derive(Debug)]
pub(crate) struct Log(Option<File>);

impl Log {
    /// The log of the start number `n` of a container, in `directory` (`/var/log/pods/NS_NAME_UID/CONTAINER`).
    ///
    /// A log that cannot be written is none: a container runs without one too.
    pub(crate) fn open(directory: &Path, n: u32) -> Self {
        let file = fs::create_dir_all(directory).and_then(|()| {
            OpenOptions::new().create(true).append(true).open(directory.join(format!("{n}.log")))
        });
        Self(file.ok())
    }

    /// Writes a line.
    pub(crate) fn line(&self, text: &str) {
        if let Some(mut file) = self.0.as_ref() {
            let time = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%9fZ");
            drop(file.write_all(format!("{time} stdout F {text}\n").as_bytes()));
        }
    }
}
