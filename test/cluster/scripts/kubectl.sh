#!/bin/bash
# kubectl.sh ARGS...: the cluster's own kubectl with its administrator's kubeconfig.
set -euo pipefail
. "$(dirname "$0")/env.sh"
need_cluster
kc "$@"
