#!/bin/bash
# Images of a version: which ones this node needs, and pulling them through whatever the node has.
# Sourced after common.sh.

readonly PULL_SECONDS=600

# runtime_socket: the CRI socket this node's kubelet uses.
runtime_socket() {
    local socket
    for socket in /run/containerd/containerd.sock /run/crio/crio.sock /run/cri-dockerd.sock; do
        if [[ -S $socket ]]; then
            echo "unix://$socket"
            return 0
        fi
    done
    return 1
}

# have_image IMAGE
have_image() {
    if command -v crictl >/dev/null; then
        crictl --runtime-endpoint "$(runtime_socket)" inspecti -q "$1" >/dev/null 2>&1
    else
        [[ -n $(ctr -n k8s.io images ls -q "name==$1") ]]
    fi
}

# pull_image IMAGE: one at a time, so that a pull never takes the whole disk's breath.
pull_image() {
    local hosts=()
    if command -v crictl >/dev/null; then
        timeout "$PULL_SECONDS" crictl --runtime-endpoint "$(runtime_socket)" pull "$1" >/dev/null
        return
    fi
    [[ ! -d /etc/containerd/certs.d ]] || hosts=(--hosts-dir /etc/containerd/certs.d)
    timeout "$PULL_SECONDS" ctr -n k8s.io images pull "${hosts[@]}" "$1" >/dev/null
}

# ensure_image IMAGE
ensure_image() {
    if have_image "$1"; then
        echo "image is here: $1"
        return 0
    fi
    echo "pulling $1"
    pull_image "$1" || die "$EX_IMAGE_MISSING" "image $1 could not be pulled"
}

# wanted_images KUBEADM VERSION DIRECTORY: what that kubeadm will ask for, with this cluster's registry and tags.
# A worker runs no control plane: it needs kube-proxy, pause (also for kubeadm's test job) and CoreDNS.
wanted_images() {
    local config=$3/cluster-configuration.yaml end=$((SECONDS + API_WAIT_SECONDS)) list
    until cluster_configuration >"$config"; do
        ((SECONDS < end)) || die "$EX_API_UNAVAILABLE" "ConfigMap kube-system/kubeadm-config cannot be read"
        sleep 2
    done
    sed -i -E "s/^kubernetesVersion:.*/kubernetesVersion: v$2/" "$config"
    list=$("$1" config images list --config "$config") || die "$EX_KUBEADM_FAILED" "kubeadm $2 does not tell its images"
    if is_control_plane; then
        echo "$list"
    else
        grep -E '/(kube-proxy|pause|coredns):' <<<"$list"
    fi
}
