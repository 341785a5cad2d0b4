//! flannel 0.28 as the network of a Kubernetes cluster: what `flanneld --ip-masq --kube-subnet-mgr` writes on a node.

mod config;
mod iptables;
mod lease;
mod network;
mod subnet_env;

pub use config::{Backend, FlannelConfig, FlannelConfigError, VxlanBackend};
pub use iptables::{flannel_iptables, sync_flannel_iptables};
pub use lease::{FlannelError, Lease};
pub use network::{
    DeviceFdb, DeviceNeighbour, DeviceRoute, NodeNetwork, Uplink, VxlanDevice, network, node_annotations,
};
pub use subnet_env::{SubnetEnv, SubnetEnvError};
