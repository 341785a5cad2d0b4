//! The kernel edge: namespaces, netlink, processes.
