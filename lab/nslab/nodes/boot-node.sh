#!/bin/sh
# boot-node.sh ROOT COMMAND…: runs COMMAND (systemd-nspawn) in a mount namespace that has no other disk of the lab.
#
# systemd-nspawn moves its root over the machine's mounts instead of removing them. Where the machine's root is
# not a shared mount, a node would therefore keep the disks of all other nodes mounted until it is switched off.
set -eu

root=$1
shift
awk '$1 ~ "^/dev/loop" {print $2}' /proc/self/mounts | while read -r mount_point; do
    case $mount_point in
        / | "$root") ;;
        *) umount --lazy "$mount_point" ;;
    esac
done
exec "$@"
