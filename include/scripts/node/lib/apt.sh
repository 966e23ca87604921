#!/bin/bash
# apt beside the live one: own sources, own lists, own archives, the live keyring. Nothing of the node's apt
# configuration or lists is changed here. Sourced after common.sh, and holds.sh to install; the caller sets APT_PRIVATE to a directory.
# shellcheck disable=SC2034  # APT_OPTIONS is used by the sourcing scripts

# shellcheck source=SCRIPTDIR/look/packages.sh
. "$NIGHTSHIFT_ROOT/lib/look/packages.sh" # who holds dpkg's lock

umask 022 # files of packages, of kubeadm and of apt's unprivileged user get the modes they ask for
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
readonly APT_SOURCES_DIR=$FS_ROOT/etc/apt
readonly REPOSITORY_PATTERN='/v1\.[0-9]+/deb/*$' # how every kubernetes package repository's address ends
readonly OTHER_PATTERN='cri-?o'                   # CRI-O publishes beside kubernetes, under addresses of the same form
readonly DPKG_LOCK=(-o DPkg::Lock::Timeout=300)   # seconds; apt's own default is to fail at once
APT_OPTIONS=()

# apt_sources: every address that is in use, one per line:
# FILE TAB first line of its entry TAB its last TAB the line the address stands on TAB address.
apt_sources() {
    local file
    for file in "$APT_SOURCES_DIR/sources.list" "$APT_SOURCES_DIR"/sources.list.d/*.list; do
        [[ ! -f $file ]] || awk -v OFS='\t' '/^[ \t]*deb[ \t]/ {
            sub(/^[ \t]*deb[ \t]+(\[[^]]*\])?/, "")
            print FILENAME, NR, NR, NR, $1
        }' "$file"
    done
    for file in "$APT_SOURCES_DIR"/sources.list.d/*.sources; do
        [[ ! -f $file ]] || stanza_addresses "$file"
    done
}

# stanza_addresses FILE: the same of a deb822 file, where an entry is a stanza and may name several addresses.
stanza_addresses() {
    awk -v OFS='\t' '
        function finish(i) {
            for (i = 1; i <= count && !disabled; i++) print FILENAME, first, last, at[i], address[i]
            first = count = disabled = 0
        }
        /^[ \t]*$/ {finish(); next}
        /^#/ {next}
        {
            first = first ? first : NR
            last = NR
        }
        /^[^ \t]/ { # not so for a continuation line, which belongs to the field before it
            field = tolower($0)
            sub(/:.*/, "", field)
            sub(/^[^:]*:/, "")
        }
        field == "enabled" && tolower($1) ~ /^(no|false|without|off|disable|0)$/ {disabled = 1}
        field == "uris" {
            for (i = 1; i <= NF; i++) {
                address[++count] = $i
                at[count] = NR
            }
        }
        END {finish()}' "$1"
}

