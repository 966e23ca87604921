#!/bin/bash
# Everything an upgrade must know about this node, read side by side in well under a second.
# Each section prints plain lines; `probe_all` wraps them as `name TAB exit code TAB base64`.
# Sourced by nightshift-node after common.sh and jobs.sh.

readonly MANIFEST_LIMIT_BYTES=1048576
readonly RUNTIME_SECONDS=5 # for one answer of the container runtime
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
    local code
    # Not `( … ) || code=$?`: on the left of || nothing ends at a failure, whatever is set inside. This is a process of its own.
    set +e
    (
        set -euo pipefail
        "section_${1//-/_}"
    ) >"$2"
    code=$?
    set -e
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

# Lines: asked TAB where that lies TAB size TAB available TAB inodes TAB free inodes TAB mount point. A path that is
# asked about is the usual one; etcd and the container runtime say themselves where theirs lies, and what is not known is
# left out. What is not there yet is answered for the directory it will be made in.
section_mounts() {
    local path
    for path in / /var/lib/kubelet /etc/kubernetes/tmp /var/log "$STATE_DIR"; do
        mount_line "$path" "$path"
    done
    [[ ! -d /boot ]] || mount_line /boot /boot
    image_line
    etcd_lines
}

# mount_line ASKED PATH
mount_line() {
    local existing=$2 size available inodes free mount
    while [[ ! -e $existing ]]; do
        existing=$(dirname "$existing")
    done
    read -r size available inodes free mount < <(
        df -B1 --output=size,avail,itotal,iavail,target "$existing" | tail -n 1
    )
    printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$size" "$available" "$inodes" "$free" "$mount"
}

# image_line: where the runtime whose socket is there keeps images. Nothing when it does not say: to measure its usual
# directory might be to measure the wrong disk.
image_line() {
    local usual=/var/lib/containerd socket=/run/containerd/containerd.sock directory=
    if [[ ! -e $FS_ROOT$socket && -e $FS_ROOT/run/crio/crio.sock ]]; then
        usual=/var/lib/containers socket=/run/crio/crio.sock
    fi
    directory=$(images_by_cri "$FS_ROOT$socket") || directory=
    if [[ -z $directory && $usual == /var/lib/containerd ]]; then
        directory=$(containerd_root) || directory=
    fi
    [[ -z $directory ]] || mount_line "$usual" "$directory"
}

# images_by_cri SOCKET: the directory that the kubelet calls imagefs. Without jq: the first mountpoint among the image
# file systems; an older crictl prints those only.
images_by_cri() {
    local answer
    command -v crictl >/dev/null || return 1
    answer=$(timeout "$RUNTIME_SECONDS" crictl --runtime-endpoint "unix://$1" imagefsinfo -o json 2>/dev/null) || return 1
    answer=${answer#*\"imageFilesystems\"}
    [[ $answer =~ \"mountpoint\":[[:space:]]*\"(/[^\"]*)\" ]] && echo "${BASH_REMATCH[1]}"
}

# containerd_root: as its configuration says; for a node without crictl, or whose containerd does not answer now.
containerd_root() {
    local root
    root=$(timeout "$RUNTIME_SECONDS" containerd config dump 2>/dev/null) || return 1
    root=$(sed -nE "s/^root *= *['\"](.+)['\"] *$/\1/p" <<<"$root")
    [[ -n $root ]] && echo "$root"
}

# etcd_lines: its data directory, and the one of its log when that is another.
etcd_lines() {
    local directory pid log
    directory=$(etcd_directory) || return 0
    mount_line /var/lib/etcd "$directory"
    pid=$(etcd_pid) || return 0
    log=$(process_flag "$pid" wal-dir)
    [[ -z $log ]] || mount_line /var/lib/etcd/member/wal "$FS_ROOT$log"
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
    local directory
    directory=$(etcd_directory) || return 0
    # etcd removes WAL files while du looks: its complaint about a vanished file is no failure.
    { du -sB1 "$directory" 2>/dev/null || true; } | cut -f1
}

section_kubeadm_pids() {
    kubeadm_pids
}

section_jobs() {
    local step active
    share_lock
    active=$(active_steps)
    for step in "${STEPS[@]}"; do
        [[ ! -e $JOBS_DIR/$step ]] || job_line "$step" "$active"
    done
}
