"""Bad input on the real cluster: one error in the red task's log and in the note, and nothing is touched.

What can really be planted here; all rows are in tests/airflow/test_bad_input.py. These nights end early and leave the
cluster as it was, so that they share one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest
from tests.lab.world import World, wait_until

from nsdemo.lab import enrol_lab

VERSION = "1.35.4"
SCRIPT = "/usr/local/lib/nightshift/jobs/stage"
HEALTHY_SECONDS = 300
# Only a night that claims the cluster raises tokens and starts jobs.
TRACES = "cat /var/lib/nightshift/token 2>/dev/null; ls -l --time-style=full-iso /var/lib/nightshift/jobs"


def nothing(world: World) -> None:
    """A value of the form is all it takes."""


def broken(*words: str) -> Callable[[World], None]:
    """A fault of the lab."""

    def plant(world: World) -> None:
        world.lab("break", *words)

    return plant


def healed(fault: str) -> Callable[[World], None]:
    def heal(world: World) -> None:
        world.lab("heal", fault)

    return heal


def tamper(world: World) -> None:
    world.on_node("w1", f"echo '# not ours' >>{SCRIPT}")


def enrol_again(world: World) -> None:
    enrol_lab(world.home, world.facts)


def power_on(world: World) -> None:
    """Boot the node, and wait until its pods are back and the taints of its absence are gone."""
    world.lab("heal", "node-power-off")

    def is_well() -> bool:
        tainted = [
            name for name, node in world.nodes().items() if name != "cp1" and node["spec"].get("taints")
        ]
        return not tainted and "cluster: healthy" in world.lab("status")

    wait_until(is_well, "a healthy cluster after a node's power came back", HEALTHY_SECONDS, pause=3)


@dataclass(frozen=True)
class Row:
    """One bad input.

    Args:
        task: whose log tells it.
        code: of the error.
        says: words of the note.
        form: values of the trigger form.
        plant: how it comes into the world.
        heal: its undo.
        answer: the ledger's.
        rebooted: the node whose kubelet starts anew through the healing.
    """

    task: str
    code: str
    says: tuple[str, ...]
    form: Mapping[str, str] = field(default_factory=dict)
    plant: Callable[[World], None] = nothing
    heal: Callable[[World], None] = nothing
    answer: str = "failed"
    rebooted: str = ""

    @property
    def red(self) -> set[str]:
        """The tasks that fail: one with the error, then those that only keep the run red."""
        return {self.task, "decide", "watcher"}


ROWS = {
    "skipped minor": Row(
        *("detect_target", "TARGET_SKIPS_MINOR", ("target_version 1.36.0", "1.34.4")),
        form={"target_version": "1.36.0"},
    ),
    "downgrade": Row(
        *("detect_target", "TARGET_IS_DOWNGRADE", ("target_version 1.34.3", "1.34.4")),
        form={"target_version": "1.34.3"},
    ),
    "unknown version": Row(
        *("detect_target", "TARGET_UNKNOWN", ("target_version 1.35.99", VERSION)),
        form={"target_version": "1.35.99"},
    ),
    "host key changed": Row(
        *("open_night", "HOST_KEY_CHANGED", ("w2",)),
        plant=broken("host-key-changed", "w2"),
        heal=healed("host-key-changed"),
    ),
    "node script tampered": Row(
        *("open_night", "NODE_SCRIPT_TAMPERED", ("w1",)), plant=tamper, heal=enrol_again
    ),
    "node unreachable": Row(
        *("open_night", "NODE_UNREACHABLE", ("w2",)),
        plant=broken("node-power-off", "w2"),
        heal=power_on,
        answer="blind",
        rebooted="w2",
    ),
}


MISSING = {
    "PACKAGE_MISSING": (("package-missing", "kubeadm", VERSION), ("kubeadm", VERSION)),
    "IMAGE_MISSING": (("image-missing", f"kube-apiserver:v{VERSION}"), (f"kube-apiserver:v{VERSION}",)),
}


@pytest.mark.parametrize("code", MISSING)
def test_what_cannot_be_fetched_blocks_the_night_before_the_cluster_is_claimed(
    world: World, code: str
) -> None:
    fault, says = MISSING[code]
    world.fresh()
    before, traces, token = world.fingerprint(), node_traces(world), world.lease()[1]
    try:
        world.lab("break", *fault)
        run = world.night()
    finally:
        world.lab("heal", fault[0])
    assert (run["state"], run["ledger"]["answer"]) == ("success", "blocked"), run["note"]
    found = {gate["code"]: gate["message"] for gate in run["ledger"]["gates"] if gate["outcome"] == "block"}
    assert code in found, run["note"]
    for word in says:
        assert word in found[code]
    assert (world.fingerprint(), node_traces(world), world.lease()[1]) == (before, traces, token)
    world.used = False


@pytest.mark.parametrize("name", ROWS)
def test_bad_input_is_named_once_and_touches_nothing(world: World, name: str) -> None:
    row = ROWS[name]
    world.fresh()
    before, traces, token = fingerprint(world, row), node_traces(world), world.lease()[1]
    try:
        row.plant(world)
        run = world.night(**row.form)
    finally:
        row.heal(world)
    assert run["state"] == "failed", run["note"]
    assert run["ledger"]["answer"] == row.answer, run["note"]
    for word in (f"{row.task} failed ({row.code})", *row.says):
        assert word in run["note"], run["note"]
    assert_one_error(world, run["dag_run_id"], row)
    assert fingerprint(world, row) == before
    assert world.is_clean()
    assert (node_traces(world), world.lease()[1]) == (traces, token)
    world.used = bool(row.rebooted)


def assert_one_error(world: World, run_id: str, row: Row) -> None:
    """The red task's last log names it once, with cause and next step; the other red tasks tell nothing of their own."""
    states = world.states(run_id)
    assert {task for task, state in states.items() if state == "failed"} == row.red
    told = {task: world.api.banners(run_id, task) for task in row.red}
    assert told == {task: [row.code] if task == row.task else [] for task in row.red}
    lines = world.api.task_log(run_id, row.task)
    assert any(line.startswith("Cause: ") for line in lines)
    assert any(re.match(rf"Next step: .*docs/runbooks/{row.code}\.md", line) for line in lines)


def fingerprint(world: World, row: Row) -> dict[str, str]:
    """World.fingerprint, without the start of a kubelet that the healing boots."""
    seen = world.fingerprint()
    if row.rebooted:
        kept = [
            line for line in seen[row.rebooted].splitlines() if not line.startswith("ActiveEnterTimestamp=")
        ]
        seen[row.rebooted] = "\n".join(kept)
    return seen


def node_traces(world: World) -> dict[str, str]:
    """Fencing token and jobs of every node."""
    return {name: world.on_node(name, TRACES, check=False) for name in world.nodes()}
