#!/bin/bash
# Ends the machine's cluster and leaves nothing of it, also after an `up` that was killed. Safe to run twice.
#
#   --any   also when the cluster is another clone's
set -euo pipefail
. "$(dirname "$0")/env.sh"
need_root

owner=$(cat "$MACHINE/owner" 2>/dev/null || true)
if [ -n "$owner" ] && [ "$owner" != "$STATE" ] && [ "${1:-}" != --any ]; then
    fail "the cluster that runs is of $owner, not of this clone; cargo xtask cluster down --any ends it nevertheless"
fi

status=0
# All of it is in these groups: nodes with everything in them, the underlay's programs, an `up` under way.
end_processes || status=1
for it in $NODES; do
    ip netns del "hw-$it" 2>/dev/null || true
done
ip netns del "$FABRIC" 2>/dev/null || true
remove_groups
if [ -f "$MACHINE/sysctl.conf" ]; then
    sysctl --quiet --load "$MACHINE/sysctl.conf" || status=1
fi
rm -rf "$UPPER" "$MACHINE" "$STATE"
# A state whose cluster is gone, and which nobody else names.
case $owner in
*/target/cluster) rm -rf "$owner" ;;
esac
exit $status
