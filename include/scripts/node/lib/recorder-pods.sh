#!/bin/bash
# The static pods of the control plane over time: which hash, sandbox and container each has, and what each container says,
# kept while kubeadm rolls back and the kubelet removes containers with their logs. Sourced by nightshift-recorder.
#
# The kubelet links each container's log in /var/log/containers as POD_NAMESPACE_CONTAINER-ID.log when it has started it;
# the link leads to /var/log/pods/NAMESPACE_POD_UID/CONTAINER/N.log, and the UID of a static pod is the hash of its manifest.

# shellcheck disable=SC2034  # LOGS_CUT is read by nightshift-recorder
LOGS_CUT=false
readonly LINKS=$FS_ROOT/var/log/containers
readonly COMPONENT='@(etcd|kube-apiserver|kube-controller-manager|kube-scheduler)'
readonly FOLLOW_BYTES=524288   # of a log from before we came: the end
readonly FOLLOW_BLOCKS=2048    # of 1 KiB: what a copy may grow to
readonly FOLLOWED_LIMIT=40     # logs in one recording

PODS='' KNOWN_LINKS='' FOLLOWING=true
declare -A FOLLOWERS=()

# look_at_pods: PODS anew when a container has come or gone.
look_at_pods() {
    # shellcheck disable=SC2206  # a pattern
    local links=("$LINKS"/$COMPONENT-*_kube-system_*.log)
    [[ "${links[*]}" != "$KNOWN_LINKS" ]] || return 0
    KNOWN_LINKS="${links[*]}"
    describe_pods
}

# describe_pods: of each component the container that was started last.
describe_pods() {
    local at name target component hash id sandboxes list=''
    declare -A newest=()
    sandboxes=$(sandbox_lines) || sandboxes=
    while IFS=$'\t' read -r at name target; do
        [[ $name =~ ^(.+)_kube-system_([a-z0-9-]+)-([0-9a-f]{12})([0-9a-f]*)\.log$ ]] || continue
        component=${BASH_REMATCH[2]} id=${BASH_REMATCH[3]}
        [[ $target =~ /kube-system_[^/]+_([0-9a-f-]+)/[^/]+/[0-9]+\.log$ ]] || continue
        hash=${BASH_REMATCH[1]}
        follow "$name" "$target" "${name%%_kube-system_*}" "$component-$id"
        newest[$component]="\"hash\":\"$hash\",\"container\":\"$id\",\"started\":${at%.*}$(sandbox_of "$id")"
    done < <(find "$LINKS" -maxdepth 1 -name '*_kube-system_*.log' -printf '%T@\t%f\t%l\n' 2>/dev/null | sort -n)
    for component in "${!newest[@]}"; do
        # shellcheck disable=SC2053  # a pattern
        [[ $component == $COMPONENT ]] || continue
        list+="${list:+,}\"$component\":{${newest[$component]}}"
    done
    # shellcheck disable=SC2034  # read by take_sample
    PODS=${list:+"{$list}"}
}

# sandbox_lines: `CONTAINER SANDBOX` of what runs, from the OCI configuration that containerd and CRI-O leave in /run.
sandbox_lines() {
    grep -sHoE '"io\.kubernetes\.(cri\.sandbox-id|cri-o\.SandboxID)": ?"[0-9a-f]+"' \
        "$FS_ROOT"/run/containerd/io.containerd.runtime.v2.task/k8s.io/*/config.json \
        "$FS_ROOT"/run/containers/storage/overlay-containers/*/userdata/config.json |
        sed -nE 's#^.*/([0-9a-f]{12})[0-9a-f]*/(userdata/)?config\.json:.*"([0-9a-f]{12})[0-9a-f]*"$#\1 \3#p'
}

# sandbox_of CONTAINER: from the caller's `sandboxes`, as a piece of JSON.
sandbox_of() {
    local container sandbox
    while read -r container sandbox; do
        [[ $container != "$1" ]] || printf ',"sandbox":"%s"' "$sandbox"
    done <<<"$sandboxes"
}

# first_byte FILE: where the copy of a log begins: all of it, or at the first record that begins in its last FOLLOW_BYTES.
first_byte() {
    local size whole
    size=$(stat -Lc %s -- "$1")
    if ((size <= FOLLOW_BYTES)); then
        echo 1
        return
    fi
    whole=$(tail -c "+$((size - FOLLOW_BYTES + 1))" -- "$1" | head -c "$FOLLOW_BYTES" | whole_records | wc -c)
    echo $((size - whole + 1))
}

# follow LINK TARGET POD NAME: a process that copies what the container says, by name: the kubelet rotates. The kernel ends
# it at its limit.
follow() {
    local file=$FS_ROOT${2#"$FS_ROOT"} first
    # shellcheck disable=SC2053  # a pattern
    [[ ${4%-*} == $COMPONENT && -z ${FOLLOWERS[$1]:-} && $FOLLOWING == true ]] || return 0
    ((${#FOLLOWERS[@]} < FOLLOWED_LIMIT)) || {
        LOGS_CUT=true
        return 0
    }
    mkdir -p "$RECORDING/pods/$3"
    (
        ulimit -f "$FOLLOW_BLOCKS"
        first=$(first_byte "$file") || first=1 # it is not there yet
        exec tail -c "+$first" --follow=name --retry --pid=$$ "$file"
    ) >"$RECORDING/pods/$3/$4.log" 2>/dev/null &
    FOLLOWERS[$1]=$!
}

# note_full_logs: a copy at its limit lacks what came after, and its follower cannot say so any more.
note_full_logs() {
    [[ -z $(find "$RECORDING/pods" -type f -size "+$((FOLLOW_BLOCKS - 1))k" -print -quit 2>/dev/null) ]] || LOGS_CUT=true
}

# stop_following: no more logs; what is there stays.
stop_following() {
    local pid
    FOLLOWING=false
    note_full_logs
    # shellcheck disable=SC2034  # likewise
    [[ -z $WHY ]] && LOGS_CUT=true
    for pid in "${FOLLOWERS[@]}"; do
        kill "$pid" 2>/dev/null || true
    done
}
