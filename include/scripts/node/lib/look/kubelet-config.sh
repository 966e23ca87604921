#!/bin/bash
# How this node's kubelet is configured: its files, the flags it was started with, and since when it runs.
# Sourced by nightshift-node after common.sh.

# Lines: kind TAB seconds since the epoch (a file's modification, the process's start) TAB base64.
# Kinds: config, instance, flags, process (arguments, NUL-separated), patches (names of kubeadm's patches, one per line).
look_kubelet_config() {
    local pid directory=$FS_ROOT/var/lib/kubelet
    kubelet_file config "$directory/config.yaml"
    kubelet_file instance "$directory/instance-config.yaml"
    kubelet_file flags "$directory/kubeadm-flags.env"
    if pid=$(pgrep -o -x kubelet); then
        printf 'process\t%s\t%s\n' "$(($(date +%s) - $(ps -o etimes= -p "$pid")))" "$(base64 -w0 <"/proc/$pid/cmdline")"
    fi
    if [[ -d $KUBERNETES_DIR/patches ]]; then
        printf 'patches\t0\t%s\n' "$(find "$KUBERNETES_DIR/patches" -maxdepth 1 -type f -printf '%f\n' | sort | base64 -w0)"
    fi
}

# kubelet_file KIND FILE: nothing when there is no such file.
kubelet_file() {
    [[ -f $2 ]] || return 0
    printf '%s\t%s\t%s\n' "$1" "$(stat -L -c %Y "$2")" "$(head -c 1048576 "$2" | base64 -w0)"
}
