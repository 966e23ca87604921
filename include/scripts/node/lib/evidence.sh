#!/bin/bash
# One bundle with what explains a failed step: bounded in size and time, secrets taken out, nothing on the node changed.
# What it holds: docs/evidence.md. Sourced by nightshift-node after common.sh, jobs.sh, kubeadm.sh, metrics.sh, look.sh, recorder.sh.

EVIDENCE_LIMIT_BYTES=$((64 * 1024 * 1024))
readonly LOG_LIMIT_BYTES=$((8 * 1024 * 1024))
readonly POD_LOG_LIMIT_BYTES=$((4 * 1024 * 1024))
readonly MANIFEST_BYTES_SHOWN=$((1024 * 1024))
EVIDENCE_SECONDS=40 # from then on nothing more is begun: half a bundle today is worth more than a whole one never
COMMAND_SECONDS=10  # of one command; a disk that hangs must not keep the rest
# shellcheck disable=SC2034  # read by api_get
API_SECONDS=5 # an API server that is down must not keep the rest
readonly LINE_BYTES=65536 # more of a file than is wanted: a secret whose name was cut off is found by nobody
readonly UNITS=(kubelet containerd crio 'nightshift-*')
# Files of state/, in the order in which they are taken.
readonly STATES=(processes argv static-pods containers scratch scratch-bytes df memory kubelet-flags kubelet-config kubeadm-config
    units unit-jobs kubelet-unit sockets clock platform certificates etcd)
# What may be asked for by itself; the driver's list is domain/diagnosis/asked.py, a test compares them.
readonly SECTIONS=(jobs processes manifests argv df scratch memory kubelet-flags kubelet-config kubeadm-config units sockets clock platform
    certificates etcd packages)

# collect_evidence SINCE [baseline]: tar.gz of everything on standard output. What may vanish or is most telling comes first.
# A baseline is thrown away when its night goes well: it delivers no recording that is owed.
collect_evidence() {
    local since=$1 kind=${2:-incident} delivered=()
    evidence=$(evidence_directory)
    # shellcheck disable=SC2064  # the directory of now is meant
    trap "rm -rf '$evidence'" EXIT
    room=$(room_for_evidence)
    part end_recording
    part add_recordings "$since"
    part add_states
    part add_manifest_sums
    part add_manifests
    part add_journals "$since"
    part add_pod_logs "$since"
    part add_rehearsal "$since"
    part add_disks
    part add_metrics
    part add_packages
    add_recording "$since" "$RECORDING_KEPT.previous" recorder/previous || true # most often there is none
    [[ $kind == baseline ]] || part add_owed
    tar -C "$evidence" -czf - .
    [[ $kind == baseline ]] || mark_delivered
}

# collect_sections SECTION…: tar.gz of these alone, as they are now: what a test of the diagnosis asks. Only reads, takes no part in
# what is delivered, and works in memory; small and quick, because a person waits for the report.
collect_sections() {
    local section
    EVIDENCE_LIMIT_BYTES=$((2 * 1024 * 1024)) EVIDENCE_SECONDS=5 COMMAND_SECONDS=2
    # shellcheck disable=SC2034  # read by api_get and look_one
    API_SECONDS=2 LOOK_SECONDS=3
    evidence=$(mktemp -d /run/nightshift-evidence.XXXXXX)
    # shellcheck disable=SC2064  # the directory of now is meant
    trap "rm -rf '$evidence'" EXIT
    room=$(room_for_evidence)
    for section in "$@"; do
        part add_section "$section"
    done
    tar -C "$evidence" -czf - .
}

# require_sections SECTION…: never a path and never a command, and each once: whoever may ask must not make the node work for long.
require_sections() {
    local section seen=()
    for section in "$@"; do
        if is_listed "$section" "$(printf '%s\n' "${seen[@]}")"; then
            die "$EX_USAGE" "section '$section' is named twice"
        fi
        seen+=("$section")
        if ! [[ $section =~ ^[a-z-]+$ ]] || ! is_listed "$section" "$(printf '%s\n' "${SECTIONS[@]}")"; then
            die "$EX_USAGE" "there is no section '$section'"
        fi
    done
}

