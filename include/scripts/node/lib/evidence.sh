#!/bin/bash
# One bundle with what explains a failed step: bounded in size, secrets taken out, nothing on the node changed.
# Sourced by nightshift-node after common.sh.

readonly EVIDENCE_LIMIT_BYTES=$((64 * 1024 * 1024))
readonly LOG_LIMIT_BYTES=$((8 * 1024 * 1024))
readonly POD_LOG_LIMIT_BYTES=$((4 * 1024 * 1024))
readonly UNITS=(kubelet containerd crio 'nightshift-*')

# collect_evidence SINCE: tar.gz of everything on standard output.
collect_evidence() {
    local since=$1
    evidence=$(evidence_directory)
    # shellcheck disable=SC2064  # the directory of now is meant
    trap "rm -rf '$evidence'" EXIT
    add_journals "$since"
    add_pod_logs "$since"
    add_manifests
    add_states
    tar -C "$evidence" -czf - .
}

# evidence_directory: on the disk when it has room, else in memory: a full disk may be what is to be explained.
evidence_directory() {
    if (($(free_bytes "$STATE_DIR") > 2 * EVIDENCE_LIMIT_BYTES)); then
        mkdir -p "$WORK_DIR"
        mktemp -d "$WORK_DIR/evidence.XXXXXX"
    else
        mktemp -d /run/nightshift-evidence.XXXXXX
    fi
}

# add NAME LIMIT: standard input, redacted, its last LIMIT bytes (or what the whole bundle still has room for).
add() {
    local used limit=$2
    used=$(du -sB1 "$evidence" | cut -f1)
    ((limit <= EVIDENCE_LIMIT_BYTES - used)) || limit=$((EVIDENCE_LIMIT_BYTES - used))
    if ((limit <= 0)); then
        cat >/dev/null
        echo "$1" >>"$evidence/left-out.txt"
        return 0
    fi
    mkdir -p "$(dirname "$evidence/$1")"
    sed -E -f "$NIGHTSHIFT_ROOT/lib/redact.sed" | tail -c "$limit" >"$evidence/$1"
}

# add_output NAME COMMAND…: what a command says, also when it fails.
add_output() {
    local name=$1
    shift
    { "$@" 2>&1 || echo "ended with exit code $?"; } | add "$name" "$LOG_LIMIT_BYTES"
}

add_journals() {
    local unit step
    for unit in "${UNITS[@]}"; do
        add_output "journal/${unit//\*/all}.log" journalctl -q --no-pager -o short-iso --since "@$1" -u "$unit"
    done
    add_output journal/kernel.log journalctl -q --no-pager -o short-iso --since "@$1" -k
    for step in "${STEPS[@]}"; do
        [[ ! -e $JOBS_DIR/$step ]] || add "jobs/$step" "$LOG_LIMIT_BYTES" <"$JOBS_DIR/$step"
    done
}

# add_pod_logs SINCE: control-plane pods' own files; they outlive the API server and the container.
add_pod_logs() {
    local file
    while IFS= read -r -d '' file; do
        add "pods/${file#"$FS_ROOT"/var/log/pods/}" "$POD_LOG_LIMIT_BYTES" <"$file"
    done < <(
        find "$FS_ROOT/var/log/pods" -path '*/kube-system_*' -name '*.log' -newermt "@$1" -print0 2>/dev/null
    )
}

add_manifests() {
    local file
    add_output manifests/listing.txt ls -la --time-style=full-iso "$MANIFESTS_DIR"
    [[ -d $MANIFESTS_DIR ]] || return 0
    while IFS= read -r -d '' file; do
        add_output "manifests/$(basename "$file")" cat "$file"
    done < <(find "$MANIFESTS_DIR" -mindepth 1 -maxdepth 1 -type f -print0)
}

add_states() {
    add_output state/scratch.txt find "$SCRATCH_DIR" -maxdepth 2 -printf '%y %m %TY-%Tm-%Td %TH:%TM %s %p\n'
    add_output state/df.txt df -B1 --output
    add_output state/memory.txt cat /proc/meminfo /proc/loadavg
    add_output state/processes.txt ps -eo pid,ppid,lstart,etimes,stat,rss,args -ww
    add_output state/packages.txt dpkg-query -W kubeadm kubelet kubectl containerd kubernetes-cni cri-tools
    add_output state/kubelet-flags.txt cat "$FS_ROOT/var/lib/kubelet/kubeadm-flags.env"
    add_output state/kubelet-config.yaml cat "$FS_ROOT/var/lib/kubelet/config.yaml"
    add_output state/units.txt systemctl --no-pager --failed
}
