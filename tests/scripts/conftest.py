"""A node in a directory: the real scripts, run from the checkout, with systemd, journal and pgrep stood in for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
NODE_SCRIPTS = REPOSITORY / "include" / "scripts" / "node"
PYTHON = str(Path(sys.executable).resolve())  # what PATH has may be a shell script that looks for one
STUBS = Path(__file__).parent / "stubs"
# What a real node needs and a made-up one does not.
SHORTER = {
    "lib/served.sh": {"SETTLING_SECONDS=20": "SETTLING_SECONDS=2"},
    "isolated/run": {"KMS_SECONDS=20": "KMS_SECONDS=2"},
    "nightshift-node": {"sweep_rehearsal 10": "sweep_rehearsal 1"},
    "nightshift-recorder": {"INTERVAL=100 ": "INTERVAL=20 "},
    "lib/evidence.sh": {"COMMAND_SECONDS=10 ": "COMMAND_SECONDS=3 "},
}


@dataclass
class FakeNode:
    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    scripts: Path = NODE_SCRIPTS

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def systemd(self) -> Path:
        return self.root / "systemd"

    @property
    def scratch(self) -> Path:
        return self.root / "fs/etc/kubernetes/tmp"

    def variables(self) -> dict[str, str]:
        return {
            "PATH": f"{STUBS}:{os.environ['PATH']}",
            "NIGHTSHIFT_STATE": str(self.state),
            "NIGHTSHIFT_FS_ROOT": str(self.root / "fs"),
            "FAKE_SYSTEMD": str(self.systemd),
            "PYTHON": PYTHON,
            **self.environment,
        }

    def start(self, *words: str) -> subprocess.Popen[str]:
        command = [str(self.scripts / "nightshift-node"), *words]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=self.variables())

    def run(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [str(self.scripts / "nightshift-node"), *words]
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            env=self.variables(),
            timeout=60,
            check=False,
        )

    def shell(self, library: str, text: str) -> subprocess.CompletedProcess[str]:
        """Run shell text with common.sh and one more library sourced."""
        prelude = f'set -euo pipefail; NIGHTSHIFT_ROOT={self.scripts}; . "$NIGHTSHIFT_ROOT/lib/common.sh"'
        command = ["bash", "-c", f'{prelude}; . "$NIGHTSHIFT_ROOT/lib/{library}"; {text}']
        return subprocess.run(
            command, capture_output=True, text=True, env=self.variables(), timeout=60, check=False
        )

    def status(self, step: str) -> dict[str, str]:
        lines = (self.state / "jobs" / step).read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def hold_jobs(self) -> None:
        """From now on a job's unit stays active after its work."""
        (self.systemd / "hold").touch()

    def let_jobs_end(self) -> None:
        (self.systemd / "hold").unlink(missing_ok=True)
        deadline = time.monotonic() + 30
        while list((self.systemd / "units").iterdir()):
            assert time.monotonic() < deadline, "a job's unit does not end"
            time.sleep(0.02)

    def pretend_process(self, name: str, *pids: int) -> None:
        (self.systemd / f"pgrep-{name}").write_text("".join(f"{pid}\n" for pid in pids))


@pytest.fixture(scope="session")
def hurried_scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The node's scripts with shorter waits; nothing else of them is changed."""
    scripts = tmp_path_factory.mktemp("hurried") / "node"
    shutil.copytree(NODE_SCRIPTS, scripts)
    for name, waits in SHORTER.items():
        text = (scripts / name).read_text()
        for long, short in waits.items():
            assert text.count(long) == 1, f"{name} has no {long!r} of its own any more"
            text = text.replace(long, short)
        (scripts / name).write_text(text)
    return scripts


@pytest.fixture
def node(tmp_path: Path) -> Iterator[FakeNode]:
    if os.geteuid() != 0:
        pytest.skip("the node-side scripts refuse to run as anybody but root")
    fake = FakeNode(tmp_path)
    for directory in (fake.state / "jobs", fake.systemd / "units", fake.systemd / "journal", fake.scratch):
        directory.mkdir(parents=True)
    yield fake
    fake.let_jobs_end()
