#!/bin/bash
# A recording's place: in memory while it grows, with a copy on the disk. Sourced by nightshift-recorder.

readonly RECORDING=$RECORDING_LIVE
readonly KEEP_SECONDS=10
readonly KEEP_FREE_BYTES=$((256 * 1024 * 1024)) # the disk's room is for the upgrade, not for us
readonly MOST_OWED=3                            # recordings

# open_recording: the directory of this job. One of the same job is gone on with; one of another is put aside on the disk.
open_recording() {
    if [[ $(recorded_job "$RECORDING") != "$JOB_ID" ]]; then
        if [[ -e $RECORDING/job ]]; then # its recorder was killed, and could not move it to the disk
            [[ $(recorded_job "$RECORDING") == "$(recorded_job "$RECORDING_KEPT")" ]] || put_aside
            keep_copy "$KEEP_SECONDS" || true # no room there
        fi
        rm -rf "$RECORDING"
        put_aside
        mkdir -p "$RECORDING"
        echo "$JOB_ID" >"$RECORDING/job"
    fi
    mkdir -p "$RECORDING/pods" "$RECORDING/metrics"
    STARTED=$(sed -nE 's/.*"started":([0-9.]+).*/\1/p' "$RECORDING/meta.json" 2>/dev/null) || STARTED=
    [[ -n $STARTED ]] || STARTED=${EPOCHREALTIME:0:-3}
}

# put_aside: what the disk has is another job's. One that is owed waits for the next bundle, and no later job takes it away;
# of more than MOST_OWED the oldest go.
put_aside() {
    local owed directory all
    [[ -d $RECORDING_KEPT ]] || return 0
    if ! is_owed "$RECORDING_KEPT"; then
        rm -rf "$RECORDING_KEPT.previous"
        mv -T "$RECORDING_KEPT" "$RECORDING_KEPT.previous"
        return 0
    fi
    mkdir -p "$RECORDINGS_OWED"
    owed=$RECORDINGS_OWED/$(stat -c %Y "$RECORDING_KEPT/samples.jsonl")
    rm -rf "$owed"
    mv -T "$RECORDING_KEPT" "$owed"
    for directory in "$RECORDINGS_OWED"/*; do
        is_owed "$directory" || rm -rf "$directory"
    done
    all=("$RECORDINGS_OWED"/*)
    for directory in "${all[@]::${#all[@]} > MOST_OWED ? ${#all[@]} - MOST_OWED : 0}"; do
        rm -rf "$directory"
    done
}

# keep_copy [SECONDS]: what has grown since the last time is written to the disk; what cannot be kept stays in memory only.
# Fails when another one is at it (for SECONDS, 0), or the disk has no room.
keep_copy() (
    exec 2>/dev/null
    exec {lock}>"$RECORDING/../keeping"
    flock -w "${1:-0}" "$lock" || exit 1
    (($(free_bytes "$STATE_DIR") > KEEP_FREE_BYTES)) || exit 1
    mkdir -p "$RECORDING_KEPT/pods" "$RECORDING_KEPT/metrics"
    declare -A kept=()
    while IFS=$'\t' read -r size name; do
        kept[$name]=$size
    done < <(find "$RECORDING_KEPT" -type f -printf '%s\t%P\n')
    # By name, which has the samples last: without the meta.json of theirs, where we are killed in between, nobody could read them.
    while IFS=$'\t' read -r size name; do
        [[ ${kept[$name]:-} == "$size" ]] || keep_file "$name" "${kept[$name]:-0}"
    done < <(find "$RECORDING" -type f ! -name '*.new' -printf '%s\t%P\n' | sort -k 2)
    # Else a power loss takes what the file system has not written yet: up to half a minute.
    timeout "$KEEP_SECONDS" sync "$RECORDING_KEPT"/{samples.jsonl,meta.json,job} || true # a slow disk: the next round tries again
)

# secure_copy: what led to the job's end is on the disk for good before anybody can cut the node's power for it.
secure_copy() {
    keep_copy "$KEEP_SECONDS" || true # one under way began before the end
    find "$RECORDING_KEPT" -type f -exec timeout "$KEEP_SECONDS" sync {} + 2>/dev/null || true # a slow disk gets that long, and no more
}

# move_to_disk: the recording is over and needs no memory any more, once the disk has all of it.
move_to_disk() {
    local tries
    rm -f "$RECORDING"/*.new "$RECORDING"/metrics/*.new
    for tries in 1 2; do
        if keep_copy && diff -r "$RECORDING" "$RECORDING_KEPT" >/dev/null 2>&1; then
            rm -rf "$RECORDING"
            return
        fi
        sleep "$tries"
    done
}

# keep_file NAME KEPT_BYTES: logs and samples only grow; whatever else changed is copied whole.
keep_file() {
    [[ $1 != */* || -d $RECORDING_KEPT/${1%/*} ]] || mkdir -p "$RECORDING_KEPT/${1%/*}"
    case $1 in
        *.jsonl | pods/*) timeout "$KEEP_SECONDS" tail -c "+$(($2 + 1))" "$RECORDING/$1" >>"$RECORDING_KEPT/$1" ;;
        *) timeout "$KEEP_SECONDS" cp "$RECORDING/$1" "$RECORDING_KEPT/$1" ;;
    esac
}
