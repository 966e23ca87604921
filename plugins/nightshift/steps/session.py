"""What every step is handed: one cluster's policy, its ways in, and the name of the run."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol, TypeVar

from nightshift.clients.kube_api import Eviction
from nightshift.clients.permissions import Permission
from nightshift.clients.questions import ApiQuestion
from nightshift.domain.debts import Debt
from nightshift.domain.errors import ConfigError, NightshiftError, UnreachableError
from nightshift.domain.facts import (
    BudgetFacts,
    JobFacts,
    LeaseFacts,
    NodeAddress,
    NodeFacts,
    NodeProbe,
    PackageFacts,
    PodFacts,
    WorkloadFacts,
    WorkloadName,
)
from nightshift.domain.facts.supply import SupplyItem
from nightshift.domain.limits import PARALLEL_NODES
from nightshift.domain.owner import UNNAMED, owner_name
from nightshift.domain.policy import ClusterPolicy

_AWAY_POLL_SECONDS = 1.0
_HEARD_LINES = 4_000  # of a node's job, the newest

T = TypeVar("T")


class JobResult(Protocol):
    """How a node-side job ended (`clients/node_ssh.py: JobOutcome`)."""

    @property
    def exit_code(self) -> int:
        """Exit code of the job's main process."""

    @property
    def lines(self) -> Sequence[str]:
        """Everything the job wrote, line by line."""

    @property
    def attached(self) -> bool:
        """True when the job was already running (or done) and this call only followed it."""

    @property
    def result(self) -> dict[str, Any] | None:
        """The job's `RESULT {...}` line, parsed."""


class NodePort(Protocol):
    """What steps may do on one node (`clients/node_ssh.py: NodeSsh`, `tests/fakes/cluster.py: FakeNode`)."""

    @property
    def name(self) -> str:
        """Name of the node."""

    def probe(self) -> NodeProbe:
        """Read everything in one round."""

    def look(self, sections: Sequence[str]) -> Mapping[str, tuple[int, str]]:
        """Sections of the verb `look`, read in one call: name -> (exit code, output)."""

    def etcd_metrics(self) -> str | None:
        """Text of etcd's metrics on the node's loopback; None when the node has no etcd."""

    def kubelet_configz(self, token: str) -> dict[str, Any]:
        """Live configuration of the kubelet, asked on the node itself."""

    def package_index(self, minor: str, base_url: str) -> PackageFacts:
        """Freshly read versions of kubeadm offered for `minor`; the node's own apt lists stay untouched."""

    def supply(
        self, minor: str, package_version: str | None, base_url: str, images: Sequence[str]
    ) -> tuple[SupplyItem, ...]:
        """Whether repository, packages and images of a target are there; without a version the repository only."""

    def image_manifests(self, images: Sequence[str]) -> Mapping[str, tuple[int, str]]:
        """What the node's registry says about images: image -> (HTTP status, manifest); status 0: no answer."""

    def fence(self, token: int) -> None:
        """Raise the node's fencing token: commands of an older token are refused from now on."""

    def run_job(
        self,
        step: str,
        token: int,
        run_id: str,
        args: Sequence[str],
        limit_seconds: int,
        log: Callable[[str], None],
        on_poll: Callable[[], None] = ...,
    ) -> JobResult:
        """Start the job, or attach to it if it runs already, and follow it to its end."""

    def follow_job(
        self, step: str, log: Callable[[str], None], is_enough: Callable[[JobFacts], bool]
    ) -> JobFacts | None:
        """Follow a job that runs until it ended or `is_enough`; only looks. None: there was none to follow."""

    def job(self, step: str) -> JobFacts | None:
        """What is known about one job of this node."""

    def fetch(self, kind: str, name: str, target: BinaryIO) -> str:
        """Stream an allowed file of the node into `target`; returns the SHA-256 of what came, in hex."""

    def collect_evidence(self, since: float, target: BinaryIO, *, is_baseline: bool = False) -> None:
        """Stream a tar.gz with logs and manifests since `since` (epoch seconds), secrets redacted.

        It has the recordings that no bundle had yet, but for a baseline, which may be thrown away.
        """

    def ask_again(self, sections: Sequence[str], target: BinaryIO) -> None:
        """Stream a tar.gz with single sections of the evidence as they are now, secrets redacted. Only reads."""

    def close(self) -> None:
        """Drop the connection."""


