"""The sections `certificates` and `clock`, run against a directory tree."""

from __future__ import annotations

import base64
import os
import subprocess
import time
from pathlib import Path

import pytest
from tests.scripts.conftest import NODE_SCRIPTS

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nTUlJ\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN EC PRIVATE KEY-----\nc2VjcmV0\n-----END EC PRIVATE KEY-----\n"
EMBEDDED = base64.b64encode(CERTIFICATE.encode()).decode()


def look(section: str, root: Path) -> subprocess.CompletedProcess[str]:
    """Run one section as nightshift-node does: after common.sh, with its strictness."""
    program = f"""
        set -euo pipefail
        NIGHTSHIFT_ROOT={NODE_SCRIPTS}
        . "$NIGHTSHIFT_ROOT/lib/common.sh"
        . "$NIGHTSHIFT_ROOT/lib/look/{section}.sh"
        look_{section}
    """
    environment = {**os.environ, "NIGHTSHIFT_FS_ROOT": str(root)}
    return subprocess.run(
        ["bash", "-c", program], env=environment, capture_output=True, text=True, timeout=10, check=False
    )


def put(root: Path, path: str, text: str) -> None:
    (root / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
    (root / path.lstrip("/")).write_text(text)


@pytest.fixture
def control_plane(tmp_path: Path) -> Path:
    put(tmp_path, "/etc/kubernetes/pki/ca.crt", CERTIFICATE)
    put(tmp_path, "/etc/kubernetes/pki/ca.key", KEY)
    put(tmp_path, "/etc/kubernetes/pki/sa.pub", "-----BEGIN PUBLIC KEY-----\n")
    put(tmp_path, "/etc/kubernetes/pki/etcd/server.crt", CERTIFICATE + CERTIFICATE)
    put(
        tmp_path,
        "/etc/kubernetes/admin.conf",
        f"users:\n- name: a\n  user:\n    client-certificate-data: {EMBEDDED}\n    client-key-data: c2VjcmV0\n",
    )
    put(
        tmp_path,
        "/etc/kubernetes/kubelet.conf",
        "users:\n- user:\n    client-certificate: /var/lib/kubelet/pki/kubelet-client-current.pem\n",
    )
    real = "/var/lib/kubelet/pki/kubelet-client-2026-11-28-20-04-27.pem"
    put(tmp_path, real, CERTIFICATE + KEY)
    (tmp_path / "var/lib/kubelet/pki/kubelet-client-current.pem").symlink_to(Path(real).name)
    put(tmp_path, "/var/lib/kubelet/pki/kubelet.crt", CERTIFICATE)
    return tmp_path


def test_every_certificate_and_no_key(control_plane: Path) -> None:
    done = look("certificates", control_plane)
    assert done.returncode == 0, done.stderr
    found = dict(line.split("\t") for line in done.stdout.splitlines())
    assert {path: base64.b64decode(text).decode() for path, text in found.items()} == {
        "/etc/kubernetes/pki/ca.crt": CERTIFICATE,
        "/etc/kubernetes/pki/etcd/server.crt": CERTIFICATE + CERTIFICATE,
        "/var/lib/kubelet/pki/kubelet-client-current.pem": CERTIFICATE,
        "/etc/kubernetes/admin.conf": CERTIFICATE,
    }


def test_a_file_without_a_certificate_is_an_empty_line_and_not_left_out(control_plane: Path) -> None:
    put(control_plane, "/etc/kubernetes/pki/apiserver.crt", "")
    assert "/etc/kubernetes/pki/apiserver.crt\t\n" in look("certificates", control_plane).stdout


def test_a_kubeconfig_that_names_a_file_of_its_own(control_plane: Path) -> None:
    """A kubelet whose rotation is off may be given its certificate by hand."""
    put(
        control_plane,
        "/etc/kubernetes/kubelet.conf",
        "users:\n- user:\n    client-certificate: /etc/kubernetes/node.pem\n",
    )
    assert "kubelet.conf" not in look("certificates", control_plane).stdout
    put(control_plane, "/etc/kubernetes/node.pem", CERTIFICATE + KEY)
    assert f"/etc/kubernetes/kubelet.conf\t{EMBEDDED}\n" in look("certificates", control_plane).stdout


def test_a_node_without_anything_prints_nothing(tmp_path: Path) -> None:
    done = look("certificates", tmp_path)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_clock(tmp_path: Path) -> None:
    before = time.time()
    done = look("clock", tmp_path)
    assert before - 1 <= float(done.stdout) <= time.time() + 1
