//! Kubernetes clusters in network namespaces, and the truth about them by packets.
