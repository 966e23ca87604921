#!/bin/bash
# What kubeadm would write for this control plane from the cluster's own configuration, beside what is written.
# Sourced by nightshift-node after common.sh.

# shellcheck source=SCRIPTDIR/../kubeadm.sh
. "$NIGHTSHIFT_ROOT/lib/kubeadm.sh"

readonly RENDER_SECONDS=8
readonly RENDERED_COMPONENTS=(kube-apiserver kube-controller-manager kube-scheduler etcd)

# Lines: kind TAB component or "-" TAB base64. Kinds: configuration, live, rendered, refused.
look_control_plane_config() {
    local directory component
    directory=$(mktemp -d)
    # shellcheck disable=SC2064  # the directory of now is meant
    trap "rm -rf '$directory'" EXIT
    cluster_configuration >"$directory/cluster.yaml"
    printf 'configuration\t-\t%s\n' "$(base64 -w0 <"$directory/cluster.yaml")"
    for component in "${RENDERED_COMPONENTS[@]}"; do
        [[ ! -f $MANIFESTS_DIR/$component.yaml ]] ||
            printf 'live\t%s\t%s\n' "$component" "$(head -c 1048576 "$MANIFESTS_DIR/$component.yaml" | base64 -w0)"
    done
    if ! render_manifests "$directory" 2>"$directory/refusal"; then
        printf 'refused\t-\t%s\n' "$(tail -c 2000 "$directory/refusal" | base64 -w0)"
        return 0
    fi
    for component in "${RENDERED_COMPONENTS[@]}"; do
        [[ ! -f $directory/out/$component.yaml ]] ||
            printf 'rendered\t%s\t%s\n' "$component" "$(base64 -w0 <"$directory/out/$component.yaml")"
    done
}

# render_manifests DIRECTORY: kubeadm writes its manifests into DIRECTORY/out, and nothing anywhere else: told so by the
# variable, `--dry-run` makes no directory of its own under /etc/kubernetes/tmp. It asks neither API nor container runtime.
# Rendered is the version that runs: image tags are no drift, and kubeadm looks up no label like "stable-1" on the internet.
render_manifests() {
    local running options=()
    if ! api_endpoint >/dev/null; then
        say "kube-apiserver.yaml lacks the annotation kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint"
        return 1
    fi
    mkdir "$1/out"
    running=$(sed -nE 's|^ +(- )?image: .*/kube-apiserver:(v1\.[0-9]+\.[0-9]+[^@ ]*).*|\2|p' "$MANIFESTS_DIR/kube-apiserver.yaml")
    {
        init_configuration "$(api_version_of <"$1/cluster.yaml")"
        echo ---
        sed -E "${running:+s|^kubernetesVersion: .*|kubernetesVersion: $running|}" "$1/cluster.yaml"
    } >"$1/input.yaml"
    # As the upgrade does: patches not named again would silently vanish.
    [[ ! -d $KUBERNETES_DIR/patches ]] || options+=(--patches "$KUBERNETES_DIR/patches")
    # With an external etcd, the second writes nothing.
    render "$1" control-plane all "${options[@]}" && render "$1" etcd local "${options[@]}"
}

# render DIRECTORY PHASE…: what it says on standard output are the manifests once more.
render() {
    local directory=$1
    shift
    KUBEADM_INIT_DRYRUN_DIR=$directory/out timeout "$RENDER_SECONDS" \
        kubeadm init phase "$@" --config "$directory/input.yaml" --dry-run >/dev/null
}
