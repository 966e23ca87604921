#!/bin/bash
# Everything that an API server serves, listed page by page. Sourced after common.sh and rehearsal.sh; the caller sets
# `server`, its address, VERSION and LOG. No JSON is parsed: the API server writes fields in one order, and what is counted must agree.
# shellcheck disable=SC2153,SC2154  # server and VERSION, and what one function sets for the next

answer=$REHEARSAL_DIR/answer

readonly PAGE=250          # objects; most are small, a Secret has up to 1 MiB
readonly REQUEST_SECONDS=60
readonly SETTLING_SECONDS=20 # a fresh API server forgets stale APIs and learns its roles only some seconds after it is ready
readonly TRIES=3

# server_address ARGUMENT…: where it listens in its own network.
server_address() {
    local address port
    address=$(flag_value bind-address "$@")
    port=$(flag_value secure-port "$@")
    case $address in
        '' | 0.0.0.0 | ::) address=127.0.0.1 ;;
        *:*) address="[$address]" ;;
    esac
    echo "https://$address:${port:-6443}"
}

# request PATH [OPTION…]: for curl itself, the API server would write JSON over many lines.
request() {
    local path=$1
    shift
    curl -q -sS --max-time "$REQUEST_SECONDS" --noproxy '*' --insecure --user-agent nightshift "$@" \
        --cert "$REHEARSAL_DIR/client.crt" --key "$REHEARSAL_DIR/client.key" "$server$path"
}

# ask PATH: sets status and leaves the answer's body in the file `answer`; fails unless it is a whole 200.
ask() {
    rm -f "$answer" # curl leaves it as it was when nobody answers
    status=$(request "$1" --output "$answer" --write-out '%{http_code}' 2>"$REHEARSAL_DIR/curl.log") || status=000
    [[ $status == 200 ]]
}

# ask_again PATH: the same for what must be there, tried again: what a busy node is too slow for says nothing about the target.
ask_again() {
    local try
    for ((try = 1; ; try++)); do
        ! ask "$1" || return 0
        require_alive "when it was asked for $1"
        ((try < TRIES)) || break
        sleep 1
    done
    require_room
    rehearsal_failed "the target kube-apiserver $VERSION does not answer $1: $(said_in "$answer")" "$LOG"
}

# ask_head PATH: sets status, head and end: the first and the last KiBs of the answer; what is in between is read and
# forgotten, as it may be large. status is 000 for an answer that was cut off.
ask_head() {
    local file=$REHEARSAL_DIR/head codes=(0)
    request "$1" --write-out '%{http_code}' 2>"$REHEARSAL_DIR/curl.log" |
        { head -c 8192 >"$file" && tail -c 8192 >"$file.rest"; } || codes=("${PIPESTATUS[@]}")
    head=$(tr -d '\0' <"$file")
    end=$(cat "$file" "$file.rest" | tail -c 8192 | tr -d '\0')
    status=${end: -3}
    end=${end%???}
    [[ -s $file.rest ]] || head=${head%???}
    ((codes[0] == 0)) || status=000
}

