#!/bin/bash
# What the node brings along under its kubelet. Sourced after common.sh.
# Lines: key TAB value; files and systemd's words about the kubelet as base64, a file that is absent as nothing; one line
# `drop-in` for each file that the kubelet lays over its configuration, in its order. What counts is how the
# next kubelet will be started, and not the arguments of the one that runs.

look_platform() {
    local unit file
    unit=$(timeout 10 systemctl show --property=ExecStart --property=Environment kubelet.service)
    printf 'cgroup\t%s\n' "$(timeout 2 stat -fc %T "$FS_ROOT/sys/fs/cgroup")"
    printf 'kernel\t%s\n' "$(uname -r)"
    printf 'runtime\t%s\n' "$(runtime_version)"
    printf 'flags-env\t%s\n' "$(file_as_base64 "$FS_ROOT/var/lib/kubelet/kubeadm-flags.env")"
    printf 'default\t%s\n' "$(file_as_base64 "$FS_ROOT/etc/default/kubelet")"
    file=$(kubelet_option config "$unit")
    printf 'config\t%s\n' "$(file_as_base64 "$FS_ROOT${file:-/var/lib/kubelet/config.yaml}")"
    kubelet_drop_ins "$(kubelet_option config-dir "$unit")"
    printf 'unit\t%s\n' "$(base64 -w0 <<<"$unit")"
}

# kubelet_option NAME UNIT: the value of --NAME the next kubelet is started with, the last one where there are several;
# nothing when there is none. UNIT: systemd's words about the unit.
kubelet_option() {
    {
        printf '%s\n' "$2"
        grep -hsv '^[[:space:]]*#' "$FS_ROOT/var/lib/kubelet/kubeadm-flags.env" "$FS_ROOT/etc/default/kubelet" || true # either may be absent
    } | { grep -oE -- "--$1[= ][^] \"';]+" || true; } | # it may be given nowhere
        tail -n 1 | sed "s/^--$1[= ]//"
}

# kubelet_drop_ins DIRECTORY: the files the kubelet lays over its own, in its order: all *.conf below --config-dir.
kubelet_drop_ins() {
    local file
    [[ -n $1 && -d $FS_ROOT$1 ]] || return 0
    while IFS= read -r -d '' file; do
        printf 'drop-in\t%s\n' "$(file_as_base64 "$file")"
    done < <(find "$FS_ROOT$1" -name '*.conf' ! -type d -print0 | sort -z)
}

# runtime_version: name and what the runtime says of itself, of the one whose socket is there; nothing when none is.
runtime_version() {
    local said
    if [[ -e $FS_ROOT/run/containerd/containerd.sock ]]; then
        said=$(timeout 2 containerd --version)
        echo "containerd $said"
    elif [[ -e $FS_ROOT/run/crio/crio.sock ]]; then
        said=$(timeout 2 crio --version)
        echo "cri-o ${said%%$'\n'*}"
    fi
}

# file_as_base64 FILE
file_as_base64() {
    [[ ! -f $1 ]] || base64 -w0 <"$1"
}
