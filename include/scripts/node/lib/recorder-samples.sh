#!/bin/bash
# What is read each second, with two processes: curl and awk. Sourced by nightshift-recorder.

readonly PROC=$FS_ROOT/proc
readonly ANSWER_SECONDS=0.9 # of etcd and the API server; a later answer belongs to the next sample
readonly PROCESSES_LIMIT_BYTES=$((1024 * 1024))
readonly ARGUMENTS_LIMIT=2000 # characters
readonly OF_INTEREST='@(kubeadm|kubelet|kubectl|etcd|etcdctl|etcdutl|kube-*|apt|apt-get|dpkg|containerd|crio|crictl|ctr)'
readonly MUCH_BYTES=1048576 # written between two samples
readonly WATCHED_PATHS=(/ /var/lib/etcd /var/lib/kubelet /var/lib/containerd /var/lib/containers /etc/kubernetes/tmp /var/log "$STATE_DIR")

DISKS_JSON='{}' DISK_NAMES='' MOUNTS=() FILESYSTEMS='' ETCD_URL='' API_URL='' SERVERS_OF=none ASKING='' WRITERS=''
API_CERTIFICATE=() # only shown to an API server that does not speak to everybody: it costs as much as all the rest
declare -A KNOWN_PIDS=() KNOWN_WRITERS=()

# know_disks: the disks below what Kubernetes writes to, and the file systems on them. Read once: mounts do not move in a night.
know_disks() {
    local path mount device etcd_disk='' rotates list='' words number
    declare -A mounts_of=()
    etcd_disk=$(etcd_directory) && etcd_disk=$(disk_below "$etcd_disk") || etcd_disk=
    for path in "${WATCHED_PATHS[@]}"; do
        [[ -d $FS_ROOT$path ]] || continue
        mount=$(timeout 3 df -l --output=target "${FS_ROOT}$path" 2>/dev/null | tail -n 1) || continue
        [[ -n $mount && " ${MOUNTS[*]} " != *" $mount "* ]] || continue
        MOUNTS+=("$mount")
        device=$(disk_below "$mount")
        [[ -z $device ]] || mounts_of[$device]+="${mounts_of[$device]:+ }$mount"
    done
    [[ -z $etcd_disk ]] || mounts_of[$etcd_disk]+=
    for device in "${!mounts_of[@]}"; do
        rotates=null
        if number=$(cat "$FS_ROOT/sys/block/$device/queue/rotational" 2>/dev/null); then
            [[ $number == 1 ]] && rotates=true || rotates=false
        fi
        read -r -a words <<<"${mounts_of[$device]}"
        list+="${list:+,}$(json_string "$device"):{\"rotational\":$rotates,\"mounts\":$(json_list "${words[@]}"),"
        list+="\"holds_etcd\":$([[ $device == "$etcd_disk" ]] && echo true || echo false)}"
    done
    # shellcheck disable=SC2034  # the former is read by write_meta
    DISKS_JSON="{$list}" DISK_NAMES=${!mounts_of[*]}
}

# disk_below PATH: kernel name of the disk that PATH lies on; nothing when there is none (memory, network).
disk_below() {
    local number chain
    number=$(findmnt -no MAJ:MIN -T "$1" | tail -n 1) || return 0
    chain=$(device_chain "${number// /}")
    echo "${chain##* }"
}

# take_sample: one line of samples.jsonl.
take_sample() {
    local t=${EPOCHREALTIME:0:-3} missed='' etcd=- api='' line=''
    ((TICK % 5 != 0)) || look_at_filesystems
    [[ $SERVERS_OF == "$KNOWN_LINKS" && $((TICK % 60)) != 1 ]] || find_servers
    [[ -z $ETCD_URL ]] || etcd=$RECORDING/etcd.new
    ask_servers
    look_at_pods
    [[ -n $PODS ]] || missed='"pods"'
    [[ -n $FILESYSTEMS ]] || missed+="${missed:+,}\"filesystems\""
    await_servers
    [[ -z $API_URL ]] || read -r api <"$RECORDING/api.new" || api=000
    [[ $api != 40[13] ]] || API_CERTIFICATE=(--cert "$KUBERNETES_DIR/pki/apiserver-kubelet-client.crt" --key "$KUBERNETES_DIR/pki/apiserver-kubelet-client.key")
    # By a file and not by a process substitution, which would be one more process a second.
    system_lines | PODS=$PODS FILESYSTEMS=$FILESYSTEMS MISSED=$missed awk -f "$NIGHTSHIFT_ROOT/lib/recorder-samples.awk" \
        -v t="$t" -v disk_names="$DISK_NAMES" -v etcd="$etcd" -v api="$api" -v before="$RECORDING/written.new" \
        >"$RECORDING/sample.new" || true # no room, or an awk that was killed: this sample is left out, the next is taken
    {
        read -r line || true # empty then
        read_writers
    } <"$RECORDING/sample.new"
    [[ -n $line ]] || return 0
    [[ $line == *'"writers"'* ]] || line+=",\"writers\":[$WRITERS]" # who is not missed was looked for
    printf '%s}\n' "$line" >>"$RECORDING/samples.jsonl"
}

# system_lines: `FILE:LINE` of what a sample is made of. Processes come and go meanwhile, and some kernels have no PSI.
system_lines() {
    exec grep -sHE '^write_bytes: |^ +[0-9]+ +[0-9]+ [a-z]|^(some|full) |^MemAvailable:|^[0-9.]+ [0-9.]+ [0-9.]+ ' \
        "$PROC/diskstats" "$PROC"/pressure/{io,cpu,memory} "$PROC/meminfo" "$PROC/loadavg" "$PROC"/[0-9]*/io
}

