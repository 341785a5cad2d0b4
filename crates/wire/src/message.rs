//! What is asked and what is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use hopwise_snapshot::{Answers, Crossing, Node, NodeName, Observed, Place, Pod, PodName, Question};
use serde::{Deserialize, Serialize};

/// A request, with the number by which its replies are known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// A number that the client has not used before.
    pub id: u64,
    /// What is asked.
    pub request: Request,
}

/// What a client asks of a node. Requests are served side by side, but for [`Request::Begin`], which those behind it see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Request {
    /// What the node is called, and which pods run on it. Answered by [`Reply::Welcome`].
    Begin {
        /// The node's name, as the API server spells it.
        node: NodeName,
        /// The pods that have a network namespace of their own.
        pods: Vec<PodIdentity>,
    },
    /// The facts of the node and of its pods: [`Reply::Node`], [`Reply::Pod`] for each pod, then [`Reply::Done`].
    Collect(Bounds),
    /// Packets from the node and its pods, and what comes back: [`Reply::Answers`].
    Ask(Vec<Question>),
    /// Packets to another node: [`Reply::Departed`].
    Send {
        /// What is sent. The node is the sender.
        crossing: Crossing,
        /// The number by which its packets are known.
        probe: u64,
    },
    /// Looks out for packets from another node: [`Reply::Watching`], and when all that is expected has arrived, or too
    /// long after it was said what is, [`Reply::Arrived`].
    Watch {
        /// What is sent. The node is the recipient.
        crossing: Crossing,
        /// The number by which its packets are known.
        probe: u64,
    },
    /// Says to a watch what has left the sender. There is no reply to this itself.
    Expect {
        /// The number of the request to watch.
        watch: u64,
        /// What has left.
        departed: Departed,
    },
    /// Runs a program: [`Reply::Ended`].
    Run(Errand),
    /// Writes a file, in place: [`Reply::Done`].
    WriteFile {
        /// The node, or the pod whose first container's file it is.
        place: Place,
        /// The absolute path.
        path: String,
        /// What is to be in it.
        content: String,
    },
    /// Removes a file: [`Reply::Done`].
    RemoveFile {
        /// The node, or the pod whose first container's file it is.
        place: Place,
        /// The absolute path.
        path: String,
    },
}

/// A pod, and how the node knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodIdentity {
    /// Its name.
    pub name: PodName,
    /// What its cgroups are called by: the object's uid, or for a static pod the hash of its manifest.
    pub uid: String,
}

/// How much a collection may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bounds {
    /// How long one network namespace may take.
    pub namespace: Duration,
    /// How many tracked connections are read one by one.
    pub connections: u64,
}

/// A program to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Errand {
    /// The node or pod whose network namespace it runs in.
    pub place: Place,
    /// The program and its arguments.
    pub arguments: Vec<String>,
    /// What it reads from its standard input.
    pub input: String,
    /// How long it may run.
    pub time: Duration,
}

/// A reply, with the number of its request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The number.
    pub id: u64,
    /// What is told.
    pub reply: Reply,
}

/// What a node tells a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reply {
    /// One more place has been read.
    Progress {
        /// Which one.
        place: Place,
        /// How many have been read.
        n_done: u32,
        /// How many there are.
        n_places: u32,
    },
    /// The node's facts.
    Node(Box<Observed<Node>>),
    /// A pod's facts.
    Pod(PodName, Box<Observed<Pod>>),
    /// The watch has begun.
    Watching,
    /// The node is ready.
    Welcome(Welcome),
    /// What came back, question by question.
    Answers(Vec<Result<Answers, Refusal>>),
    /// What has left.
    Departed(Departed),
    /// What has arrived.
    Arrived(Arrived),
    /// How a program ended.
    Ended(End),
    /// It is done.
    Done,
    /// It is not done.
    Refused(Refusal),
}

impl Reply {
    /// Is it the last one to its request?
    pub fn is_last(&self) -> bool {
        !matches!(self, Self::Progress { .. } | Self::Node(_) | Self::Pod(..) | Self::Watching)
    }

    /// What it is, in a word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Progress { .. } => "progress",
            Self::Node(_) => "node",
            Self::Pod(..) => "pod",
            Self::Watching => "watching",
            Self::Welcome(_) => "welcome",
            Self::Answers(_) => "answers",
            Self::Departed(_) => "departed",
            Self::Arrived(_) => "arrived",
            Self::Ended(_) => "ended",
            Self::Done => "done",
            Self::Refused(_) => "refused",
        }
    }
}

/// Who the node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Welcome {
    /// The version of Hopwise on the node.
    pub program: String,
    /// The user that it runs as.
    pub user: u32,
}

/// What has left a sender: kind and number of each packet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Departed {
    /// The packets.
    pub packets: BTreeSet<(u16, u16)>,
    /// The ports that connections come from, with the packet that each stands for.
    pub ports: BTreeMap<u16, (u16, u16)>,
    /// How often the sender asked for the recipient's Ethernet address.
    pub n_asked: u32,
}

/// What has arrived at a recipient.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Arrived {
    /// The packets, by kind and number.
    pub packets: BTreeSet<(u16, u16)>,
    /// The ports that connections come from.
    pub ports: BTreeSet<u16>,
    /// How often the recipient's Ethernet address was asked for.
    pub n_asked: u32,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct End {
    /// Its code as a shell gives it: 128 and the number of the signal where one ended it.
    pub code: i32,
    /// What it printed.
    pub output: String,
    /// What it said on its standard error, cut at some length.
    pub complaint: String,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Refusal {
    /// The place is not on this node, or nothing of it runs.
    #[error("there is no {place} on this node: {why}")]
    NoPlace {
        /// Which.
        place: Place,
        /// Why it is not there.
        why: String,
    },
    /// The program was not found.
    #[error("the program `{program}` was not found")]
    ProgramMissing {
        /// Its name.
        program: String,
    },
    /// It took too long and was ended.
    #[error("it did not end within {} s", time.as_secs_f32())]
    TimedOut {
        /// How long it was given.
        time: Duration,
    },
    /// The request asks for something that is not done.
    #[error("{0}")]
    NotAllowed(String),
    /// There is too much: requests at a time, bytes of an answer.
    #[error("too much: {0}")]
    TooMuch(String),
    /// The kernel or a program refused.
    #[error("{}", Lines(.0))]
    Failed(Vec<String>),
}

/// What failed and what caused it, in one line.
struct Lines<'a>(&'a [String]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, line) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(": ")?;
            }
            f.write_str(line)?;
        }
        Ok(())
    }
}

impl Refusal {
    /// What an error says, with what caused it.
    pub fn of(error: &dyn std::error::Error) -> Self {
        let mut lines = vec![error.to_string()];
        let mut cause = error.source();
        while let Some(error) = cause {
            lines.push(error.to_string());
            cause = error.source();
        }
        Self::Failed(lines)
    }
}