# live_source BASE_URL: the node's own kubernetes source, as apt_sources writes it; nothing when there is none.
# A node may use a mirror of its own: when no source is of BASE_URL, the first that is not another project's.
live_source() {
    local base=${1%/} source address path other=
    while IFS= read -r source; do
        address=${source##*$'\t'}
        [[ $address =~ $REPOSITORY_PATTERN ]] || continue
        if [[ ${address%/v1.*} == "$base" ]]; then
            echo "$source"
            return 0
        fi
        path=${address#*://*/}
        [[ -n $other || $path =~ $OTHER_PATTERN ]] || other=$source
    done <<<"$(apt_sources)"
    [[ -z $other ]] || echo "$other"
}

# live_keyring SOURCE: path of the keyring that signs this source; an inline key is written to APT_PRIVATE first.
live_keyring() {
    local file first last entry
    IFS=$'\t' read -r file first last _ <<<"$1"
    entry=$(sed -n "$first,${last}p" "$file")
    if [[ $file != *.sources ]]; then
        sed -nE 's/^[^]]*signed-by=([^] ]+).*/\1/p' <<<"$entry"
    elif grep -qE '^Signed-By: *[^ ]' <<<"$entry"; then
        sed -nE 's/^Signed-By: *([^ ]+).*/\1/p' <<<"$entry"
    elif grep -q '^Signed-By:' <<<"$entry"; then
        # deb822: continuation lines are indented, an empty line is written as " ."
        awk '/^Signed-By:/ {inside = 1; next} /^[^ ]/ {inside = 0} inside {sub(/^ /, ""); sub(/^\.$/, ""); print}' \
            <<<"$entry" >"$APT_PRIVATE/keyring.asc"
        echo "$APT_PRIVATE/keyring.asc"
    fi
}

# private_apt MINOR BASE_URL: describe that minor's repository, with the node's own keyring, in APT_PRIVATE and set APT_OPTIONS.
# Leaves with REPOSITORY_REFUSED when the node has no source to take the keyring from.
private_apt() {
    local minor=$1 url=${2%/} source keyring
    [[ $minor =~ ^1\.[0-9]+$ ]] || die "$EX_USAGE" "no minor: '$minor'"
    chmod 755 "$APT_PRIVATE" # apt's unprivileged download user has to get in
    mkdir -m 755 "$APT_PRIVATE/lists" "$APT_PRIVATE/archives"
    source=$(live_source "$url")
    [[ -n $source ]] || die "$EX_REPOSITORY_REFUSED" "no kubernetes source in $APT_SOURCES_DIR to take the keyring from"
    keyring=$(live_keyring "$source")
    printf 'deb %s%s/v%s/deb/ /\n' "${keyring:+[signed-by=$keyring] }" "$url" "$minor" >"$APT_PRIVATE/sources.list"
    APT_OPTIONS=(
        -o Dir::Etc::sourcelist="$APT_PRIVATE/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o Dir::State::lists="$APT_PRIVATE/lists" -o Dir::Cache::archives="$APT_PRIVATE/archives"
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=
        -o APT::Update::Error-Mode=any -o Acquire::Languages=none -o Acquire::Retries=2
        -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20
    )
    chmod 644 "$APT_PRIVATE/sources.list"
}

# private_apt_update MINOR BASE_URL: fetch and verify that minor's index into APT_PRIVATE and set APT_OPTIONS.
# Leaves with ABSENT when the repository answers and has no such minor, REPOSITORY_REFUSED for all other failures.
private_apt_update() {
    local minor=$1 url=${2%/} output code=0
    private_apt "$minor" "$url"
    output=$(apt-get "${APT_OPTIONS[@]}" update 2>&1) || code=$?
    ((code != 0)) || return 0
    say "$output"
    if minor_is_absent "$url" "$minor" "$output"; then
        die "$EX_ABSENT" "the repository at $url has no minor $minor"
    fi
    die "$EX_REPOSITORY_REFUSED" "apt ended with exit code $code: $(grep -m 1 '^E:' <<<"$output" || echo "$output" | tail -n 1)"
}

# minor_is_absent URL MINOR OUTPUT: 404, or a 403 (as object stores say it) while the minor this node lives on is
# offered at the same address. Anything else is "could not know".
minor_is_absent() {
    local live
    ! grep -qE ' 404 ' <<<"$3" || return 0
    grep -qE ' 403 ' <<<"$3" || return 1
    live=$(dpkg-query -W -f '${Version}' kubeadm 2>/dev/null | grep -oE '^1\.[0-9]+') || return 1
    [[ $live != "$2" ]] && curl -fsSL --max-time 20 -o /dev/null "$1/v$live/deb/InRelease"
}

# installed_version PACKAGE: empty when it is not installed.
installed_version() {
    dpkg-query -W -f '${db:Status-Status} ${Version}\n' "$1" 2>/dev/null | sed -n 's/^installed //p'
}

# is_known PACKAGE: the node has it, be it half installed: an interrupted package is no absent one.
is_known() {
    local state
    state=$(dpkg-query -W -f '${db:Status-Status} ${Version}\n' "$1" 2>/dev/null) || return 1
    [[ -n $state && $state != not-installed* && $state != config-files* ]]
}

# is_half_installed PACKAGE…: one of them is.
is_half_installed() {
    local package
    for package in "$@"; do
        if is_known "$package" && [[ -z $(installed_version "$package") ]]; then
            return 0
        fi
    done
    return 1
}

# node_packages: what this node is upgraded with, one per line; kubectl only where it is installed.
node_packages() {
    printf '%s\n' kubeadm kubelet
    ! is_known kubectl || echo kubectl
}

# offered_versions PACKAGE…: versions in which the private index has all of these packages, newest first. A mirror
# that was copied half way offers a kubeadm without its kubelet: that version is not there yet.
offered_versions() {
    apt-cache "${APT_OPTIONS[@]}" madison "$@" |
        awk -F ' *[|] *' -v wanted="$#" 'NF > 1 && !seen[$1, $2]++ && ++found[$2] == wanted {print $2}'
}

# staged_directory VERSION: where the packages of that version (with or without package revision) lie, complete.
staged_directory() {
    local mark
    mark=$(find "$PACKAGES_DIR" -mindepth 2 -maxdepth 2 -name STAGED \
        \( -path "$PACKAGES_DIR/$1/*" -o -path "$PACKAGES_DIR/$1-*/*" \) -printf '%T@ %h\n' 2>/dev/null | sort -n | tail -n 1)
    [[ -n $mark ]] || return 1
    echo "${mark#* }"
}

# install_staged DIRECTORY PACKAGE…: install exactly the staged files; other staged files are their dependencies.
install_staged() {
    local directory=$1 package files=() anew=()
    shift
    (cd "$directory" && sha256sum --quiet --strict -c SHA256SUMS) ||
        die "$EX_NOT_STAGED" "the staged packages in $directory were changed"
    for package in "$@"; do
        files+=("$directory/${package}"_*.deb)
    done
    mapfile -t -O "${#files[@]}" files < <(
        find "$directory" -name '*.deb' ! -name 'kubeadm_*' ! -name 'kubelet_*' ! -name 'kubectl_*'
    )
    remember_holds
    mend_dpkg
    # To apt a package of that version is there, be it half installed: it ends well and does nothing (seen with 2.6.1).
    ! is_half_installed "$@" || anew=(--reinstall)
    apt-get install -y "${anew[@]}" --no-install-recommends --no-remove --allow-change-held-packages \
        "${DPKG_LOCK[@]}" -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold \
        "${files[@]}" </dev/null || refuse_installation "${files[@]}"
    ! is_half_installed "$@" || die "$EX_INSTALL_FAILED" "apt-get ended well and left half installed what is one of: $*"
    # It fails at once when somebody has taken dpkg's lock meanwhile: no reason to stop between kubeadm's package and kubeadm.
    restore_holds || say "the holds in $HELD_FILE could not be set again yet"
}

# refuse_installation FILE…: apt has failed. It waits for dpkg's lock by itself: who has it now is why.
refuse_installation() {
    local holder
    holder=$(dpkg_holder)
    [[ -z $holder ]] || refuse_held_dpkg "$holder"
    die "$EX_INSTALL_FAILED" "apt-get could not install: $*"
}

# mend_dpkg: a power loss inside dpkg leaves a journal and half installed packages; nothing can be installed before
# they are brought to their end. Whoever is at work leaves the same on the way, which is not ours to judge.
mend_dpkg() {
    wait_for_dpkg
    while is_interrupted; do
        echo "found: dpkg was interrupted; it is brought to its end first"
        if dpkg --configure -a --force-confold; then
            say_what_is_left
            return 0
        fi
        # dpkg itself waits for nobody: somebody may have taken the lock since it was looked at.
        [[ -n $(dpkg_holder) ]] || die "$EX_INSTALL_FAILED" "dpkg --configure -a failed"
        wait_for_dpkg
    done
}

# say_what_is_left: dpkg ends well over packages that are half installed or have to be reinstalled, and does nothing about
# them (seen with 1.21.22). No reason to stop: apt, given the file of such a package, installs it anew when it is told to.
say_what_is_left() {
    local left
    left=$(dpkg --audit | sed -nE 's/^ ([^ ]+).*/\1/p' | sort -u)
    [[ -z $left ]] || echo "found: dpkg --configure -a does nothing about ${left//$'\n'/, }: they have to be installed anew"
}

is_interrupted() {
    [[ -n $(ls -A "$DPKG_DIR/updates") || -n $(dpkg --audit) ]]
}

# wait_for_dpkg: until nobody holds dpkg's lock, as long as apt waits for it.
wait_for_dpkg() {
    local limit=${DPKG_LOCK[1]#*=} end holder
    end=$((SECONDS + limit))
    holder=$(dpkg_holder)
    [[ -z $holder ]] || echo "found: somebody else installs packages here; that is waited for, up to $limit s: $holder"
    while [[ -n $holder ]]; do
        ((SECONDS < end)) || refuse_held_dpkg "$holder"
        sleep 1
        holder=$(dpkg_holder)
    done
}

# refuse_held_dpkg HOLDER
refuse_held_dpkg() {
    die "$EX_DPKG_BUSY" "Could not get lock $DPKG_DIR/lock-frontend within ${DPKG_LOCK[1]#*=} s. It is held by $1"
}

# dpkg_holder: who holds dpkg's lock, "process PID (COMMAND)"; nothing when nobody does.
dpkg_holder() {
    held_locks "$(cat /proc/locks)" | awk -F '\t' 'NR == 1 {sub(/ +$/, "", $5); print "process " $2 " (" $5 ")"}'
}
