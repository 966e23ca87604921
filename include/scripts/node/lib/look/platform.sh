#!/bin/bash
# What the node brings along under its kubelet. Sourced after common.sh.
# Lines: key TAB value; files and systemd's words about the kubelet as base64, a file that is absent as nothing. What counts is
# how the next kubelet will be started, and not the arguments of the one that runs.

look_platform() {
    printf 'cgroup\t%s\n' "$(timeout 2 stat -fc %T "$FS_ROOT/sys/fs/cgroup")"
    printf 'kernel\t%s\n' "$(uname -r)"
    printf 'runtime\t%s\n' "$(runtime_version)"
    printf 'flags-env\t%s\n' "$(file_as_base64 "$FS_ROOT/var/lib/kubelet/kubeadm-flags.env")"
    printf 'default\t%s\n' "$(file_as_base64 "$FS_ROOT/etc/default/kubelet")"
    printf 'config\t%s\n' "$(file_as_base64 "$FS_ROOT/var/lib/kubelet/config.yaml")"
    printf 'unit\t%s\n' "$(timeout 3 systemctl show --property=ExecStart --property=Environment kubelet.service | base64 -w0)"
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
