#!/bin/bash
# An image's root directory as a place to run its program in, with the manifest's volumes. Sourced after common.sh and
# rehearsal.sh, in a mount namespace of its own.

readonly SOCKET_SEARCH_SECONDS=20
readonly LOG_KIB=65536 # of the program's log, and of any other file that it writes

# unpack_image IMAGE DIRECTORY: copied, so that nothing of containerd is held longer than that takes. A name that was never
# used: of a view that is there already, containerd gives the image that it was made of.
unpack_image() {
    local view
    CONTAINERD_SNAPSHOTTER=$(snapshotter)
    export CONTAINERD_SNAPSHOTTER # ctr's own default, overlayfs, would unpack the image a second time
    mkdir -p "$2" || return 1
    view=$(mktemp -d "$REHEARSAL_DIR/image.XXXXXXXX") || return 1
    timeout "$CTR_SECONDS" ctr -n k8s.io images mount "$1" "$view" >/dev/null || return 1
    cp -a "$view/." "$2" || return 1
    timeout "$CTR_SECONDS" ctr -n k8s.io images unmount --rm "$view" >/dev/null || return 1
    tame_links "$2"
}

# tame_links ROOT: a link of the image that begins with "/" (/var/run -> /run) means the image's own, not the node's.
tame_links() {
    local link
    while IFS= read -r -d '' link; do
        ln -sfnT "$(realpath -sm --relative-to="$(dirname "$link")" "$1$(readlink "$link")")" "$link"
    done < <(find "$1" -type l -lname '/*' -print0)
}

# inside ROOT PATH: where PATH is below ROOT, links followed; fails when that is elsewhere.
inside() {
    local resolved
    resolved=$(realpath -m "$1$2")
    [[ $resolved == "$1"/?* ]] || return 1
    echo "$resolved"
}

# bind_volume SOURCE TYPE TARGET: a hostPath volume, read-only. 3: the kubelet would not start the pod, for the path is
# not there; 4: too large to be looked through for sockets. What the kubelet would make on the node is made below TARGET only.
bind_volume() {
    # Each step by itself: whoever asks for the code has switched off that the first failure ends it all.
    if [[ ! -e $1 ]]; then
        case $2 in
            '' | DirectoryOrCreate) mkdir -p "$3" || return 1 ;;
            FileOrCreate) make_file "$3" || return 1 ;;
            *) return 3 ;;
        esac
        return 0
    fi
    if [[ -d $1 ]]; then
        mkdir -p "$3" || return 1
    else
        make_file "$3" || return 1
        [[ -f $1 ]] || return 0 # a socket or a device: left out
    fi
    # Not --rbind: what else is mounted below it stays out, also what is mounted later.
    mount --bind "$1" "$3" || return 1
    { mount --make-private "$3" && mount -o remount,bind,ro "$3"; } || {
        umount "$3" || true # what is said is that the mount failed
        return 1
    }
    [[ ! -d $1 ]] || hide_sockets "$3"
}

make_file() {
    mkdir -p "$(dirname "$1")" && { [[ -e $1 ]] || : >"$1"; }
}

# hide_sockets DIRECTORY: a Unix socket does not care about network namespaces: behind it is something live.
hide_sockets() {
    local socket list=$REHEARSAL_DIR/sockets
    : >"$REHEARSAL_DIR/empty" || return 1
    timeout "$SOCKET_SEARCH_SECONDS" find "$1" -xdev -type s -print0 >"$list" || return 4
    while IFS= read -r -d '' socket; do
        mount --bind "$REHEARSAL_DIR/empty" "$socket" || return 1
    done <"$list"
}

# enter ROOT PROGRAM…: become the program, in the image's root, where nothing of the node but the pod's volumes is to be seen,
# with no process and no shared memory of the node's, and of root's powers only those that reading the pod's files and
# binding its port may take. Its variables are in the file `environment`.
enter() {
    local root=$1 environment=()
    shift
    mapfile -d '' -t environment <"$REHEARSAL_DIR/environment"
    ulimit -f "$LOG_KIB" # it would take the memory
    exec unshare --pid --ipc --fork --kill-child -- setpriv --no-new-privs --inh-caps=-all \
        --bounding-set=-all,+dac_override,+net_bind_service,+sys_chroot,+setpcap -- \
        perl "$NIGHTSHIFT_ROOT/lib/enter.pl" "$root" "${environment[@]}" -- "$@"
}