# said_in FILE: what the API server says in its Status there, or else what curl says.
said_in() {
    local message
    message=$(head -c 8192 "$1" 2>/dev/null | tr -d '\0' | grep -oE '"message":"([^"\\]|\\.)*"' | head -n 1) || true
    message=${message#*:\"}
    message=${message%\"}
    message=${message//\\\"/\"}
    [[ -n $message ]] || message=$(tail -n 1 "$REHEARSAL_DIR/curl.log")
    echo "HTTP $status${message:+: ${message:0:600}}"
}

# list_served DEADLINE: sets listed, versions, and the arrays failures and left_out. DEADLINE is in SECONDS.
list_served() {
    local deadline=$1 version name served=()
    settled=$((SECONDS + SETTLING_SECONDS))
    listed=0 versions=0 failures=() left_out=()
    served_versions
    aggregated=$(aggregated_versions) converted=$(webhook_converted)
    for version in $group_versions; do
        if grep -qxF "$version" <<<"$aggregated"; then
            left_out+=("$version: another server answers for it")
            continue
        fi
        discover "$version" || continue
        versions=$((versions + 1))
        [[ -z $names ]] || served+=("$version")
        for name in $names; do
            ((SECONDS < deadline)) || not_rehearsed "there is more to list than the time allows; $listed resources were listed, all of them well"
            list_resource "$version" "$name"
        done
    done
    # What every API server serves. Without it, what was listed is no proof of anything.
    for version in v1 apps/v1; do
        [[ " ${served[*]} " == *" $version "* || " ${failures[*]}" == *" $version"* ]] ||
            failures+=("$version: it is not served")
    done
}

# served_versions: sets group_versions: "v1", then each "GROUP/VERSION"; and leaves what other servers answer for and what
# webhooks convert in files.
served_versions() {
    ask_again /apis
    group_versions=$({ echo v1 && { grep -oE '"groupVersion":"[^"]+"' "$answer" || true; } | cut -d'"' -f4; } | awk '!seen[$0]++')
    ask_again /apis/apiregistration.k8s.io/v1/apiservices
    mv "$answer" "$REHEARSAL_DIR/apiservices"
    ask_again /apis/apiextensions.k8s.io/v1/customresourcedefinitions
    mv "$answer" "$REHEARSAL_DIR/definitions"
}

# api_path GROUP_VERSION
api_path() {
    if [[ $1 == */* ]]; then
        echo "/apis/$1"
    else
        echo "/api/$1"
    fi
}

# aggregated_versions: those that other servers answer for, which are not here.
aggregated_versions() {
    { grep -oE '"spec":\{"service":\{[^}]*\},"group":"[^"]*","version":"[^"]*"' "$REHEARSAL_DIR/apiservices" || true; } |
        sed -E 's|.*"group":"([^"]*)","version":"([^"]*)"|\1/\2|'
}

# webhook_converted: custom resources, PLURAL.GROUP, that a webhook converts, which nobody answers for here.
webhook_converted() {
    tr '{' '\n' <"$REHEARSAL_DIR/definitions" | awk -F '"' '
        /^"group":"[^"]*","names":$/ {group = $4}
        /^"plural":"/ {plural = $4}
        /^"strategy":"Webhook"/ {print plural "." group}'
}

# discover GROUP_VERSION: sets names, those of its resources that can be listed. Fails when there is nothing to list: it was
# deleted meanwhile, which is left out, or it cannot be discovered, which is a failure.
discover() {
    local try entries message
    names=
    for ((try = 1; ; try++)); do
        ! ask "$(api_path "$1")" || break
        if ((try >= TRIES && SECONDS >= settled)); then
            message=$(said_in "$answer")
            # An API of an older version stands in etcd until the API server has looked it through.
            if [[ $status == 404 && $1 == */* ]] && ask_again /apis && ! grep -qF "\"groupVersion\":\"$1\"" "$answer"; then
                left_out+=("$1: an API that is not served any more")
            else
                failures+=("$1 (it cannot be discovered): $message")
            fi
            return 1
        fi
        require_alive "when the resources of $1 were asked for"
        sleep 1
    done
    entries=$(grep -oE '"name":"[^"]+","singularName":"[^"]*","namespaced":(true|false)(,"group":"[^"]*")?(,"version":"[^"]*")?,"kind":"[^"]*","verbs":\[[^]]*\]' "$answer") || true
    if [[ -z $entries ]]; then
        grep -qF '"resources":[]' "$answer"
    else
        [[ $(grep -o '"verbs":\[' "$answer" | wc -l) == $(grep -c . <<<"$entries") ]]
    fi || not_rehearsed "the resources of $1 are not written as expected"
    names=$({ grep -E '"verbs":\[[^]]*"list"' <<<"$entries" || true; } | cut -d'"' -f4)
}

# list_resource GROUP_VERSION NAME: every page of it; tried again, for a fresh API server is not settled yet.
list_resource() {
    local try code
    for ((try = 1; ; try++)); do
        code=0
        list_pages "$(api_path "$1")/$2" || code=$?
        case $code in
            0)
                listed=$((listed + 1))
                return 0
                ;;
            2) not_rehearsed "the list of $1 $2 is not written as expected" ;;
        esac
        if [[ $1 == */* ]] && grep -qxF "$2.${1%/*}" <<<"$converted"; then
            left_out+=("$1 $2: a webhook converts it")
            return 0
        fi
        # An object that cannot be read stays so; other errors belong to an API server that has just started.
        ((try < TRIES)) || [[ $status != 500 && $SECONDS -lt $settled ]] || break
        require_alive "while $1 $2 were listed"
        sleep 1
    done
    printf '%s' "$head" >"$answer"
    code=$(said_in "$answer")
    failures+=("$1 $2 (HTTP $status$(place_of_failure "$(api_path "$1")/$2"))${code#HTTP "$status"}")
}

# place_of_failure PATH: which object it was, found one by one from where the page began that failed. The token of a page
# says after which object it begins.
place_of_failure() {
    local after try
    [[ $status == 500 ]] || return 0
    for ((try = 0; try < PAGE; try++)); do
        ask_head "$1?limit=1${page:+&continue=$page}"
        [[ $status == 200 ]] || break
        next_page || return 0
        [[ -n $page ]] || return 0
    done
    [[ -n $page ]] || { echo ", the first one" && return 0; }
    after=$(tr '_-' '/+' <<<"$page==" | base64 -d 2>/dev/null | tr -d '\0' | grep -oE '"start":"[^"\\]*' | cut -d'"' -f4) || true
    echo ", the one after $after"
}

# list_pages PATH: 1: a page that is not answered with 200; status, head and page are of that one. 2: one that is not understood.
list_pages() {
    page=
    while :; do
        ask_head "$1?limit=$PAGE${page:+&continue=$page}"
        [[ $status == 200 ]] || return 1
        next_page || return 2
        [[ -n $page ]] || return 0
    done
}

# next_page: sets page to the token that the answer gives for the next one; empty: it was the last. Built-in lists begin with
# their metadata; those of custom resources have their fields in alphabetical order, so it is the last.
next_page() {
    local metadata
    if [[ $head == '{"kind":"'* ]]; then
        metadata=$(grep -oE '^\{"kind":"[^"]*","apiVersion":"[^"]*","metadata":\{[^}]*\}' <<<"$head") || return 1
    elif [[ $head == '{"apiVersion":"'* ]]; then
        metadata=$(grep -oE '"kind":"[^"]*","metadata":\{[^{}]*\}\}$' <<<"$end") || return 1
    else
        return 1
    fi
    page=$(grep -oE '"continue":"[^"]+"' <<<"$metadata" | cut -d'"' -f4) || true
}
