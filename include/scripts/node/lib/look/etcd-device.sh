#!/bin/bash
# The block device behind etcd's data directory, and who else writes to it at this moment.
# Sourced by nightshift-node after common.sh.

readonly WRITER_WINDOW_SECONDS=0.7
readonly WRITERS_SHOWN=3
readonly WRITER_LEAST_BYTES=$((64 * 1024)) # in the window; less is a log line
readonly DEVICE_STEPS=8                    # partition, dm, loop and so on under one another

# Lines: device TAB source TAB rotates (1, 0, "-") TAB the devices below it; pressure TAB some avg10 of PSI;
# window TAB seconds; writer TAB pid TAB bytes TAB device|node TAB command TAB unit or pod.
look_etcd_device() {
    local directory before
    directory=$(etcd_directory) || return 0
    device_line "$directory"
    pressure_line
    before=$(written_bytes)
    sleep "$WRITER_WINDOW_SECONDS"
    printf 'window\t%s\n' "$WRITER_WINDOW_SECONDS"
    written_since "$before" | while read -r pid bytes; do
        writer_line "$pid" "$bytes" "$directory"
    done
}

device_line() {
    local source number chain name rotates=-
    source=$(findmnt -no SOURCE -T "$1" | tail -n 1) || source=unknown
    number=$(findmnt -no MAJ:MIN -T "$1" | tail -n 1) || number=
    chain=$(device_chain "${number// /}")
    name=${chain##* }
    if [[ -n $name && -r $FS_ROOT/sys/block/$name/queue/rotational ]]; then
        rotates=$(cat "$FS_ROOT/sys/block/$name/queue/rotational")
    fi
    printf 'device\t%s\t%s\t%s\n' "${source:-unknown}" "$rotates" "$chain"
}

# device_chain MAJOR:MINOR: kernel names from the mounted device down to the disk: "dm-0 sda3 sda".
device_chain() {
    local blocks=$FS_ROOT/sys/dev/block path name chain=() step
    [[ -n $1 && -e $blocks/$1 ]] || return 0
    path=$(readlink -f "$blocks/$1")
    for ((step = 0; step < DEVICE_STEPS; step++)); do
        name=$(basename "$path")
        chain+=("$name")
        path=$(device_below "$path") || break
    done
    echo "${chain[*]}"
}

# device_below SYSFS_PATH: what lies under a partition, a dm or md device (its first part), a loop device; fails at a disk.
device_below() {
    local part file number
    if [[ -e $1/partition ]]; then
        dirname "$1"
        return
    fi
    for part in "$1"/slaves/*; do
        [[ ! -e $part ]] || {
            readlink -f "$part"
            return
        }
    done
    [[ -r $1/loop/backing_file ]] || return 1
    file=$(cat "$1/loop/backing_file")
    [[ -e $FS_ROOT$file ]] || return 1 # in a container: the file lies outside
    number=$(findmnt -no MAJ:MIN -T "$FS_ROOT$file" | tail -n 1)
    [[ -e $FS_ROOT/sys/dev/block/${number// /} ]] || return 1
    readlink -f "$FS_ROOT/sys/dev/block/${number// /}"
}

# pressure_line: share of the last 10 s in which something waited for a disk; absent on kernels without PSI.
pressure_line() {
    local line
    line=$(grep -s '^some ' "$FS_ROOT/proc/pressure/io") || return 0
    line=${line#*avg10=}
    printf 'pressure\t%s\n' "${line%% *}"
}

# written_bytes: lines of `pid bytes`, of every process since its start. Processes come and go while we look.
written_bytes() {
    { grep -H '^write_bytes:' /proc/[0-9]*/io 2>/dev/null || true; } | sed -nE 's|^/proc/([0-9]+)/io:write_bytes: |\1 |p'
}

# written_since BEFORE: the processes that wrote most since then, etcd left out.
written_since() {
    local etcd
    etcd=$(etcd_pid) || etcd=-
    { printf '%s\n' "$1" && echo now && written_bytes; } |
        awk -v etcd="$etcd" -v least="$WRITER_LEAST_BYTES" '
            $1 == "now" { is_now = 1; next }
            !is_now { before[$1] = $2; next }
            $1 != etcd && $1 in before && $2 - before[$1] >= least { printf "%d %.0f\n", $1, $2 - before[$1] }' |
        sort -k2,2nr | head -n "$WRITERS_SHOWN"
}

# writer_line PID BYTES DIRECTORY: who it is; nothing when it has just ended.
writer_line() {
    local command place=node
    command=$(tr '\t\n' '  ' <"/proc/$1/comm" 2>/dev/null) || return 0
    ! writes_there "$1" "$3" || place=device
    printf 'writer\t%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$place" "${command% }" "$(owner_of "$1")"
}

# writes_there PID DIRECTORY: it holds a file open for writing on the file system of DIRECTORY.
writes_there() {
    local device files
    device=$(stat -c %d "$2")
    files=$(stat -L -c '%d %F,%n' /proc/"$1"/fd/* 2>/dev/null |
        sed -nE "s|^$device regular[^,]*,/proc/([0-9]+)/fd/([0-9]+)$|/proc/\1/fdinfo/\2|p") || true
    # shellcheck disable=SC2086  # one word per file
    [[ -n $files ]] && grep -qsE '^flags:[[:space:]]*[0-7]*[12]$' $files
}

# owner_of PID: the systemd unit, or namespace/name of the pod, by its cgroup; "-" when it has none.
owner_of() {
    owner_in_cgroup 2>/dev/null <"/proc/$1/cgroup" || echo -
}

# owner_in_cgroup: the same from the text of /proc/PID/cgroup. On cgroup v1 the controllers may differ: a pod counts most.
owner_in_cgroup() {
    local groups uid logs name
    groups=$(cut -d: -f3-)
    if [[ $groups =~ /[^/]*pod([0-9a-f]{8}[-_][0-9a-f_-]{27}|[0-9a-f]{32})(\.slice)?/ ]]; then
        uid=${BASH_REMATCH[1]//_/-}
        logs=("$FS_ROOT"/var/log/pods/*_"$uid") # the kubelet calls it namespace_name_uid
        [[ -d ${logs[0]} ]] || logs=("$uid")
        name=$(basename "${logs[0]}" "_$uid")
        echo "pod ${name/_//}"
    elif [[ $groups =~ /([^/]+\.(service|scope))(/|$|$'\n') ]]; then
        echo "${BASH_REMATCH[1]}"
    else
        echo -
    fi
}
