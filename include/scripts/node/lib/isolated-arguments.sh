#!/bin/bash
# The arguments of a kube-apiserver, without what leads out of isolation; everything else stays as it is (docs/adr/0023).
# Sourced after common.sh.

readonly ISOLATED_ETCD=https://127.0.0.1:2379
readonly ISOLATED_DIR=/nightshift # of our own in the image's root: what is written there, and whom to trust
readonly WEBHOOK_PLUGINS='MutatingAdmissionWebhook ValidatingAdmissionWebhook'

# joined ARGUMENT…: into the array `joined`, with `--name value` as `--name=value`.
join_arguments() {
    local argument
    joined=()
    for argument in "$@"; do
        if [[ $argument != --* ]] && ((${#joined[@]} > 0)) && [[ ${joined[-1]} == --* && ${joined[-1]} != *=* ]]; then
            joined[-1]+=$'='$argument
        else
            joined+=("$argument")
        fi
    done
}

# flag_value NAME ARGUMENT…: the value of --NAME=…; when given twice, the last, as the program takes it.
flag_value() {
    local name=$1 argument value=
    shift
    for argument in "$@"; do
        [[ $argument != "--$name="* ]] || value=${argument#*=}
    done
    echo "$value"
}

# isolate_arguments CLIENT_CA ARGUMENT…: fills the array `isolated`. CLIENT_CA: the file with our own client beside those
# that the cluster trusts; empty: leave what is given.
isolate_arguments() {
    local client_ca=$1 argument value disabled=$WEBHOOK_PLUGINS
    shift
    isolated=()
    for argument in "$@"; do
        value=${argument#*=}
        case $argument in
            # Their sockets and servers are live ones.
            --egress-selector-config-file=* | --audit-webhook-*) ;;
            --etcd-servers=* | --etcd-servers-overrides=*) ;;
            # All objects are listed: a log of whole answers would be several times etcd's size.
            --audit-log-path=*)
                isolated+=("--audit-log-path=$ISOLATED_DIR/audit.log" --audit-log-maxsize=8 --audit-log-maxbackup=1)
                ;;
            --audit-log-maxsize=* | --audit-log-maxbackup=*) ;;
            --client-ca-file=*) [[ -n $client_ca ]] || isolated+=("$argument") ;;
            # Nobody answers for a webhook here, and the API server writes its own roles and priorities when it starts.
            --enable-admission-plugins=*)
                value=$(without_webhooks "$value")
                [[ -z $value ]] || isolated+=("--enable-admission-plugins=$value")
                ;;
            --disable-admission-plugins=*) disabled+=" ${value//,/ }" ;;
            *) isolated+=("$argument") ;;
        esac
    done
    [[ -z $client_ca ]] || isolated+=("--client-ca-file=$client_ca")
    isolated+=("--etcd-servers=$ISOLATED_ETCD" "--disable-admission-plugins=${disabled// /,}")
}

# without_webhooks LIST: a comma-separated list of admission plugins without those that call webhooks.
without_webhooks() {
    local plugin rest=()
    for plugin in ${1//,/ }; do
        [[ " $WEBHOOK_PLUGINS " == *" $plugin "* ]] || rest+=("$plugin")
    done
    (IFS=, && echo "${rest[*]}")
}
