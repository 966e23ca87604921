"""The way back by hand: last night's snapshot is restored as docs/restore.md says, and the next night works."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.lab.test_night import KUBEADM_UNIT, SLOT, TARGET, assert_clean, assert_on_target
from tests.lab.world import World, wait_until

from nightshift.domain.store_paths import path_safe
from nsdemo.settings import PROJECT

SCRIPTS = PROJECT / "include" / "scripts"
RUNBOOK = PROJECT / "docs" / "restore.md"
OLD = "v1.34.4"
THERE = "/root/way-back"
CONTROL_PLANES = ("cp1", "cp2", "cp3")  # of `ha`
JOB_SECONDS = 600  # from the begin of a task until its job works: the node's state is saved before it
NIGHTS = 4  # of three control planes on one disk, in vain or not
# What the restore itself does to a cluster a moment before the night, or the one disk below three control planes.
UNSETTLED = {
    *("ETCD_SLOW", "ETCD_LEADER_CHANGED", "ETCD_RESTARTED", "ETCD_TOO_FEW_SAMPLES"),
    *("NODE_NOT_SETTLED", "MANIFEST_NOT_RUNNING"),
}
SWEEPER_SECONDS = 300
SETTLED = timedelta(seconds=35)  # the gate `node_health` asks for 30 s
STAYS = 60  # seconds; a kubelet of another minor starts its static pods anew, but not at once


def snapshot_of(world: World, run_id: str) -> tuple[Path, str]:
    """Bundle and SHA-256, where the runbook says a person finds them."""
    entry = json.loads(
        Path(world.home.store, "lab", "snapshots", f"{path_safe(run_id)}.json").read_text(encoding="utf-8")
    )
    return Path(entry["path"]), entry["sha256"]


def ssh_words(world: World) -> list[str]:
    return [
        *("ssh", "-F", "none", "-i", world.facts["NSLAB_SSH_KEY"], "-o", "BatchMode=yes"),
        *("-o", f"UserKnownHostsFile={world.facts['NSLAB_KNOWN_HOSTS']}", "-o", "StrictHostKeyChecking=yes"),
        *("-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR"),
    ]


def address_of(world: World, node: str) -> str:
    return dict(pair.split("=") for pair in world.facts["NSLAB_NODES"].split())[node]


def copy_to(world: World, node: str, *files: Path) -> None:
    """Into THERE, as root."""
    world.on_node(node, f"mkdir -p {THERE}")
    for file in files:
        with file.open("rb") as source:
            command = [
                *ssh_words(world),
                f"root@{address_of(world, node)}",
                f"cat >{THERE}/{file.name}; chmod 700 {THERE}/{file.name}",
            ]
            subprocess.run(command, stdin=source, check=True)


def play(command: list[str], **environment: str) -> str:
    """Run it, show what it says, and return that; it must succeed."""
    began = time.monotonic()
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )
    print(done.stdout, f"\n{time.monotonic() - began:.0f} s", flush=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


def commands_of(heading: str) -> str:
    """The first shell block below a heading of the runbook."""
    text = RUNBOOK.read_text(encoding="utf-8").split(f"\n## {heading}\n", 1)[1]
    found = re.search(r"^```bash\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    assert found, heading
    return found[1]


def take_packages_back(world: World, node: str) -> None:
    """What the runbook says about kubelets that are newer than the API server."""
    is_worker = node.startswith("w")
    if is_worker:
        # A pod without a controller is refused by kubectl; whoever takes the packages back lets it go by hand.
        world.kubectl("-n", "shop", "delete", "pod", "lonely", "--ignore-not-found")
        world.kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=300s")
    script = commands_of("Kubelets and packages")
    assert f"VERSION={OLD.removeprefix('v')} " in script
    world.on_node(node, f"set -e\n{script}")
    wait_until(lambda: world.kubelet_versions()[node] == OLD, f"{node} on {OLD}", 180, pause=3)
    wait_until(lambda: is_ready(world, node), f"{node} Ready", 180, pause=3)
    if is_worker:
        world.kubectl("uncordon", node)


def is_ready(world: World, node: str) -> bool:
    conditions = world.nodes()[node]["status"]["conditions"]
    return {c["type"]: c["status"] for c in conditions}["Ready"] == "True"


def are_settled(world: World) -> bool:
    """Tell whether every etcd answers and every node is Ready for so long that the night takes it: a kubelet that is restarted may say no first."""
    nodes = world.nodes()
    conditions = [c for node in nodes.values() for c in node["status"]["conditions"]]
    ready = [c for c in conditions if c["type"] == "Ready"]
    long_ago = datetime.now(UTC) - SETTLED
    members = [name for name in nodes if name.startswith("cp")]
    return all(
        c["status"] == "True" and datetime.fromisoformat(c["lastTransitionTime"]) < long_ago for c in ready
    ) and all(etcd_answers(world, name) for name in members)


def etcd_answers(world: World, node: str) -> bool:
    """Where the gates ask it."""
    said = world.on_node(node, "curl -sf --max-time 5 http://127.0.0.1:2381/health", check=False)
    return '"health":"true"' in said


def stay_settled(world: World) -> bool:
    """Tell whether they are settled at every look of a whole minute."""
    end = time.monotonic() + STAYS
    while are_settled(world):
        if time.monotonic() > end:
            return True
        time.sleep(3)
    return False


def begun_control_plane(world: World) -> str:
    """The one whose kubeadm works. Which one comes first is decided by etcd's leader, whose turn is last."""

    def at_work() -> list[str]:
        ask = f"systemctl is-active {KUBEADM_UNIT}"
        return [n for n in CONTROL_PLANES if world.on_node(n, ask, check=False).strip() == "active"]

    (node,) = wait_until(at_work, f"{KUBEADM_UNIT} on a control plane", JOB_SECONDS, pause=1)
    return str(node)


