//! What happened to objects, as the API server and the containers themselves tell it.
//!
//! Field names and meaning are those of the Kubernetes API 1.34 (`core/v1`), as in [`crate::Cluster`]. Texts come from
//! programs; secrets are cut out of them where they are read.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{ObjectMeta, Observed, PodName};

/// Something that a controller noticed about an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Event {
    /// Name, namespace.
    pub metadata: ObjectMeta,
    /// What it is about.
    pub involved_object: InvolvedObject,
    /// Why, as one word: `FailedCreatePodSandBox`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What was noticed, as a sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// `Normal` or `Warning`.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// How often, where the same was noticed several times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// When first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_timestamp: Option<Timestamp>,
    /// When last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_timestamp: Option<Timestamp>,
    /// When first, from newer reporters, which leave the other two empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_time: Option<Timestamp>,
    /// How often and when last, from newer reporters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub series: Option<EventSeries>,
    /// Who noticed it.
    pub source: EventSource,
    /// Who noticed it, from newer reporters.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reporting_component: String,
}

impl Event {
    /// When it was noticed last, as far as the event says.
    pub fn last_seen(&self) -> Option<Timestamp> {
        let in_series = self.series.as_ref().and_then(|it| it.last_observed_time);
        in_series
            .or(self.last_timestamp)
            .or(self.event_time)
            .or(self.first_timestamp)
            .or(self.metadata.creation_timestamp)
    }

    /// Does it tell of something that went wrong?
    pub fn is_warning(&self) -> bool {
        self.kind == "Warning"
    }
}

/// What an event is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InvolvedObject {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The part of it: `spec.containers{coredns}`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field_path: String,
}

/// An event that was noticed several times.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EventSeries {
    /// How often.
    pub count: u32,
    /// When last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_observed_time: Option<Timestamp>,
}

/// Who noticed an event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EventSource {
    /// The program.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub component: String,
    /// The node that it runs on.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
}

/// What a container wrote last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerLog {
    /// Its pod.
    pub pod: PodName,
    /// Its name.
    pub container: String,
    /// Is it of the container that ran before the one that is there now?
    pub is_previous: bool,
    /// The last lines, oldest first.
    pub lines: Observed<Vec<LogLine>>,
}

/// A line of a container's log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogLine {
    /// When the container runtime got it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// The line.
    pub text: String,
}

/// What a container does, did, or waits for. One of the three is there; none means that it waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerState {
    /// It is not started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<ContainerWaiting>,
    /// It runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<ContainerRunning>,
    /// It ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminated: Option<ContainerTerminated>,
}

impl ContainerState {
    /// Is nothing known of it?
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Why a container is not started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerWaiting {
    /// Why, as one word: `CrashLoopBackOff`, `ContainerCreating`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Why, as a sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// Since when a container runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerRunning {
    /// When it was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerTerminated {
    /// What it returned.
    pub exit_code: i32,
    /// The signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Why, as one word: `Error`, `OOMKilled`, `Completed`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What it wrote to its termination file, or the end of its log.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When it was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
}
