#!/bin/bash
# packages.sh KIT: Debian's packages that nodes have and the machine shall not get, unpacked to KIT/node.
#
# The nodes' root is the machine's, so whatever the machine has they have. These three are not installed on it: the
# first would open port 22, the second replaces /etc/resolv.conf, the third lets users become root.
set -euo pipefail
. "$(dirname "$0")/env.sh"

wanted="openssh-server systemd-resolved sudo"
mkdir -p "$1/node" "$1/debs"
cd "$1/debs"

# Those and what they need that the machine has not. An installed one is taken anew: its files may have been changed.
# shellcheck disable=SC2086 # One word a package.
names=$(apt-get install --simulate --reinstall --no-install-recommends $wanted 2>"$1/apt.log" |
    awk '$1 == "Inst" { print $2 }') || { cat "$1/apt.log" >&2 && fail "apt does not know $wanted: apt-get update"; }
# shellcheck disable=SC2086 # One word a package.
apt-get download --quiet $names >"$1/apt.log" 2>&1 || { cat "$1/apt.log" >&2 && fail "cannot fetch: $names"; }

# A root with /usr merged, so that files of /lib land where the machine's /lib points to.
mkdir -p ../node/usr/{bin,sbin,lib}
for it in bin sbin lib; do
    ln -s "usr/$it" "../node/$it"
done
for it in *.deb; do
    dpkg-deb --fsys-tarfile "$it" | tar -x --keep-directory-symlink -C ../node
done
rm ../node/bin ../node/sbin ../node/lib
rm -rf ../node/usr/share/doc ../node/usr/share/man
cd ..
rm -rf debs apt.log
