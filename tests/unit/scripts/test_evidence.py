"""An evidence bundle carries what explains a failure, stays small, and carries no secret."""

from __future__ import annotations

import base64
import io
import subprocess
import tarfile

from tests.unit.scripts.conftest import NODE_SCRIPTS

PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEplanted1secret\nMIIEplanted2secret\n-----END RSA PRIVATE KEY-----"
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJwbGFudGVkIjoic2VjcmV0In0.c2lnbmF0dXJl"
PLANTED = {
    "planted1secret": f"line before\n{PEM}\nline after",
    "MIIEinline": '{"key":"-----BEGIN EC PRIVATE KEY-----\\nMIIEinline\\n-----END EC PRIVATE KEY-----"} kept-tail',
    "hunter2oidc": "        - --oidc-client-secret=hunter2oidc",
    "hunter2env": "        - name: OIDC_CLIENT_SECRET\n          value: hunter2env",
    "hunter2url": "proxy http://user:hunter2url@proxy:3128/ used",
    "hunter2json": '{"clientSecret": "hunter2json", "user": "kept-user"}',
    "hunter2flag": "kubeadm join --token hunter2flag --v=5",
    "abcdef.0123456789abcdef": "bootstrap abcdef.0123456789abcdef used",
    JWT: f"request header seen: {JWT}",
    "opaquebearer12": "Authorization: Bearer opaquebearer12",
    base64.b64encode(PEM.encode()).decode()[
        :40
    ]: f"client-key-data: {base64.b64encode(PEM.encode()).decode()}",
}
KEPT = [
    "line before",
    "line after",
    "kept-tail",
    "kept-user",
    "--v=5",
    "--service-account-signing-key-file=/etc/x.key",
]


def bundle(node, since: int = 0) -> dict[str, bytes]:
    command = [str(NODE_SCRIPTS / "nightshift-node"), "collect-evidence", str(since)]
    done = subprocess.run(command, capture_output=True, env=node.variables(), check=True, timeout=60)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()}


def plant(node) -> None:
    text = "\n".join((*PLANTED.values(), "--service-account-signing-key-file=/etc/x.key", ""))
    logs = node.root / "fs/var/log/pods/kube-system_kube-apiserver-cp1_uid/kube-apiserver"
    logs.mkdir(parents=True)
    (logs / "0.log").write_text(text)
    manifests = node.root / "fs/etc/kubernetes/manifests"
    manifests.mkdir(parents=True)
    (manifests / "kube-apiserver.yaml").write_text(text)


def test_no_planted_secret_leaves_the_node(node):
    plant(node)
    files = bundle(node)
    everything = b"\n".join(files.values()).decode(errors="replace")
    assert [secret for secret in PLANTED if secret in everything] == []
    log = files["./pods/kube-system_kube-apiserver-cp1_uid/kube-apiserver/0.log"].decode()
    assert [text for text in KEPT if text not in log] == []


def test_key_cut_off_at_its_end_is_still_redacted(node):
    logs = node.root / "fs/var/log/pods/kube-system_etcd-cp1_uid/etcd"
    logs.mkdir(parents=True)
    (logs / "0.log").write_text("-----BEGIN PRIVATE KEY-----\nMIIEcutoff\n")
    assert b"MIIEcutoff" not in b"".join(bundle(node).values())


def test_size_is_bounded_and_the_end_of_a_log_is_kept(node):
    logs = node.root / "fs/var/log/pods/kube-system_etcd-cp1_uid/etcd"
    logs.mkdir(parents=True)
    for number in range(17):  # each one is cut to 4 MiB, and the 17th finds no room
        (logs / f"{number}.log").write_text(("." * 4000 + "\n") * 1_100 + "last line\n")
    files = bundle(node)
    kept = [content for name, content in files.items() if name.startswith("./pods/")]
    assert all(content.endswith(b"last line\n") for content in kept)
    assert sum(len(content) for content in files.values()) <= 64 * 1024 * 1024
    assert b".log" in files["./left-out.txt"]


def test_nothing_stays_on_the_node(node):
    plant(node)
    bundle(node)
    assert list((node.state / "work").glob("evidence.*")) == []


def test_logs_older_than_the_window_are_left_out(node):
    plant(node)
    files = bundle(node, since=32503680000)
    assert not [name for name in files if name.startswith("./pods/")]
    assert "./manifests/kube-apiserver.yaml" in files
