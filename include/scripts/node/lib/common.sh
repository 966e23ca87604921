#!/bin/bash
# Shared by all node-side scripts: where things are, exit codes, messages, the lock and the fencing token.
# Sourced, never run. NIGHTSHIFT_ROOT (where the scripts are) is set by whoever sources it.
# shellcheck disable=SC2034  # the constants are used by the sourcing scripts

# Documented in README.md and mirrored in clients/node_ssh.py; a test compares the three.
readonly EX_USAGE=2
readonly EX_ABSENT=3
readonly EX_PACKAGE_MISSING=20
readonly EX_IMAGE_MISSING=21
readonly EX_REPOSITORY_REFUSED=22
readonly EX_SNAPSHOT_MISMATCH=23
readonly EX_KUBELET_UNHEALTHY=24
readonly EX_NO_SPACE=25
readonly EX_KUBEADM_FAILED=26
readonly EX_NOT_STAGED=27
readonly EX_ETCD_UNAVAILABLE=28
readonly EX_REFUSED=29
readonly EX_INSTALL_FAILED=30
readonly EX_API_UNAVAILABLE=31
readonly EX_API_LOST=32
readonly EX_REHEARSAL_FAILED=33
readonly EX_PACKAGE_HELD=34
readonly EX_DPKG_BUSY=35
readonly EX_INTERNAL=70
readonly EX_FENCED=75
readonly EX_BUSY=76
readonly EX_NOT_ROOT=77
readonly EX_LOCKED=78

if [[ $NIGHTSHIFT_ROOT == /usr/local/lib/nightshift ]]; then
    # Installed: nothing of the caller's environment may say where to look or what to run.
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    STATE_DIR=/var/lib/nightshift
    FS_ROOT=
else
    # Run from a checkout, by tests: everything may lie below a directory of their own.
    STATE_DIR=${NIGHTSHIFT_STATE:-/var/lib/nightshift}
    FS_ROOT=${NIGHTSHIFT_FS_ROOT:-}
fi
export PATH LC_ALL=C HOME=/root # systemd gives jobs no HOME; kubectl would write its cache into /
umask 077

readonly STATE_DIR FS_ROOT
readonly KUBERNETES_DIR=$FS_ROOT/etc/kubernetes
readonly MANIFESTS_DIR=$KUBERNETES_DIR/manifests
readonly SCRATCH_DIR=$KUBERNETES_DIR/tmp
readonly JOBS_DIR=$STATE_DIR/jobs
readonly PACKAGES_DIR=$STATE_DIR/packages
readonly SNAPSHOTS_DIR=$STATE_DIR/snapshots
readonly WORK_DIR=$STATE_DIR/work
readonly INPUTS_DIR=$FS_ROOT/run/nightshift/inputs
readonly TOKEN_FILE=$STATE_DIR/token
readonly LOCK_FILE=$STATE_DIR/lock
readonly LOCK_WAIT_SECONDS=20
readonly API_WAIT_SECONDS=180

# say MESSAGE…: one line for people, on standard error.
say() {
    printf '%s\n' "$*" >&2
}

# die CODE MESSAGE…
die() {
    local code=$1
    shift
    say "$*"
    exit "$code"
}

# atomic_write FILE: standard input becomes FILE's content at once or not at all, also over a power loss.
atomic_write() {
    local temporary
    temporary=$(mktemp "$1.XXXXXX")
    cat >"$temporary"
    sync "$temporary"
    mv -f "$temporary" "$1"
    sync "$(dirname "$1")"
}

# take_lock [OPTION…]: from here to the end of this process nobody else checks, fences or starts anything. Others keep it over
# writes that wait for the disk: not having got it says nothing about the node, and who is told so may ask again.
take_lock() {
    try_lock "$LOCK_WAIT_SECONDS" "$@" || die "$EX_LOCKED" "another nightshift command held the node's lock for $LOCK_WAIT_SECONDS s"
}

# share_lock: looks wait for a start-job that is half way, but not for each other; nothing starts while one has it.
share_lock() {
    take_lock --shared
}

# try_lock SECONDS [OPTION…]
try_lock() {
    local seconds=$1
    shift
    exec 9>>"$LOCK_FILE"
    flock "$@" -w "$seconds" 9
}

# current_token: the highest fencing token this node has seen; 0 when none.
current_token() {
    if [[ -e $TOKEN_FILE ]]; then
        cat "$TOKEN_FILE"
    else
        echo 0
    fi
}

