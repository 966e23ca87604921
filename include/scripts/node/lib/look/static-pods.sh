#!/bin/bash
# What the probe leaves out about static pods: the directory's own access, and since when and in which pod each
# control-plane process runs. Sourced by nightshift-node after common.sh.

readonly STATIC_POD_COMMANDS='kube-apiserver|kube-controller|kube-scheduler|etcd' # the kernel keeps 15 characters

# Lines: `directory TAB mode TAB owner:group`, `link TAB mode TAB owner:group TAB name` for the file a symlink leads to,
# `process TAB pid TAB start, seconds since the epoch TAB pod's UID or "-"`.
look_static_pods() {
    local pid name seconds now
    [[ ! -d $MANIFESTS_DIR ]] || printf 'directory\t%s\n' "$(stat -L --printf='%a\t%U:%G' "$MANIFESTS_DIR")"
    find "$MANIFESTS_DIR" -mindepth 1 -maxdepth 1 -type l -printf '%f\n' 2>/dev/null | sort | while IFS= read -r name; do
        [[ ! -f $MANIFESTS_DIR/$name ]] ||
            printf 'link\t%s\t%s\n' "$(stat -L --printf='%a\t%U:%G' "$MANIFESTS_DIR/$name")" "$name"
    done
    now=$(date +%s)
    for pid in $(pgrep -x "$STATIC_POD_COMMANDS"); do
        grep -qsz '=/etc/kubernetes/' "/proc/$pid/cmdline" || continue
        seconds=$(ps -o etimes= -p "$pid") || continue # it has just ended
        printf 'process\t%s\t%s\t%s\n' "$pid" "$((now - seconds))" "$(static_pod_uid "$pid")"
    done
}

# static_pod_uid PID: of a static pod the UID is the kubelet's hash of its file; the cgroup carries it.
static_pod_uid() {
    grep -oE 'pod[0-9a-f]{32}' "/proc/$1/cgroup" 2>/dev/null | head -n 1 | cut -c 4- | grep . || echo -
}
