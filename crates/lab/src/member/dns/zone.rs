//! Which records there are: the cluster's domain as CoreDNS's plugin `kubernetes` gives it, and the zone of the
//! upstream outside.

use std::net::IpAddr;

use hickory_proto::{
    op::ResponseCode,
    rr::{
        Name, RData, Record, RecordType,
        rdata::{NS, SOA},
    },
};
use hopwise_snapshot::{EndpointSlice, Service};

use crate::layout::CLUSTER_DOMAIN;

/// How long an answer may be kept, in seconds: `ttl 30` of the Corefile.
const TTL: u32 = 30;

/// An answer of a zone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ZoneAnswer {
    /// The code.
    pub(crate) code: ResponseCode,
    /// The records asked for.
    pub(crate) records: Vec<Record>,
    /// The start of authority, in answers without records.
    pub(crate) authority: Option<Record>,
}

/// The Services of a cluster and their endpoints.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClusterZone {
    pub(crate) services: Vec<Service>,
    pub(crate) slices: Vec<EndpointSlice>,
}

impl ClusterZone {
    /// The answer for `name` (lower case, absolute), or `None` where the name is not of the cluster's domain.
    ///
    /// Follows the specification "DNS-Based Service Discovery" 1.1.0 of Kubernetes for A and AAAA records.
    pub(crate) fn answer(&self, name: &Name, kind: RecordType) -> Option<ZoneAnswer> {
        let text = name.to_ascii().to_ascii_lowercase();
        let text = text.trim_end_matches('.');
        let below = match text.strip_suffix(CLUSTER_DOMAIN)? {
            "" => return Some(apex(kind)),
            below => below.strip_suffix('.')?,
        };
        let labels: Vec<&str> = below.split('.').rev().collect();
        Some(match labels.as_slice() {
            ["svc" | "pod"] => no_data(),
            ["svc", namespace] if self.services.iter().any(|it| it.metadata.namespace == *namespace) => {
                no_data()
            }
            ["svc", namespace, service] => self.service(name, namespace, service, kind),
            _ => no_such_name(),
        })
    }

    fn service(&self, name: &Name, namespace: &str, service: &str, kind: RecordType) -> ZoneAnswer {
        let found =
            self.services.iter().find(|it| it.metadata.namespace == namespace && it.metadata.name == service);
        let Some(found) = found else { return no_such_name() };
        let mut addresses = found.cluster_ips();
        if addresses.is_empty() {
            addresses = self.ready_endpoints(found);
            // A headless Service without endpoints has no name (CoreDNS, `plugin/kubernetes`).
            if addresses.is_empty() {
                return no_such_name();
            }
        }
        address_answer(name, kind, addresses, authority())
    }

    fn ready_endpoints(&self, service: &Service) -> Vec<IpAddr> {
        let slices = self.slices.iter().filter(|it| {
            it.metadata.namespace == service.metadata.namespace
                && it.metadata.labels.get("kubernetes.io/service-name") == Some(&service.metadata.name)
        });
        let endpoints = slices.flat_map(|it| &it.endpoints);
        let ready = endpoints
            .filter(|it| it.conditions.ready.unwrap_or(true) || service.spec.publish_not_ready_addresses);
        ready.flat_map(|it| &it.addresses).filter_map(|it| it.parse().ok()).collect()
    }
}

/// The records of the domain itself.
fn apex(kind: RecordType) -> ZoneAnswer {
    let records = match kind {
        RecordType::SOA => vec![authority()],
        RecordType::NS => {
            let server = cluster_name("ns.dns.");
            vec![Record::from_rdata(cluster_name(""), TTL, RData::NS(NS(server)))]
        }
        _ => return no_data(),
    };
    ZoneAnswer { code: ResponseCode::NoError, records, authority: None }
}

/// The zone of the upstream outside: one name with these addresses, and nothing else.
pub(crate) fn outside_answer(name: &Name, kind: RecordType, known: &str, addresses: &[IpAddr]) -> ZoneAnswer {
    let root = Record::from_rdata(Name::root(), TTL, RData::SOA(start_of(Name::root())));
    let text = name.to_ascii().to_ascii_lowercase();
    if text.trim_end_matches('.') == known {
        address_answer(name, kind, addresses.to_vec(), root)
    } else {
        ZoneAnswer { code: ResponseCode::NXDomain, records: Vec::new(), authority: Some(root) }
    }
}

fn address_answer(name: &Name, kind: RecordType, addresses: Vec<IpAddr>, authority: Record) -> ZoneAnswer {
    let data = addresses.into_iter().filter_map(|address| match (address, kind) {
        (IpAddr::V4(it), RecordType::A) => Some(RData::A(it.into())),
        (IpAddr::V6(it), RecordType::AAAA) => Some(RData::AAAA(it.into())),
        _ => None,
    });
    let records: Vec<Record> = data.map(|it| Record::from_rdata(name.clone(), TTL, it)).collect();
    let authority = records.is_empty().then_some(authority);
    ZoneAnswer { code: ResponseCode::NoError, records, authority }
}