# add_section SECTION: one of SECTIONS.
add_section() {
    case $1 in
        jobs) add_jobs ;;
        manifests) add_manifests ;;
        packages) add_package_versions ;;
        *) add_state "$1" ;;
    esac
}

# mark_delivered: the recordings that this bundle has are owed no more; that of a job which is at work is not over.
mark_delivered() {
    local directory active
    active=$(active_steps) || return 0
    for directory in "${delivered[@]}"; do
        [[ -z $active || $directory == "$RECORDINGS_OWED"/* ]] || continue
        date +%s >"$directory/delivered" || true # a full disk: it is delivered once more
        [[ $directory != "$RECORDING_LIVE" ]] || ! is_live_job "$RECORDING_KEPT" || cp "$directory/delivered" "$RECORDING_KEPT/" || true # as above
    done
}

# part FUNCTION ARGUMENT…: whatever fails in one part (a log that the kubelet removes while we read it), the others go on.
part() {
    "$@" || leave_out "${1#add_}" "ended with exit code $?"
}

# evidence_directory: on the disk when it has room, else in memory: a full disk may be what is to be explained.
evidence_directory() {
    if (($(free_bytes "$STATE_DIR") > 2 * EVIDENCE_LIMIT_BYTES)); then
        mkdir -p "$WORK_DIR"
        mktemp -d "$WORK_DIR/evidence.XXXXXX"
    else
        mktemp -d /run/nightshift-evidence.XXXXXX
    fi
}

# room_for_evidence: bytes; in a small memory only half of what is free.
room_for_evidence() {
    local half=$(($(free_bytes "$evidence") / 2))
    echo $((half < EVIDENCE_LIMIT_BYTES ? half : EVIDENCE_LIMIT_BYTES))
}

# leave_out NAME WHY: what the bundle lacks is part of it.
leave_out() {
    printf '%s\t%s\n' "$1" "$2" >>"$evidence/left-out.txt"
}

# add NAME LIMIT: standard input, redacted, its last LIMIT bytes (or what the whole bundle still has room for). Also when it is late by now:
# what was read is delivered; whether to begin is asked by the caller.
add() {
    local used limit=$2
    used=$(du -sB1 "$evidence" | cut -f1)
    ((limit <= room - used)) || limit=$((room - used))
    if ((limit <= 0)); then
        cat >/dev/null
        leave_out "$1" "no room: a bundle has at most $room bytes"
        return 0
    fi
    mkdir -p "$(dirname "$evidence/$1")"
    if ! redact | tail -c "$limit" >"$evidence/$1"; then
        rm -f "$evidence/$1" # never anything that was not looked through
        leave_out "$1" "secrets could not be taken out of it"
    fi
}

is_late() {
    ((SECONDS > EVIDENCE_SECONDS))
}

# too_late NAME: says so in the bundle when nothing more is to be begun.
too_late() {
    is_late || return 1
    leave_out "$1" "no time: a bundle takes at most $EVIDENCE_SECONDS s"
}

# within FUNCTION ARGUMENT…: like timeout, of a function: it is ended with all that it started. 124 is its exit code then.
within() {
    local worker code=0
    set -m # a process group of its own
    "$@" &
    worker=$!
    set +m
    timeout "$COMMAND_SECONDS" tail -s 0.05 --pid="$worker" -f /dev/null >/dev/null || code=$?
    ((code == 0)) || kill -KILL -- "-$worker" 2>/dev/null || true # it may have ended by now
    wait "$worker" 2>/dev/null || ((code != 0)) || code=$?
    return "$code"
}

# add_file NAME LIMIT FILE: only the end of it is read at all. It may be gone by now, or its disk may hang.
add_file() {
    local size
    ! too_late "$1" || return 0
    size=$(timeout "$COMMAND_SECONDS" stat -Lc %s -- "$3" 2>/dev/null) || {
        leave_out "$1" "it went away before it was read"
        return 0
    }
    {
        timeout --kill-after=1 "$COMMAND_SECONDS" tail -c $(($2 + LINE_BYTES)) -- "$3" 2>/dev/null |
            if ((size > $2 + LINE_BYTES)); then whole_records; else cat; fi || leave_out "$1" "it could not be read to its end"
    } | add "$1" "$2"
}

# add_output NAME COMMAND…: what a command says, also when it fails.
add_output() {
    local name=$1
    shift
    ! too_late "$name" || return 0
    case $(type -t "$1") in
        file) set -- timeout --kill-after=1 "$COMMAND_SECONDS" "$@" ;;
        function) set -- within "$@" ;;
        *)
            leave_out "$name" "there is no $1 here"
            return 0
            ;;
    esac
    { "$@" 2>&1 || echo "ended with exit code $?"; } </dev/null | add "$name" "$LOG_LIMIT_BYTES"
}

# add_look NAME SECTION: one of the looks; it has its own limit of time.
add_look() {
    local answer code
    ! too_late "$1" || return 0
    answer=$(mktemp -p "$evidence" .look.XXXXXX)
    look_one "$2" "$answer" 2>/dev/null
    code=$(<"$answer.exit")
    [[ $code == 0 ]] || leave_out "$1" "the look ended with exit code $code"
    add "$1" "$LOG_LIMIT_BYTES" <"$answer"
    rm -f "$answer" "$answer.exit"
}

# end_recording: the recorder of a job that is over lingers for some seconds; its recording is closed now. That of a job
# that is at work goes on.
end_recording() {
    [[ -n $(active_steps) ]] || stop_recorder
}

# add_recordings SINCE: of the job that failed.
add_recordings() {
    local directory
    for directory in "$RECORDING_LIVE" "$RECORDING_KEPT"; do
        if add_recording "$1" "$directory" recorder; then
            delivered+=("$directory")
            return 0
        fi
    done
    leave_out recorder/ "nothing was recorded in this window"
}

# add_owed: recordings of jobs that did not end well, of whatever step and night, until a bundle has had them: a node
# that went down is asked again when it is back, and that may be for another failure.
add_owed() {
    local directory active
    active=$(active_steps) || return 1
    for directory in "$RECORDING_LIVE" "$RECORDING_KEPT" "$RECORDINGS_OWED"/*; do
        is_owed "$directory" || continue
        ! is_listed "$directory" "$(printf '%s\n' "${delivered[@]}")" || continue
        [[ $directory != "$RECORDING_LIVE" || -z $active ]] || continue # of the job that is at work
        [[ $directory != "$RECORDING_KEPT" ]] || ! is_live_job "$directory" || continue
        add_one_owed "$directory"
    done
}

# is_live_job DIRECTORY: the recording there is of the same job as the one in memory, or is that.
is_live_job() {
    [[ -e $RECORDING_LIVE/job && $(recorded_job "$1") == "$(recorded_job "$RECORDING_LIVE")" ]]
}

# add_one_owed DIRECTORY: under its time and step; a line of recorder/owed.txt says from when it is.
add_one_owed() {
    local began ended step name
    began=$(sed -nE 's/.*"started":([0-9]+).*/\1/p' "$1/meta.json" 2>/dev/null) || began=
    step=$(sed -nE 's/.*"step":"([a-z-]+)".*/\1/p' "$1/meta.json" 2>/dev/null) || step=
    ended=$(stat -c %Y "$1/samples.jsonl")
    name=recorder/owed/$(date -u -d "@${began:-$ended}" +%Y%m%dT%H%M%SZ)-${step:-job}
    if add_recording 0 "$1" "$name" && [[ -s $evidence/$name/meta.json ]]; then # the last of it: there was room and time for all
        printf '%s/: of an earlier job, %s, from %s to %s; it did not end well, and no bundle had its recording yet\n' \
            "$name" "${step:-of unknown step}" "$(date -u -d "@${began:-$ended}" +%FT%TZ)" "$(date -u -d "@$ended" +%FT%TZ)" \
            >>"$evidence/recorder/owed.txt"
        delivered+=("$1")
    fi
}

# add_recording SINCE DIRECTORY NAME: fails when there is none, or it ended before SINCE: it is another job's.
add_recording() {
    local file
    [[ -s $2/meta.json && -s $2/samples.jsonl ]] || return 1
    (($(stat -c %Y "$2/samples.jsonl") >= $1)) || return 1
    while IFS= read -r -d '' file; do
        add_file "$3/${file#"$2"/}" "$LOG_LIMIT_BYTES" "$file"
    done < <(find "$2" -type f \( -name '*.jsonl' -o -name '*.log' -o -name '*.txt' \) -print0)
    closed_meta "$2" | add "$3/meta.json" "$LOG_LIMIT_BYTES"
}

# closed_meta DIRECTORY: a recorder that was killed, or whose machine went down, could not write how it ended.
closed_meta() {
    local ended
    if is_live_job "$1" && systemctl is-active --quiet "$RECORDER_UNIT"; then
        cat "$1/meta.json"
    else
        ended=$(stat -c %.Y "$1/samples.jsonl" 2>/dev/null) || ended=null
        sed -E "s/\"ended\":null,\"why_ended\":\"running\"/\"ended\":$ended,\"why_ended\":\"killed\"/" "$1/meta.json"
    fi
}

add_journals() {
    local unit
    for unit in "${UNITS[@]}"; do
        add_output "journal/${unit//\*/all}.log" journalctl -q --no-pager -o short-iso --since "@$1" -u "$unit"
    done
    add_output journal/kernel.log journalctl -q --no-pager -o short-iso --since "@$1" -k
    add_jobs
}

add_jobs() {
    local step
    for step in "${STEPS[@]}"; do
        # Arguments are base64 for the job, and a configuration in them is read by no redaction.
        [[ ! -e $JOBS_DIR/$step ]] || add_output "jobs/$step" sed 's/^arguments=.*/arguments=[left out]/' "$JOBS_DIR/$step"
    done
}

# add_pod_logs SINCE: control-plane pods' own files; they outlive the API server and the container. The kubelet rotates them.
add_pod_logs() {
    local file name
    while IFS= read -r -d '' file; do
        name=pods/${file#"$FS_ROOT"/var/log/pods/}
        ! too_late "$name" || continue
        case $file in
            # One that is cut off (the kubelet is just writing it) is kept as far as it goes, with zcat's complaint.
            *.gz) { timeout "$COMMAND_SECONDS" zcat "$file" 2>&1 || true; } | add "${name%.gz}" "$POD_LOG_LIMIT_BYTES" ;;
            *) add_file "$name" "$POD_LOG_LIMIT_BYTES" "$file" ;;
        esac
    done < <(
        find "$FS_ROOT/var/log/pods" -path '*/kube-system_*' -name '*.log*' -xtype f -newermt "@$1" -print0 2>/dev/null
    )
}

# add_rehearsal SINCE: what the target's kube-apiserver wrote in a rehearsal that failed.
add_rehearsal() {
    local file=$STATE_DIR/rehearsal.log
    [[ -z $(find "$file" -newermt "@$1" 2>/dev/null) ]] || add_file rehearsal/kube-apiserver.log "$POD_LOG_LIMIT_BYTES" "$file"
}

# add_manifests: of the directory everything that the kubelet reads, which follows symbolic links; a Secret that somebody laid
# there only by name.
add_manifests() {
    local file name why
    add_output manifests/listing.txt ls -la --time-style=full-iso "$MANIFESTS_DIR"
    [[ -d $MANIFESTS_DIR ]] || return 0
    while IFS= read -r -d '' file; do
        name=manifests/$(basename "$file")
        ! too_late "$name" || continue # each file may hang for some seconds
        why=$(why_not_shown "$file")
        if [[ -n $why ]]; then
            leave_out "$name" "$why"
        else
            add_output "$name" cat "$file"
        fi
    done < <(timeout "$COMMAND_SECONDS" find "$MANIFESTS_DIR" -mindepth 1 -maxdepth 1 ! -type d -print0)
}

add_manifest_sums() {
    [[ ! -d $MANIFESTS_DIR ]] || add_output state/manifest-sums.txt manifest_sums
}

# why_not_shown FILE: nothing for a manifest that can be shown.
why_not_shown() {
    local said code=0
    said=$(timeout "$COMMAND_SECONDS" stat -Lc '%s %F' -- "$1" 2>/dev/null) || said='0 nothing that can be read'
    if [[ ${said#* } != regular* ]]; then # "regular empty file" is one as well
        echo "it is or leads to: ${said#* }"
    elif ((${said%% *} > MANIFEST_BYTES_SHOWN)); then
        echo "larger than $MANIFEST_BYTES_SHOWN bytes"
    else
        timeout "$COMMAND_SECONDS" grep -qE "[\"']?kind[\"']?: *[\"']?Secret" "$1" || code=$?
        case $code in
            0) echo "it has a Secret" ;;
            1) ;;
            *) echo "it could not be read" ;;
        esac
    fi
}

# manifest_sums: sha256, modified, changed, size, name; of the directory and of kubeadm's copies. Of a symbolic link the sum
# of what it leads to, and the times at which it was laid there.
manifest_sums() {
    local file sum
    while IFS= read -r -d '' file; do
        sum=$({ timeout "$COMMAND_SECONDS" sha256sum -- "$file" 2>/dev/null || echo unreadable; } | cut -d' ' -f1)
        printf '%s  %s\n' "${sum#\\}" "$(stat -c '%.Y %.Z %s %n' "$file")"
    done < <(find "$MANIFESTS_DIR" "$SCRATCH_DIR" -maxdepth 2 \( -type f -o -type l \) \( -name '*.yaml*' -o -path "$MANIFESTS_DIR/*" \) -print0 2>/dev/null | sort -z)
}

add_states() {
    local name
    for name in "${STATES[@]}"; do
        add_state "$name"
    done
}

# add_state NAME: one of STATES.
add_state() {
    case $1 in
        processes) add_output state/processes.txt ps -eo pid,ppid,lstart,etimes,stat,rss,args -ww ;;
        argv) add_output state/argv.txt running_arguments ;;
        static-pods) add_output state/static-pods.txt static_pods ;;
        containers) add_output state/containers.txt crictl ps --all --no-trunc ;;
        scratch) add_output state/scratch.txt find "$SCRATCH_DIR" -maxdepth 2 -printf '%y %m %TY-%Tm-%Td %TH:%TM %s %p\n' ;;
        scratch-bytes) add_output state/scratch-bytes.txt du -B1 -d 1 "$SCRATCH_DIR" ;;
        df) add_output state/df.txt df -l -B1 --output ;;
        memory) add_output state/memory.txt cat /proc/meminfo /proc/loadavg ;;
        kubelet-flags) add_output state/kubelet-flags.txt cat "$FS_ROOT/var/lib/kubelet/kubeadm-flags.env" ;;
        kubelet-config) add_output state/kubelet-config.yaml cat "$FS_ROOT/var/lib/kubelet/config.yaml" ;;
        kubeadm-config) add_output state/kubeadm-config.yaml cluster_configuration ;;
        units) add_output state/units.txt systemctl --no-pager --failed ;;
        unit-jobs) add_output state/unit-jobs.txt systemctl --no-pager list-jobs ;;
        kubelet-unit) add_output state/kubelet-unit.txt systemctl --no-pager cat kubelet ;;
        sockets) add_output state/sockets.txt ss -ltnp ;;
        clock) add_output state/clock.txt clock ;;
        platform) add_output state/platform.txt platform ;;
        certificates) add_output state/certificates.txt certificate_dates ;;
        etcd) add_look state/etcd.txt etcd ;;
    esac
}

