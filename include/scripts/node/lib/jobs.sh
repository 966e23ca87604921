#!/bin/bash
# Jobs: one systemd unit per step with a fixed name, and one status file per step that outlives the unit.
# Sourced after common.sh.

readonly STEPS=(reclaim-scratch snapshot-etcd upload-config stage rehearse kubeadm-upgrade kubelet-upgrade)
readonly STATUS_KEYS=(job_id run_id token arguments boot_id invocation started finished state exit_code)

# require_step STEP
require_step() {
    local step
    for step in "${STEPS[@]}"; do
        [[ $step != "$1" ]] || return 0
    done
    die "$EX_USAGE" "unknown step '$1'; known are: ${STEPS[*]}"
}

# boot_id: changes with every boot of the machine.
boot_id() {
    cat /proc/sys/kernel/random/boot_id
}

# encode_arguments ARG…: arguments, each ended by NUL, as base64 in one line.
encode_arguments() {
    if (($# == 0)); then
        return 0
    fi
    printf '%s\0' "$@" | base64 -w0
}

# active_steps: the steps whose unit is at work now, one per line. "deactivating" counts: its end is being written.
active_steps() {
    local index states=()
    mapfile -t states < <(systemctl is-active "${STEPS[@]/#/nightshift-}")
    ((${#states[@]} == ${#STEPS[@]})) || die "$EX_INTERNAL" "systemd does not answer"
    for index in "${!STEPS[@]}"; do
        case ${states[index]} in
            active | activating | deactivating | reloading) echo "${STEPS[index]}" ;;
        esac
    done
}

# read_status STEP: fill the associative array STATUS; all fields "-" when the step never ran here.
read_status() {
    local key line
    declare -gA STATUS=()
    for key in "${STATUS_KEYS[@]}"; do
        STATUS[$key]=-
    done
    STATUS[state]=absent STATUS[token]=0 STATUS[started]=0 STATUS[arguments]=
    [[ -e $JOBS_DIR/$1 ]] || return 0
    # Not split by IFS: that would eat the "=" at the end of base64.
    while read -r line; do
        STATUS[${line%%=*}]=${line#*=}
    done <"$JOBS_DIR/$1"
}

# write_status STEP: STATUS becomes the step's status file.
write_status() {
    local key
    for key in "${STATUS_KEYS[@]}"; do
        printf '%s=%s\n' "$key" "${STATUS[$key]}"
    done | atomic_write "$JOBS_DIR/$1"
}

# is_listed STEP STEPS: STEP is one of the lines of STEPS.
is_listed() {
    [[ $'\n'$2$'\n' == *$'\n'"$1"$'\n'* ]]
}

# job_line STEP ACTIVE_STEPS: one tab-separated line; ACTIVE_STEPS were asked *before* the status is read here, so
# that a job which ends in between is never taken for lost.
job_line() {
    local step=$1 active=$2 state rebooted=0
    read_status "$step"
    state=${STATUS[state]}
    if [[ $state == running ]] && ! is_listed "$step" "$active"; then
        state=lost
        [[ ${STATUS[boot_id]} == "$(boot_id)" ]] || rebooted=1
    fi
    printf 'JOB\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$step" "$state" "${STATUS[exit_code]}" \
        "${STATUS[run_id]}" "${STATUS[token]}" "${STATUS[job_id]}" "${STATUS[started]}" "${STATUS[finished]}" \
        "$rebooted" "${STATUS[arguments]}"
}
