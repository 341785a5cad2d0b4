//! kube-proxy 1.34: the rules that it writes and the endpoints that it chooses.

mod chain_name;
mod config;
mod endpoints;
mod iptables;
mod nftables;
mod service_port;
mod service_rules;

pub use chain_name::ChainNames;
pub use config::{DetectLocal, KubeProxyConfig, KubeProxyConfigError, ProxyMode};
pub use endpoints::{Client, ServiceAnswer, ServiceEndpoint, ServiceEndpoints, service_endpoints};
pub use iptables::{Host, KubeProxy, iptables};
pub use nftables::{TABLE, is_own_chain, is_own_set};
pub use service_port::ServicePortName;