class KubePort(Protocol):
    """What steps may do through the API (`clients/kube_api.py: KubeApi`, `tests/fakes/cluster.py: FakeKube`)."""

    def nodes(self) -> tuple[NodeFacts, ...]:
        """All nodes, by name."""

    def node(self, name: str) -> NodeFacts | None:
        """One node; None when it does not exist."""

    def cordon(self, name: str, owner: str, token: int) -> bool:
        """Cordon and mark as ours in one patch; False when the cordon is somebody else's, who keeps it.

        That is so without our mark, or with one when they cordoned after it was written; such a mark is renewed.
        """

    def uncordon(self, name: str, owner: str | None = None, token: str | None = None) -> bool:
        """Uncordon and drop our marks if the node is marked (by `owner`, with `token`, if given); False: not ours.

        A cordon that somebody else made since our mark was written stays; the mark goes.
        """

    def drop_node_annotations(self, name: str, owner: str | None, token: str | None) -> bool:
        """Drop the marks a run left on a node, if they are still these (None: absent); False: there is nothing to drop."""

    def annotate_node(self, name: str, values: Mapping[str, str | None]) -> None:
        """Set (None: drop) annotations of a node."""

    def pods_on(self, node: str) -> tuple[PodFacts, ...]:
        """Pods bound to a node."""

    def budgets(self) -> tuple[BudgetFacts, ...]:
        """All PodDisruptionBudgets."""

    def evict(self, namespace: str, name: str, uid: str) -> Eviction:
        """Ask for an eviction of exactly this pod; answers an `Eviction`."""

    def ready(self) -> bool:
        """True when /readyz says ok; False when it says otherwise or does not answer."""

    def component_images(self) -> dict[str, dict[str, str]]:
        """Images of the control-plane pods: node -> component -> image."""

    def component_versions(self) -> dict[str, dict[str, str]]:
        """Versions of the control-plane pods: node -> component -> "1.34.4" (etcd: its image tag)."""

    def lease(self) -> LeaseFacts:
        """The cluster's Lease; an empty one when it does not exist yet."""

    def claim_lease(self, owner: str, now: float, seconds: int, expected: LeaseFacts) -> LeaseFacts | None:
        """Take the Lease with token + 1 if it still is as `expected`; None when somebody was faster."""

    def renew_lease(self, holder: str, token: int, now: float) -> bool:
        """Renew; False when the Lease is no longer ours with this token."""

    def release_lease(self, holder: str, token: int) -> bool:
        """Empty the holder, keep the token; False when holder or token are others by now."""

    def bump_token(self, expected: LeaseFacts, wanted: int = 0) -> LeaseFacts | None:
        """Raise the token by one, or to a bigger `wanted`; None when the Lease changed since `expected`."""

    def abandon_lease(self, holder: str, token: int) -> bool:
        """Let the Lease expire now, holder and token kept; False when they are others by now."""

    def fence_lease(self, expected: LeaseFacts, fenced: LeaseFacts) -> LeaseFacts | None:
        """Write the Lease as `fenced` (see domain/takeover.py); None when it changed since `expected`."""

    def debts(self) -> tuple[Debt, ...]:
        """Everything recorded in the ledger of debts, unreadable entries included."""

    def record_debt(self, debt: Debt, instead_of: Debt | None = None) -> bool:
        """Record a debt in place of `instead_of` (None: of nothing); False when the ledger has something else there."""

    def forget_debt(self, debt: Debt) -> bool:
        """Remove exactly this debt; False when the ledger has none, or another one of that subject."""

    def workload(self, name: WorkloadName) -> WorkloadFacts | None:
        """A Deployment, StatefulSet or CronJob; None when it does not exist."""

    def set_workload(self, found: WorkloadFacts, setting: int | bool) -> bool:
        """Set wanted replicas, or suspend; False when it changed since it was found."""

    def namespace_annotations(self) -> dict[str, str]:
        """The nightshift.io/ annotations of our namespace."""

    def set_namespace_annotations(self, values: Mapping[str, str | None]) -> None:
        """Set (None: drop) annotations of our namespace."""

    def kubeadm_config(self) -> dict[str, str]:
        """What kubeadm's ClusterConfiguration says: kubernetesVersion ("1.34.4"), imageRepository; what is absent is absent."""

    def evictable_pod_counts(self) -> dict[str, int]:
        """Pods per node that a drain would evict (no DaemonSet, no mirror)."""

    def brake(self) -> dict[str, str]:
        """What the brake's ConfigMap says, see domain/brake.py; empty when there is none."""

    def set_brake(self, data: Mapping[str, str] | None) -> None:
        """Write the brake's ConfigMap as a whole, whatever it said; None: remove it."""

    def can_i(self, wanted: Iterable[Permission]) -> tuple[str, ...]:
        """Of the wanted permissions return those that are denied, as readable text."""

    def ask(self, question: ApiQuestion[T]) -> T:
        """Put one question to the API server (read only).

        Raises:
            BlindError: API_ANSWER_UNKNOWN, the answer was not understood.
        """

    def kubelet_token(self) -> str:
        """A short-lived token that may read kubelet configuration."""


