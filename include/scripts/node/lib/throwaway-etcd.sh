#!/bin/bash
# An etcd of our own on a restored snapshot: reachable on loopback only, without fsync, thrown away afterwards.
# Sourced after common.sh; the caller sets `bin`, the directory of etcd's programs, and `work`, a private directory.
# shellcheck disable=SC2154  # those two

readonly CERTS=$KUBERNETES_DIR/pki/etcd
readonly COMMAND_TIMEOUT=120s # hashing a database of some GB takes a while
readonly START_WAIT_SECONDS=60
readonly START_WAIT_SECONDS_PER_GIB=30
readonly GIB=$((1024 * 1024 * 1024))

restored_pid=

# client_of ENDPOINT ARGS…: etcdctl with the credentials kubeadm made for health checks.
client_of() {
    local endpoint=$1
    shift
    env -u ETCDCTL_ENDPOINTS "$bin/etcdctl" --endpoints "$endpoint" --cacert "$CERTS/ca.crt" \
        --cert "$CERTS/healthcheck-client.crt" --key "$CERTS/healthcheck-client.key" \
        --command-timeout "$COMMAND_TIMEOUT" "$@"
}

# json_number NAME: the first number of that name in the JSON on standard input; 0 when absent (etcd omits zeros).
json_number() {
    local found
    found=$(grep -oE "\"$1\":[0-9]+" | head -n 1) || true
    echo "${found##*:}" | grep . || echo 0
}

# restore FILE DIRECTORY PEER_URL: says why and fails when etcdutl cannot.
restore() {
    "$bin/etcdutl" snapshot restore "$1" --data-dir "$2" --name nightshift \
        --initial-cluster "nightshift=$3" --initial-advertise-peer-urls "$3" >"$work/restore.log" 2>&1 && return 0
    cat "$work/restore.log"
    return 1
}

# start_restored DIRECTORY PEER_URL CLIENT_URL: only with etcd's own certificates. Says why and fails when it does not
# become healthy. The quota: etcd's default of 2 GiB would be an alarm, and no more writes, on a larger database.
start_restored() {
    local database end
    database=$(stat -c %s "$1/member/snap/db" 2>/dev/null) || database=0
    env -i PATH="$PATH" "$bin/etcd" --name nightshift --data-dir "$1" \
        --listen-peer-urls "$2" --initial-advertise-peer-urls "$2" --initial-cluster "nightshift=$2" \
        --listen-client-urls "$3" --advertise-client-urls "$3" --unsafe-no-fsync --log-level error \
        --quota-backend-bytes $((2 * database + GIB)) \
        --cert-file "$CERTS/server.crt" --key-file "$CERTS/server.key" --client-cert-auth --trusted-ca-file "$CERTS/ca.crt" \
        --peer-cert-file "$CERTS/peer.crt" --peer-key-file "$CERTS/peer.key" --peer-client-cert-auth \
        --peer-trusted-ca-file "$CERTS/ca.crt" >"$work/etcd.log" 2>&1 &
    restored_pid=$!
    end=$((SECONDS + START_WAIT_SECONDS + START_WAIT_SECONDS_PER_GIB * database / GIB))
    until client_of "$3" --command-timeout 2s endpoint health >/dev/null 2>&1; do
        if ! kill -0 "$restored_pid" 2>/dev/null || ((SECONDS >= end)); then
            tail -n 20 "$work/etcd.log"
            return 1
        fi
        sleep 0.2
    done
}

stop_restored() {
    if [[ -n $restored_pid ]]; then
        kill "$restored_pid" 2>/dev/null || true
        wait "$restored_pid" 2>/dev/null || true
        restored_pid=
    fi
}
