"""The fingerprint must see every kind of change, computed by the very shell text that runs on a node."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile

import pytest

from nightshift.clients.script_bundle import INSTALL_DIR, ScriptBundle
from nightshift.domain.errors import ConfigError

BUNDLE = ScriptBundle.shipped()


@pytest.fixture
def installed(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("the owner must be root, as on a node")
    with tarfile.open(fileobj=io.BytesIO(BUNDLE.archive())) as tar:
        tar.extractall(tmp_path)  # Debian 12 has Python 3.11.2, without filters
    directory = tmp_path / "node"
    for path in (directory, *directory.rglob("*")):
        os.chown(path, 0, 0)
        if path.is_dir():
            path.chmod(0o755)
    return directory


def verify(directory) -> int:
    text = BUNDLE.verify_command().replace(INSTALL_DIR, str(directory)) + "exit 0"
    return subprocess.run(["sh", "-c", text], check=False).returncode


def test_shipped_is_accepted(installed):
    assert verify(installed) == 0


def test_absent_is_not_enrolled(tmp_path):
    assert verify(tmp_path / "nothing") == 90


@pytest.mark.parametrize(
    "change",
    [
        lambda d: (d / "lib/common.sh").open("a").write("\n"),
        lambda d: (d / "lib/extra.sh").write_text(""),
        lambda d: (d / "jobs/stage").unlink(),
        lambda d: (d / "nightshift-node").chmod(0o755),
        lambda d: d.chmod(0o777),
        lambda d: os.chown(d / "jobs/stage", 1000, 0),
        lambda d: (d / "jobs/stage").rename(d / "jobs/stage2"),
    ],
)
def test_any_change_is_tampering(installed, change):
    change(installed)
    assert verify(installed) == 91


def test_programs_run_and_text_is_only_read(installed):
    modes = {
        path.relative_to(installed).as_posix(): path.stat().st_mode & 0o777
        for path in installed.rglob("*")
        if path.is_file()
    }
    assert modes["nightshift-node"] == modes["nightshift-job-end"] == modes["jobs/stage"] == 0o555
    assert modes["lib/common.sh"] == modes["lib/redact.pl"] == modes["VERSION"] == 0o444


def test_sums_are_those_of_sha256sum(installed):
    subprocess.run(["sha256sum", "--quiet", "--strict", "-c", "SHA256SUMS"], cwd=installed, check=True)


def test_incomplete_checkout_is_named(tmp_path):
    with pytest.raises(ConfigError, match="include/scripts"):
        ScriptBundle.shipped(tmp_path)
