//! The lab's DNS: the cluster's server in the pods of CoreDNS, and the upstream outside.

mod forward;
mod loop_guard;
mod zone;

use std::{
    fs, io,
    net::IpAddr,
    path::PathBuf,
    sync::Mutex,
    time::{Duration, SystemTime},
};

use hickory_proto::{
    op::{Metadata, ResponseCode},
    rr::{DNSClass, Name, RData, Record, RecordType, rdata::TXT},
};
use hickory_server::{
    Server,
    net::{runtime::Time, xfer::Protocol},
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::MessageResponseBuilder,
};
use tokio::net::{TcpListener, UdpSocket};

pub(crate) use forward::{Forward, nameservers};
pub(crate) use loop_guard::{LoopGuard, ask_oneself};
use zone::{ClusterZone, ZoneAnswer, outside_answer};

use super::log::Log;
use crate::layout::OUTSIDE_NAME;

/// The name under which a server says who it is and whom it sees, in class CHAOS (RFC 4892).
pub(crate) const WHO: &str = "id.server.";

/// Whom a server answers for.
pub(crate) enum Scope {
    /// The cluster's domain, from the objects in this directory; the rest is passed on.
    Cluster {
        /// Where the objects are.
        objects: Objects,
        /// Who answers the rest.
        forward: Forward,
        /// Notices when they ask back.
        guard: LoopGuard,
        /// Where failures are noted.
        log: Log,
    },
    /// One name outside, with these addresses.
    Outside(Vec<IpAddr>),
}

/// The objects of the cluster, read again when they have changed.
pub(crate) struct Objects {
    directory: PathBuf,
    read: Mutex<(Option<SystemTime>, ClusterZone)>,
}

impl Objects {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory, read: Mutex::default() }
    }

    fn answer(&self, name: &Name, kind: RecordType) -> Option<ZoneAnswer> {
        let changed = ["services", "endpointslices"].map(|it| {
            fs::metadata(self.directory.join(format!("{it}.json"))).and_then(|it| it.modified()).ok()
        });
        let newest = changed.into_iter().flatten().max();
        let mut read = self.read.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if read.0 != newest {
            // As with a watch on the API server, what was seen last stays while nothing newer can be read.
            if let (Some(services), Some(slices)) = (self.list("services"), self.list("endpointslices")) {
                *read = (newest, ClusterZone { services, slices });
            }
        }
        read.1.answer(name, kind)
    }

    fn list<T: serde::de::DeserializeOwned>(&self, kind: &str) -> Option<Vec<T>> {
        let text = fs::read(self.directory.join(format!("{kind}.json"))).ok()?;
        let mut list: serde_json::Value = serde_json::from_slice(&text).ok()?;
        serde_json::from_value(list["items"].take()).ok()
    }
}

/// A server: who it is, and whom it answers for.
pub(crate) struct Dns {
    pub(crate) who: String,
    pub(crate) scope: Scope,
}

/// Answers on these sockets, for ever.
pub(crate) async fn serve(dns: Dns, udp: Vec<UdpSocket>, tcp: Vec<TcpListener>) -> io::Result<()> {
    let mut server = Server::new(dns);
    for socket in udp {
        server.register_socket(socket);
    }
    for listener in tcp {
        server.register_listener(listener, Duration::from_secs(5), 64);
    }
    server.block_until_done().await.map_err(io::Error::other)
}

impl Dns {
    async fn answer(&self, request: &Request) -> ZoneAnswer {
        let failed = |code| ZoneAnswer { code, records: Vec::new(), authority: None };
        let Ok(info) = request.request_info() else { return failed(ResponseCode::FormErr) };
        let name: Name = info.query.name().into();
        let kind = info.query.query_type();
        if info.query.query_class() == DNSClass::CH {
            return self.who(&name, request).unwrap_or_else(|| failed(ResponseCode::Refused));
        }
        match &self.scope {
            Scope::Outside(addresses) => outside_answer(&name, kind, OUTSIDE_NAME, addresses),
            Scope::Cluster { objects, forward, guard, log } => {
                if let Some(answer) = objects.answer(&name, kind) {
                    return answer;
                }
                if let Some(last_words) = guard.note(&name, kind, info.src) {
                    log.line(&last_words);
                    std::process::exit(1);
                }
                match forward.ask(&name, kind, info.protocol == Protocol::Tcp).await {
                    Ok(answer) => answer,
                    Err(error) => {
                        log.line(&format!("[ERROR] plugin/errors: 2 {name} {kind}: {error}"));
                        failed(ResponseCode::ServFail)
                    }
                }
            }
        }
    }

    fn who(&self, name: &Name, request: &Request) -> Option<ZoneAnswer> {
        if name.to_ascii().to_ascii_lowercase() != WHO {
            return None;
        }
        let source = request.src();
        let texts = vec![self.who.clone(), source.ip().to_canonical().to_string(), source.port().to_string()];
        let mut record = Record::from_rdata(name.clone(), 0, RData::TXT(TXT::new(texts)));
        record.dns_class = DNSClass::CH;
        Some(ZoneAnswer { code: ResponseCode::NoError, records: vec![record], authority: None })
    }
}

#[async_trait::async_trait]
impl RequestHandler for Dns {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response_handle: R,
    ) -> ResponseInfo {
        let answer = self.answer(request).await;
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = answer.code;
        metadata.authoritative = answer.authority.is_some() || !answer.records.is_empty();
        metadata.recursion_available = matches!(self.scope, Scope::Cluster { .. });
        let mut builder = MessageResponseBuilder::from_message_request(request);
        if let Some(edns) = &request.edns {
            builder.edns(edns);
        }
        let response = builder.build(metadata, &answer.records, [], &answer.authority, []);
        match response_handle.send_response(response).await {
            Ok(info) => info,
            Err(_) => ResponseInfo::from(hickory_proto::op::Header {
                metadata,
                counts: hickory_proto::op::HeaderCounts::default(),
            }),
        }
    }
}
