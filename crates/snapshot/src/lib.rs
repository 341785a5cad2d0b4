//! Facts about a cluster's network, as a source observed them.
//!
//! Read [`Snapshot`] first, then [`Observed`] (a fact, its absence, or that nobody looked) and [`Element`]
//! (the name of one piece of state, spelled alike in every output).
//!
//! What is deliberately absent: interpretation. Nothing here decides whether a value is good. Texts in the
//! language of another program (`iptables-save`, `nft -j`, resolv.conf) stay texts; the crates of the next
//! layer read them. Nothing here does I/O: [`hop`] turns bytes into a snapshot and back.
//!
//! This crate is an IPC boundary: its types are serialised, so a field gains a meaning only together with a
//! new format version (see [`hop::FORMAT`]).

mod cluster;
mod element;
pub mod facts;
mod happening;
pub mod hop;
mod host;
mod link;
mod mac;
mod name;
mod neighbour;
mod netns;
mod observation;
mod observed;
mod route;
mod snapshot;
mod socket;
mod sysctl;
mod traffic_control;

pub use cluster::{
    ClientIpConfig, Cluster, ConfigMap, ConfigMapVolume, Container, ContainerPort, ContainerStatus, Endpoint,
    EndpointConditions, EndpointHint, EndpointHints, EndpointPort, EndpointSlice, HostAlias, HostPathVolume,
    IpBlock, LabelSelector, LabelSelectorRequirement, LoadBalancerIngress, LoadBalancerStatus, Namespace,
    NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicyRule, NetworkPolicySpec, NodeAddress,
    NodeObject, NodeSpec, NodeStatus, ObjectCondition, ObjectMeta, ObjectReference, OwnerReference,
    PodDnsConfig, PodDnsConfigOption, PodIp, PodObject, PodSpec, PodStatus, PortNumberOrName, Protocol,
    Service, ServicePort, ServiceSpec, ServiceStatus, SessionAffinityConfig, Taint, Volume, Workload,
    WorkloadSpec, WorkloadStatus,
};
pub use element::{Element, Scope};
pub use happening::{
    ContainerLog, ContainerRunning, ContainerState, ContainerTerminated, ContainerWaiting, Event,
    EventSeries, EventSource, InvolvedObject, LogLine,
};
pub use host::{File, FileContent, Node, Pod, Process};
pub use link::{
    Address, AddressFlags, Bridge, BridgePort, IPV6_MIN_MTU, Link, LinkDetail, LinkFlags, LinkStatistics,
    PortState, Vxlan, Xdp,
};
pub use mac::{Mac, MacError};
pub use name::{IfIndex, NodeName, Place, PodName};
pub use neighbour::{FdbEntry, FdbState, Neighbour, NeighbourState};
pub use netns::{
    Conntrack, ConntrackEntry, ConntrackTuple, Counters, NetNs, Netfilter, SaveTexts, XfrmPolicy,
};
pub use observation::{Answers, Crossing, Message, Observation, Packet, Probe, Question, Seen};
pub use observed::{Observed, Reason};
pub use route::{NextHop, NextHopObject, Route, RouteKind, RoutingRule, RuleAction, protocols, tables};
pub use snapshot::{OutsideTarget, Snapshot};
pub use socket::{Socket, SocketProtocol, SocketState};
pub use sysctl::{SysctlKey, Sysctls};
pub use traffic_control::{Qdisc, TcAction, TcFilter, TokenBucket, U32Key};
