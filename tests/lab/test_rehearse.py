"""The rehearsal on a real control plane: quick and gentle when all is well, and the night's end before any change when not."""

from __future__ import annotations

import base64
import json
import math
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest
import yaml
from tests.lab.test_night import assert_clean
from tests.lab.world import World, wait_until

from nightshift.clients.etcd_metrics import parse_etcd_metrics
from nightshift.domain.histograms import delta
from nightshift.domain.policy import EtcdLatencyPolicy

NODE = "/usr/local/lib/nightshift/nightshift-node"
TARGET = "1.35.4"
HEALTHY_SECONDS = 90  # of the whole job, from its start to its end
ROUNDS = 5  # of rehearsals, while etcd is written to
WRITES = 25  # at least, in which its latency is measured
CONFIG_MAP = ("-n", "kube-system", "get", "configmap", "kubeadm-config", "-o", "json")
ETCDCTL = (
    "/proc/$(pgrep -x etcd | head -n 1)/root/usr/local/bin/etcdctl --endpoints https://127.0.0.1:2379 "
    "--cacert /etc/kubernetes/pki/etcd/ca.crt --cert /etc/kubernetes/pki/etcd/healthcheck-client.crt "
    "--key /etc/kubernetes/pki/etcd/healthcheck-client.key"
)
# Of a kind that no gate and no drain asks for: those find an unservable object of theirs themselves.
BROKEN_KEY = "/registry/podtemplates/default/of-a-version-that-is-gone"
BROKEN = '{"kind":"PodTemplate","apiVersion":"gone.invalid/v1","metadata":{"name":"of-a-version-that-is-gone","namespace":"default"}}'
AUTHENTICATION = "/etc/kubernetes/pki/authentication.yaml"


class Ended(NamedTuple):
    """A job that came to its end; how long it took is what the node itself wrote down of its begin and end."""

    state: str
    exit_code: str
    text: str
    seconds: float


def job(world: World, step: str, *words: str) -> Ended:
    """Run a job on cp1 to its end."""
    token = "$(cat /var/lib/nightshift/token 2>/dev/null || echo 0)"
    world.on_node(
        "cp1", f"{NODE} start-job {step} {token} lab/test/run 600 {uuid.uuid4()} {' '.join(words)} 2>&1"
    )

    def ended() -> list[str] | None:
        head = world.on_node("cp1", f"{NODE} job-poll {step} -").split("\n", 1)
        return None if head[0].split("\t")[2] == "running" else head

    head, text = wait_until(ended, f"end of {step}", 600)
    _, _, state, exit_code, _, _, _, started, finished, *_ = head.split("\t")
    is_lost = finished == "-"
    return Ended(state, exit_code, text, math.inf if is_lost else float(finished) - float(started))


def prepared(world: World) -> World:
    """A fresh cluster with the target staged and a snapshot, and nothing of the night begun."""
    world.fresh()
    world.used = True
    assert (
        job(world, "stage", "1.35", f"{TARGET}-1.1", world.facts["NSLAB_PACKAGES_URL"]).state == "succeeded"
    )
    assert job(world, "snapshot-etcd").state == "succeeded"
    return world


def result(text: str) -> dict[str, object]:
    (line,) = [line for line in text.splitlines() if line.startswith("RESULT ")]
    found: dict[str, object] = json.loads(line.removeprefix("RESULT "))
    return found


@contextmanager
def written_to(world: World) -> Iterator[None]:
    """Let something write into etcd ten times a second: on the lab's own, one would measure nothing."""
    loop = f"while :; do {ETCDCTL} put /nightshift-test/x y >/dev/null; sleep 0.1; done"
    world.on_node("cp1", f"systemd-run --quiet --unit=writer bash -c '{loop}'")
    try:
        yield
    finally:
        world.on_node("cp1", f"systemctl stop writer; {ETCDCTL} del /nightshift-test/x")


