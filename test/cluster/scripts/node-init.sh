#!/bin/bash
# node-init.sh NODE KIT: PID 1 of a node, in its new namespaces, until systemd takes its place. It makes the node's root,
# an overlay over the machine's, and what a machine's installer would have written.
set -euo pipefail
. "$(dirname "$0")/env.sh"

node=$1
kit=$2
var=$STATE/nodes/$node/var
root=$STATE/nodes/$node/root
mkdir -p "$root" "$var"/{kubelet,containerd,etcd,log,cni} "$UPPER/$node"/{upper,work}
mount -t overlay "hopwise-$node" -o "lowerdir=/,upperdir=$UPPER/$node/upper,workdir=$UPPER/$node/work" "$root"
mkdir -p "$root"/opt/{hopwise/bin,cni/bin} "$root"/etc/{cni/net.d,kubernetes,containerd} "$root/.old" \
    "$root"/var/lib/{kubelet,containerd,etcd,cni} "$root/lib/modules"

# The first boot installs: units, settings, and the packages that the machine itself does not get.
if [ ! -e "$root/etc/hopwise-installed" ]; then
    rm -rf "$root"/etc/systemd/system/*.wants
    rm -f "$root"/etc/{hostname,hosts,resolv.conf,machine-id} "$root"/etc/ssh/{sshd_config,ssh_host_*}
    # Settings of the kernel that are not the network's are the whole machine's; a node leaves them alone.
    for it in "$root"/usr/lib/sysctl.d/*.conf "$root"/etc/sysctl.d/*.conf; do
        [ -e "$it" ] || continue
        name=$(basename "$it")
        settings=$(grep -E '^-?net[./]' "$it" || true)
        rm -f "$root/etc/sysctl.d/$name"
        echo "$settings" >"$root/etc/sysctl.d/$name"
    done
    cp -a "$kit/node/." "$root/"
    cp -r "$HERE/config/node/." "$root/"
    chmod 440 "$root/etc/sudoers.d/ops"
    cp "$HERE/config/containerd.toml" "$root/etc/containerd/config.toml"
    for it in /usr/lib/cni/*; do
        ln -sf "$it" "$root/opt/cni/bin/"
    done
    echo "$node" >"$root/etc/hostname"
    echo "$node $RANDOM$RANDOM$RANDOM" | md5sum | cut -c1-32 >"$root/etc/machine-id"
    {
        echo "127.0.0.1 localhost"
        for it in $NODES; do
            echo "$(address "$it") $it"
        done
    } >"$root/etc/hosts"
    echo "nameserver $UNDERLAY.1" >"$root/etc/resolv.conf"

    # Users: of the packages above, and `ops`, who becomes root by sudo.
    sed -i '/^\(ops\|sshd\|systemd-resolve\):/d' "$root"/etc/{passwd,shadow,group}
    {
        echo "sshd:x:1501:65534::/run/sshd:/usr/sbin/nologin"
        echo "systemd-resolve:x:1502:1502::/:/usr/sbin/nologin"
        echo "ops:x:1500:1500::/home/ops:/bin/bash"
    } >>"$root/etc/passwd"
    printf '%s:*:19000:0:99999:7:::\n' sshd systemd-resolve ops >>"$root/etc/shadow"
    printf 'systemd-resolve:x:1502:\nops:x:1500:\n' >>"$root/etc/group"
    # An account that is locked with ! is refused by sshd even for a key.
    sed -i 's/^root:[^:]*:/root:*:/' "$root/etc/shadow"
    install -m 600 "$STATE/ssh/host_$node" "$root/etc/ssh/ssh_host_ed25519_key"
    mkdir -p "$root/etc/ssh/authorized_keys"
    for it in root ops; do
        cp "$STATE/ssh/id.pub" "$root/etc/ssh/authorized_keys/$it"
    done

    # Units that would touch devices or a console that nodes share with the machine. resolved is for incidents.
    for it in systemd-udevd.service systemd-udevd-{control,kernel}.socket systemd-udev-{trigger,settle}.service \
        systemd-{modules-load,remount-fs,firstboot,machine-id-commit,random-seed,logind,binfmt}.service \
        systemd-{hwdb-update,resolved,networkd,timesyncd,update-utmp,pstore}.service \
        getty.target console-getty.service getty@.service serial-getty@.service getty-static.service \
        dev-{hugepages,mqueue}.mount sys-kernel-{config,debug,tracing}.mount sys-fs-fuse-connections.mount \
        proc-sys-fs-binfmt_misc.automount systemd-ask-password-{wall,console}.path tmp.mount swap.target; do
        ln -sf /dev/null "$root/etc/systemd/system/$it"
    done
    mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
    ln -s ../kubelet.service "$root/etc/systemd/system/multi-user.target.wants/kubelet.service"
    touch "$root/etc/hopwise-installed"
fi

mount --bind "$kit/bin" "$root/opt/hopwise/bin"
mount -o remount,ro,bind "$root/opt/hopwise/bin"
# On the disk itself: containerd's snapshots cannot lie on an overlay, and kubelet measures a real device.
for it in kubelet containerd etcd cni; do
    mount --bind "$var/$it" "$root/var/lib/$it"
done
mount --bind "$var/log" "$root/var/log"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t tmpfs -o mode=755 cgroup "$root/sys/fs/cgroup"
# Mounted anew in the new namespace, they begin at the node's own group.
for it in $(hierarchies); do
    mkdir "$root/sys/fs/cgroup/$it"
    case $it in
    unified) mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup/$it" ;;
    systemd) mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/$it" ;;
    *)
        mount -t cgroup -o "$it" cgroup "$root/sys/fs/cgroup/$it"
        # Hierarchies of two controllers are found by the name of each.
        for alone in ${it//,/ }; do
            [ "$alone" = "$it" ] || ln -s "$it" "$root/sys/fs/cgroup/$alone"
        done
        ;;
    esac
done
mount -t bpf bpf "$root/sys/fs/bpf" 2>/dev/null || true
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
mount -t tmpfs -o mode=755 run "$root/run"
mkdir -p "$root"/run/{lock,netns}
# What is somebody's own on the machine is not seen by nodes.
for it in /tmp /root /home "$ROOT" "$CACHE"; do
    [ ! -d "$root$it" ] || mount -t tmpfs -o mode=755 hidden "$root$it"
done
chmod 1777 "$root/tmp"
chmod 700 "$root/root"
install -d -o 1500 -g 1500 "$root/home/ops"

cd "$root"
pivot_root . .old
umount -l /.old
rmdir /.old 2>/dev/null || true
# kubelet and runc hand mounts on between pods and node.
mount --make-rshared /
cd /
hostname "$node"
exec env -i container=hopwise PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --unit=hopwise.target --log-target=journal
