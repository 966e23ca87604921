#!/bin/bash
# What a rehearsal may take of the machine, where it works, how it ends and what it must not leave behind.
# Sourced after common.sh.

readonly REHEARSAL_DIR=$WORK_DIR/rehearsal
readonly REHEARSAL_LOG=$STATE_DIR/rehearsal.log # of the last one that failed; evidence
# shellcheck disable=SC2034  # used by the sourcing scripts
readonly CTR_SECONDS=60
readonly PROCESSOR_GROUP=$FS_ROOT/sys/fs/cgroup/cpu/nightshift-rehearsal
readonly LOG_BYTES=$((4 * 1024 * 1024))
readonly LEAST_MEMORY_BYTES=$((256 * 1024 * 1024)) # for the scripts alone, when they can only say that there is too little

# memory_allowance: bytes it may take: half of the memory, and never the last GiB of what is available.
memory_allowance() {
    awk '/^MemTotal:/ {half = $2 / 2} /^MemAvailable:/ {rest = $2 - 1048576}
        END {least = half < rest ? half : rest; printf "%.0f\n", (least > 0 ? least : 0) * 1024}' "$FS_ROOT/proc/meminfo"
}

# processor_percent: a quarter of the processors, at most four of them; 100 is one.
processor_percent() {
    local processors
    processors=$(nproc)
    echo $((processors > 16 ? 400 : processors * 25))
}

# join_processor_group: the same quota by hand where systemd has no say over processors (cgroup v1, the node is a container
# itself). Niceness alone is not enough there: what little runs in its stead counts against the whole node.
join_processor_group() {
    grep -qsE '^[0-9]+:([^:]*,)?cpu(,[^:]*)?:/$' "$FS_ROOT/proc/self/cgroup" || return 0
    mkdir -p "$PROCESSOR_GROUP" 2>/dev/null || return 0
    {
        echo 2 >"$PROCESSOR_GROUP/cpu.shares"
        echo "$(processor_percent)000" >"$PROCESSOR_GROUP/cpu.cfs_quota_us" # of a period of 100 ms
        echo $$ >"$PROCESSOR_GROUP/cgroup.procs"
    } 2>/dev/null || true
}

# rehearsal_properties: of its unit, one per line: all that keeps it from taking processor, memory or disk from etcd.
# Batch: it preempts nobody when it wakes up. OOMPolicy: when memory runs out, the job is to live and say so.
rehearsal_properties() {
    local memory
    memory=$(memory_allowance)
    printf -- '--property=%s\n' Nice=19 CPUSchedulingPolicy=batch CPUWeight=10 "CPUQuota=$(processor_percent)%" \
        "MemoryMax=$((memory > LEAST_MEMORY_BYTES ? memory : LEAST_MEMORY_BYTES))" MemorySwapMax=0 \
        OOMPolicy=continue OOMScoreAdjust=1000 IOSchedulingClass=idle IOWeight=10 \
        "IOReadBandwidthMax=$STATE_DIR 60M" "IOWriteBandwidthMax=$STATE_DIR 30M"
}

# require_own_namespace KIND: asked of the kernel, and not told by an argument that anybody could give.
require_own_namespace() {
    [[ $(readlink "$FS_ROOT/proc/self/ns/$1") != "$(readlink "$FS_ROOT/proc/1/ns/$1")" ]] || die "$EX_REFUSED" "not in a $1 namespace of its own"
}

# ran_out_of_memory: the kernel has killed something of this unit. cgroup v2, then v1.
ran_out_of_memory() {
    local groups=$FS_ROOT/proc/self/cgroup two one
    two=$(sed -n 's|^0::||p' "$groups")
    one=$(sed -nE 's|^[0-9]+:([^:]*,)?memory(,[^:]*)?:||p' "$groups")
    grep -qsE '^oom_kill [1-9]' "$FS_ROOT/sys/fs/cgroup$two/memory.events" "$FS_ROOT/sys/fs/cgroup/memory$one/memory.oom_control"
}

