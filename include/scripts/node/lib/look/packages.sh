#!/bin/bash
# How apt and dpkg are. Sourced after common.sh. Lines: kind TAB fields; the last one is `end`.

readonly DPKG_DIR=$FS_ROOT/var/lib/dpkg

look_packages() {
    local locks states
    locks=$(cat /proc/locks)
    held_locks "$locks"
    states=$(package_states)
    [[ -n $states ]] # no package at all is no answer: dpkg's database is not where it was looked for
    awk -F '\t' -v OFS='\t' '
        $4 == "reinstreq" {print "broken", $1, "reinst-required"; next}
        $3 ~ /^(half-installed|unpacked|half-configured|triggers-awaited|triggers-pending)$/ {print "broken", $1, $3}
        $2 == "hold" {print "held", $1}' <<<"$states"
    # dpkg writes a journal of numbered files; other names there are leftovers that it ignores.
    [[ -z $(find "$DPKG_DIR/updates" -maxdepth 1 -name '[0-9]*' -print -quit) ]] || printf 'journal\tupdates\n'
    # The service of unattended-upgrades waits for the machine's shutdown all day: that one is no upgrade.
    pgrep -a -f '^(/usr/bin/)?(python3? )?(/usr/bin/)?unattended-upgrades?( |$)' | sed 's/^/unattended\t/' || true
    wanted_reboot
    echo end
}

# package_states: name TAB want TAB status TAB flag of every package dpkg knows.
package_states() {
    dpkg-query --admindir="$DPKG_DIR" -W \
        -f '${binary:Package}\t${db:Status-Want}\t${db:Status-Status}\t${db:Status-Eflag}\n'
}

# held_locks LOCKS: `lock TAB pid TAB seconds TAB file TAB command` of whoever holds a lock of dpkg. LOCKS is /proc/locks, where
# a lock shows by its inode only; that the holder has the file open tells it from a file of another disk.
held_locks() {
    local file inode pid seconds command
    for file in "$DPKG_DIR/lock-frontend" "$DPKG_DIR/lock"; do
        [[ -e $file ]] || continue
        inode=$(stat -c %i "$file")
        while IFS= read -r pid; do
            # Whoever has ended meanwhile holds nothing.
            has_open "$pid" "$file" || continue
            seconds=$(ps -o etimes= -p "$pid") || continue
            command=$(tr '\0\t\n' '   ' <"/proc/$pid/cmdline") || continue
            printf 'lock\t%s\t%s\t%s\t%s\n' "$pid" "${seconds// /}" "${file#"$FS_ROOT"}" "$command"
        done < <(awk -v inode=":$inode\$" '$2 == "POSIX" && $6 ~ inode {print $5}' <<<"$1" | sort -u)
    done
}

# has_open PID FILE
has_open() {
    local descriptor
    for descriptor in "/proc/$1/fd"/*; do
        [[ ! $descriptor -ef $2 ]] || return 0
    done
    return 1
}

wanted_reboot() {
    [[ -e $FS_ROOT/run/reboot-required ]] || return 0
    printf 'reboot\tyes\n'
    [[ ! -f $FS_ROOT/run/reboot-required.pkgs ]] || sed 's/^/reboot-package\t/' "$FS_ROOT/run/reboot-required.pkgs"
}
