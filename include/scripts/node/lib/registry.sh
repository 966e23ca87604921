#!/bin/bash
# Where containerd asks for an image: its name taken apart, the registry's servers and mirrors in containerd's order, and the
# proxies on the way. Nothing is asked here. Sourced after common.sh.

# shellcheck disable=SC2034  # for those who ask: what a manifest may be
readonly REGISTRY_ACCEPT='application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json'

# image_parts IMAGE: one line `registry path reference`; the reference is the digest, the tag or "latest".
image_parts() {
    local registry path=$1 reference=latest
    registry=$(image_registry "$1")
    path=${path#"$registry"/}
    [[ $registry != docker.io || $path == */* ]] || path=library/$path
    [[ $path != *@* ]] || reference=${path##*@}
    path=${path%@*}
    if [[ ${path##*/} == *:* ]]; then
        [[ $reference != latest ]] || reference=${path##*:}
        path=${path%:*}
    fi
    echo "$registry $path $reference"
}

# image_registry IMAGE: the host in front; a name without one is Docker's.
image_registry() {
    local first=${1%%/*}
    if [[ $1 == */* && ($first == *.* || $first == *:* || $first == localhost) ]]; then
        echo "$first"
    else
        echo docker.io
    fi
}

# registry_servers REGISTRY: API roots ("https://r.example/v2") containerd asks for images of that registry, in its order; the
# last is the registry.
registry_servers() {
    local server
    while IFS= read -r server; do
        [[ $server != https://docker.io ]] || server=https://registry-1.docker.io
        [[ $server == */v2 || $server == */v2/* ]] || server=${server%/}/v2
        echo "$server"
    done < <(configured_servers "$1")
}

# configured_servers REGISTRY: as they are written down.
configured_servers() {
    local directory=$FS_ROOT/etc/containerd/certs.d config=$FS_ROOT/etc/containerd/config.toml file server=
    for file in "$directory/$1/hosts.toml" "$directory/_default/hosts.toml"; do
        if [[ -f $file ]]; then
            sed -nE 's/^[[:space:]]*\[host\."([^"]+)"\].*/\1/p' "$file"
            server=$(sed -nE 's/^[[:space:]]*server[[:space:]]*=[[:space:]]*"([^"]+)".*/\1/p' "$file")
            break
        fi
    done
    # The older form: [plugins."…cri".registry.mirrors."REGISTRY"] with a line of endpoints.
    [[ ! -f $config ]] || awk -v wanted="registry.mirrors.\"$1\"]" '
        /^[ \t]*\[/ {inside = index($0, wanted)}
        inside && /^[ \t]*endpoint/ {while (match($0, /https?:[^"]+/)) {
            print substr($0, RSTART, RLENGTH)
            $0 = substr($0, RSTART + RLENGTH)
        }}' "$config"
    echo "${server:-https://$1}"
}

# runtime_proxies: NAME=VALUE lines for curl, as the container runtime has them.
runtime_proxies() {
    systemctl show --property=Environment containerd.service crio.service 2>/dev/null |
        grep -oiE '(https?|no)_proxy=[^ ]+' | sed -E 's/^[A-Za-z_]+/\L&/'
}
