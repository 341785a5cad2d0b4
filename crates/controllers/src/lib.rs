//! What kube-proxy, flannel and kubelet write on a node, compiled from the API's objects.
