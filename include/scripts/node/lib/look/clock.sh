#!/bin/bash
# This node's time. Sourced by nightshift-node after common.sh.

# One line: seconds since the epoch, when the look began (if it is known) and now. Whoever asks knows how long the
# question took.
look_clock() {
    echo "${LOOK_BEGAN:+$LOOK_BEGAN }$(date +%s.%N)"
}