# require_token TOKEN: leave with "fenced" when TOKEN is older than the node's, remember it when newer.
# The caller holds the lock.
require_token() {
    local current
    current=$(current_token)
    [[ $current =~ ^[0-9]+$ ]] || die "$EX_INTERNAL" "the token file $TOKEN_FILE holds no number"
    if (($1 < current)); then
        die "$EX_FENCED" "token $1 is older than token $current, which this node has seen"
    fi
    if (($1 > current)); then
        echo "$1" | atomic_write "$TOKEN_FILE"
    fi
}

# require_number NAME VALUE: a plain decimal without leading zeros (bash would read those as octal).
require_number() {
    [[ $2 =~ ^(0|[1-9][0-9]{0,17})$ ]] || die "$EX_USAGE" "$1 must be a number, not '$2'"
}

# require_words WORD…: characters that mean nothing to systemd, shells, apt or tab-separated lines.
require_words() {
    local word
    for word in "$@"; do
        [[ $word =~ ^[A-Za-z0-9._:/@+=,~-]+$ ]] || die "$EX_USAGE" "argument with unexpected characters: '$word'"
    done
}

# handed_over STEP ARG: what a job's argument stands for: itself, or, as @SHA256, what start-job read from standard input.
handed_over() {
    local file=$INPUTS_DIR/$1
    if [[ $2 != @* ]]; then
        printf '%s' "$2"
        return
    fi
    [[ -r $file && $(sha256sum <"$file" | cut -d' ' -f1) == "${2#@}" ]] || die "$EX_INTERNAL" "what was handed over for $1 is not there any more"
    cat "$file"
}

# require_version VERSION: "1.35.4", with an optional package revision "-1.1".
require_version() {
    [[ $1 =~ ^1\.[0-9]+\.[0-9]+(-[0-9A-Za-z.+~]+)?$ ]] || die "$EX_USAGE" "no version: '$1'"
}

# redact: standard input without secrets, for whatever leaves the node.
redact() {
    perl "$NIGHTSHIFT_ROOT/lib/redact.pl"
}

# whole_records: of a text that begins anywhere only what begins at its begin: a secret whose name was cut off is found by
# nobody. Runtimes write long lines of a container in parts (P), which end with an F.
whole_records() {
    awk 'NR == 1 {next} !begun && $2 ~ /^std(out|err)$/ && $3 ~ /^[FP]$/ {begun = $3 == "F"; next} {begun = 1; print}'
}

