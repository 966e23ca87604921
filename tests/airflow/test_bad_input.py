"""Bad input and faults, a row each: one error with code, cause and next step, and nothing is touched.

Whole nights through the real DAG file. What a person typed or what the packages lack is planted in the cluster in
memory; what lies on the way to the cluster (connections, keys, scripts, API) behind real connections, see `wire.py`.
How the node's own script tells a missing package from a missing image: tests/scripts/test_stage.py.
"""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest
from airflow.sdk import DAG
from tests.airflow.conftest import Night, no_waiting
from tests.airflow.wire import KUBERNETES, SSH, Wire

from nightshift.clients import node_ssh
from nightshift.clients.node_ssh import ExitCode
from nightshift.clients.ssh_connect import generate_key_pair
from nightshift.domain.errors import RemoteJobError
from nightshift.domain.ledger import NOTE_LIMIT
from nightshift.orchestration import callbacks, operators, reporting, sensors
from nightshift.steps.detect_target import detect_target
from nightshift.steps.open_night import open_night

PROJECT = Path(__file__).parents[2]
CLUSTER = f"""
kubernetes_connection: {KUBERNETES}
ssh_connection: {SSH}
store: file:///nowhere
accept_api_outage: true
control_plane_slots: 1
workers: {{waves: 1}}
"""
# One banner of an error in a task's log: what happened, why, what to do.
BANNER = re.compile(r"\[error +\] \[([A-Z_]+)\] (.*?) +\[airflow\.task")
CAUSE = re.compile(r"\[error +\] Cause: (.*?) +\[airflow\.task")
NEXT_STEP = re.compile(r"\[error +\] Next step: (.*?) \(docs/runbooks/([A-Z_]+)\.md\) +\[airflow\.task")

# Calls of the API that write; what a night that only looks never makes.
NODE_WRITES = ("cordon", "uncordon", "drop_node_annotations", "evict ")
CLAIM_WRITES = (
    "claim_lease",
    "renew_lease",
    "release_lease",
    "bump_token",
    "fence_lease",
    "abandon_lease",
    "set_namespace_annotations",
)


class World(Protocol):
    """What both worlds have."""

    store: Path
    notes: list[str]


@dataclass(frozen=True)
class Row:
    """One bad input.

    Args:
        world: fixture it is planted in: "memory" or "wire".
        task: whose log tells it.
        code: of the error.
        says: words of the note: who, what, where.
        plant: how it comes into the world.
        form: values of the trigger form.
        policy: appended to the cluster's YAML.
        answer: the ledger's.
        is_after_claim: it can only be known when the cluster is taken already: then it is given back.
    """

    world: str
    task: str
    code: str
    says: tuple[str, ...]
    plant: Callable[[Any], object] = lambda world: None
    form: Mapping[str, str] = field(default_factory=dict)
    policy: str = ""
    answer: str = "failed"
    is_after_claim: bool = False

    @property
    def red(self) -> set[str]:
        """The tasks that fail: one with the error, then those that only keep the run red."""
        return {self.task, "watcher"} if self.is_after_claim else {self.task, "decide", "watcher"}


def target(code: str, *says: str, **arguments: Any) -> Row:
    return Row("memory", "detect_target", code, says, **arguments)


def pinned(version: str) -> str:
    return f"target: {{pinned_version: '{version}'}}"


def no_next_minor(night: Night) -> None:
    night.offer("1.35")


def stage_fails(exit_code: int, *nodes: str) -> Callable[[Night], None]:
    """The job `stage` ends like that on these nodes, after as many words as apt has; told as NodeSsh does."""
    code, cause, next_step = node_ssh._FAILURES[exit_code]
    lines = " | ".join(
        f"E: Failed to fetch http://repository/number-{i}.deb  404  File not found" for i in range(15)
    )

    def plant(night: Night) -> None:
        for name in nodes:
            message = f"Job stage on node {name} ended with exit code {exit_code}. Its last lines: {lines}"
            night.cluster.fakes[name].failures["stage"] = RemoteJobError(
                code, message, cause=cause, next_step=next_step, exit_code=exit_code
            )

    return plant


def closed(code: str, *says: str, **arguments: Any) -> Row:
    return Row("wire", "open_night", code, says, **arguments)


def tamper(wire: Wire) -> None:
    with (wire.shells["w1"].library / "jobs" / "stage").open("ab") as script:
        script.write(b"\n")


