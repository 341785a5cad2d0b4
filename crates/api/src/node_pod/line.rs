//! What is said to a program in a pod, and what it says, as blocking streams.

use std::{
    io::{self, Read, Write},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::AttachedProcess;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    runtime::Runtime,
};
use tokio_util::io::SyncIoBridge;

/// How much is kept of what the program complains about.
const COMPLAINT: usize = 4096;
/// How long the end of a program is waited for when its output has ended.
const FAREWELL: Duration = Duration::from_secs(2);

/// A line to the program in a pod. It ends when both are dropped.
pub struct NodeLine {
    /// What the program writes. It ends with an error where the program failed.
    pub reads: Box<dyn Read + Send>,
    /// What the program reads. Dropping it ends the program's input.
    pub writes: Box<dyn Write + Send>,
}

impl std::fmt::Debug for NodeLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeLine").finish_non_exhaustive()
    }
}

/// What keeps the connection. The runtime is dropped last, and by the caller's thread.
struct Held {
    _process: AttachedProcess,
    runtime: Arc<Runtime>,
}

struct Input<W: AsyncWrite + Unpin> {
    bridge: SyncIoBridge<W>,
    _held: Arc<Held>,
}

impl<W: AsyncWrite + Unpin> Write for Input<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bridge.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.bridge.flush()
    }
}

impl<W: AsyncWrite + Unpin> Drop for Input<W> {
    fn drop(&mut self) {
        // Dropping one half of the pipe does not end it.
        let _ = self.bridge.shutdown();
    }
}

struct Output<R: AsyncRead + Unpin> {
    bridge: SyncIoBridge<R>,
    ended: Option<tokio::task::JoinHandle<Option<Status>>>,
    complaint: Arc<Mutex<Vec<u8>>>,
    held: Arc<Held>,
}

impl<R: AsyncRead + Unpin> Read for Output<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.bridge.read(buffer) {
            Ok(0) if !buffer.is_empty() => self.farewell(),
            other => other,
        }
    }
}

impl<R: AsyncRead + Unpin> Output<R> {
    /// At the end of what is said: did the program end well?
    fn farewell(&mut self) -> io::Result<usize> {
        let Some(ended) = self.ended.take() else { return Ok(0) };
        let waited = self.held.runtime.block_on(async { tokio::time::timeout(FAREWELL, ended).await });
        // Else the connection ended before the program did.
        let Ok(Ok(Some(status))) = waited else {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection to the pod ended"));
        };
        if status.status.as_deref() == Some("Success") {
            return Ok(0);
        }
        let complaint = self.complaint.lock().unwrap_or_else(PoisonError::into_inner);
        let complaint = String::from_utf8_lossy(&complaint);
        let last = complaint.lines().map(str::trim).rfind(|it| !it.is_empty()).unwrap_or_default();
        let said = status.message.unwrap_or_else(|| "the program failed".to_owned());
        Err(io::Error::other(if last.is_empty() { said } else { format!("{said}: {last}") }))
    }
}

/// Makes blocking streams of an attached program's.
pub(super) fn line(mut process: AttachedProcess, runtime: Arc<Runtime>) -> Option<NodeLine> {
    let (stdin, stdout) = (process.stdin()?, process.stdout()?);
    let complaint = Arc::new(Mutex::new(Vec::new()));
    if let Some(stderr) = process.stderr() {
        runtime.spawn(listen(stderr, Arc::clone(&complaint)));
    }
    let ended = process.take_status().map(|it| runtime.spawn(it));
    let handle = runtime.handle().clone();
    let held = Arc::new(Held { _process: process, runtime });
    let writes =
        Input { bridge: SyncIoBridge::new_with_handle(stdin, handle.clone()), _held: Arc::clone(&held) };
    let reads = Output { bridge: SyncIoBridge::new_with_handle(stdout, handle), ended, complaint, held };
    Some(NodeLine { reads: Box::new(reads), writes: Box::new(writes) })
}

/// Keeps the end of what is complained about. It is read to the end, or the program would wait.
async fn listen(mut stderr: impl AsyncRead + Unpin, complaint: Arc<Mutex<Vec<u8>>>) {
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = stderr.read(&mut buffer).await {
        let mut complaint = complaint.lock().unwrap_or_else(PoisonError::into_inner);
        complaint.extend_from_slice(&buffer[..length]);
        let n_over = complaint.len().saturating_sub(COMPLAINT);
        complaint.drain(..n_over);
    }
}