# read_writers: WRITERS (JSON) from lines `PID BYTES`; who is new and writes much is noted.
read_writers() {
    local pid bytes comm
    WRITERS=''
    while read -r pid bytes; do
        read -r comm 2>/dev/null <"$PROC/$pid/comm" || comm=${KNOWN_PIDS[$pid]:-?}
        quote "$comm"
        WRITERS+="${WRITERS:+,}{\"pid\":$pid,\"comm\":$REPLY,\"written_bytes\":$bytes}"
        ((bytes < MUCH_BYTES)) || [[ -n ${KNOWN_WRITERS[$pid]:-} ]] || note_writer "$pid" "$comm"
    done
}

# quote TEXT: TEXT as a JSON string, in REPLY: without a process for what needs no escape.
quote() {
    case $1 in
        *[!A-Za-z0-9_./:@+-]*) REPLY=$(json_string "$1") ;;
        *) REPLY="\"$1\"" ;;
    esac
}

# find_servers: where they answer stands in the manifests and in arguments: looked up when a container has come or gone.
find_servers() {
    ETCD_URL='' API_URL='' SERVERS_OF=$KNOWN_LINKS
    [[ ! -e $MANIFESTS_DIR/etcd.yaml ]] || ETCD_URL=$(etcd_metrics_url)
    [[ ! -e $MANIFESTS_DIR/kube-apiserver.yaml ]] || API_URL=$(apiserver_url) || API_URL=
}

# ask_servers: both at once, in one curl that goes on beside us. What is left of the answers before is taken away first: it
# must not be read again.
ask_servers() {
    local pki=$KUBERNETES_DIR/pki words=()
    : >"$RECORDING/etcd.new"
    : >"$RECORDING/api.new"
    ASKING=''
    [[ -z $ETCD_URL ]] || words+=(--globoff --max-time "$ANSWER_SECONDS" --fail --cacert "$pki/etcd/ca.crt" -o "$RECORDING/etcd.new" "$ETCD_URL")
    if [[ -n $API_URL ]]; then
        ((${#words[@]} == 0)) || words+=(--next)
        words+=(--globoff --max-time "$ANSWER_SECONDS" --insecure "${API_CERTIFICATE[@]}" -o /dev/null -w '%{http_code}\n' "$API_URL/readyz")
    fi
    ((${#words[@]} > 0)) || return 0
    curl -q -s --parallel --parallel-immediate "${words[@]}" >"$RECORDING/api.new" 2>/dev/null &
    ASKING=$!
}

await_servers() {
    [[ -z $ASKING ]] || wait "$ASKING" || true
}

# look_at_filesystems: every five seconds; df waits for a file system that does not answer.
look_at_filesystems() {
    local list='' size free mount
    while read -r size free mount; do
        [[ $size =~ ^[0-9]+$ && $free =~ ^[0-9]+$ ]] || continue
        quote "$mount"
        list+="${list:+,}$REPLY:{\"free_bytes\":$free,\"size_bytes\":$size}"
    done < <(timeout 2 df -l -B1 --output=size,avail,target "${MOUNTS[@]}" 2>/dev/null)
    FILESYSTEMS=${list:+"{$list}"}
}

# note_processes: who has started since the last look. What lived for less than a second is not seen.
note_processes() {
    local path pid comm
    declare -A present=()
    for path in "$PROC"/[0-9]*; do
        pid=${path##*/}
        comm=${KNOWN_PIDS[$pid]:-}
        if [[ -z $comm ]]; then
            read -r comm 2>/dev/null <"$path/comm" || continue # it is gone already
            # shellcheck disable=SC2053  # a pattern
            [[ $comm != $OF_INTEREST ]] || describe_process "$pid" "$comm" '' "$RECORDING/processes.jsonl"
        fi
        present[$pid]=${comm:-?}
    done
    KNOWN_PIDS=()
    for pid in "${!present[@]}"; do KNOWN_PIDS[$pid]=${present[$pid]}; done
}

# note_writer PID COMM: once, who it is that writes so much, and whether to etcd's file system.
note_writer() {
    local directory place=node
    KNOWN_WRITERS[$1]=1
    ! directory=$(etcd_directory) || ! writes_there "$1" "$directory" || place=etcd
    describe_process "$1" "$2" ",\"place\":\"$place\",\"owner\":$(json_string "$(owner_of "$1")")" "$RECORDING/writers.jsonl"
}

# describe_process PID COMM MORE FILE
describe_process() {
    local words ppid='' line text
    [[ ! -e $4 ]] || (($(stat -c %s "$4") < PROCESSES_LIMIT_BYTES)) || return 0
    mapfile -d '' -t words 2>/dev/null <"$PROC/$1/cmdline" || return 0
    while read -r line; do
        [[ $line != PPid:* ]] || ppid=${line#PPid:}
    done 2>/dev/null <"$PROC/$1/status" || return 0
    ppid=${ppid//[!0-9]/}
    text="${words[*]}"
    printf '{"t":%s,"pid":%s,"ppid":%s,"comm":%s,"args":%s%s}\n' "${EPOCHREALTIME:0:-3}" "$1" "${ppid:-null}" \
        "$(json_string "$2")" "$(json_string "${text:0:ARGUMENTS_LIMIT}")" "$3" >>"$4"
}

# save_metrics before|after
save_metrics() {
    local name
    for name in etcd apiserver kubelet; do
        [[ $name != etcd || -e $MANIFESTS_DIR/etcd.yaml ]] || continue
        metrics_of "$name" >"$RECORDING/metrics/$name-$1.new" 2>/dev/null || true
        [[ -s $RECORDING/metrics/$name-$1.new ]] && mv -f "$RECORDING/metrics/$name-$1.new" "$RECORDING/metrics/$name-$1.txt"
        rm -f "$RECORDING/metrics/$name-$1.new"
    done
}
