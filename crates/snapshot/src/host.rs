//! Nodes and pods: a network namespace, and the files and processes around it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{NetNs, NodeName, Observed};

/// The state of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Node {
    /// Its initial network namespace.
    pub net: NetNs,
    /// The kernel's release (`uname -r`).
    pub kernel: Observed<String>,
    /// Kernel modules that are loaded or built in.
    pub modules: Observed<Vec<String>>,
    /// Files by absolute path.
    pub files: BTreeMap<String, Observed<File>>,
    /// The names in directories, by the directory's absolute path.
    pub directories: BTreeMap<String, Observed<Vec<String>>>,
    /// Processes that use the node's network namespace.
    pub processes: Observed<Vec<Process>>,
}

/// The state of one pod with a network namespace of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    /// The node that it runs on.
    pub node: NodeName,
    /// Its network namespace.
    #[serde(default)]
    pub net: NetNs,
    /// Files of its first container, by absolute path: resolv.conf, hosts, nsswitch.conf.
    #[serde(default)]
    pub files: BTreeMap<String, Observed<File>>,
    /// Processes that use its network namespace.
    #[serde(default)]
    pub processes: Observed<Vec<Process>>,
}

/// A file as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct File {
    /// What is in it.
    pub content: FileContent,
    /// Its permission bits.
    #[serde(default)]
    pub mode: u32,
    /// When it was last written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<jiff::Timestamp>,
    /// Where it points to, if it is a symbolic link; the content is the target's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_target: Option<String>,
    /// How many secrets were cut out of the content before it left the node.
    #[serde(default)]
    pub n_redacted: u32,
}

impl File {
    /// A plain text file, as a hypothetical repair writes it.
    pub fn text(content: impl Into<String>) -> Self {
        Self {
            content: FileContent::Text(content.into()),
            mode: 0o644,
            modified: None,
            link_target: None,
            n_redacted: 0,
        }
    }
}

/// What is in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FileContent {
    /// UTF-8 text.
    Text(String),
    /// Bytes that are not UTF-8.
    Bytes(Vec<u8>),
}

impl FileContent {
    /// The content as it lies on the disk.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// A running process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Its number, as the node counts.
    pub pid: u32,
    /// The name of its program (`/proc/PID/comm`).
    pub program: String,
    /// Its state letter (`/proc/PID/stat`): `R`, `S`, `D`, `Z`, `T`.
    pub state: String,
}
