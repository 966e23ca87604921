#!/usr/bin/env bash
# The upgrade of the present lab as one plain script: what a careful person types after reading upstream's
# pages, and what the nightly DAG is measured against.
#
#   lab/bench/upgrade.sh [TARGET] [--result FILE]     TARGET: version without "v" (default 1.35.4)
#
# Per node: drain, package repository, kubeadm, `kubeadm upgrade apply|node`, kubelet and kubectl, restart,
# verify, uncordon. Upstream's page drains a control plane only after kubeadm's part; the DAG drains before
# it, and so does this script, so that both do the same work between first cordon and last uncordon.
# Packages and images are downloaded during the run, as a person would.
#
# FILE gets one line per phase, `node phase seconds began` (began: epoch seconds), and the two moments that are compared,
# `first-cordon EPOCH` and `last-uncordon EPOCH`.
set -Eeuo pipefail
shopt -s inherit_errexit

LAB=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/lab
readonly LAB
export LC_ALL=C.UTF-8 # EPOCHREALTIME with a point
# The machines of the lab differ from stock in this one check; see kubeadm_config.py.
readonly IGNORED_CHECKS=SystemVerification
readonly DRAIN_TIMEOUT=300s
readonly READY_TIMEOUT=180 # seconds

TARGET=1.35.4
RESULT=/dev/null

fail() {
  printf 'upgrade.sh: %s\n' "$1" >&2
  exit 1
}

note() { printf '%s\n' "$*" | tee -a "$RESULT"; }

on() { # on NODE COMMAND…  Run a shell line on a node over SSH.
  local node=$1
  shift
  ssh -F none -i "$NSLAB_SSH_KEY" -o IdentitiesOnly=yes -o BatchMode=yes -o ConnectTimeout=5 -o LogLevel=ERROR \
    -o UserKnownHostsFile="$NSLAB_KNOWN_HOSTS" -o StrictHostKeyChecking=yes \
    "root@${ADDRESS[$node]}" "$@" </dev/null
}

kube() { "$NSLAB_KUBECTL" --request-timeout=10s "$@"; }

# retry COMMAND…  The API is away for seconds when a control plane's kubelet or API server restarts.
retry() {
  local until=$((SECONDS + READY_TIMEOUT))
  until "$@"; do
    ((SECONDS < until)) || fail "gave up after $READY_TIMEOUT s: $*"
    sleep 0.5
  done
}

phase() { # phase NODE NAME COMMAND…  Run and note how long it took.
  local node=$1 name=$2 started=$EPOCHREALTIME
  shift 2
  "$@"
  note "$node $name $(awk "BEGIN { printf \"%.1f\", $EPOCHREALTIME - $started }") $started"
}

drain() {
  retry "$NSLAB_KUBECTL" drain "$1" --ignore-daemonsets --delete-emptydir-data --force --timeout="$DRAIN_TIMEOUT"
}

install_kubeadm() {
  # A minor lives in a repository of its own: the source line has to be changed, or apt offers nothing new.
  on "$1" "sed -i -E 's#/v[0-9]+\.[0-9]+/deb/#/v${TARGET%.*}/deb/#' /etc/apt/sources.list.d/kubernetes.list &&
    apt-get -q update && apt-mark unhold kubeadm &&
    DEBIAN_FRONTEND=noninteractive apt-get -q install -y 'kubeadm=$TARGET-*' && apt-mark hold kubeadm"
}

upgrade_node() {
  if [[ $1 == "$FIRST" ]]; then
    on "$1" "kubeadm upgrade apply v$TARGET --yes --ignore-preflight-errors=$IGNORED_CHECKS"
  else
    on "$1" "kubeadm upgrade node --ignore-preflight-errors=$IGNORED_CHECKS"
  fi
}

install_kubelet() {
  on "$1" "apt-mark unhold kubelet kubectl &&
    DEBIAN_FRONTEND=noninteractive apt-get -q install -y 'kubelet=$TARGET-*' 'kubectl=$TARGET-*' &&
    apt-mark hold kubelet kubectl && systemctl daemon-reload && systemctl restart kubelet"
}

is_upgraded() { # Ready, as its new kubelet says.
  local state
  state=$(kube get node "$1" \
    -o 'jsonpath={.status.nodeInfo.kubeletVersion} {.status.conditions[?(@.type=="Ready")].status}' 2>/dev/null) || return 1
  [[ $state == "v$TARGET True" ]]
}

main() {
  local node
  while (($#)); do
    case $1 in
      --result) RESULT=${2:?a file} && shift 2 ;;
      -*) fail "unknown option $1; usage: lab/bench/upgrade.sh [TARGET] [--result FILE]" ;;
      *) TARGET=$1 && shift ;;
    esac
  done
  local facts
  facts=$("$LAB" env)
  eval "$facts"
  declare -gA ADDRESS
  for node in $NSLAB_NODES; do ADDRESS[${node%%=*}]=${node#*=}; done
  readonly FIRST=${NSLAB_CONTROL_PLANES%% *}
  [[ $RESULT == /dev/null ]] || : >"$RESULT"

  note "first-cordon $EPOCHREALTIME"
  for node in $NSLAB_CONTROL_PLANES $NSLAB_WORKERS; do
    phase "$node" drain drain "$node"
    phase "$node" kubeadm-package install_kubeadm "$node"
    phase "$node" kubeadm-upgrade upgrade_node "$node"
    phase "$node" kubelet install_kubelet "$node"
    phase "$node" verify retry is_upgraded "$node"
    phase "$node" uncordon retry kube uncordon "$node"
  done
  note "last-uncordon $EPOCHREALTIME"
}

main "$@"
