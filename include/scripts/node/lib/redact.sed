# Takes secrets out of text that leaves the node. Better a harmless value lost than a secret sent.
# Private keys: on one line (also with literal \n in JSON), then over several lines, or to the end when cut off.
s/-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*-----END [A-Z0-9 ]*PRIVATE KEY-----/[REDACTED private key]/g
/-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----/,/-----END [A-Z0-9 ]*PRIVATE KEY-----/ {
    s/-----BEGIN .*/[REDACTED private key]/
    t
    d
}
# PEM inside base64, as kubeconfigs and Secrets carry it ("-----BEGIN" at its three possible offsets).
s/(LS0tLS1CRUdJT|0tLS1CRUdJTi|tLS0tQkVHSU4)[A-Za-z0-9+\/=_-]*/[REDACTED PEM]/g
# JSON web tokens, whatever precedes them; kubeadm's bootstrap tokens; credentials in addresses.
s/eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.?[A-Za-z0-9_-]*/[REDACTED token]/g
s/\b[a-z0-9]{6}\.[a-z0-9]{16}\b/[REDACTED bootstrap token]/g
s/:\/\/[^\/@ :]+:[^\/@ ]+@/:\/\/[REDACTED]@/g
s/(authorization["']?[:=] *["']?)[^"']+/\1[REDACTED]/gi
s/(bearer +)[A-Za-z0-9._~+\/=-]{8,}/\1[REDACTED]/gi
# name: value, name=value, "name": "value" and --name value, where the name says that it is secret.
s/((client-key-data|client-secret|client_secret|clientsecret|password|passwd|passphrase|secret|token|api-?_?key|access-?_?key|secret-?_?key|private-?_?key|encryption-?_?key|certificate-?_?key)["']?(: *|=|: ?["']|=["'])["']?)[^"' ,}]+/\1[REDACTED]/gi
s/(--[a-z-]*(client-secret|password|passphrase|token|api-key|certificate-key) +)[^ "']+/\1[REDACTED]/gi
# An environment variable in a manifest: the name on one line, the value on the next.
/^ *- *name: .*(SECRET|TOKEN|PASSWORD|PASSWD|PASSPHRASE|_KEY|APIKEY|CREDENTIAL)/I {
    n
    s/^( *value: *).*/\1[REDACTED]/
}
