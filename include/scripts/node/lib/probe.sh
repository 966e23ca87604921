#!/bin/bash
# Everything an upgrade must know about this node, read side by side in well under a second.
# Each section prints plain lines; `probe_all` wraps them as `name TAB exit code TAB base64`.
# Sourced by nightshift-node after common.sh and jobs.sh.

readonly MANIFEST_LIMIT_BYTES=1048576
readonly CONTROL_PLANE_COMMANDS='kube-apiserver|kube-controller|kube-scheduler|etcd' # the kernel keeps 15 characters

probe_all() {
    local sections=(node kubelet version-kubelet version-kubeadm version-kubectl mounts manifests processes
        scratch etcd-bytes kubeadm-pids jobs)
    local directory section
    directory=$(mktemp -d)
    # shellcheck disable=SC2064  # the directory of now is meant
    trap "rm -rf '$directory'" EXIT
    for section in "${sections[@]}"; do
        probe_one "$section" "$directory/$section" &
    done
    wait
    for section in "${sections[@]}"; do
        printf '%s\t%s\t%s\n' "$section" "$(cat "$directory/$section.exit")" "$(base64 -w0 <"$directory/$section")"
    done
}

# probe_one SECTION FILE: a section's failure is written down, it does not end the probe.
probe_one() {
    local code=0
    (
        set -euo pipefail
        "section_${1//-/_}"
    ) >"$2" || code=$?
    echo "$code" >"$2.exit"
}

section_node() {
    echo "boot_id=$(boot_id)"
    echo "clock=$(date +%s.%N)"
    echo "token=$(current_token)"
}

section_version_kubelet() { kubelet --version; }
section_version_kubeadm() { kubeadm version -o short; }
section_version_kubectl() { kubectl version --client=true; }

# running_since: start of the kubelet's process. binary_modified: when the file came to its place (the change time;
# a package keeps the modification time of the build).
section_kubelet() {
    local pid path
    if pid=$(pgrep -o -x kubelet); then
        echo "running_since=$(($(date +%s) - $(ps -o etimes= -p "$pid")))"
    fi
    if path=$(command -v kubelet); then
        echo "binary_modified=$(stat -L -c %Z "$path")"
    fi
}

# Lines: asked TAB size TAB available TAB inodes TAB free inodes TAB mount point. A path that is not there yet is
# answered for the directory it will be made in.
section_mounts() {
    local path existing size available inodes free mount
    for path in / /boot /var/lib/kubelet "$(image_directory)" /var/lib/etcd /etc/kubernetes/tmp /var/log "$STATE_DIR"; do
        [[ $path != /var/lib/etcd && $path != /boot || -d $path ]] || continue
        existing=$path
        while [[ ! -e $existing ]]; do
            existing=$(dirname "$existing")
        done
        read -r size available inodes free mount < <(
            df -B1 --output=size,avail,itotal,iavail,target "$existing" | tail -n 1
        )
        printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$path" "$size" "$available" "$inodes" "$free" "$mount"
    done
}

# image_directory: where the runtime whose socket is there keeps images; containerd's when there is none.
image_directory() {
    if [[ -e $FS_ROOT/run/crio/crio.sock && ! -e $FS_ROOT/run/containerd/containerd.sock ]]; then
        echo /var/lib/containers
    else
        echo /var/lib/containerd
    fi
}

# Lines: type TAB mode TAB owner:group TAB size TAB modified TAB base64 content or "-" TAB name.
section_manifests() {
    local kind mode owner size modified name content
    [[ -d $MANIFESTS_DIR ]] || return 0
    find "$MANIFESTS_DIR" -mindepth 1 -maxdepth 1 -printf '%y\t%m\t%u:%g\t%s\t%T@\t%f\n' | sort -t $'\t' -k 6 |
        while IFS=$'\t' read -r kind mode owner size modified name; do
            content=-
            if [[ -f $MANIFESTS_DIR/$name ]] && (($(stat -L -c %s "$MANIFESTS_DIR/$name") <= MANIFEST_LIMIT_BYTES)); then
                content=$(base64 -w0 <"$MANIFESTS_DIR/$name")
            fi
            printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$kind" "$mode" "$owner" "$size" "$modified" "$content" "$name"
        done
}

# Lines: name TAB pid TAB base64 of the NUL-separated arguments. Only the cluster's own: they name /etc/kubernetes.
section_processes() {
    local pid
    for pid in $(pgrep -x "$CONTROL_PLANE_COMMANDS"); do
        grep -qsz '=/etc/kubernetes/' "/proc/$pid/cmdline" || continue
        printf '%s\t%s\t%s\n' "$(basename "$(tr '\0' '\n' <"/proc/$pid/cmdline" | head -n 1)")" "$pid" \
            "$(base64 -w0 <"/proc/$pid/cmdline")"
    done
}

# Lines: type TAB modified TAB size TAB name.
section_scratch() {
    local kind modified name size
    declare -A sizes=()
    [[ -d $SCRATCH_DIR ]] || return 0
    while IFS=$'\t' read -r size name; do
        sizes[${name##*/}]=$size
    done < <(du -aB1 -d1 "$SCRATCH_DIR" 2>/dev/null || true)
    while IFS=$'\t' read -r kind modified name; do
        printf '%s\t%s\t%s\t%s\n' "$kind" "$modified" "${sizes[$name]:-0}" "$name"
    done < <(find "$SCRATCH_DIR" -mindepth 1 -maxdepth 1 -printf '%y\t%T@\t%f\n')
}

section_etcd_bytes() {
    local pid directory=$FS_ROOT/var/lib/etcd given
    if pid=$(etcd_pid); then
        given=$(process_flag "$pid" data-dir)
        directory=${given:-$directory}
    fi
    [[ -d $directory ]] || return 0
    # etcd removes WAL files while du looks: its complaint about a vanished file is no failure.
    { du -sB1 "$directory" 2>/dev/null || true; } | cut -f1
}

section_kubeadm_pids() {
    kubeadm_pids
}

section_jobs() {
    local step active
    take_shared_lock
    active=$(active_steps)
    for step in "${STEPS[@]}"; do
        [[ ! -e $JOBS_DIR/$step ]] || job_line "$step" "$active"
    done
}
