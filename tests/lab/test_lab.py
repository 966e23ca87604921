"""The lab itself: what every other case stands on."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from tests.lab.world import World

# Three and two times what a quiet machine may take (60 and 150 s): these share their cores.
RESET_SECONDS = {"small": 180, "ha": 300}
GONE = ("nslab", "nightshift-lab")  # in what the lab puts on a machine
LOOKS = {
    "mounts": ("findmnt", "-rno", "TARGET,SOURCE"),
    "loop devices": ("losetup", "-nO", "BACK-FILE"),
    "links": ("ip", "-br", "link"),
    "addresses": ("ip", "-br", "address"),
    "routes": ("ip", "route", "show", "table", "all"),
    "namespaces": ("ip", "netns"),
    "firewall": ("sh", "-c", "iptables-save | grep -v '^#' | sed 's/\\[[0-9:]*\\]//'"),
    "programs": ("ps", "-eo", "args"),
}


@pytest.mark.parametrize("profile", [pytest.param("small", marks=pytest.mark.ci), "ha"])
def test_reset_brings_a_used_cluster_back_to_the_fresh_one(world: World, profile: str) -> None:
    world.up(profile)
    world.kubectl("create", "namespace", "left-behind")
    world.on_node("w1", "touch /etc/left-behind")
    world.push_gauge("left_behind", 1)
    began = time.monotonic()
    world.lab("reset")
    seconds = time.monotonic() - began
    print(f"reset of {profile}: {seconds:.0f} s")
    assert seconds < RESET_SECONDS[profile]
    assert set(world.kubelet_versions().values()) == {"v1.34.4"}
    assert "left-behind" not in world.kubectl("get", "namespaces", "-o", "name")
    assert world.on_node("w1", "ls /etc/left-behind", check=False).strip() == ""
    assert world.gauge("left_behind") is None


def test_down_leaves_the_machine_as_it_was(world: World) -> None:
    """Looked at from outside: what is there after `down`, `up` and `down` was there before."""
    world.up()
    while_up = machine()
    assert ours(while_up), "a look that does not see a lab proves nothing"
    assert real_time_threads(), "the disks of a lab that is up go first"
    world.lab("down")
    before = machine()
    assert ours(before) == {}
    assert real_time_threads() == []
    world.up()
    world.used = True  # whoever comes next brings up a lab of their own
    world.lab("down")
    after = machine()
    for what in (
        "mounts",
        "loop devices",
        "links",
        "addresses",
        "routes",
        "namespaces",
        "firewall",
        "cgroups",
    ):
        assert after[what] == before[what], what
    assert ours(after) == {}
    assert real_time_threads() == []


def machine() -> dict[str, list[str]]:
    """What can be seen on this machine, by kind, each sorted."""
    found = {what: look(*command) for what, command in LOOKS.items()}
    found["cgroups"] = sorted(str(path) for path in Path("/sys/fs/cgroup").rglob("*") if path.is_dir())
    return found


def look(*command: str) -> list[str]:
    """The lines that a command prints, sorted; none where it is not installed."""
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return []
    return sorted(line.rstrip() for line in said.splitlines())


def ours(seen: dict[str, list[str]]) -> dict[str, list[str]]:
    """Of that what carries the lab's name."""
    found = {
        what: [line for line in lines if any(name in line for name in GONE)] for what, lines in seen.items()
    }
    return {what: lines for what, lines in found.items() if lines}


def real_time_threads() -> list[str]:
    """Names of the kernel's threads behind disks that go before everything else (lab/nslab/nodes/disks_first.py)."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if os.sched_getscheduler(int(path.name)) == os.SCHED_FIFO:
                found.append((path / "comm").read_text().strip())
        except OSError:
            continue
    return [name for name in found if name.startswith(("kworker/", "ksoftirqd/", "jbd2/", "xfsaild/"))]
