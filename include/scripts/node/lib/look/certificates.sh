#!/bin/bash
# The certificates this node runs on; never a key. Sourced by nightshift-node after common.sh.

# Lines: path TAB base64 of the PEM certificates in that file. The kubelet's own serving certificate (kubelet.crt) is left
# out: it signs it itself, nobody checks it, and it stays as it is when it has expired.
look_certificates() {
    local file found named pki=$FS_ROOT/var/lib/kubelet/pki
    for file in "$KUBERNETES_DIR"/pki/*.crt "$KUBERNETES_DIR"/pki/etcd/*.crt \
        "$pki/kubelet-client-current.pem" "$pki/kubelet-server-current.pem"; do
        [[ -e $file ]] || continue
        printf '%s\t%s\n' "${file#"$FS_ROOT"}" "$(pem_certificates "$file")"
    done
    for file in "$KUBERNETES_DIR"/*.conf; do
        [[ -e $file ]] || continue
        found=$(sed -nE 's/^ *client-certificate-data: *"?([A-Za-z0-9+/=]+)"? *$/\1/p' "$file" | head -n 1)
        [[ -z $found ]] || printf '%s\t%s\n' "${file#"$FS_ROOT"}" "$found"
        # It may name a file instead; the one of every kubelet that renews its own is above.
        named=$(sed -nE 's/^ *client-certificate: *"?(\/[^" ]+)"? *$/\1/p' "$file" | head -n 1)
        if [[ -n $named && -e $FS_ROOT$named && $FS_ROOT$named != "$pki/kubelet-client-current.pem" ]]; then
            printf '%s\t%s\n' "${file#"$FS_ROOT"}" "$(pem_certificates "$FS_ROOT$named")"
        fi
    done
}

# pem_certificates FILE: in base64, without the key that may lie beside them.
pem_certificates() {
    sed -n '/^-----BEGIN CERTIFICATE-----/,/^-----END CERTIFICATE-----/p' "$1" | base64 -w0
}