fn no_data() -> ZoneAnswer {
    ZoneAnswer { code: ResponseCode::NoError, records: Vec::new(), authority: Some(authority()) }
}

fn no_such_name() -> ZoneAnswer {
    ZoneAnswer { code: ResponseCode::NXDomain, records: Vec::new(), authority: Some(authority()) }
}

fn authority() -> Record {
    Record::from_rdata(cluster_name(""), TTL, RData::SOA(start_of(cluster_name("ns.dns."))))
}

fn start_of(server: Name) -> SOA {
    let mailbox = if server.is_root() { Name::root() } else { cluster_name("hostmaster.") };
    SOA::new(server, mailbox, 1, 7200, 1800, 86400, TTL)
}

fn cluster_name(prefix: &str) -> Name {
    Name::from_ascii(format!("{prefix}{CLUSTER_DOMAIN}.")).expect("constant names are names")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        layout::{Base, Layout, Shape},
        objects::Maker,
    };

    fn zone() -> ClusterZone {
        let layout = Layout::new(Shape { base: Base::DualStack, n_nodes: 3 }).unwrap();
        let objects = Maker::new(&layout, jiff::Timestamp::UNIX_EPOCH).all().unwrap();
        let parse = |kind| serde_json::Value::from(objects[kind as &str].clone());
        let mut zone = ClusterZone {
            services: serde_json::from_value(parse("services")).unwrap(),
            slices: serde_json::from_value(parse("endpointslices")).unwrap(),
        };
        let mut headless = zone.services.iter().find(|it| it.metadata.name == "echo").unwrap().clone();
        headless.spec.cluster_ip = Some("None".to_owned());
        headless.spec.cluster_ips = vec!["None".to_owned()];
        zone.services.retain(|it| it.metadata.name != "echo");
        zone.services.push(headless);
        zone
    }

    fn ask(name: &str, kind: RecordType) -> (ResponseCode, Vec<String>, bool) {
        let answer = zone().answer(&Name::from_ascii(name).unwrap(), kind).unwrap();
        let records = answer.records.iter().map(|it| it.data.to_string()).collect();
        (answer.code, records, answer.authority.is_some())
    }

    #[test]
    fn a_service_has_its_cluster_addresses() {
        let (code, records, _) = ask("Kube-DNS.kube-system.svc.cluster.local.", RecordType::A);
        assert_eq!((code, records), (ResponseCode::NoError, vec!["10.96.0.10".to_owned()]));
        let (_, records, _) = ask("kube-dns.kube-system.svc.cluster.local.", RecordType::AAAA);
        assert_eq!(records, ["fd00:10:96::a"]);
    }

    #[test]
    fn a_headless_service_has_the_addresses_of_its_ready_pods() {
        let (_, records, _) = ask("echo.default.svc.cluster.local.", RecordType::A);
        assert_eq!(records.len(), 6);
    }

    #[test]
    fn a_name_without_records_of_the_type_is_told_from_one_that_does_not_exist() {
        let name = "kubernetes.default.svc.cluster.local.";
        assert_eq!(ask(name, RecordType::AAAA), (ResponseCode::NoError, vec![], true));
        for name in ["nothing.default.svc.cluster.local.", "a.b.c.d.svc.cluster.local.", "x.cluster.local."] {
            assert_eq!(ask(name, RecordType::A), (ResponseCode::NXDomain, vec![], true), "{name}");
        }
        assert_eq!(ask("shop.svc.cluster.local.", RecordType::A).0, ResponseCode::NoError);
        assert_eq!(ask("nowhere.svc.cluster.local.", RecordType::A).0, ResponseCode::NXDomain);
    }

    #[test]
    fn other_domains_are_none_of_the_cluster() {
        for name in ["www.example.test.", "notcluster.local.", "local.", "."] {
            assert!(zone().answer(&Name::from_ascii(name).unwrap(), RecordType::A).is_none(), "{name}");
        }
    }

    #[test]
    fn the_outside_knows_one_name() {
        let address: IpAddr = "203.0.113.10".parse().unwrap();
        let ask = |name, kind| {
            outside_answer(&Name::from_ascii(name).unwrap(), kind, "www.example.test", &[address])
        };
        assert_eq!(ask("www.example.test.", RecordType::A).records.len(), 1);
        assert_eq!(ask("www.example.test.", RecordType::AAAA).code, ResponseCode::NoError);
        assert_eq!(ask("example.test.", RecordType::A).code, ResponseCode::NXDomain);
    }
}
