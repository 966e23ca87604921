#!/bin/bash
# Manifests of images, from the registry or mirror that containerd is told to use; nothing is pulled.
# Sourced by nightshift-node after common.sh and registry.sh.

readonly MANIFEST_SECONDS=5
readonly MANIFEST_BYTES=1048576

# image_manifests IMAGE…: lines `IMAGE TAB HTTP status TAB base64`, in no order; status 000 when nothing answered.
image_manifests() {
    local image proxies=()
    mapfile -t proxies < <(runtime_proxies)
    for image in "$@"; do
        image_manifest "$image" &
    done
    wait
}

# image_manifest IMAGE: name:tag or name@digest, asked of each server in the runtime's order until one has it,
# through the caller's `proxies`.
image_manifest() {
    local registry path wanted server answer status=000 body
    read -r registry path wanted < <(image_parts "$1")
    body=$(mktemp)
    while IFS= read -r server; do
        # Whom to trust is the runtime's business; sizes alone are read here, hence --insecure.
        answer=$(env "${proxies[@]}" curl -sS -L --insecure --proto '=http,https' \
            --max-time "$MANIFEST_SECONDS" --max-filesize "$MANIFEST_BYTES" -H "Accept: $REGISTRY_ACCEPT" \
            -o "$body" -w '%{http_code}' "$server/$path/manifests/$wanted" 2>/dev/null) || answer=000
        [[ $status != 000 && $answer == 000 ]] || status=$answer
        [[ $answer != 200 ]] || break
    done < <(registry_servers "$registry")
    [[ $status == 200 ]] || : >"$body"
    printf '%s\t%s\t%s\n' "$1" "$status" "$(base64 -w0 <"$body")"
    rm -f "$body"
}