def test_a_healthy_target_is_rehearsed_quickly_and_etcd_hardly_notices(world: World) -> None:
    prepared(world)
    limits = EtcdLatencyPolicy()
    seconds: list[float] = []
    with written_to(world):
        before = parse_etcd_metrics(world.on_node("cp1", f"{NODE} etcd-metrics"), "cp1", 0.0)
        for _ in range(ROUNDS):
            done = job(world, "rehearse", TARGET, "-")
            assert done.state == "succeeded", done.text
            told = result(done.text)
            assert told["rehearsed"] is True
            # What it tells is its last part only: dry-run, image and data are prepared before.
            assert done.seconds >= float(str(told["seconds"]))
            seconds.append(done.seconds)
        after = parse_etcd_metrics(world.on_node("cp1", f"{NODE} etcd-metrics"), "cp1", 1.0)
    assert before is not None
    assert after is not None
    assert max(seconds) <= HEALTHY_SECONDS, seconds
    for name, limit in (
        ("wal_fsync", limits.fsync_limit_seconds),
        ("backend_commit", limits.commit_limit_seconds),
        ("apply", limits.apply_limit_seconds),
    ):
        gained = delta(getattr(before, name), getattr(after, name))
        assert gained is not None
        assert gained.count >= WRITES
        bucket = gained.quantile_bucket(0.99)
        print(f"p99 of {name}: {bucket} of {gained.count:.0f}; rehearsals took {seconds} s")
        assert bucket is not None
        assert bucket.upper <= limit, name
    left = world.on_node(
        "cp1",
        "ls /var/lib/nightshift/work; ctr -n k8s.io snapshots ls | grep rehears; pgrep -x rehearsed-apise; "
        "grep rehears /proc/mounts",
        check=False,
    )
    assert left.strip() == ""


def test_a_killed_rehearsal_leaves_nothing(world: World) -> None:
    prepared(world)
    token = "$(cat /var/lib/nightshift/token 2>/dev/null || echo 0)"
    world.on_node("cp1", f"{NODE} start-job rehearse {token} lab/test/run 600 {uuid.uuid4()} {TARGET} - 2>&1")
    wait_until(lambda: world.on_node("cp1", "pgrep -x rehearsed-apise", check=False).strip(), "its start", 60)
    world.on_node("cp1", "systemctl kill --signal=KILL nightshift-rehearse")
    wait_until(
        lambda: "failed\t137" in world.on_node("cp1", f"{NODE} job-poll rehearse -").split("\n")[0],
        "its end",
        60,
    )
    left = world.on_node(
        "cp1", "ls /var/lib/nightshift/work; pgrep -x rehearsed-apise; grep rehears /proc/mounts", False
    )
    assert left.strip() == ""


def configuration(world: World) -> str:
    """What kubeadm-config says."""
    return str(json.loads(world.kubectl(*CONFIG_MAP))["data"]["ClusterConfiguration"])


def add_flag(world: World, name: str, value: str) -> None:
    """What somebody would write into kubeadm-config for the next upgrade."""
    said = yaml.safe_load(configuration(world))
    arguments = said.setdefault("apiServer", {}).setdefault("extraArgs", [])
    arguments.append({"name": name, "value": value})
    patch = {"data": {"ClusterConfiguration": yaml.safe_dump(said)}}
    world.kubectl("-n", "kube-system", "patch", "configmap", "kubeadm-config", "-p", json.dumps(patch))


def removed_flag(world: World) -> None:
    add_flag(world, "gone-since-long", "true")


def bad_authentication(world: World) -> None:
    text = (
        "apiVersion: apiserver.config.k8s.io/v1beta1\nkind: AuthenticationConfiguration\n"
        "jwt:\n- issuer:\n    url: http://not-https.invalid\n    audiences: [x]\n"
    )
    encoded = base64.b64encode(text.encode()).decode()
    world.on_node("cp1", f"base64 -d <<<{encoded} >{AUTHENTICATION}")
    add_flag(world, "authentication-config", AUTHENTICATION)


def unservable_object(world: World) -> None:
    world.on_node("cp1", f"{ETCDCTL} put {BROKEN_KEY} '{BROKEN}'")


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        (removed_flag, ("unknown flag: --gone-since-long",)),
        (bad_authentication, ("jwt[0].issuer.url",)),
        (unservable_object, ("podtemplates", "gone.invalid/v1")),
    ],
)
def test_what_the_target_cannot_start_with_ends_the_night_before_any_change(
    world: World, plant: Callable[[World], None], words: tuple[str, ...]
) -> None:
    world.fresh()
    world.used = True
    plant(world)
    before, files = configuration(world), world.fingerprint()

    run = world.upgrade()

    states = world.states(run["dag_run_id"])
    assert (run["state"], states["rehearse"]) == ("failed", "failed"), run["note"]
    assert "REHEARSAL_FAILED" in run["note"]
    for word in words:
        assert word in run["note"]
    assert states["reconcile_drift"] == states["control_plane.slot_01.drain_node"] == "upstream_failed"
    assert configuration(world) == before
    assert world.fingerprint() == files
    assert_clean(world)