def change_host_key(wire: Wire) -> None:
    wire.sshds["w2"].host_key = type(wire.sshds["w2"].host_key).generate()


def unreadable(*says: str, **arguments: Any) -> Row:
    return closed("CONFIG_INVALID", "night.yaml", *says, **arguments)


ROWS = {
    "unknown release, form": target(
        "TARGET_UNKNOWN", "target_version 1.35.9", "offers 1.35.4", form={"target_version": "1.35.9"}
    ),
    "unknown release, policy": target("TARGET_UNKNOWN", "pinned_version 1.35.9", policy=pinned("1.35.9")),
    "unknown minor, form": target(
        *("TARGET_UNKNOWN", "target_version 1.35.4", "offers nothing of 1.35"),
        plant=no_next_minor,
        form={"target_version": "v1.35.4"},
    ),
    "unknown minor, policy": target("TARGET_UNKNOWN", "1.35.4", plant=no_next_minor, policy=pinned("1.35.4")),
    "skipped minor, form": target(
        "TARGET_SKIPS_MINOR", "target_version 1.36.0", "1.34.4", form={"target_version": "1.36.0"}
    ),
    "skipped minor, policy": target("TARGET_SKIPS_MINOR", "pinned_version 1.36.0", policy=pinned("1.36.0")),
    "downgrade, form": target(
        "TARGET_IS_DOWNGRADE", "target_version 1.34.3", "1.34.4", form={"target_version": "1.34.3"}
    ),
    "downgrade, policy": target("TARGET_IS_DOWNGRADE", "pinned_version 1.33.9", policy=pinned("1.33.9")),
    "ceiling below what runs, policy": target(
        "TARGET_IS_DOWNGRADE", "newest_minor 1.33", policy="target: {newest_minor: '1.33'}"
    ),
    "beyond the ceiling, form": target(
        *("TARGET_ABOVE_CEILING", "target_version 1.35.4", "newest_minor 1.34"),
        form={"target_version": "1.35.4"},
        policy="target: {newest_minor: '1.34'}",
    ),
    "node unreachable": closed(
        "NODE_UNREACHABLE", "w2", plant=lambda wire: wire.sshds["w2"].close(), answer="blind"
    ),
    "wrong SSH key": closed(
        *("SSH_AUTH_REFUSED", "cp1", "w1, w2"),
        plant=lambda wire: wire.connect_ssh(generate_key_pair().private),
    ),
    "host key changed": closed("HOST_KEY_CHANGED", "w2", plant=change_host_key),
    "node script tampered": closed("NODE_SCRIPT_TAMPERED", "w1", plant=tamper),
    "kubernetes connection missing": closed(
        *("CONNECTION_MISSING", KUBERNETES), plant=lambda wire: wire.lose_connection(KUBERNETES)
    ),
    "ssh connection missing": closed("CONNECTION_MISSING", SSH, plant=lambda wire: wire.lose_connection(SSH)),
    "Airflow without a name": closed(
        *("CONFIG_INVALID", "NIGHTSHIFT_INSTALLATION is not set"), plant=lambda wire: wire.lose_name("")
    ),
    "API away": closed("API_UNREACHABLE", "refused", plant=lambda wire: wire.stop_api(), answer="blind"),
    "workload missing": closed(
        *("WORKLOAD_MISSING", "Deployment shop/importer"),
        policy="quiesce: [{kind: Deployment, namespace: shop, name: importer}]",
    ),
    "no YAML": unreadable("not YAML", policy="target: ["),
    "unknown key in the YAML": unreadable("did you mean 'window'", policy="windw: {}"),
    "pin beyond the ceiling, policy": unreadable(
        "beyond", policy="target: {newest_minor: '1.34', pinned_version: '1.35.4'}"
    ),
    "package missing from the repository": Row(
        *("memory", "stage", "PACKAGE_MISSING", ("cp1", "w1, w2")),
        plant=stage_fails(ExitCode.PACKAGE_MISSING, "cp1", "w1", "w2"),
        is_after_claim=True,
    ),
    "image missing from the registry": Row(
        *("memory", "stage", "IMAGE_MISSING", ("cp1",)),
        plant=stage_fails(ExitCode.IMAGE_MISSING, "cp1"),
        is_after_claim=True,
    ),
}


@pytest.fixture
def memory(night: Night) -> Night:
    return night


