//! What clients and the keeper say to each other: one JSON document a line over the socket `control`.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::IpAddr,
    os::unix::net::UnixStream,
    time::Duration,
};

use hopwise_snapshot::PodName;
use serde::{Deserialize, Serialize};

use crate::{LabError, directory::LabDirectory};

/// What can be asked of a keeper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Request {
    /// End everything. The files are for whoever asks.
    Down,
    /// A number for a run of probes.
    BeginRun,
    /// Who saw the echo requests of this run of probes?
    Echoes {
        /// The run.
        run: u64,
    },
    /// Start a controller anew on a node: it writes its whole state.
    Sync {
        /// Which.
        controller: Controller,
        /// The node.
        node: String,
    },
    /// End a pod and start it anew.
    RestartPod(PodName),
    /// Start those programs of a node that have ended.
    StartPrograms {
        /// The node.
        node: String,
    },
    /// Take a member's interfaces, routes and rules away and build them anew.
    Rebuild {
        /// The member.
        member: String,
    },
}

/// A controller that a node runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Controller {
    /// kube-proxy.
    KubeProxy,
    /// flannel.
    Flannel,
    /// kubelet's own chains.
    Kubelet,
}

/// An echo request that a member's kernel took as its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Echo {
    /// The number of the probe in its run.
    pub(crate) probe: u32,
    /// Who got it: `pod/default/a`, `node/w1`, `outside`.
    pub(crate) member: String,
    /// The source address that it had there.
    pub(crate) source: IpAddr,
}

/// What a keeper answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Response {
    /// It is done.
    Done,
    /// The number of the run.
    Run(u64),
    /// The echo requests.
    Echoes(Vec<Echo>),
    /// It could not be done.
    Failed(String),
}

impl Request {
    /// How long a keeper may take.
    fn patience(&self) -> Duration {
        match self {
            // Who is not told is killed.
            Self::Down => Duration::from_secs(2),
            _ => Duration::from_secs(30),
        }
    }
}

/// Asks a lab's keeper.
pub(crate) fn ask(directory: &LabDirectory, lab: &str, request: &Request) -> Result<Response, LabError> {
    let asked = || -> io::Result<Response> {
        let (_open, path) = directory.control()?;
        let mut stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(request.patience()))?;
        send(&mut stream, request)?;
        let mut stream = BufReader::new(stream);
        receive(&mut stream)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    };
    match asked() {
        Ok(Response::Failed(message)) => Err(LabError::Keeper(message)),
        Ok(response) => Ok(response),
        Err(source) => Err(LabError::Control { lab: lab.to_owned(), source }),
    }
}

/// Writes a document as a line.
pub(crate) fn send(to: &mut impl Write, document: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(document)?;
    line.push(b'\n');
    to.write_all(&line)
}

/// The document in the next line; `None` at the end.
pub(crate) fn receive<T: serde::de::DeserializeOwned>(from: &mut impl BufRead) -> io::Result<Option<T>> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    serde_json::from_str(&line).map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
