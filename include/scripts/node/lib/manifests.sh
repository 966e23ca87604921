#!/bin/bash
# Manifests of images, from the registry or mirror that containerd is told to use; nothing is pulled.
# Sourced by nightshift-node after common.sh.

readonly MANIFEST_SECONDS=5
readonly MANIFEST_BYTES=1048576
readonly MANIFEST_ACCEPT='application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json'

# image_manifests IMAGE…: lines `IMAGE TAB HTTP status TAB base64`, in no order; status 000 when nothing answered.
image_manifests() {
    local image
    for image in "$@"; do
        image_manifest "$image" &
    done
    wait
}

# image_manifest IMAGE: name:tag or name@digest, asked of each server in the runtime's order until one has it.
image_manifest() {
    local registry=${1%%/*} path=${1#*/} wanted server answer status=000 body
    if [[ $path == *@* ]]; then
        wanted=${path#*@} path=${path%%@*}
    else
        wanted=${path##*:} path=${path%:*}
    fi
    body=$(mktemp)
    while IFS= read -r server; do
        [[ $server == */v2 || $server == */v2/* ]] || server=${server%/}/v2
        # Whom to trust is the runtime's business; sizes alone are read here, hence --insecure.
        answer=$(curl -sS -L --insecure --proto '=http,https' --max-time "$MANIFEST_SECONDS" --max-filesize "$MANIFEST_BYTES" \
            -H "Accept: $MANIFEST_ACCEPT" -o "$body" -w '%{http_code}' "$server/$path/manifests/$wanted" 2>/dev/null) || answer=000
        [[ $status != 000 && $answer == 000 ]] || status=$answer
        [[ $answer != 200 ]] || break
    done < <(manifest_servers "$registry")
    [[ $status == 200 ]] || : >"$body"
    printf '%s\t%s\t%s\n' "$1" "$status" "$(base64 -w0 <"$body")"
    rm -f "$body"
}

# manifest_servers REGISTRY: addresses that containerd asks for images of that registry, in its order.
manifest_servers() {
    local directory=$FS_ROOT/etc/containerd/certs.d file server=
    for file in "$directory/$1/hosts.toml" "$directory/_default/hosts.toml"; do
        if [[ -f $file ]]; then
            sed -nE 's/^[[:space:]]*\[host\."([^"]+)"\].*/\1/p' "$file"
            server=$(sed -nE 's/^[[:space:]]*server[[:space:]]*=[[:space:]]*"([^"]+)".*/\1/p' "$file")
            break
        fi
    done
    echo "${server:-https://$1}"
}
