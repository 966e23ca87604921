#!/bin/bash
# The recorder from outside: who is recorded, start, stop, and where a recording lies. What it records: nightshift-recorder.
# Sourced after common.sh and jobs.sh.

# shellcheck disable=SC2034  # used by those who source it
readonly RECORDER_UNIT=nightshift-recorder.service
# In memory, where neither a full nor a starved disk stops it; a copy on the disk, which outlives a power loss.
readonly RECORDING_LIVE=$FS_ROOT/run/nightshift/recorder
readonly RECORDING_KEPT=$STATE_DIR/recorder
# By the time of their last sample: recordings of jobs that did not end well, and that no bundle has delivered yet.
readonly RECORDINGS_OWED=$STATE_DIR/recorder.owed
readonly RECORDER_LIMIT_BYTES=$((24 * 1024 * 1024))
readonly RECORDER_START_SECONDS=10
readonly UNRECORDED_STEPS=(reclaim-scratch upload-config) # over in seconds, and neither restarts nor loads anything

# is_recorded STEP: a job of a control-plane node that may take long or that changes what runs.
is_recorded() {
    local step
    is_control_plane || return 1
    for step in "${UNRECORDED_STEPS[@]}"; do
        [[ $step != "$1" ]] || return 1
    done
}

# record_job STEP LIMIT_SECONDS: start the recorder when jobs of this step are recorded here.
record_job() {
    is_recorded "$1" || return 0
    read_status "$1"
    start_recorder "$1" "${STATUS[job_id]}" "$2"
}

# start_recorder STEP JOB_ID LIMIT_SECONDS: beside the job, as a unit of its own. One that records this very job goes on;
# one that records an older job gives way. Fails when systemd does not start it.
start_recorder() {
    if timeout 3 systemctl is-active --quiet "$RECORDER_UNIT"; then
        [[ $(recorded_job "$RECORDING_LIVE") != "$2" ]] || return 0
        stop_recorder
    fi
    timeout 3 systemctl reset-failed "$RECORDER_UNIT" 2>/dev/null || true # left over from an earlier end; absent is fine
    # Little of everything: what it watches must not suffer from it, and when memory runs out it goes first.
    timeout "$RECORDER_START_SECONDS" systemd-run --quiet --collect --unit="$RECORDER_UNIT" --service-type=exec \
        --description="Nightshift records $1" \
        --property=RuntimeMaxSec="$(($3 + 180))" --property=TimeoutStopSec=10 --property=KillMode=mixed \
        --property=Nice=10 --property=CPUWeight=20 --property=CPUQuota=20% --property=IOWeight=20 \
        --property=IOSchedulingClass=best-effort --property=IOSchedulingPriority=7 \
        --property=MemoryMax=128M --property=OOMScoreAdjust=500 --property=TasksMax=128 \
        --property=WorkingDirectory=/ -- "$NIGHTSHIFT_ROOT/nightshift-recorder" "$@"
}

# is_gone UNIT: systemd says so in a word; on a starved node it may not answer, and that is no word.
is_gone() {
    local state
    state=$(timeout 3 systemctl is-active "$1" 2>/dev/null) || true # it fails for whatever is not active; the word counts
    [[ $state == inactive || $state == failed || $state == unknown ]]
}

# stop_recorder: it writes its end down; absent is fine.
stop_recorder() {
    timeout 15 systemctl stop "$RECORDER_UNIT" 2>/dev/null || true
}

# note_success JOB_ID: its recording need not be kept for a bundle. Said by the job's end: a killed one, or a machine without
# power, leaves none. A disk that is full must not fail the end.
note_success() {
    local directory
    for directory in "$RECORDING_LIVE" "$RECORDING_KEPT"; do
        [[ $(recorded_job "$directory") != "$1" ]] || : >"$directory/succeeded" || true # a full disk: it is delivered though it need not be
    done
}

# is_owed DIRECTORY: a recording of a job that did not end well, which no bundle has delivered.
is_owed() {
    [[ -s $1/samples.jsonl && ! -e $1/succeeded && ! -e $1/delivered ]]
}

# recorded_job DIRECTORY: id of the job that the recording there is of; nothing when there is none.
recorded_job() {
    [[ ! -r $1/job ]] || cat "$1/job"
}
