#!/bin/bash
# What this node's etcd says about itself, over its JSON gateway on the loopback: no container is entered, nothing is
# written, no other member is needed (a serialisable member list; alarms are part of the status).
# Sourced by nightshift-node after common.sh.

readonly ETCD_ANSWER_SECONDS=2
readonly ETCD_SILENT=1 # exit code of etcd_ask

# Lines: condition TAB absent|stopped|silent|answers, and when it answers: status TAB JSON, members TAB JSON, quota TAB
# bytes ("-": etcd's default). Refused, closed and timed out is "silent"; what fails otherwise fails the section.
look_etcd() {
    local pid url status members code=0
    if ! pid=$(etcd_pid); then
        if [[ -e $MANIFESTS_DIR/etcd.yaml ]]; then
            printf 'condition\tstopped\n'
        else
            printf 'condition\tabsent\n'
        fi
        return 0
    fi
    url=$(etcd_url "$pid")
    { status=$(etcd_ask "$url" maintenance/status) && members=$(etcd_ask "$url" cluster/member/list); } || code=$?
    case $code in
        0)
            printf 'condition\tanswers\nstatus\t%s\nmembers\t%s\nquota\t%s\n' \
                "${status//$'\n'/ }" "${members//$'\n'/ }" "$(etcd_quota "$pid")"
            ;;
        "$ETCD_SILENT") printf 'condition\tsilent\n' ;;
        *) return "$code" ;;
    esac
}

# etcd_url PID: where it listens for clients; kubeadm names the loopback first (of IPv6 on an IPv6 cluster).
etcd_url() {
    local given
    given=$(process_flag "$1" listen-client-urls)
    given=${given%%,*}
    given=${given:-https://127.0.0.1:2379}
    echo "${given/0.0.0.0/127.0.0.1}"
}

# etcd_ask URL PATH: one answer. ETCD_SILENT when etcd gives none, another code when it could not be asked.
etcd_ask() {
    local certificates=$KUBERNETES_DIR/pki/etcd code=0
    curl -sS --fail --globoff --connect-timeout "$ETCD_ANSWER_SECONDS" --max-time "$ETCD_ANSWER_SECONDS" \
        --cacert "$certificates/ca.crt" --cert "$certificates/healthcheck-client.crt" \
        --key "$certificates/healthcheck-client.key" --data '{}' "$1/v3/$2" || code=$?
    case $code in
        0) return 0 ;;
        7 | 28 | 52 | 56) return "$ETCD_SILENT" ;; # refused, timed out, empty, reset
        *) die "$EX_ETCD_UNAVAILABLE" "etcd could not be asked for $2: curl ended with $code" ;;
    esac
}

# etcd_quota PID: what its arguments or its environment say; etcd 3.5 does not tell it in its status.
etcd_quota() {
    local given
    given=$(process_flag "$1" quota-backend-bytes)
    [[ -n $given ]] || given=$(tr '\0' '\n' <"/proc/$1/environ" | sed -n 's/^ETCD_QUOTA_BACKEND_BYTES=//p')
    echo "${given:--}"
}
