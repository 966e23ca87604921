#!/bin/bash
# The certificates this node runs on; never a key. Sourced by nightshift-node after common.sh.

# Lines: path TAB base64 of the PEM certificates in that file. The kubelet's own serving certificate (kubelet.crt) is left
# out: it signs it itself, nobody checks it, and it stays as it is when it has expired.
look_certificates() {
    local file found pki=$FS_ROOT/var/lib/kubelet/pki
    for file in "$KUBERNETES_DIR"/pki/*.crt "$KUBERNETES_DIR"/pki/etcd/*.crt \
        "$pki/kubelet-client-current.pem" "$pki/kubelet-server-current.pem"; do
        [[ -e $file ]] || continue
        found=$(sed -n '/^-----BEGIN CERTIFICATE-----/,/^-----END CERTIFICATE-----/p' "$file" | base64 -w0)
        printf '%s\t%s\n' "${file#"$FS_ROOT"}" "$found"
    done
    for file in "$KUBERNETES_DIR"/*.conf; do
        [[ -e $file ]] || continue
        found=$(sed -nE 's/^ *client-certificate-data: *"?([A-Za-z0-9+/=]+)"? *$/\1/p' "$file" | head -n 1)
        [[ -z $found ]] || printf '%s\t%s\n' "${file#"$FS_ROOT"}" "$found"
    done
}