class StorePort(Protocol):
    """Where evidence, snapshots and the ledger live (`clients/stores.py: Store`)."""

    def write_json(self, relative: str, data: Mapping[str, Any]) -> str:
        """Write one JSON document atomically; returns where it lies."""

    def read_json(self, relative: str) -> dict[str, Any] | None:
        """Read it back; None when absent."""

    def exists(self, relative: str) -> bool:
        """Tell whether the document or file is there."""

    def write_text(self, relative: str, text: str) -> str:
        """Write one text; returns where it lies."""

    def read_bytes(self, relative: str, limit: int) -> bytes | None:
        """At most `limit` bytes of a file; None when it is absent."""

    def chunks(self, relative: str) -> Iterator[bytes]:
        """A file piece by piece."""

    def names(self, folder: str) -> tuple[str, ...]:
        """What lies directly in a folder, sorted; nothing when there is no such folder."""

    def remove(self, relative: str) -> None:
        """Remove a file, or a folder with everything in it; what is gone already is fine."""

    def check(self, name: str) -> None:
        """Write one small object, read it back, and take it away again."""

    def place(self, relative: str) -> str:
        """Where a file lies or would lie, for people."""

    def write_stream(self, relative: str, fill: Callable[[BinaryIO], None]) -> str:
        """Let `fill` write a private file (0600 when local); it appears under its name only when complete."""


class GaugePort(Protocol):
    """Where gauges go (`clients/pushgateway.py: Pushgateway`)."""

    def push(
        self, gauges: Mapping[str, float], labelled: Sequence[tuple[str, Mapping[str, str], float]] = ()
    ) -> str | None:
        """Publish gauges; returns what went wrong instead of raising: telemetry never fails an upgrade."""