def configmaps(world: World) -> set[str]:
    return set(world.kubectl("get", "configmaps", "-o", "name").split())


def live_on_after(world: World) -> None:
    """What happens in a cluster between snapshot and restore: something is made, something is deleted."""
    make(world, "default", "made-after")
    world.kubectl("delete", "configmap", "made-before", "--ignore-not-found")


def make(world: World, namespace: str, name: str, **data: str) -> None:
    """A ConfigMap; may be repeated when the answer to a write was lost."""
    metadata = {"name": name, "namespace": namespace}
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    world.kubectl("apply", "-f", "-", stdin=json.dumps(made))


def is_refused_for_now(run: dict[str, Any]) -> bool:
    """Tell whether a night ended, before its nodes or between two of them, for nothing but what passes by itself."""
    entry = run["ledger"] or {"answer": "", "gates": []}
    gates = [*entry["gates"], *(entry.get("node_gates") or ())]
    codes = {gate["code"] for gate in gates if gate["outcome"] in ("block", "blind")}
    answers = ("blocked", "blind", "failed", "partial")
    is_so = entry["answer"] in answers and bool(codes) and codes <= UNSETTLED
    if is_so:
        print(f"not yet: {run['note']}", flush=True)
    return is_so


def upgrade_in_the_end(world: World) -> dict[str, Any]:
    """Nights of three control planes until one ends otherwise than by what passes; each goes on where the last one was."""
    for pause in (0, 60, 180, 300)[:NIGHTS]:
        time.sleep(pause)
        run = world.night(3600)
        if not is_refused_for_now(run):
            break
    return run


def state_of_slot(world: World, run_id: str) -> str | None:
    """Of its first control plane's kubeadm; None: it is not decided yet whether it runs."""
    state = world.states(run_id).get(SLOT)
    return None if state in (None, "scheduled", "queued") else state


def begin_control_plane(world: World) -> str:
    """Start nights until one comes to its first control plane; returns its run."""
    for _ in range(NIGHTS):
        world.used = True
        run_id = world.api.start()
        if wait_until(partial(state_of_slot, world, run_id), SLOT, 1800) == "running":
            return run_id
        run = world.finish(run_id)
        assert is_refused_for_now(run), run["note"]
    raise AssertionError(f"none of {NIGHTS} nights came to a control plane")


