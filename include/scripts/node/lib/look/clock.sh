#!/bin/bash
# This node's time. Sourced by nightshift-node after common.sh.

# One line: seconds since the epoch. Whoever asks knows how long the question took.
look_clock() {
    date +%s.%N
}