# own_mount_point: on the disk the directory is made a mount point, so that `umount -R` finds what is mounted below it.
own_mount_point() {
    mount --bind "$REHEARSAL_DIR" "$REHEARSAL_DIR"
}

# sweep_rehearsal SECONDS: nothing of it stays, however it ended, and never longer than that. Its mounts are its own
# namespace's and went with it, but for this process's own; a copy of the cluster's data on the disk did not.
sweep_rehearsal() {
    local end=$((SECONDS + $1))
    [[ ! -e $PROCESSOR_GROUP ]] || rmdir "$PROCESSOR_GROUP" 2>/dev/null || true # not while this process is in it
    [[ -e $REHEARSAL_DIR ]] || return 0
    forget_views "$end"
    until_then "$end" umount -R -l "$REHEARSAL_DIR" 2>/dev/null || true
    # What is mounted there are the cluster's own keys, on the same file system: rm would go into them.
    if ! nothing_mounted; then
        say "$REHEARSAL_DIR is left as it is: something is still mounted there"
        return 0
    fi
    until_then "$end" rm -rf --one-file-system "$REHEARSAL_DIR" || true
}

# until_then END PROGRAM…: END is in SECONDS.
until_then() {
    local left=$(($1 - SECONDS))
    shift
    timeout --kill-after=1 "$((left > 0 ? left : 1))" "$@"
}

# nothing_mounted: by the kernel's word, at the directory and below it; what cannot be read is a no.
nothing_mounted() {
    local directory
    directory=$(realpath "$REHEARSAL_DIR") || return 1
    awk -v directory="$directory" '$5 == directory || index($5, directory "/") == 1 {found = 1}
        END {exit found || !NR}' /proc/self/mountinfo
}

# snapshotter: where this containerd keeps what the kubelet has it pull.
snapshotter() {
    local found
    found=$(timeout 5 containerd config dump 2>/dev/null |
        sed -nE "s/^ *snapshotter *= *['\"]([A-Za-z0-9._-]+)['\"].*/\1/p" | head -n 1) || true
    echo "${found:-overlayfs}"
}

# forget_views END: containerd's views of images, which it would else keep for a day, also over a loss of power. Each bears
# the name of the directory that it was for.
forget_views() {
    local view found
    command -v ctr >/dev/null || return 0
    CONTAINERD_SNAPSHOTTER=$(snapshotter)
    export CONTAINERD_SNAPSHOTTER # ctr's own default is overlayfs
    found=$(until_then "$1" ctr -n k8s.io snapshots ls 2>/dev/null | awk -v view="$REHEARSAL_DIR/image." 'index($1, view) == 1 {print $1}') || true
    for view in $found; do
        # Of an unmounted one the directory may be gone, which older ones of ctr take for a failure.
        until_then "$1" ctr -n k8s.io images unmount --rm "$view" >/dev/null 2>&1 ||
            until_then "$1" ctr -n k8s.io snapshots rm "$view" >/dev/null 2>&1 || true
    done
}

# not_rehearsed REASON: the job ends well and says why nothing was proven.
not_rehearsed() {
    say "not rehearsed: $1"
    printf 'RESULT {"rehearsed":false,"reason":%s}\n' "$(json_string "$1")"
    exit 0
}

# rehearsal_failed MESSAGE [LOG]: what the target's API server wrote goes into the job's log, and where evidence finds it.
rehearsal_failed() {
    if [[ -e ${2:-} ]]; then
        if tail -c "$LOG_BYTES" "$2" | redact | atomic_write "$REHEARSAL_LOG"; then
            echo "the target kube-apiserver's last lines:"
            tail -n 25 "$REHEARSAL_LOG" | cut -c 1-500 || true
        else
            say "its log could not be kept" # a full disk; what it failed with is not lost for that
        fi
    fi
    die "$EX_REHEARSAL_FAILED" "$(printf '%s\n' "$1" | redact)"
}
