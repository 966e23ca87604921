"""Play recipes on the lab and keep what the node's evidence says: `python -m nscorpus.record --side train|heldout`.

The step is the product's own, through its own clients (SSH user, fencing, job units); only Airflow is not in between. What exists in the
corpus already is not played again, so that an interrupted queue goes on. Each turn takes the lock given with --lock, resets the lab and
plays as many recipes as fit.
"""

from __future__ import annotations

import argparse
import fcntl
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TextIO

from nightshift.clients.cluster_config import load_cluster
from nightshift.clients.evidence_bundle import read_stream
from nightshift.domain.errors import NightshiftError
from nightshift.orchestration.runtime import open_session
from nightshift.steps.drain_node import drain_node
from nightshift.steps.hold import hold
from nightshift.steps.session import Session
from nightshift.steps.stage import node_images
from nightshift.steps.upgrade_kubelet import require_kubelet
from nscorpus.incidents import BUNDLE, CORPUS, HEALTHY, LABEL, Label
from nscorpus.recipes import RECIPES, Recipe
from nscorpus.trim import pack, trimmed
from nsdemo.lab import enrol_lab, lab_environment, lab_facts
from nsdemo.settings import PROJECT, Home, airflow_environment

VERSION, PACKAGE, MINOR = "1.35.4", "1.35.4-1.1", "1.35"
FROM = {"kubernetes": "1.34.4 to 1.35.4", "etcd": "3.6.5 to 3.6.6", "os": "Debian 12"}
SETTLE_SECONDS = 150
RENEWALS = 6  # of each Lease, one in two seconds
BEFORE_SECONDS = 120.0  # as steps/evidence.py collects
REATTACH_SECONDS = 40.0
WITHOUT_ETCD = "/run/nightshift-corpus-without-etcd"  # read by the recording copy of the node's scripts only
TURN_SECONDS = 480  # after that no further recipe is begun under the same lock
_LAB = PROJECT / "lab" / "lab"
_CLUSTER = PROJECT / "lab" / "clusters" / "lab.yaml"
# A node's packages and images of the target, as if nothing had been staged.
_UNSTAGE = (
    "rm -rf /var/lib/nightshift/packages; for i in $(ctr -n k8s.io images ls -q | grep -E 'v1.35.4|v1.13.1'); "
    "do ctr -n k8s.io images rm --sync $i; done >/dev/null"
)
# What kubeadm does before the kubelet's turn: its configuration is newer than the kubelet that runs.
_FRESH_CONFIG = "touch /var/lib/kubelet/config.yaml"