@dataclass
class Session:
    """One run's view of one cluster.

    Args:
        ssh: opens the way into a node; called once per node and address, see `on`.
        run_id: Airflow's run id, as the ledger and the store's file names have it.
        installation: which Airflow this is; see `owner`.
        began: when this try of the task began, seconds since the epoch; see domain/takeover.py.
        clock: seconds since the epoch.
        log: one plain line for the person who reads the task's log.
        sleep: waits that many seconds (tests make it instant).
        heard: node -> what its jobs said while they were followed: (seconds since the epoch, line).
    """

    policy: ClusterPolicy
    kube: KubePort
    ssh: Callable[[NodeFacts | NodeAddress], NodePort]
    store: StorePort
    pushgateway: GaugePort
    run_id: str
    installation: str = UNNAMED
    began: float = field(default_factory=time.time)
    clock: Callable[[], float] = time.time
    log: Callable[[str], None] = logging.getLogger("nightshift").info
    sleep: Callable[[float], None] = time.sleep
    heard: dict[str, deque[tuple[float, str]]] = field(default_factory=dict)
    _open: dict[str, tuple[str, NodePort]] = field(default_factory=dict, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    @property
    def owner(self) -> str:
        """Who we are in the Lease, in annotations and in the status of jobs."""
        return owner_name(self.installation, self.policy.name, self.run_id)

    def on(self, node: NodeFacts | NodeAddress) -> NodePort:
        """The way into `node`, one per session; another one when its address is another by now."""
        with self._lock:
            address, port = self._open.get(node.name, (None, None))
            if port is None or address != node.address:
                if port is not None:
                    port.close()
                port = self.ssh(node)
                self._open[node.name] = (node.address, port)
            return port

    def node(self, name: str) -> NodeFacts:
        """The Node object called `name`.

        Raises:
            ConfigError: NODE_UNKNOWN, the cluster has no such node.
        """
        found = patiently(self, f"reading node {name}", lambda: self.kube.node(name))
        if found is None:
            raise ConfigError(
                "NODE_UNKNOWN",
                f"Cluster {self.policy.name} has no node {name}.",
                cause="It was removed or renamed since the plan was made.",
                next_step="Start a new run: it plans from what is there.",
            )
        return found

    def close(self) -> None:
        """Drop all SSH connections."""
        with self._lock:
            for _, port in self._open.values():
                port.close()
            self._open.clear()


def patiently(session: Session, what: str, call: Callable[[], T], limit_seconds: float | None = None) -> T:
    """Do `call`; while the API is away, try again each second until the limit (default: `node_ready_seconds`).

    A single control plane's API goes away in the middle of its own upgrade; that is no failure.
    Only for calls that are safe to repeat.
    """
    limit = session.policy.limits.node_ready_seconds if limit_seconds is None else limit_seconds
    started = session.clock()
    is_said = False
    while True:
        try:
            return call()
        except UnreachableError as error:
            if session.clock() - started >= limit:
                raise
            if not is_said:
                session.log(f"{what}: the API is away, waiting up to {limit:.0f} s ({error.cause})")
            is_said = True
            session.sleep(_AWAY_POLL_SECONDS)


def wait_until(
    session: Session, limit_seconds: float, is_done: Callable[[], bool], poll_seconds: float = 0.5
) -> bool:
    """Ask `is_done` until it says yes; False when the limit passed. An unreachable API counts as "not yet"."""
    deadline = session.clock() + limit_seconds
    while True:
        try:
            if is_done():
                return True
        except UnreachableError:
            pass  # the answer is unknown, which is "not yet" here; the limit bounds it
        if session.clock() >= deadline:
            return False
        session.sleep(poll_seconds)


def node_log(session: Session, name: str) -> Callable[[str], None]:
    """A logger for one node's lines: several nodes work at once. What was heard is evidence when the node goes away."""
    heard = session.heard.setdefault(name, deque(maxlen=_HEARD_LINES))

    def log(line: str) -> None:
        heard.append((session.clock(), line))
        session.log(f"{name}: {line}")

    return log


def on_all(
    nodes: Sequence[NodeFacts], work: Callable[[NodeFacts], T], at_once: int = PARALLEL_NODES
) -> dict[str, T | NightshiftError]:
    """Do `work` for all nodes, `at_once` side by side; an expected error becomes that node's value.

    Anything that is not a `NightshiftError` is a bug and raised.
    """

    def one(node: NodeFacts) -> T | NightshiftError:
        try:
            return work(node)
        except NightshiftError as error:
            return error

    if not nodes:
        return {}
    with ThreadPoolExecutor(max_workers=min(at_once, len(nodes))) as pool:
        return dict(zip((node.name for node in nodes), pool.map(one, nodes), strict=True))
