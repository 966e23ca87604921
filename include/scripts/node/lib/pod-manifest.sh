#!/bin/bash
# A static pod's manifest as kubeadm writes it, read without a YAML parser, which no node need have.
# Sourced after common.sh.

# manifest_items FILE CONTAINER: lines of words with tabs between: `argument VALUE`, `image VALUE`, `env NAME VALUE`,
# `mount VOLUME PATH SUBPATH` of that container, `volume NAME KIND PATH TYPE` of the pod. `unread LINE` for a value in
# a form that kubeadm does not write: then the manifest is not understood.
manifest_items() {
    awk -v wanted="$2" '
    function scalar(text,    quote, i, c, out) {
        sub(/[ \t]+$/, "", text)
        quote = substr(text, 1, 1)
        if (quote == "|" || quote == ">" || quote == "&" || quote == "*" || quote == "!" || quote == "{") unread(text)
        if (quote != "\"" && quote != "\047") return text == "null" ? "" : text
        if (length(text) < 2 || substr(text, length(text), 1) != quote) unread(text)
        text = substr(text, 2, length(text) - 2)
        out = ""
        for (i = 1; i <= length(text); i++) {
            c = substr(text, i, 1)
            if (quote == "\047" && c == "\047") i++
            if (quote == "\"" && c == "\\") {
                c = substr(text, ++i, 1)
                if (c != "\"" && c != "\\" && c != "/") unread(text)
            }
            out = out c
        }
        return out
    }
    function unread(text) { items = items "unread\t" text "\n"; volumes = volumes "unread\t" text "\n" }
    function value(text) { sub(/^ *[A-Za-z]+: ?/, "", text); return scalar(text) }
    function end_item() {
        if (has_word) items = items "argument\t" scalar(word) "\n"
        if (field == "env" && name != "") items = items "env\t" name "\t" given "\n"
        if (field == "volumeMounts" && path != "") items = items "mount\t" name "\t" path "\t" subpath "\n"
        has_word = 0; word = name = given = path = subpath = ""
    }
    function end_container() {
        end_item()
        if (container == wanted) printf "%s", items
        items = container = field = ""
    }
    function end_volume() {
        if (volume != "") volumes = volumes "volume\t" volume "\t" kind "\t" path "\t" type "\n"
        volume = kind = path = type = ""
    }
    function end_part() {
        if (part == "containers:") end_container()
        if (part == "volumes:") end_volume()
    }
    /^ *#/ || /^ *$/ {next}
    /^[A-Za-z]/ {end_part(); top = $1; part = ""; next}
    top != "spec:" {next}
    /^  [A-Za-z]/ {end_part(); part = $1; next}
    part == "containers:" {
        if (/^  - /) {end_container(); sub(/^  - /, "    ")}
        if (/^    [A-Za-z]/) {
            end_item()
            field = $1
            sub(/:$/, "", field)
            if (field == "name") container = value($0)
            if (field == "image") items = items "image\t" value($0) "\n"
            next
        }
        if (/^    - /) {
            end_item()
            sub(/^    - /, "      ")
            if (field == "command" || field == "args") {word = substr($0, 7); has_word = 1; next}
        } else if (has_word && /^      /) { # a long one, folded
            text = $0
            sub(/^ +/, "", text)
            word = word " " text
            next
        }
        if (field == "env" || field == "volumeMounts") {
            if (/^      name:/) name = value($0)
            if (/^      value:/) given = value($0)
            if (/^      valueFrom:/) unread($0)
            if (/^      mountPath:/) path = value($0)
            if (/^      subPath:/) subpath = value($0)
        }
        next
    }
    part == "volumes:" {
        if (/^  - /) {end_volume(); sub(/^  - /, "    ")}
        if (/^    name:/) volume = value($0)
        else if (/^    [A-Za-z]/) {kind = $1; sub(/:$/, "", kind)}
        if (/^      path:/) path = value($0)
        if (/^      type:/) type = value($0)
    }
    END {
        end_part()
        printf "%s", volumes
    }' "$1"
}
