#!/bin/bash
# What this node need not download any more: its images, their blobs, and packages that are staged.
# Sourced by nightshift-node after common.sh.

readonly IMAGES_SECONDS=4 # each question to the runtime

# Lines: image TAB reference; blob TAB digest; packages TAB version. A runtime that does not answer has no
# lines: everything then counts as still to be fetched.
look_images() {
    list_images
    staged_versions
}

# list_images: from containerd itself, which also knows the blobs; another runtime is asked through crictl.
list_images() {
    if [[ -S $FS_ROOT/run/containerd/containerd.sock ]] && command -v ctr >/dev/null; then
        { timeout "$IMAGES_SECONDS" ctr -n k8s.io images ls -q || true; } | sed -n 's/^[^ ]*:[^ ]*$/image\t&/p'
        { timeout "$IMAGES_SECONDS" ctr -n k8s.io content ls -q || true; } | sed -n 's/^sha256:[0-9a-f]*$/blob\t&/p'
    elif command -v crictl >/dev/null; then
        # Without jq: references are the only strings of this form in crictl's JSON.
        { timeout "$IMAGES_SECONDS" crictl images -o json || true; } |
            grep -oE '"[a-z0-9][a-zA-Z0-9._/:-]*:[A-Za-z0-9_][A-Za-z0-9._-]*"' | tr -d '"' | sort -u | sed 's/^/image\t/'
    fi
}

# staged_versions: of packages that lie ready and complete.
staged_versions() {
    local mark
    for mark in "$PACKAGES_DIR"/*/STAGED; do
        [[ ! -e $mark ]] || printf 'packages\t%s\n' "$(basename "$(dirname "$mark")")"
    done
}
