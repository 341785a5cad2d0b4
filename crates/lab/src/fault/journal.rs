//! What was injected into a lab, and how things were before.

use std::{collections::BTreeMap, fs, io};

use hopwise_snapshot::PodName;
use serde::{Deserialize, Serialize};

use super::checkpoint::Checkpoint;
use crate::{Lab, LabError, keeper::write_whole};

/// How a step is taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Undo {
    /// Set a kernel switch.
    Sysctl {
        /// The member.
        member: String,
        /// The key.
        key: String,
        /// The value that it had.
        value: String,
    },
    /// Give a file its content, or remove it where there was none.
    File {
        /// The member.
        member: String,
        /// The file.
        path: String,
        /// What was in it.
        content: Option<Vec<u8>>,
    },
    /// Give the member the switches and files of its checkpoint, which was made at this time.
    Checkpoint {
        /// The member.
        member: String,
    },
    /// Build the member's network anew.
    Rebuild {
        /// The member.
        member: String,
    },
    /// Start flannel of a node anew.
    Flannel {
        /// The node.
        node: String,
    },
    /// End a pod and start it anew.
    Restart(PodName),
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    /// As it was asked for.
    pub(super) fault: String,
    /// In the order of the steps.
    pub(super) undo: Vec<Undo>,
}

/// The file `faults.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Journal {
    pub(super) entries: Vec<Entry>,
    /// Members as they were before the first command was run in them.
    pub(super) checkpoints: BTreeMap<String, Checkpoint>,
}

impl Journal {
    pub(super) fn read(lab: &Lab) -> Result<Self, LabError> {
        let path = lab.directory().faults();
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|source| LabError::Parse { path, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(LabError::Read { path, source }),
        }
    }

    /// Writes the journal; without entries removes it.
    pub(super) fn write(&self, lab: &Lab) -> Result<(), LabError> {
        let path = lab.directory().faults();
        if self.entries.is_empty() {
            return match fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    Err(LabError::Write { path, source })
                }
                _ => Ok(()),
            };
        }
        write_whole(&path, &serde_json::to_vec(self).expect("only string keys"))
    }
}
