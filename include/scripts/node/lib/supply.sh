#!/bin/bash
# Is there what an upgrade will download? Asked with the node's own keyring, proxies and registry mirrors; nothing is
# downloaded but the repository's index, into a directory of its own. Lines: kind TAB name TAB state TAB detail, the last one
# is `end`. States: found, missing (it answers and has none), refused (wrong signature; a login is wanted; apt would
# not install them), away (no answer).
# Sourced after common.sh, apt.sh and registry.sh; the caller sets APT_PRIVATE.

readonly SUPPLY_INDEX_SECONDS=6
readonly SUPPLY_ASK_SECONDS=5
readonly SIGNATURE_PATTERN='NO_PUBKEY|BADSIG|EXPKEYSIG|KEYEXPIRED|REVKEYSIG|is not signed|signatures? (couldn.t be verified|were invalid)|not valid for use|Clearsigned file|Missing key|Signing key'

# supply_answer KIND NAME STATE DETAIL: one line, whatever DETAIL holds.
supply_answer() {
    local detail=${4//[[:cntrl:]]/ }
    printf '%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "${detail:0:300}"
}

# ask_supply MINOR VERSION BASE_URL IMAGE…: VERSION "-" asks for the repository only.
ask_supply() {
    local minor=$1 version=$2 base=$3 image number=0
    shift 3
    ask_packages "$minor" "$version" "$base" >"$APT_PRIVATE/answer.packages" &
    for image in "$@"; do
        number=$((number + 1))
        ask_image "$image" >"$APT_PRIVATE/answer.image.$(printf '%03d' "$number")" &
    done
    wait
    if ! grep -q '^repository' "$APT_PRIVATE/answer.packages"; then
        no_answer "$minor" "$base"
    fi
    cat "$APT_PRIVATE"/answer.*
    echo end
}

# no_answer MINOR BASE_URL: apt could not even be asked.
no_answer() {
    if [[ -z $(live_source "${2%/}") ]]; then
        supply_answer repository "$1" refused "no kubernetes source in $APT_SOURCES_DIR to take the keyring from"
    else
        supply_answer repository "$1" away "the question ended before its answer"
    fi
}

# ask_packages MINOR VERSION BASE_URL
ask_packages() {
    local output code=0 package packages=()
    private_apt "$1" "$3"
    APT_OPTIONS+=(-o Acquire::Retries=0 -o Acquire::http::Timeout="$SUPPLY_ASK_SECONDS" -o Acquire::https::Timeout="$SUPPLY_ASK_SECONDS")
    output=$(timeout "$SUPPLY_INDEX_SECONDS" apt-get "${APT_OPTIONS[@]}" update 2>&1) || code=$?
    if ((code != 0)); then
        refused_index "$1" "$3" "$output"
        return 0
    fi
    supply_answer repository "$1" found "${3%/}/v$1/deb/"
    [[ $version != - ]] || return 0
    mapfile -t packages < <(node_packages)
    for package in "${packages[@]}"; do
        ask_package "$package" "$2" &
    done
    wait
    ask_dependencies "$2" "${packages[@]}"
}

# refused_index MINOR BASE_URL OUTPUT: why apt did not take the index.
refused_index() {
    local said state=away
    said=$(grep -m 1 -E "$SIGNATURE_PATTERN" <<<"$3" || grep -m 1 '^E:' <<<"$3" || tail -n 1 <<<"$3")
    if grep -qE "$SIGNATURE_PATTERN" <<<"$3"; then
        state=refused
    elif minor_is_absent "${2%/}" "$1" "$3"; then
        state=missing
    fi
    supply_answer repository "$1" "$state" "${said:-it did not answer within $SUPPLY_INDEX_SECONDS s}"
}

# ask_package PACKAGE VERSION: is it in the index, and is its file there?
ask_package() {
    local line
    if ! line=$(apt-get "${APT_OPTIONS[@]}" download --print-uris "$1=$2" 2>&1); then
        supply_answer package "$1=$2" missing "not in the repository's index"
        return 0
    fi
    ask_file "$1=$2" "$line"
}

# ask_dependencies VERSION PACKAGE…: what apt would fetch beside the packages, with the words that staging uses.
ask_dependencies() {
    local version=$1 line output package
    shift
    if ! output=$(apt-get "${APT_OPTIONS[@]}" install --print-uris -y --no-install-recommends --no-remove \
        --allow-change-held-packages "${@/%/=$version}" 2>&1); then
        refused_dependencies "$output" "$*"
        return 0
    fi
    while IFS= read -r line; do
        package=$(cut -d' ' -f2 <<<"$line")
        package=${package%%_*}
        [[ " $* " == *" $package "* ]] || ask_file "$package" "$line"
    done < <(grep "^'" <<<"$output")
}

# refused_dependencies OUTPUT PACKAGES: why apt would not install them. That one of the packages themselves is not in the
# index was told of it; that dpkg is half way is the finding of another gate.
refused_dependencies() {
    local name line unmet=() said
    ! grep -qE 'was not found|Unable to locate' <<<"$1" || return 0
    [[ -z $(dpkg --audit 2>/dev/null) ]] || return 0
    if ! grep -q 'fix-broken' <<<"$1"; then # else it is what the node already has that lacks something
        mapfile -t unmet < <(grep -E '(Pre-)?Depends: [^ ]+.* but ' <<<"$1")
    fi
    for line in "${unmet[@]}"; do
        name=$(sed -E 's/.*Depends: ([^ ]+).*/\1/' <<<"$line")
        supply_answer package "$name" missing "${line#"${line%%[! ]*}"}"
    done
    ((${#unmet[@]} == 0)) || return 0
    if said=$(grep -m 1 '^E:' <<<"$1"); then
        supply_answer package "$2" refused "$said"
    else
        supply_answer package "$2" away "apt ended without a word about it"
    fi
}

# ask_file NAME LINE: LINE is apt's: 'URI' file size hash.
ask_file() {
    local uri status
    uri=$(grep -m 1 -oE "^'[^']+'" <<<"$2" | tr -d "'")
    status=$(http_status "$(apt_proxies)" "$uri" --head)
    # A mirror may send on to a store whose address is good for GET only: then for the first byte.
    [[ $status != 403 && $status != 405 ]] || status=$(http_status "$(apt_proxies)" "$uri" --range 0-0)
    case $status in
        200 | 206) supply_answer package "$1" found "$uri" ;;
        403 | 404 | 410) supply_answer package "$1" missing "$uri answers $status" ;;
        *) supply_answer package "$1" away "$uri answers ${status/000/nothing}" ;;
    esac
}

# ask_image IMAGE: its manifest, in the first registry of the runtime's list that has it. One that wants a login counts most,
# for the runtime may have it; one that answers "no" counts more than one that does not answer: the runtime gets it from neither.
ask_image() {
    local image=$1 registry path reference server status said='' seen=''
    read -r registry path reference < <(image_parts "$image")
    while IFS= read -r server; do
        status=$(http_status "$(runtime_proxies)" "${server%/}/$path/manifests/$reference" --head --insecure)
        said+="${said:+, }$server answers ${status/000/nothing}"
        seen+=" $status"
        if [[ $status == 200 ]]; then
            supply_answer image "$image" found "$server"
            return 0
        fi
    done < <(registry_servers "$registry")
    case $seen in
        *' 401'* | *' 403'*) supply_answer image "$image" refused "$said" ;;
        *' 404'*) supply_answer image "$image" missing "$said" ;;
        *) supply_answer image "$image" away "$said" ;;
    esac
}

# http_status PROXIES URL OPTION…: of a request, redirects followed; 000 when nothing answers. An image is only looked
# for here: whom to trust is the runtime's business (--insecure).
http_status() {
    local wanted=$1 url=$2 proxies=()
    shift 2
    mapfile -t proxies < <(grep . <<<"$wanted")
    env "${proxies[@]}" curl -sS -L -o /dev/null -w '%{http_code}' --max-time "$SUPPLY_ASK_SECONDS" \
        -H "Accept: $REGISTRY_ACCEPT" "$@" "$url" 2>/dev/null || true
}

# apt_proxies: NAME=VALUE lines for curl, as apt has them.
apt_proxies() {
    apt-config dump 2>/dev/null | sed -nE 's/^Acquire::(https?)::Proxy "(.+)";$/\1_proxy=\2/p'
}
