//! An API server that says what a test wants it to say, over loopback.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use hopwise_api::{Access, ApiServer, Environment};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::exec;

/// A request that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// The path, without its query.
    pub(crate) path: String,
    /// What follows `?`.
    pub(crate) query: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// A value of the query.
    pub(crate) fn asks(&self, key: &str) -> Option<&str> {
        self.query.split('&').find_map(|it| it.strip_prefix(key)?.strip_prefix('='))
    }
}

/// What the server does with a request.
pub(crate) enum Answer {
    /// A status and a body.
    Says(u16, Vec<u8>),
    /// A busy server: come back after this many seconds.
    Busy(u32),
    /// Nothing, for as long as anybody waits.
    Nothing,
    /// A program that writes what it reads, over a websocket.
    Echo,
    /// A program that complains and ends with this message.
    Fails(String, String),
}

/// A JSON document as an answer.
pub(crate) fn ok(document: &Value) -> Answer {
    Answer::Says(200, document.to_string().into_bytes())
}

/// What the API server says where it refuses.
pub(crate) fn status(code: u16, reason: &str, message: &str) -> Answer {
    let document = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code});
    Answer::Says(code, document.to_string().into_bytes())
}

pub(crate) fn forbidden(request: &Request) -> Answer {
    let message = format!("User \"jane\" cannot {} {}", request.method.to_lowercase(), request.path);
    status(403, "Forbidden", &message)
}

/// A list as the API server prints one.
pub(crate) fn list(kind: &str, items: &[Value], next: &str) -> Answer {
    ok(&json!({"kind": format!("{kind}List"), "apiVersion": "v1",
        "metadata": {"resourceVersion": "7", "continue": next}, "items": items}))
}

pub(crate) fn named(namespace: &str, name: &str) -> Value {
    json!({"metadata": {"namespace": namespace, "name": name}})
}

/// The kind of a resource.
pub(crate) fn kind(resource: &str) -> &'static str {
    match resource {
        "nodes" => "Node",
        "namespaces" => "Namespace",
        "pods" => "Pod",
        "services" => "Service",
        "endpointslices" => "EndpointSlice",
        "networkpolicies" => "NetworkPolicy",
        "daemonsets" => "DaemonSet",
        "deployments" => "Deployment",
        "configmaps" => "ConfigMap",
        "events" => "Event",
        other => panic!("{other} was asked for"),
    }
}

/// An empty cluster's answer.
pub(crate) fn empty(request: &Request) -> Answer {
    match request.path.as_str() {
        "/version" => ok(&json!({"major": "1", "minor": "34", "gitVersion": "v1.34.4"})),
        path => list(kind(path.rsplit('/').next().unwrap()), &[], ""),
    }
}

type Says = Arc<dyn Fn(&Request) -> Answer + Send + Sync>;
/// What a connection is made into: itself, or what is said inside TLS.
pub(crate) type Wrap = Arc<dyn Fn(TcpStream) -> Option<Box<dyn Stream>> + Send + Sync>;

pub(crate) trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// The server, and a kubeconfig for it.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    pub(crate) directory: TempDir,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Fake {
    /// A server that says this.
    pub(crate) fn new(says: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::wrapped(says, Arc::new(|it| Some(Box::new(it))))
    }

    pub(crate) fn wrapped(says: impl Fn(&Request) -> Answer + Send + Sync + 'static, wrap: Wrap) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (says, seen): (Says, _) = (Arc::new(says), Arc::clone(&requests));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(stream), says, seen, wrap) =
                    (stream, Arc::clone(&says), Arc::clone(&seen), Arc::clone(&wrap))
                else {
                    break;
                };
                thread::spawn(move || {
                    if let Some(stream) = wrap(stream) {
                        converse(stream, &says, &seen);
                    }
                });
            }
        });
        let fake = Self { address, directory: tempfile::tempdir().unwrap(), requests };
        fake.write_kubeconfig(&json!({"server": format!("http://{address}")}), &json!({"token": "t"}));
        fake
    }

    /// Where the kubeconfig is.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("config")
    }

    pub(crate) fn write_kubeconfig(&self, cluster: &Value, user: &Value) {
        let document = json!({"apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "c", "cluster": cluster}], "users": [{"name": "jane", "user": user}],
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "jane", "namespace": "shop"}}]});
        fs::write(self.kubeconfig(), document.to_string()).unwrap();
    }

    pub(crate) fn access(&self) -> Access {
        Access {
            kubeconfig: Some(self.kubeconfig()),
            timeout: Some(Duration::from_secs(20)),
            environment: Environment::default(),
            ..Access::default()
        }
    }

    pub(crate) fn connect(&self) -> ApiServer {
        ApiServer::connect(&self.access()).unwrap()
    }

    /// What was asked so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// What was asked so far of a path.
    pub(crate) fn asked(&self, path: &str) -> Vec<Request> {
        self.requests().into_iter().filter(|it| it.path == path).collect()
    }
}

/// Answers the requests of a connection, one after the other.
fn converse(stream: Box<dyn Stream>, says: &Says, seen: &Mutex<Vec<Request>>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream) {
        seen.lock().unwrap().push(request.clone());
        let head = |code, more: &str, length| {
            format!(
                "HTTP/1.1 {code} X\r\nContent-Type: application/json\r\n{more}Content-Length: {length}\r\n\r\n"
            )
        };
        let answer = match says(&request) {
            Answer::Says(code, body) => [head(code, "", body.len()).into_bytes(), body].concat(),
            Answer::Busy(seconds) => head(429, &format!("Retry-After: {seconds}\r\n"), 0).into_bytes(),
            Answer::Echo => return exec::echo(stream, &request),
            Answer::Fails(complaint, message) => return exec::fail(stream, &request, &complaint, &message),
            Answer::Nothing => {
                // Until the client hangs up.
                let _ = stream.read(&mut [0]);
                return;
            }
        };
        if stream.get_mut().write_all(&answer).and_then(|()| stream.get_mut().flush()).is_err() {
            return;
        }
    }
}

fn read(stream: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let Some((key, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((key.to_owned(), value.to_owned()));
    }
    let length = headers.iter().find(|(key, _)| key.eq_ignore_ascii_case("content-length"));
    let mut body = vec![0; length.map_or(0, |(_, value)| value.parse().unwrap())];
    stream.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    Some(Request { method, path: path.to_owned(), query: query.to_owned(), headers, body })
}
