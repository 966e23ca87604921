#!/bin/bash
# Metrics of what runs on this node, over its own addresses. Sourced after common.sh and kubeadm.sh.

readonly METRICS_SECONDS=4
readonly METRICS_LIMIT_BYTES=$((512 * 1024))

# etcd_metrics_url: where this node's etcd serves metrics; kubeadm binds them to the loopback.
etcd_metrics_url() {
    local pid url=http://127.0.0.1:2381 given
    if pid=$(etcd_pid); then
        given=$(process_flag "$pid" listen-metrics-urls)
        given=${given%%,*}
        url=${given:-$url}
    fi
    echo "${url/0.0.0.0/127.0.0.1}/metrics"
}

# apiserver_url: this node's own API server; fails when its manifest does not say where.
apiserver_url() {
    local address port
    read -r address port < <(api_endpoint) || return 1
    [[ $address != *:* ]] || address="[$address]"
    echo "https://$address:$port"
}

# metrics_of etcd|apiserver|kubelet: Prometheus text; of the two large ones without histogram buckets, which are most of it.
# They are asked with the certificate that the API server itself shows to kubelets; whom we ask on this node is no
# question, and an expired certificate must not hide what is behind it: hence --insecure.
metrics_of() {
    local url pki=$KUBERNETES_DIR/pki dropped='^#|_bucket\{'
    local certificate=(--insecure --cert "$pki/apiserver-kubelet-client.crt" --key "$pki/apiserver-kubelet-client.key")
    case $1 in
        etcd)
            url=$(etcd_metrics_url)
            certificate=(--cacert "$pki/etcd/ca.crt")
            dropped='^#'
            ;;
        apiserver) url=$(apiserver_url)/metrics || return 1 ;;
        kubelet) url=https://127.0.0.1:10250/metrics ;;
    esac
    curl -q -sS --fail --globoff --connect-timeout 2 --max-time "$METRICS_SECONDS" "${certificate[@]}" "$url" |
        grep -vE "$dropped" | head -c "$METRICS_LIMIT_BYTES"
}
