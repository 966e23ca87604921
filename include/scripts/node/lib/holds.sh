#!/bin/bash
# The owner's holds on packages: an installation takes them off, so what was held is remembered first, in a file,
# because a job that dies between install and hold would lose them. Sourced after common.sh.

readonly HELD_FILE=$STATE_DIR/held

remember_holds() {
    local held
    held=$(apt-mark showhold | grep -xE 'kubeadm|kubelet|kubectl|kubernetes-cni|cri-tools' || true)
    { cat "$HELD_FILE" 2>/dev/null || true; echo "$held"; } | grep . | sort -u | atomic_write "$HELD_FILE" || true
}

restore_holds() {
    local held=()
    mapfile -t held < <(grep . "$HELD_FILE" || true)
    ((${#held[@]} == 0)) || apt-mark hold "${held[@]}" >/dev/null || return 1
    rm -f "$HELD_FILE"
}

# repay_holds: holds that a job did not come round to restore; while one is at work they are its own business.
repay_holds() {
    [[ -e $HELD_FILE && -z $(active_steps) ]] || return 0
    restore_holds || say "the holds in $HELD_FILE could not be set again yet"
}
