#!/bin/bash
# The owner's holds on packages: an installation takes them off, so what was held is remembered first, in a file,
# because a job that dies between install and hold would lose them. Sourced after common.sh.

readonly HELD_FILE=$STATE_DIR/held

remember_holds() {
    local held
    held=$(apt-mark showhold) || die "$EX_INSTALL_FAILED" "apt-mark could not say which packages are held"
    {
        [[ ! -e $HELD_FILE ]] || cat "$HELD_FILE"
        grep -xE 'kubeadm|kubelet|kubectl|kubernetes-cni|cri-tools' <<<"$held" || (($? == 1)) # 1: none is held
    } | sort -u | atomic_write "$HELD_FILE"
}

restore_holds() {
    local held=()
    mapfile -t held <"$HELD_FILE"
    ((${#held[@]} == 0)) || apt-mark hold "${held[@]}" >/dev/null || return 1
    rm -f "$HELD_FILE"
}

# repay_holds: holds that a job did not come round to restore; while one is at work they are its own business.
repay_holds() {
    [[ -e $HELD_FILE && -z $(active_steps) ]] || return 0
    restore_holds || say "the holds in $HELD_FILE could not be set again yet"
}
