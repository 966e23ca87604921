"""What is left of a failed night when the node loses its power right after it: all that could be captured, and no secret."""

from __future__ import annotations

import html
import io
import json
import tarfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.lab.secret_world import leaks, own_secrets, plant
from tests.lab.test_night import KUBEADM_UNIT, RECOVERY_SECONDS, SLOT, assert_clean, assert_on_target
from tests.lab.world import World, kill, wait_until

KILL = f"systemctl kill -s KILL {KUBEADM_UNIT}"
# The driver has seen the failure and is fetching what explains it; it may wait for the API first.
FETCHED = "for i in $(seq 400); do pgrep -f [c]ollect-evidence >/dev/null && break; sleep 0.1; done"
WORKS_SECONDS = (
    60  # of kubeadm, before it dies: longer than the recorder and the file system keep to themselves
)
UNWRITTEN_SECONDS = 45  # of the recording, at most
GOES_ON_SECONDS = 7  # the recorder, after the kill: a second until it sees the end, 5 s more, the last sample
REPORT_SECONDS = 60  # from the failure
WRITES_SECONDS = 3  # of the recorder, which writes a job's end through at once
AWAY_SECONDS = 60
BACK_SECONDS = 600  # from the node's power to the rest of its evidence


def incidents(world: World, run_id: str, moment: float) -> list[Path]:
    """Folders of cp1's incidents of a run since then, oldest first; those whose report is written."""
    store = Path(world.home.store) / "lab" / "evidence"
    found = [
        path for path in store.glob("*/cp1-kubeadm-upgrade-*/report.html") if path.stat().st_mtime >= moment
    ]
    return [path.parent for path in sorted(found, key=lambda path: path.stat().st_mtime)]


def manifest(incident: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((incident / "manifest.json").read_text(encoding="utf-8"))
    return told


def node_files(incident: Path, name: str = "node.tar.gz") -> dict[str, bytes]:
    """What came off the node: path -> content."""
    content = io.BytesIO((incident / name).read_bytes())
    with tarfile.open(fileobj=content) as archive:
        return {
            member.name.removeprefix("./"): file.read()
            for member in archive
            if member.isfile() and (file := archive.extractfile(member))
        }


def recorded_until(files: dict[str, bytes]) -> list[float]:
    """The last moment of each recording among a node's files, seconds since the epoch."""
    texts = [text for path, text in files.items() if path.endswith("/samples.jsonl") and text.strip()]
    return [float(json.loads(text.splitlines()[-1])["t"]) for text in texts]


def assert_recorded(incident: Path, failed: float) -> None:
    """The node's own files are there, and the recorder's until the power went."""
    ends = recorded_until(node_files(incident))
    print(f"recorded until {[round(failed - end, 1) for end in ends]} s before the failure", flush=True)
    # 15 s may not be written yet, and ext4 may keep 30 more to itself: see docs/evidence.md.
    assert any(failed - UNWRITTEN_SECONDS <= end <= failed + GOES_ON_SECONDS for end in ends), ends


def whole_incident(world: World, run_id: str, failed: float, seconds: float) -> Path:
    """The first incident that has the node's own files, complete."""
    found: Path = wait_until(
        lambda: next((i for i in incidents(world, run_id, failed) if (i / "node.tar.gz").exists()), None),
        "the node's own files, once it is back",
        seconds,
    )
    return found


def kill_from_outside(unit: str) -> None:
    """SIGKILL to all processes of a node's unit, over no connection to the node: this machine runs the nodes."""
    killed = 0
    for path in Path("/proc").glob("[0-9]*/cgroup"):
        with suppress(OSError):
            if f"/{unit}" in path.read_text(encoding="utf-8"):
                kill(int(path.parent.name))
                killed += 1
    assert killed, f"{unit} has no process"


def test_a_failure_that_nobody_saw_is_told_when_the_node_is_back(world: World) -> None:
    world.fresh()
    run_id = world.upgrade_until_job(SLOT, "cp1", KUBEADM_UNIT)
    time.sleep(WORKS_SECONDS)
    world.lab("break", "ssh-cut", "cp1")
    failed = time.time()
    kill_from_outside(KUBEADM_UNIT)
    time.sleep(WRITES_SECONDS)
    world.lab("break", "node-power-off", "cp1")
    time.sleep(AWAY_SECONDS)
    assert incidents(world, run_id, failed) == []

    world.lab("heal", "node-power-off", "cp1")
    world.lab("heal", "ssh-cut")
    back = time.time()
    whole = whole_incident(world, run_id, failed, BACK_SECONDS)
    print(f"report {(whole / 'report.html').stat().st_mtime - back:.1f} s after the node's boot", flush=True)
    assert (whole / "report.html").stat().st_mtime - back <= REPORT_SECONDS
    assert_recorded(whole, failed)


def test_a_node_that_loses_its_power_under_the_collection_still_says_what_happened(world: World) -> None:
    world.fresh()
    needles = {**plant(world, "cp1"), **own_secrets(world, "cp1")}
    run_id = world.upgrade_until_job(SLOT, "cp1", KUBEADM_UNIT)
    time.sleep(WORKS_SECONDS)

    failed = time.time()
    world.on_node("cp1", f"{KILL}; {FETCHED}")
    world.lab("break", "node-power-off", "cp1")
    print(f"powered off {time.time() - failed:.1f} s after the failure", flush=True)

    first = wait_until(lambda: incidents(world, run_id, failed), "a report while the node is away", 300)[0]
    took = (first / "report.html").stat().st_mtime - failed
    print(f"report after {took:.1f} s: {manifest(first)['missing']}", flush=True)
    assert took <= REPORT_SECONDS
    missing = " ".join(manifest(first)["missing"])
    assert "The node's own files" in missing
    assert "What the node was like before kubeadm began" in missing
    kept = {entry["path"] for entry in manifest(first)["files"]}
    assert {"before.tar.gz", "driver/error.txt", "driver/job.txt", "diagnosis.json"} <= kept
    before = node_files(first, "before.tar.gz")
    # The places of what was planted were read, so it was there to be taken out.
    assert b"--oidc-client-secret=[REDACTED]" in before["state/processes.txt"]
    assert b"Authorization: Bearer [REDACTED]" in b"".join(
        text for path, text in before.items() if path.startswith("pods/kube-system_kube-proxy")
    )
    page = html.unescape((first / "report.html").read_text(encoding="utf-8"))
    assert manifest(first)["missing"][0] in page

    world.lab("heal", "node-power-off", "cp1")
    assert world.finish(run_id)["state"] == "failed"
    wait_until(lambda: "cp1" not in world.cordoned(), "cp1 uncordoned", RECOVERY_SECONDS, pause=5)
    world.api.clear(run_id, SLOT)  # what the failed task's next step says
    assert_recorded(whole_incident(world, run_id, failed, BACK_SECONDS), failed)
    run = world.finish(run_id)
    if run["state"] != "success":
        run = world.upgrade()
    assert run["state"] == "success", run["note"]
    assert_on_target(world)
    assert_clean(world)
    print(f"looked for {', '.join(needles)}", flush=True)
    assert leaks(world, needles) == []
