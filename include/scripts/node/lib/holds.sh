#!/bin/bash
# The owner's holds on packages: an installation takes them off, so what was held is remembered first, in a file,
# because a job that dies between install and hold would lose them. Sourced after common.sh.

readonly HELD_FILE=$STATE_DIR/held
# What an installation may take a hold off; the gate `supply` has the same names (nightshift/domain/facts/packages.py).
readonly LIFTED_HOLDS='kubeadm|kubelet|kubectl|kubernetes-cni|cri-tools'

held_packages() {
    apt-mark showhold || die "$EX_INSTALL_FAILED" "apt-mark could not say which packages are held"
}

# refuse_held DIRECTORY: an installation of these packages would change what the owner holds, and lose that hold. apt.sh
# is sourced, too.
refuse_held() {
    local held file package found=()
    held=$(held_packages) || exit "$?"
    held=$(cut -d: -f1 <<<"$held") # of another architecture it is NAME:ARCHITECTURE
    for file in "$1"/*.deb; do
        package=${file##*/}
        package=${package%%_*}
        [[ ! $package =~ ^($LIFTED_HOLDS)$ ]] || continue
        grep -qxF -e "$package" <<<"$held" || continue
        # What was brought along by an earlier try, and is held again since, is not changed once more.
        [[ $(installed_version "$package") == "$(dpkg-deb -f "$file" Version)" ]] || found+=("$package")
    done
    ((${#found[@]} == 0)) ||
        die "$EX_PACKAGE_HELD" "held on this node, and the target's packages need another version of it: ${found[*]}"
}

remember_holds() {
    local held
    held=$(held_packages) || exit "$?"
    {
        [[ ! -e $HELD_FILE ]] || cat "$HELD_FILE"
        grep -xE "$LIFTED_HOLDS" <<<"$held" || (($? == 1)) # 1: none is held
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