# running_arguments: of the cluster's own processes, one argument a line, as a list: so a value is told from a flag.
running_arguments() {
    local pid
    for pid in $(pgrep 'etcd|kube-apiserver|kube-controller|kube-scheduler|kubelet|kubeadm'); do
        printf '%s\n' "== $pid $(cat "/proc/$pid/comm" 2>/dev/null)"
        # It may have ended since pgrep saw it: then its name stands there alone.
        { tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" || true; } | sed 's/^/- /'
    done
}

# static_pods: which container of which pod was started when, and its log; the last part of the directory is the pod's hash.
static_pods() {
    find "$FS_ROOT/var/log/containers" -maxdepth 1 -name '*_kube-system_*' -printf '%TY-%Tm-%TdT%TT%Tz %f %l\n' | sort
    echo '== containers and their sandboxes'
    grep -sHoE '"io\.kubernetes\.(cri\.sandbox-id|cri-o\.SandboxID)": ?"[0-9a-f]+"' \
        "$FS_ROOT"/run/containerd/io.containerd.runtime.v2.task/k8s.io/*/config.json || true # none: another runtime
}

clock() {
    date -u +%FT%T.%NZ
    timeout 3 timedatectl show || true # it asks D-Bus, which may be down; the time itself is above
    ! command -v chronyc >/dev/null || timeout 3 chronyc -n tracking || true # installed, and not running
}

platform() {
    uname -a
    printf 'cgroups %s\n' "$(stat -fc %T "$FS_ROOT/sys/fs/cgroup")"
    cat "$FS_ROOT/etc/os-release"
    cat /proc/cmdline
    timeout 3 containerd --version || true # another runtime
}

# certificate_dates: names and dates; never what is in a kubeconfig besides, never a key.
certificate_dates() {
    local file pki=$FS_ROOT/var/lib/kubelet/pki
    for file in "$KUBERNETES_DIR"/pki/*.crt "$KUBERNETES_DIR"/pki/etcd/*.crt "$pki"/kubelet-client-current.pem "$pki"/kubelet-server-current.pem; do
        # shellcheck disable=SC2094  # its argument is only a name to show
        [[ ! -e $file ]] || certificate_line "$file" <"$file"
    done
    for file in "$KUBERNETES_DIR"/*.conf; do
        [[ ! -e $file ]] || sed -nE 's/^ *client-certificate-data: *"?([A-Za-z0-9+/=]+)"? *$/\1/p' "$file" | head -n 1 | base64 -d | certificate_line "$file"
    done
}

# certificate_line FILE: of the certificate on standard input; a kubeconfig may have none.
certificate_line() {
    local said
    said=$(openssl x509 -noout -subject -issuer -startdate -enddate 2>/dev/null | tr '\n' ' ') || said='no certificate'
    printf '%s: %s\n' "${1#"$FS_ROOT"}" "$said"
}

# add_disks: what lies on which device, what it does, and who writes.
add_disks() {
    add_output state/df-inodes.txt df -l -i
    add_output state/mounts.txt findmnt --real -o TARGET,SOURCE,FSTYPE,OPTIONS,MAJ:MIN
    add_output state/block-devices.txt lsblk -o NAME,MAJ:MIN,ROTA,SCHED,SIZE,TYPE,FSTYPE,MOUNTPOINT
    add_output state/diskstats.txt cat /proc/diskstats
    add_output state/pressure.txt grep -H '' /proc/pressure/io /proc/pressure/cpu /proc/pressure/memory
    add_output state/io.txt io_per_process
    add_look state/etcd-device.txt etcd-device
}

# io_per_process: bytes read and written since each one's start, most written first.
io_per_process() {
    local pid
    { grep -sH -e '^read_bytes:' -e '^write_bytes:' /proc/[0-9]*/io || true; } | # processes end while it reads
        awk -F '[/: ]+' '$5 == "read_bytes" {r[$3] = $6} $5 == "write_bytes" {print $6, r[$3], $3}' | sort -rn | head -n 40 |
        while read -r written got pid; do
            printf '%s written %s read %s %s\n' "$pid" "$written" "$got" "$(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | head -c 300)"
        done
}

add_metrics() {
    [[ ! -e $MANIFESTS_DIR/etcd.yaml ]] || add_output metrics/etcd.txt metrics_of etcd
    ! is_control_plane || add_output metrics/apiserver.txt metrics_of apiserver
    add_output metrics/kubelet.txt metrics_of kubelet
}

add_package_versions() {
    add_output state/packages.txt dpkg-query -W kubeadm kubelet kubectl containerd kubernetes-cni cri-tools
}

add_packages() {
    local file
    add_package_versions
    # shellcheck disable=SC2016  # dpkg-query's own
    add_output state/package-states.txt dpkg-query -W -f '${db:Status-Abbrev} ${Package} ${Version}\n' 'kube*' 'containerd*' 'runc*' 'cri-*' etcd-client
    add_output state/holds.txt apt-mark showhold
    for file in /var/log/dpkg.log /var/log/apt/history.log /var/log/apt/term.log; do
        [[ ! -e $FS_ROOT$file ]] || add_file "packages/${file##*/}" 262144 "$FS_ROOT$file"
    done
}