def assert_is_back(world: World) -> None:
    now = configmaps(world)
    assert "configmap/made-before" in now
    assert "configmap/made-after" not in now
    wait_until(lambda: all(is_ready(world, node) for node in world.nodes()), "every node Ready", 120, pause=3)
    images = world.kubectl(
        *("-n", "kube-system", "get", "pods", "-l", "tier=control-plane"),
        *("-o", "jsonpath={..containers[*].image}"),
    )
    assert {image.rsplit(":", 1)[1] for image in images.split() if "/kube-" in image} == {OLD}
    brake = world.kubectl("-n", "nightshift", "get", "configmap", "nightshift-brake", "-o", "yaml")
    assert 'paused: "true"' in brake
    # Writing works, and everybody sees it: revisions went forward.
    world.kubectl("create", "deployment", "after-restore", "--image=registry.k8s.io/nightshift-lab/web:1")
    ask = ("get", "deployment", "after-restore", "-o", "jsonpath={.status.availableReplicas}")
    wait_until(lambda: world.kubectl(*ask).strip() == "1", "after-restore is available", 300, pause=3)
    world.kubectl("delete", "deployment", "after-restore", "--ignore-not-found")


def go_forward_again(world: World, upgrade: Callable[[], dict[str, Any]]) -> None:
    """The snapshot remembers a run that was at work: the sweeper ends it. Then the brake is released."""
    wait_until(world.is_clean, "what the snapshot's run held is given back", SWEEPER_SECONDS, pause=5)
    wait_until(
        partial(stay_settled, world), "every node Ready and every etcd there, for a while", 420, pause=3
    )
    world.kubectl("-n", "nightshift", "delete", "configmap", "nightshift-brake", "--ignore-not-found")
    run = upgrade()
    assert run["state"] == "success", run["note"]
    assert_on_target(world)
    assert_clean(world)


@pytest.mark.timeout(7200)
def test_a_night_that_went_through_is_taken_back_on_a_single_control_plane(world: World) -> None:
    world.fresh()
    world.kubectl("create", "configmap", "made-before")
    run = world.upgrade()
    assert run["state"] == "success", run["note"]
    assert_on_target(world, TARGET)
    live_on_after(world)

    bundle, sha256 = snapshot_of(world, run["dag_run_id"])
    copy_to(world, "cp1", SCRIPTS / "restore-etcd", bundle)
    command = f"{THERE}/restore-etcd run --bundle {THERE}/{bundle.name} --sha256 {sha256} --yes"
    on_cp1 = [*ssh_words(world), f"root@{address_of(world, 'cp1')}"]
    before = world.fingerprint()
    assert "etcdutl snapshot restore" in play([*on_cp1, f"{command} --dry-run"])
    assert world.fingerprint() == before
    assert "configmap/made-after" in configmaps(world)

    said = play([*on_cp1, command])

    assert_is_back(world)
    for node in ("cp1", "w1", "w2"):
        assert f"{node}: kubelet {TARGET} is newer than the API server {OLD}" in said
        take_packages_back(world, node)
    go_forward_again(world, partial(world.upgrade, 2400))


@pytest.mark.timeout(10800)
def test_a_night_that_stopped_half_way_is_taken_back_on_three_control_planes(world: World) -> None:
    world.fresh("ha")
    world.kubectl("create", "configmap", "made-before")
    run_id = begin_control_plane(world)
    begun = begun_control_plane(world)  # a brake before that would give the node back as it was
    make(world, "nightshift", "nightshift-brake", paused="true", reason="lab")
    run = world.finish(run_id, 3600)
    assert run["state"] == "success", run["note"]
    upgraded = [name for name, version in world.kubelet_versions().items() if version == TARGET]
    assert upgraded == [begun], "one control plane is new, all the others are old"
    live_on_after(world)

    bundle, sha256 = snapshot_of(world, run_id)
    targets = [f"{name}=root@{address_of(world, name)}" for name in CONTROL_PLANES]
    command = [str(SCRIPTS / "restore-etcd-ha"), "--bundle", str(bundle), "--sha256", sha256, "--yes"]
    by_ssh = {"RESTORE_SSH": " ".join(ssh_words(world))}
    before = world.fingerprint()
    play([*command, "--dry-run", *targets], **by_ssh)
    assert world.fingerprint() == before

    play([*command, *targets], **by_ssh)

    assert_is_back(world)
    for name in CONTROL_PLANES:
        health = world.on_node(
            name,
            "curl -s --cacert /etc/kubernetes/pki/etcd/ca.crt --cert /etc/kubernetes/pki/etcd/healthcheck-client.crt "
            "--key /etc/kubernetes/pki/etcd/healthcheck-client.key https://127.0.0.1:2379/health",
        )
        assert json.loads(health)["health"] == "true", name
    take_packages_back(world, begun)
    go_forward_again(world, partial(upgrade_in_the_end, world))