# json_string TEXT: TEXT as a JSON string.
json_string() {
    local text=$1
    text=${text//\\/\\\\}
    text=${text//\"/\\\"}
    text=${text//$'\n'/\\n}
    text=${text//$'\t'/\\t}
    printf '"%s"' "${text//[[:cntrl:]]/ }"
}

# json_list WORD…: a JSON array of strings.
json_list() {
    local word separator=''
    printf '['
    for word in "$@"; do
        printf '%s' "$separator"
        json_string "$word"
        separator=,
    done
    printf ']'
}

# free_bytes DIRECTORY: what an ordinary process may still write there.
free_bytes() {
    df -B1 --output=avail "$1" | tail -n 1 | tr -d ' '
}

# is_control_plane: this node carries control-plane static pods.
is_control_plane() {
    [[ -e $MANIFESTS_DIR/kube-apiserver.yaml ]]
}

# etcd_pid: pid of this cluster's etcd; an etcd that some workload runs does not count.
etcd_pid() {
    local pid
    for pid in $(pgrep -x etcd); do
        if grep -qsz '^--cert-file=/etc/kubernetes/' "/proc/$pid/cmdline"; then
            echo "$pid"
            return 0
        fi
    done
    return 1
}

# kubeadm_pids: kubeadm processes that may change something; what our own looks run (`kubeadm version`, its list of
# images, and a dry run of one phase of init) cannot. A look may run at any time, beside another run's job too.
kubeadm_pids() {
    local pid words
    for pid in $(pgrep -x kubeadm); do
        mapfile -d '' -t words < <(process_words "$pid")
        # A process without words has ended, or it is just being started and may become anything.
        ((${#words[@]})) || [[ $(process_state "$pid") != [ZX-] ]] || continue
        [[ ${words[1]:-} != version && "${words[*]:1:3}" != "config images list" ]] || continue
        [[ "${words[*]:1:2}" != "init phase" || "${words[*]}" != *" --dry-run" ]] || continue
        echo "$pid"
    done
}

# process_words PID: its arguments, each ended by NUL. They come a moment after its name does, so a living process that
# has none yet is asked again for up to half a second.
process_words() {
    local tries
    for ((tries = 0; tries < 50; tries++)); do
        # Substitution would drop the NULs; grep tells whether there is a byte at all.
        if grep -qs . "/proc/$1/cmdline"; then
            cat "/proc/$1/cmdline" 2>/dev/null || true # it ended between the two
            return 0
        fi
        [[ $(process_state "$1") != [ZX-] ]] || return 0
        sleep 0.01
    done
}

# process_state PID: the letter of proc(5); Z is dead and only not yet reaped, - is gone.
process_state() {
    local line
    { line=$(<"/proc/$1/stat"); } 2>/dev/null || line='- -) -'
    line=${line##*) } # the name before it may hold anything
    echo "${line:0:1}"
}

# foreign_kubeadm: who runs a kubeadm by hand, since when, and how it was called; nothing when nobody does.
foreign_kubeadm() {
    local pid user since login called
    for pid in $(kubeadm_pids); do
        ! grep -qsE '/nightshift-[a-z-]+\.service(/|$)' "/proc/$pid/cgroup" || continue
        read -r user since < <(ps -o user=,lstart= -p "$pid") || continue # it has just ended
        # sudo makes everybody root; who logged in is remembered by the kernel.
        login=$(id -nu "$(cat "/proc/$pid/loginuid" 2>/dev/null)" 2>/dev/null) || login=
        called=$(tr '\0' ' ' <"/proc/$pid/cmdline" | redact)
        echo "somebody else is at it: kubeadm is run by $user${login:+ (logged in as $login)}, pid $pid, since $since: ${called:0:200}"
        return 0
    done
}

# process_flag PID NAME: value of --NAME=… in a running process's arguments; empty when absent.
process_flag() {
    tr '\0' '\n' <"/proc/$1/cmdline" | sed -n "s|^--$2=||p" | head -n 1
}

# etcd_directory: etcd's data directory; fails when this node has none.
etcd_directory() {
    local pid given=
    if pid=$(etcd_pid); then
        given=$(process_flag "$pid" data-dir)
    fi
    given=$FS_ROOT${given:-/var/lib/etcd}
    [[ -d $given ]] && echo "$given"
}

# api_get PATH: ask the API server as this node. A worker need not have kubectl: then with the kubelet's certificate.
api_get() {
    local config=$KUBERNETES_DIR/kubelet.conf server
    if command -v kubectl >/dev/null; then
        [[ ! -e $KUBERNETES_DIR/admin.conf ]] || config=$KUBERNETES_DIR/admin.conf
        kubectl --kubeconfig "$config" --request-timeout="${API_SECONDS:-15}s" get --raw "$1"
        return
    fi
    server=$(sed -nE 's/^ *server: *"?([^" ]+)"?.*/\1/p' "$config" | head -n 1)
    curl -sS --fail --max-time "${API_SECONDS:-15}" --cacert "$KUBERNETES_DIR/pki/ca.crt" \
        --cert "$FS_ROOT/var/lib/kubelet/pki/kubelet-client-current.pem" "$server$1"
}

# wait_for_api: a restarted API server answers before it knows its roles; only /readyz says that it does.
wait_for_api() {
    local end=$((SECONDS + API_WAIT_SECONDS))
    until api_get /readyz >/dev/null 2>&1; do
        ((SECONDS < end)) || die "$EX_API_UNAVAILABLE" "the API server was not ready within $API_WAIT_SECONDS s"
        sleep 2
    done
}

# cluster_configuration: the ClusterConfiguration in ConfigMap kubeadm-config; every node may read it.
cluster_configuration() {
    local object text
    object=$(api_get /api/v1/namespaces/kube-system/configmaps/kubeadm-config) || return 1
    # Without jq: the JSON string of that key; printf %b undoes its escapes.
    text=$(grep -oE '"ClusterConfiguration": ?"([^"\\]|\\.)*"' <<<"$object" | head -n 1) || return 1
    text=${text#*:}
    text=${text# }
    text=${text#\"}
    text=${text%\"}
    printf '%b' "${text//\\\"/\\x22}" # \" is the one escape of JSON that %b does not know
}