@pytest.fixture
def wire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: None) -> Iterator[Wire]:
    with ExitStack() as stack:
        wire = Wire(tmp_path, monkeypatch, stack)
        for module in (operators, sensors, callbacks):
            monkeypatch.setattr(module, "open_session", wire.open_session)
        monkeypatch.setattr(reporting, "show_note", lambda task, context, note: wire.notes.append(note))
        no_waiting(monkeypatch)
        yield wire


def load_dag(directory: Path, policy: str, monkeypatch: pytest.MonkeyPatch) -> DAG:
    """The DAG the real DAG file makes of this YAML; tried once, because a fault does not pass here."""
    directory.mkdir()
    (directory / "night.yaml").write_text(CLUSTER + policy, encoding="utf-8")
    monkeypatch.setenv("NIGHTSHIFT_CLUSTERS", str(directory))
    made = runpy.run_path(str(PROJECT / "dags" / "upgrade.py")).values()
    dag = next(value for value in made if isinstance(value, DAG))
    for task in dag.tasks:
        task.retries = 0
    return dag


def words(text: str) -> str:
    """Without punctuation: a note joins sentences into clauses."""
    return " ".join(re.findall(r"\w+", text))


@pytest.mark.parametrize("name", ROWS)
def test_bad_input(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    row = ROWS[name]
    world = request.getfixturevalue(row.world)
    dag = load_dag(tmp_path / "clusters", row.policy, monkeypatch)
    before = looks_of(world)
    row.plant(world)

    run = dag.test(run_conf=dict(row.form) or None)

    assert run.state == "failed"
    assert {ti.task_id for ti in run.get_task_instances() if ti.state == "failed"} == row.red
    assert_one_error(capsys.readouterr().out, row, world)
    assert_ledger(row, world)
    assert touched(world, before, row) == []


def assert_one_error(log: str, row: Row, world: World) -> None:
    """One banner in all tasks' logs, complete; and the note says the same."""
    banners = BANNER.findall(log)
    assert [code for code, _ in banners] == [row.code], banners
    (cause,), ((next_step, page),) = CAUSE.findall(log), NEXT_STEP.findall(log)
    assert page == row.code
    assert (PROJECT / "docs" / "runbooks" / f"{page}.md").exists()
    (note,) = world.notes
    assert f"{row.task} failed ({row.code})" in note
    assert len(note) <= NOTE_LIMIT
    for said in (banners[0][1][:80], cause, next_step):
        assert words(said)
        assert words(said) in words(note)
    for word in row.says:
        assert word in note


def assert_ledger(row: Row, world: World) -> None:
    entries = [json.loads(path.read_text()) for path in world.store.rglob("ledger/*.json")]
    assert [entry["answer"] for entry in entries] == [row.answer]


def looks_of(world: Any) -> Any:
    """What must be the same afterwards."""
    if not isinstance(world, Night):
        return None
    cluster = world.cluster
    return (dict(cluster.nodes), json.dumps(cluster.components), dict(cluster.marks), cluster.config_version)


def touched(world: Any, before: Any, row: Row) -> list[str]:
    """Everything a night did beyond looking."""
    if isinstance(world, Wire):
        return world.touched()
    assert looks_of(world) == before
    cluster = world.cluster
    assert cluster.lease.holder == ""
    assert not world.gauges.values.get("k8s_upgrade_in_flight")
    allowed = {
        "package-index",
        "supply",
        *(("snapshot-etcd", "stage", "rehearse") if row.is_after_claim else ()),
    }
    did = [call[0] for node in cluster.fakes.values() for call in node.calls if call[0] not in allowed]
    writes = NODE_WRITES if row.is_after_claim else (*NODE_WRITES, *CLAIM_WRITES)
    did += [call for call in cluster.api_calls if call.startswith(writes)]
    return did + [f"{n.name} fenced" for n in cluster.fakes.values() if n.token and not row.is_after_claim]


def test_without_a_fault_the_wire_is_open(
    wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each fault on the wire is the only reason why its night does not begin."""
    policy = load_dag(tmp_path / "clusters", "", monkeypatch).get_task("open_night").policy
    with wire.open_session(policy, "run-1") as session:
        assert open_night(session)["answer"] == "go"
        assert detect_target(session)["answer"] == "go"
    assert all("probe" in shell.commands for shell in wire.shells.values())
