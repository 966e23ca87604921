#!/bin/bash
# What kubeadm is told about this node when it is not told by a person. Sourced after common.sh.

# node_name: as the cluster calls this node: the kubelet's certificate says it, as kubeadm reads it.
node_name() {
    local said
    said=$(openssl x509 -noout -subject -in "$FS_ROOT/var/lib/kubelet/pki/kubelet-client-current.pem" 2>/dev/null |
        sed -nE 's/.*CN *= *system:node:([^,/ ]+).*/\1/p') || said=
    [[ -n $said ]] || said=$(hostname)
    echo "${said,,}"
}

# api_endpoint: `ADDRESS PORT` of this node's API server, from where `kubeadm upgrade` takes it. Fails when it is not there.
api_endpoint() {
    local said
    said=$(sed -nE 's|^ *kubeadm\.kubernetes\.io/kube-apiserver\.advertise-address\.endpoint: *"?([^" ]+)"? *$|\1|p' \
        "$MANIFESTS_DIR/kube-apiserver.yaml" | head -n 1)
    [[ $said == *:* ]] || return 1
    said=${said/[/}
    said=${said/]/}
    echo "${said%:*} ${said##*:}"
}

# init_configuration API_VERSION: the half of kubeadm's input that is in no ConfigMap. The socket is named only so that
# kubeadm does not look for one; neither rendering nor uploading uses it.
init_configuration() {
    local address port
    read -r address port <<<"$(api_endpoint)"
    cat <<EOF
apiVersion: $1
kind: InitConfiguration
localAPIEndpoint:
  advertiseAddress: "$address"
  bindPort: $port
nodeRegistration:
  name: "$(node_name)"
  criSocket: unix:///run/containerd/containerd.sock
EOF
}

# api_version_of: apiVersion of the ClusterConfiguration on standard input.
api_version_of() {
    sed -nE 's|^apiVersion: *"?(kubeadm\.k8s\.io/v[0-9a-z]+)"?.*|\1|p' | head -n 1
}