class Lab:
    """The lab's command line, and the state it is in.

    Args:
        home: where the enrolled connections are kept.
        log: gets one line at a time.
    """

    def __init__(self, home: Home, log: Callable[[str], None]) -> None:
        self.home, self.log = home, log
        self.is_fresh = False
        self.staged: set[str] = set()
        self.ready: set[str] = set()  # nodes on which kubeadm has done its part, before the kubelet's

    def run(self, *arguments: str, check: bool = True) -> str:
        """Run a lab command; returns what it printed.

        Raises:
            RuntimeError: it failed, with its own words.
        """
        done = subprocess.run([str(_LAB), *arguments], capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            raise RuntimeError(f"lab {' '.join(arguments)}: {done.stdout[-500:]}{done.stderr[-500:]}")
        return done.stdout

    def reset(self) -> None:
        """Bring the fresh cluster back and enrol it."""
        self.log("reset")
        self.run("heal", "all", check=False)
        self.run("reset")
        enrol_lab(self.home, lab_facts())
        self.is_fresh, self.staged, self.ready = True, set(), set()


class Player:
    """Plays recipes in one cluster.

    Args:
        lab: the lab.
        session: the product's way into it.
        root: of the corpus.
    """

    def __init__(self, lab: Lab, session: Session, root: Path) -> None:
        self._lab, self._session, self._root = lab, session, root
        self._nodes = {node.name: node for node in session.kube.nodes()}  # asked while the API answers
        self._steps: dict[str, Callable[[Recipe], None]] = {
            "stage": self._stage,
            "kubeadm": self._kubeadm,
            "kubelet": self._kubelet,
            "kubelet-verified": self._kubelet_verified,
            "drain": self._drain,
        }

    def play(self, recipe: Recipe) -> str:
        """Play one; returns what came of it. The incident is written when the step ended as its label says."""
        self._prepare(recipe)
        began = time.time()
        try:
            for fault in recipe.faults:
                self._lab.log(self._lab.run("break", *fault).strip())
            if recipe.step == "kubeadm":
                self._settle()  # a fault of the kind that has been there for days
            failure = ""
            with self._meanwhile(recipe):
                try:
                    self._steps[recipe.step](recipe)
                except NightshiftError as error:
                    failure = str(error)
            self._lab.log(f"{recipe.name}: {failure or 'succeeded'}"[:600])
            if bool(failure) == (recipe.cause == HEALTHY):
                return f"not as expected: {failure or 'it succeeded'}"[:400]
            if ("ssh-cut", recipe.node) in recipe.faults:
                self._lab.run("heal", "ssh-cut")
            failed = time.time()
            files = self._collect(recipe.node, began - BEFORE_SECONDS) | self._from_the_api()
            self._lab.log(f"{recipe.name}: evidence {time.time() - failed:.1f} s after the step's end")
        finally:
            self._heal(recipe)
        self._write(recipe, files, failure, began)
        return "recorded"

    def _heal(self, recipe: Recipe) -> None:
        is_healed = False
        with suppress(RuntimeError, NightshiftError):
            self._lab.run("heal", "all")
            self._session.kube.uncordon(recipe.node)
            is_healed = True
        # What could not be healed is e.g. a flag that stays in kubeadm-config, because the API is away.
        if recipe.spoils or not is_healed:
            self._lab.is_fresh = False

    def _prepare(self, recipe: Recipe) -> None:
        if recipe.step == "stage":
            self._lab.run("ssh", recipe.node, _UNSTAGE)
            self._lab.staged.discard(recipe.node)
        elif recipe.step != "drain":
            self._settle()
            self._ensure_staged(recipe.node)
            self._lab.run(
                "ssh", recipe.node, f"{'touch' if recipe.is_without_etcd else 'rm -f'} {WITHOUT_ETCD}"
            )
        if recipe.step.startswith("kubelet"):
            if recipe.node not in self._lab.ready:
                self._job(recipe.node, "kubeadm-upgrade", self._kubeadm_arguments("node", 300), 600)
                self._lab.ready.add(recipe.node)
            self._lab.run("ssh", recipe.node, _FRESH_CONFIG)

    def _settle(self) -> None:
        """Wait until the API is ready, and the controller manager and the scheduler work: what was before is over."""
        end = time.monotonic() + SETTLE_SECONDS
        for component in ("kube-controller-manager", "kube-scheduler"):
            query = ("-n", "kube-system", "get", "lease", component, "-o", "jsonpath={.spec.renewTime}")
            seen: set[str] = set()
            while time.monotonic() < end and len(seen) < RENEWALS:
                renewed = self._lab.run("kubectl", *query, "--request-timeout=5s", check=False).strip()
                ready = self._lab.run(
                    "kubectl", "get", "--raw", "/readyz", "--request-timeout=5s", check=False
                )
                if ready.strip() == "ok" and renewed:
                    seen.add(renewed)
                time.sleep(1)

    def _ensure_staged(self, node: str) -> None:
        if node not in self._lab.staged:
            self._job(node, "stage", self._stage_arguments(""), 900)
            self._lab.staged.add(node)

    # -- steps

    def _stage(self, recipe: Recipe) -> None:
        self._job(recipe.node, "stage", self._stage_arguments(recipe.base_url), recipe.limit_seconds)

    def _kubeadm(self, recipe: Recipe) -> None:
        mode = "apply" if recipe.node.startswith("cp") else "node"
        self._job(
            recipe.node,
            "kubeadm-upgrade",
            self._kubeadm_arguments(mode, recipe.manifests_seconds),
            recipe.limit_seconds,
        )

    def _kubelet(self, recipe: Recipe) -> None:
        self._job(recipe.node, "kubelet-upgrade", [VERSION], recipe.limit_seconds)

    def _kubelet_verified(self, recipe: Recipe) -> None:
        self._kubelet(recipe)
        time.sleep(45)  # until the API has lost a node that does not report any more
        policy = self._session.policy
        self._session.policy = replace(policy, limits=replace(policy.limits, node_ready_seconds=10))
        try:
            require_kubelet(self._session, recipe.node, VERSION)
        finally:
            self._session.policy = policy

    def _drain(self, recipe: Recipe) -> None:
        policy = self._session.policy
        hasty = replace(policy, drain=replace(policy.drain, timeout_seconds=25))
        self._session.policy = hasty
        try:
            drain_node(self._session, recipe.node)
        finally:
            self._session.policy = policy

    def _job(self, name: str, step: str, arguments: Sequence[str], limit: int) -> None:
        node = self._nodes[name]
        # A night waits ten minutes for a node that is away; what it then says is the same.
        vars(self._session.on(node))["_reattach_seconds"] = REATTACH_SECONDS
        with hold(self._session, [node]) as held:
            self._session.on(node).run_job(
                step, held.token, self._session.owner, arguments, limit, lambda line: None, held.check
            )

    def _stage_arguments(self, base_url: str) -> list[str]:
        base = base_url or self._session.policy.target.package_repository
        return [MINOR, PACKAGE, base, *node_images(self._session, VERSION)]

    def _kubeadm_arguments(self, mode: str, seconds: int) -> list[str]:
        policy = self._session.policy
        return [
            mode,
            VERSION,
            str(seconds),
            policy.target.package_repository,
            *policy.ignored_preflight_checks,
        ]

    # -- evidence

    @contextmanager
    def _meanwhile(self, recipe: Recipe) -> Iterator[None]:
        ended = threading.Event()

        def act() -> None:
            began = time.monotonic()
            for seconds, arguments in recipe.during:
                if not ended.wait(max(0.0, began + seconds - time.monotonic())):
                    self._lab.log(
                        f"meanwhile: {' '.join(arguments)}: {self._lab.run(*arguments, check=False)}"
                    )

        thread = threading.Thread(target=act, daemon=True)
        thread.start()
        try:
            yield
        finally:
            thread.join(60)
            ended.set()

    def _collect(self, name: str, since: float) -> dict[str, str]:
        node = self._nodes[name]
        for attempt in range(12):
            copy = io.BytesIO()
            try:
                self._session.on(node).collect_evidence(since, copy)
                copy.seek(0)
                return read_stream(copy, name)
            except NightshiftError as error:
                self._lab.log(f"evidence of {name}, attempt {attempt + 1}: {error}"[:300])
                time.sleep(5)
        raise RuntimeError(f"no evidence of {name}")

    def _from_the_api(self) -> dict[str, str]:
        """What the driver adds when the API answers, as far as the diagnosis reads it."""
        query = ("-n", "kube-system", "get", "configmap", "kubeadm-config", "--request-timeout=5s")
        text = self._lab.run("kubectl", *query, "-o", "jsonpath={.data.ClusterConfiguration}", check=False)
        return {"cluster/kubeadm-config.yaml": text} if text else {}

    def _write(self, recipe: Recipe, files: dict[str, str], failure: str, began: float) -> None:
        if failure:
            files["driver/error.txt"] = failure
        small, said = trimmed(files, began)
        target = self._root / recipe.side / recipe.name
        target.mkdir(parents=True, exist_ok=True)
        content = pack(small)
        (target / BUNDLE).write_bytes(content)
        (target / LABEL).write_text(
            json.dumps(asdict(_label(recipe, said)), indent=2) + "\n", encoding="utf-8"
        )
        self._lab.log(f"{recipe.name}: {len(content)} bytes")


def _label(recipe: Recipe, said: dict[str, str]) -> Label:
    breaks = "; ".join(f"lab/lab break {' '.join(fault)}" for fault in recipe.faults)
    meanwhile = "; ".join(f"after {s:.0f} s: lab/lab {' '.join(words)}" for s, words in recipe.during)
    url = f"; package repository {recipe.base_url}" if recipe.base_url else ""
    early = " before the control plane's turn" if recipe.step.startswith("kubelet") else ""
    step = f"the night's step {recipe.step}{early} on {recipe.node} (python -m nscorpus.record){url}"
    step += ", etcdUpgrade: false" if recipe.is_without_etcd else ""
    return Label(
        cause=recipe.cause,
        truth=recipe.truth,
        origin="live",
        made_by="; ".join(part for part in (breaks, step, meanwhile) if part),
        recorded=time.strftime("%Y-%m-%d", time.gmtime()),
        conditions=recipe.conditions,
        decoys=recipe.decoys,
        decisive=recipe.decisive,
        versions=FROM,
        trimmed=said,
    )


def waiting(side: str, names: Sequence[str], root: Path) -> list[Recipe]:
    """Recipes that are not in the corpus yet: those named, in that order, or all of a side, long ones and spoilers last."""
    by_name = {recipe.name: recipe for recipe in RECIPES}
    of_side = sorted((r for r in RECIPES if r.side == side), key=lambda r: (r.spoils, r.step == "kubeadm"))
    chosen = [by_name[name] for name in names] or of_side
    return [r for r in chosen if not (root / r.side / r.name / BUNDLE).exists()]


def turn(lab: Lab, queue: list[Recipe], root: Path, done: Callable[[Recipe, str], None]) -> None:
    """Play recipes from the front of the queue until the time is over or the cluster is spoilt."""
    began = time.monotonic()
    lab.reset()
    os.environ.update(airflow_environment(lab.home, lab_environment(lab_facts())))
    with (
        _healing(lab),
        open_session(load_cluster(_CLUSTER), f"corpus-{time.time():.0f}", lab.log) as session,
    ):
        player = Player(lab, session, root)
        while queue and lab.is_fresh and time.monotonic() - began < TURN_SECONDS:
            recipe = queue.pop(0)
            if (root / recipe.side / recipe.name / BUNDLE).exists():  # another queue was faster
                continue
            try:
                done(recipe, player.play(recipe))
            except Exception as error:  # noqa: BLE001 - one recipe that fails must not end the queue
                lab.is_fresh = False
                traceback.print_exc()
                done(recipe, f"failed: {type(error).__name__}: {error}"[:400])


@contextmanager
def _healing(lab: Lab) -> Iterator[None]:
    """Leave no fault on, also when the queue is ended by SIGTERM."""
    try:
        yield
    finally:
        lab.run("heal", "all", check=False)


@contextmanager
def locked(path: Path | None) -> Iterator[None]:
    """Hold the lock file, if there is one."""
    if path is None:
        yield
        return
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main(arguments: Sequence[str] | None = None) -> int:
    """Play what is waiting; 0 when all of it was recorded."""
    parser = argparse.ArgumentParser(prog="nscorpus.record", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "names", nargs="*", help="recipes; default: all of the side that are not in the corpus"
    )
    parser.add_argument("--side", choices=("train", "heldout"), default="train")
    parser.add_argument("--lock", type=Path, help="file to lock for each turn")
    parser.add_argument("--corpus", type=Path, default=CORPUS)
    parser.add_argument("--log", type=argparse.FileType("a"), default=sys.stderr)
    options = parser.parse_args(arguments)
    log = _logger(options.log)
    queue = waiting(options.side, options.names, options.corpus)
    log(f"waiting: {', '.join(r.name for r in queue)}")
    ends: dict[str, str] = {}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))

    def done(recipe: Recipe, what: str) -> None:
        ends[recipe.name] = what
        log(f"{recipe.name}: {what}")

    while queue:
        with locked(options.lock):
            turn(Lab(Home.default(), log), queue, options.corpus, done)
        time.sleep(5)  # others wait for the lock
    failed = {name: what for name, what in ends.items() if what != "recorded"}
    log(f"recorded {len(ends) - len(failed)} of {len(ends)}; {failed or 'nothing failed'}")
    return 1 if failed else 0


def _logger(file: TextIO) -> Callable[[Any], None]:
    def log(text: Any) -> None:
        print(f"{time.strftime('%H:%M:%S', time.gmtime())} {text}", file=file, flush=True)

    return log


if __name__ == "__main__":
    sys.exit(main())
