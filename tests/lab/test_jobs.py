"""Jobs under a real systemd: each end is told apart, nothing of a job outlives its limit, nobody is run beside."""

from __future__ import annotations

import uuid

from tests.lab.world import World, wait_until

NODE = "/usr/local/lib/nightshift/nightshift-node"
UNIT = "nightshift-stage.service"


def start(world: World, limit: int, check: bool = True) -> str:
    """Start the job that takes longest without changing anything; returns what the node said."""
    token = "$(cat /var/lib/nightshift/token 2>/dev/null || echo 0)"
    words = f"1.35 1.35.4-1.1 {world.facts['NSLAB_PACKAGES_URL']}"
    command = f"{NODE} start-job stage {token} lab/test/run {limit} {uuid.uuid4()} {words} 2>&1"
    return world.on_node("w1", command, check)


def state(world: World) -> tuple[str, str]:
    """State and exit code, as the node tells them."""
    fields = world.on_node("w1", f"{NODE} job-poll stage -").split("\n", 1)[0].split("\t")
    return fields[2], fields[3]


def ended(world: World) -> tuple[str, str]:
    """How it ended, once it did."""
    found: tuple[str, str] = wait_until(
        lambda: (now := state(world))[0] != "running" and now, "end of the job", 120
    )
    return found


def test_each_end_of_a_job_is_told_apart_and_a_person_is_not_run_beside(world: World) -> None:
    world.fresh()
    world.used = True

    assert start(world, 2).startswith("started ")
    assert ended(world) == ("timed-out", "124")
    left = world.on_node("w1", "pgrep -af 'nightshift/jobs/[s]tage|[a]pt-get .*nightshift'", check=False)
    assert left.strip() == "", "nothing of it outlives its limit"

    assert start(world, 600).startswith("started ")
    world.on_node("w1", f"systemctl stop {UNIT}")
    assert ended(world) == ("failed", "143"), "systemd calls this end a success"

    world.on_node(
        "w1", "cp /bin/sleep /root/kubeadm && systemd-run --quiet --unit=somebody /root/kubeadm 600"
    )
    try:
        said = start(world, 600, check=False)
    finally:
        world.on_node("w1", "systemctl stop somebody.service; rm /root/kubeadm")
    assert "somebody else is at it: kubeadm is run by root" in said
    assert "/root/kubeadm 600" in said

    assert start(world, 600).startswith("started ")
    assert ended(world) == ("succeeded", "0")
