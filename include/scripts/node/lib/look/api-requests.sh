#!/bin/bash
# Which deprecated APIs this node's own API server was asked for since it started: each counts for itself, so behind a
# load balancer every one is asked. Sourced by nightshift-node after common.sh.

# The lines of its metrics page that tell it.
look_api_requests() {
    local pid address pki=$KUBERNETES_DIR/pki
    pid=$(apiserver_pid) || die "$EX_API_UNAVAILABLE" "no API server of this cluster runs on this node"
    address=$(process_flag "$pid" advertise-address)
    [[ $address != *:* ]] || address="[$address]"
    curl -sS --fail --globoff --max-time 8 --cacert "$pki/ca.crt" \
        --cert "$pki/apiserver-kubelet-client.crt" --key "$pki/apiserver-kubelet-client.key" \
        "https://$address:$(apiserver_port "$pid")/metrics" |
        grep -E '^(# TYPE )?(apiserver_requested_deprecated_apis|process_start_time_seconds)'
}

# apiserver_pid: pid of this cluster's API server; one that some workload runs does not count.
apiserver_pid() {
    local pid
    for pid in $(pgrep -x kube-apiserver); do
        if [[ $(process_flag "$pid" client-ca-file) == /etc/kubernetes/* ]]; then
            echo "$pid"
            return 0
        fi
    done
    return 1
}

# apiserver_port PID: where it serves.
apiserver_port() {
    local given
    given=$(process_flag "$1" secure-port)
    echo "${given:-6443}"
}
