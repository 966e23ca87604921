#!/bin/bash
# Single looks at this node, each a file of its own in look/, read side by side. Only reads.
# Each section prints plain lines; `look_all` wraps them as `name TAB exit code TAB base64`.
# Sourced by nightshift-node after common.sh.

LOOK_SECONDS=10 # for each section; 124 is its exit code then

# look_all NAME…: NAME is that of a file in look/.
look_all() {
    local directory section LOOK_BEGAN
    for section in "$@"; do
        [[ $section =~ ^[a-z0-9]+(-[a-z0-9]+)*$ ]] || die "$EX_USAGE" "no name of a section: '$section'"
        [[ -f $NIGHTSHIFT_ROOT/lib/look/$section.sh ]] || die "$EX_USAGE" "there is no section '$section'"
    done
    if [[ " $* " == *" clock "* ]]; then
        # The section runs some processes later; both times together leave less of the way unknown.
        LOOK_BEGAN=$(date +%s.%N)
        export LOOK_BEGAN
    fi
    directory=$(mktemp -d)
    # shellcheck disable=SC2064  # the directory of now is meant
    trap "rm -rf '$directory'" EXIT
    for section in "$@"; do
        look_one "$section" "$directory/$section" &
    done
    wait
    for section in "$@"; do
        printf '%s\t%s\t%s\n' "$section" "$(cat "$directory/$section.exit")" "$(base64 -w0 <"$directory/$section")"
    done
}

# look_one SECTION FILE: a section's failure is written down, it does not end the look. A process of its own, so that a
# section which hangs can be ended with all that it started, and constants of two sections do not meet.
look_one() {
    local code=0
    # shellcheck disable=SC2016  # expanded by the shell that is started
    timeout --kill-after=1 "$LOOK_SECONDS" bash -p -euo pipefail -c '
        NIGHTSHIFT_ROOT=$1
        . "$NIGHTSHIFT_ROOT/lib/common.sh"
        . "$NIGHTSHIFT_ROOT/lib/look/$2.sh"
        "look_${2//-/_}"' look "$NIGHTSHIFT_ROOT" "$1" </dev/null >"$2" || code=$?
    echo "$code" >"$2.exit"
}
