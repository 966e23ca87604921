"""A whole cluster in memory: FakeKube and FakeNode speak the interfaces of KubeApi and NodeSsh over one state.

Time is the fake's own: `sleep` moves it, so that minutes of waiting take no time and are still counted.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from tests.fakes.stock import Answers, stock_documents, stock_text

from nightshift.clients.kube_api import Eviction, EvictionOutcome
from nightshift.clients.permissions import Permission
from nightshift.clients.questions import ApiQuestion
from nightshift.clients.stores import Store
from nightshift.domain.debts import FIELD_MANAGER, Debt, is_foreign_cordon, require_no_newer_mark
from nightshift.domain.errors import FencedError, RemoteJobError, UnreachableError
from nightshift.domain.facts import (
    BudgetFacts,
    JobFacts,
    LeaseFacts,
    ManifestEntry,
    MountFacts,
    NodeFacts,
    NodeProbe,
    PackageFacts,
    PodFacts,
    RunningProcess,
    ScratchEntry,
    WorkloadFacts,
    WorkloadName,
)
from nightshift.domain.facts.placement import Room
from nightshift.domain.facts.supply import Supplied, SupplyItem
from nightshift.domain.policy import ClusterPolicy
from nightshift.steps.session import Session

T = TypeVar("T")

COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
NOBODY = LeaseFacts("", 0, None, None, 0)
GIB = 1024**3


def etcd_text(*, slow: bool = False, observations: float = 0.0, leader: bool = True) -> str:
    """etcd's metrics with `observations` more fsyncs than before; slow ones end in the 128-256 ms bucket."""
    lines = ["process_start_time_seconds 1000", "etcd_server_slow_apply_total 0"]
    lines += ["etcd_server_leader_changes_seen_total 1", f"etcd_server_has_leader {int(leader)}"]
    lines += ["etcd_server_is_leader 1", 'etcd_server_version{server_version="3.6.5"} 1']
    lines += ["etcd_server_proposals_pending 0", "etcd_server_proposals_failed_total 0"]
    lines += [f"etcd_server_proposals_committed_total {5000 + observations}"]
    lines += ["etcd_mvcc_db_total_size_in_bytes 1000", "etcd_server_quota_backend_bytes 2147483648"]
    total = 1000 + observations
    for name in (
        "etcd_disk_wal_fsync_duration_seconds",
        "etcd_disk_backend_commit_duration_seconds",
        "etcd_server_apply_duration_seconds",
    ):
        lines.append(f"# TYPE {name} histogram")
        fast = 1000 if slow else total
        lines += [f'{name}_bucket{{le="0.002"}} {fast}', f'{name}_bucket{{le="0.128"}} {fast}']
        lines += [f'{name}_bucket{{le="0.256"}} {total}', f'{name}_bucket{{le="+Inf"}} {total}']
        lines += [f"{name}_sum {total * 0.001}", f"{name}_count {total}"]
    return "\n".join(lines) + "\n"


@dataclass
class Outcome:
    """A job that ended well."""

    exit_code: int = 0
    lines: tuple[str, ...] = ()
    attached: bool = False
    result: dict[str, Any] | None = None


class FakeCluster:
    """State shared by the API and the nodes."""

    def __init__(self, control_planes: int = 1, workers: int = 2, version: str = "1.34.4") -> None:
        self.now = 1_800_000_000.0
        self.lock = threading.RLock()
        names = [(f"cp{i + 1}", True) for i in range(control_planes)]
        names += [(f"w{i + 1}", False) for i in range(workers)]
        self.nodes = {
            name: NodeFacts(name, f"10.0.0.{i}", is_cp, version, True, False, room=Room(4000, 8 * 2**30, 110))
            for i, (name, is_cp) in enumerate(names)
        }
        self.components = {n: dict.fromkeys(COMPONENTS, version) for n, is_cp in names if is_cp}
        self.config_version = version  # kubernetesVersion in the ConfigMap kubeadm-config
        self.pods: dict[str, list[PodFacts]] = {name: [] for name, _ in names}
        self.budgets: list[BudgetFacts] = []
        self.eviction_answers: dict[str, list[Eviction]] = {}  # pod name -> answers before it goes
        self.pod_seconds = 1.0  # how long an evicted pod takes to be gone
        self.dying: dict[str, float] = {}
        self.lease = NOBODY
        self.marks: dict[str, str] = {}
        self.debts: dict[str, Debt] = {}  # by their key
        self.workloads: dict[WorkloadName, WorkloadFacts] = {}
        self.brake: dict[str, str] = {}  # data of its ConfigMap; see `paused`
        self.denied: tuple[str, ...] = ()
        self.documents: dict[str, Any] = dict(
            stock_documents()
        )  # of the API, for `ask`; replaced, never changed
        self.answers = Answers()
        self.api_away_until = 0.0
        self.api_calls: list[str] = []
        self.lines: list[str] = []  # what sessions logged
        self.fakes = {name: FakeNode(self, name) for name in self.nodes}

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        with self.lock:
            self.now += seconds

    def clock(self) -> float:
        """Now; every look at the clock takes a millisecond, so that no wait is endless."""
        with self.lock:
            self.now += 0.001
            return self.now

    @property
    def paused(self) -> str | None:
        """The reason of a brake that somebody pulled by kubectl."""
        return self.brake.get("reason")

    @paused.setter
    def paused(self, reason: str | None) -> None:
        self.brake = {} if reason is None else {"paused": "true", "reason": reason}

    @property
    def log(self) -> str:
        """All lines that sessions logged."""
        return "\n".join(self.lines)

    def upgrade_control_plane(self, version: str) -> None:
        """What kubeadm leaves on every control plane; their kubelets stay as they are."""
        self.components = {name: dict.fromkeys(COMPONENTS, version) for name in self.components}
        self.config_version = version

    def add_pod(self, node: str, name: str, **changes: Any) -> PodFacts:
        """Put a pod on a node."""
        pod = PodFacts(
            "shop", name, f"uid-{name}", "Running", "ReplicaSet/web", "ReplicaSet", False, False, False
        )
        pod = replace(pod, **changes)
        self.pods[node].append(pod)
        return pod

    def add_workload(
        self, kind: str, name: str, setting: int | bool, namespace: str = "shop"
    ) -> WorkloadName:
        """Put a controller into the cluster."""
        found = WorkloadName(kind, namespace, name)
        running = 0 if isinstance(setting, bool) else setting
        self.workloads[found] = WorkloadFacts(found, f"uid-{name}", "1", setting, running)
        return found

    def set_workload(self, name: WorkloadName, setting: int | bool) -> None:
        """As anybody may at any time; replicas follow at once."""
        with self.lock:
            found = self.workloads[name]
            running = found.running if isinstance(setting, bool) else setting
            version = str(int(found.version) + 1)
            self.workloads[name] = replace(found, setting=setting, running=running, version=version)


class FakeNode:
    """One node as NodeSsh shows it."""

    def __init__(self, cluster: FakeCluster, name: str) -> None:
        self.cluster, self.name = cluster, name
        self.token = 0
        self.is_away = False
        self.kubeadm_pids: tuple[int, ...] = ()  # beside those of jobs that run
        self.broken: Exception | None = None  # raised by every call, e.g. a TrustError
        self.jobs: dict[str, JobFacts] = {}
        self.calls: list[tuple[str, ...]] = []
        self.failures: dict[str, Exception] = {}
        self.before_job: Callable[[str], None] = lambda step: None
        self.on_follow: Callable[[str], None] = lambda step: None
        self.bundles = {"etcd-20270115T080000Z.tar.gz": f"snapshot of {name}".encode()}
        self.results: dict[str, dict[str, Any]] = {
            "snapshot-etcd": _proven(self.bundles),
            "rehearse": {
                "rehearsed": True,
                "ready_seconds": 5,
                "seconds": 12,
                "resources": 61,
                "left_out": [],
            },
        }
        self.scratch: tuple[ScratchEntry, ...] = ()
        self.etcd: str | None = etcd_text()
        self.configz: dict[str, Any] = _configz()
        self.offers: dict[str, PackageFacts] = {}
        self.supplied: dict[str, Supplied] = {}
        self.manifests: tuple[ManifestEntry, ...] | None = None
        self.texts: dict[
            str, str | None
        ] = {}  # section of `look` -> other text than the stock one; None: it fails
        self.closed = False
        self.asked_again: list[tuple[str, ...]] = []

    def _reach(self) -> None:
        if self.broken is not None:
            raise self.broken
        if self.is_away:
            raise UnreachableError(
                "NODE_UNREACHABLE", f"{self.name} did not answer.", cause="powered off", next_step="Start it."
            )

    def _take(self, token: int) -> None:
        if token < self.token:
            raise FencedError(
                "NODE_FENCED", f"{self.name} has {self.token}.", cause="newer", next_step="Stop."
            )
        self.token = token

    def probe(self) -> NodeProbe:
        """Everything; a tidy node."""
        self._reach()
        facts = self.cluster.nodes[self.name]
        running = tuple(int(j.started) for j in self.jobs.values() if j.state == "running")
        is_cp = facts.is_control_plane
        names = (*COMPONENTS, "etcd") if is_cp else ()
        return NodeProbe(
            node=self.name,
            boot_id="b1",
            clock=self.cluster.now,
            kubelet_version=facts.kubelet_version,
            kubeadm_version=facts.kubelet_version,
            kubectl_version=facts.kubelet_version,
            mounts=tuple(
                MountFacts(path, "/", 100 * GIB, 80 * GIB, 1_000_000, 900_000)
                for path in (
                    "/",
                    "/var/lib/containerd",
                    "/var/lib/kubelet",
                    "/var/lib/etcd",
                    "/etc/kubernetes/tmp",
                )
            ),
            manifests=self.manifests if self.manifests is not None else tuple(map(_manifest, names)),
            processes=tuple(RunningProcess(n, i + 1, (n, "--a=b")) for i, n in enumerate(names)),
            scratch=self.scratch,
            etcd_data_bytes=GIB if is_cp else None,
            kubeadm_pids=(*running, *self.kubeadm_pids),
            jobs=tuple(self.jobs.values()),
            token=self.token,
        )

    def look(self, sections: Sequence[str]) -> dict[str, tuple[int, str]]:
        """What a test put there, else stock."""
        self._reach()
        facts = self.cluster.nodes[self.name]
        words = {
            "@NODE@": self.name,
            "@VERSION@": facts.kubelet_version,
            "@NOW@": f"{self.cluster.now:.3f}",
            "@ETCD_MEMBERS@": ", ".join(
                _member(n) for n in self.cluster.nodes.values() if n.is_control_plane
            ),
        }
        found = {}
        for name in sections:
            stock = stock_text(name, is_control_plane=facts.is_control_plane)
            text = self.texts.get(name, stock)
            for word, value in words.items():
                text = text and text.replace(word, value)
            found[name] = (1, "") if text is None else (0, text)
        return found

    def etcd_metrics(self) -> str | None:
        """Metrics text of a control-plane node."""
        self._reach()
        return self.etcd if self.cluster.nodes[self.name].is_control_plane else None

    def kubelet_configz(self, token: str) -> dict[str, Any]:
        """The inner document, as NodeSsh gives it."""
        self._reach()
        return self.configz

    def package_index(self, minor: str, base_url: str) -> PackageFacts:
        """What a test put on offer."""
        self._reach()
        self.calls.append(("package-index", minor, base_url))
        return self.offers.get(minor, PackageFacts(minor, ()))

    def supply(
        self, minor: str, package_version: str | None, base_url: str, images: Sequence[str]
    ) -> tuple[SupplyItem, ...]:
        """Everything is there, except what a test took away."""
        self._reach()
        self.calls.append(("supply", minor, package_version or "-", *images))
        packages = [f"{name}={package_version}" for name in ("kubeadm", "kubelet")] if package_version else []
        asked = [("repository", minor), *(("package", p) for p in packages), *(("image", i) for i in images)]
        return tuple(SupplyItem(k, name, self.supplied.get(name, Supplied.FOUND)) for k, name in asked)

    def image_manifests(self, images: Sequence[str]) -> dict[str, tuple[int, str]]:
        """A registry that does not answer."""
        self._reach()
        return dict.fromkeys(images, (0, ""))

    def fence(self, token: int) -> None:
        """Raise, never lower."""
        self._reach()
        self._take(token)

    def run_job(
        self,
        step: str,
        token: int,
        run_id: str,
        args: Sequence[str],
        limit_seconds: int,
        log: Callable[[str], None],
        on_poll: Callable[[], None] = lambda: None,
    ) -> Outcome:
        """The job's effect on the cluster, at once."""
        self._reach()
        self._take(token)
        self.calls.append((step, *args))
        self.before_job(step)
        on_poll()
        began, words = self.cluster.now, tuple(args)
        if step in self.failures:
            self.jobs[step] = JobFacts(step, "failed", 1, run_id, token, words, began, self.cluster.now)
            raise self.failures.pop(step)
        self.cluster.sleep(10)
        self.jobs[step] = JobFacts(step, "succeeded", 0, run_id, token, words, began, self.cluster.now)
        getattr(self, "_" + step.replace("-", "_"), lambda args: None)(args)
        log(f"{step} done")
        return Outcome(result=self.results.get(step))

    def _kubeadm_upgrade(self, args: Sequence[str]) -> None:
        if args[0] == "apply":
            self.cluster.config_version = args[1]
        if (
            self.name in self.cluster.components
        ):  # as kubeadm does: `node` follows the cluster's configuration
            self.cluster.components[self.name] = dict.fromkeys(COMPONENTS, self.cluster.config_version)

    def _kubelet_upgrade(self, args: Sequence[str]) -> None:
        self.cluster.nodes[self.name] = replace(self.cluster.nodes[self.name], kubelet_version=args[0])

    def _reclaim_scratch(self, args: Sequence[str]) -> None:
        self.scratch = tuple(entry for entry in self.scratch if entry.name not in args[1:])

    def follow_job(
        self, step: str, log: Callable[[str], None], is_enough: Callable[[JobFacts], bool]
    ) -> JobFacts | None:
        """A look each second; `on_follow` is what the world does meanwhile."""
        first = None
        while True:
            self._reach()
            seen = self.jobs.get(step)
            if first is None and (seen is None or seen.state != "running"):
                return None
            first = first or seen
            if seen is None or seen.started != first.started or is_enough(seen):
                return seen
            log(f"{step} is {seen.state}")
            if seen.state != "running":
                return seen
            self.cluster.sleep(1)
            self.on_follow(step)

    def job(self, step: str) -> JobFacts | None:
        """One job."""
        self._reach()
        return self.jobs.get(step)

    def fetch(self, kind: str, name: str, target: BinaryIO) -> str:
        """A bundle."""
        self._reach()
        target.write(self.bundles[name])
        return hashlib.sha256(self.bundles[name]).hexdigest()

    def collect_evidence(self, since: float, target: BinaryIO, *, is_baseline: bool = False) -> None:
        """A bundle."""
        self._reach()
        target.write(f"evidence since {since:.0f}".encode())

    def ask_again(self, sections: Sequence[str], target: BinaryIO) -> None:
        """Nothing that can be read."""
        self._reach()
        self.asked_again.append(tuple(sections))

    def close(self) -> None:
        """Remember it."""
        self.closed = True


class FakeKube:
    """The API as KubeApi shows it."""

    def __init__(self, cluster: FakeCluster) -> None:
        self._c = cluster

    def _reach(self, what: str) -> None:
        self._c.api_calls.append(what)
        if self._c.now < self._c.api_away_until:
            raise UnreachableError(
                "API_UNREACHABLE", f"no answer to {what}", cause="connection refused", next_step="Wait."
            )

    def nodes(self) -> tuple[NodeFacts, ...]:
        """All nodes."""
        self._reach("nodes")
        return tuple(self._c.nodes[name] for name in sorted(self._c.nodes))

    def node(self, name: str) -> NodeFacts | None:
        """One node."""
        self._reach("node")
        return self._c.nodes.get(name)

    def cordon(self, name: str, owner: str, token: int) -> bool:
        """One patch."""
        self._reach("cordon")
        node = self._c.nodes[name]
        require_no_newer_mark(node, token)
        is_foreign = is_foreign_cordon(node)
        if is_foreign and "nightshift.io/owner" not in node.annotations:
            return False
        marks = {**node.annotations, "nightshift.io/owner": owner, "nightshift.io/token": str(token)}
        by = (
            node.cordoned_by if node.is_unschedulable else FIELD_MANAGER
        )  # who writes what is there changes nothing
        self._c.nodes[name] = replace(node, is_unschedulable=True, cordoned_by=by, annotations=marks)
        return not is_foreign

    def uncordon(self, name: str, owner: str | None = None, token: str | None = None) -> bool:
        """Only ours."""
        self._reach("uncordon")
        node = self._c.nodes[name]
        marked, with_token = (node.annotations.get(f"nightshift.io/{key}") for key in ("owner", "token"))
        if marked is None or owner not in (None, marked) or token not in (None, with_token):
            return False
        is_foreign = is_foreign_cordon(node)
        if not is_foreign:
            node = replace(node, is_unschedulable=False, cordoned_by="")
        self._c.nodes[name] = without_marks(node)
        return not is_foreign

    def drop_node_annotations(self, name: str, owner: str | None, token: str | None) -> bool:
        """Exactly these marks."""
        self._reach("drop_node_annotations")
        node = self._c.nodes[name]
        found = tuple(node.annotations.get(f"nightshift.io/{key}") for key in ("owner", "token"))
        if found != (owner, token) or found == (None, None):
            return False
        self._c.nodes[name] = without_marks(node)
        return True

    def annotate_node(self, name: str, values: Mapping[str, str | None]) -> None:
        """None drops."""
        self._reach("annotate_node")
        node = self._c.nodes[name]
        merged = {**node.annotations, **values}
        kept = {key: value for key, value in merged.items() if value is not None}
        self._c.nodes[name] = replace(node, annotations=kept)

    def pods_on(self, node: str) -> tuple[PodFacts, ...]:
        """Pods that are not gone by now."""
        self._reach("pods_on")
        self._c.pods[node] = [
            p for p in self._c.pods[node] if self._c.dying.get(p.uid, self._c.now + 1) > self._c.now
        ]
        dying = self._c.dying
        return tuple(replace(p, is_terminating=True) if p.uid in dying else p for p in self._c.pods[node])

    def budgets(self) -> tuple[BudgetFacts, ...]:
        """All budgets."""
        self._reach("budgets")
        return tuple(self._c.budgets)

    def evict(self, namespace: str, name: str, uid: str) -> Eviction:
        """The answers a test prepared, then yes."""
        self._reach(f"evict {name}")
        found = [p for pods in self._c.pods.values() for p in pods if (p.name, p.uid) == (name, uid)]
        if not found:
            return Eviction(EvictionOutcome.GONE)
        answers = self._c.eviction_answers.get(name)
        if answers:
            return answers.pop(0)
        self._c.dying[uid] = self._c.now + self._c.pod_seconds
        return Eviction(EvictionOutcome.EVICTED)

    def ready(self) -> bool:
        """Ready unless away."""
        return self._c.now >= self._c.api_away_until

    def component_images(self) -> dict[str, dict[str, str]]:
        """Images by version."""
        versions = self.component_versions()
        return {n: {c: f"registry.k8s.io/{c}:v{v}" for c, v in v2.items()} for n, v2 in versions.items()}

    def component_versions(self) -> dict[str, dict[str, str]]:
        """Versions."""
        self._reach("component_versions")
        return {node: dict(versions) for node, versions in self._c.components.items()}

    def kubeadm_config(self) -> dict[str, str]:
        """As kubeadm init wrote it."""
        self._reach("kubeadm_config")
        return {"kubernetesVersion": self._c.config_version, "imageRepository": "registry.k8s.io"}

    def evictable_pod_counts(self) -> dict[str, int]:
        """Pods per node."""
        self._reach("evictable_pod_counts")
        return {node: len(pods) for node, pods in self._c.pods.items()}

    def lease(self) -> LeaseFacts:
        """The Lease."""
        self._reach("lease")
        return self._c.lease

    def claim_lease(self, owner: str, now: float, seconds: int, expected: LeaseFacts) -> LeaseFacts | None:
        """Compare and swap."""
        self._reach("claim_lease")
        claimed = replace(
            expected,
            holder=owner,
            token=expected.token + 1,
            acquired=now,
            renewed=now,
            duration_seconds=seconds,
        )
        return self._swap(expected, claimed)

    def renew_lease(self, holder: str, token: int, now: float) -> bool:
        """Only ours."""
        self._reach("renew_lease")
        with self._c.lock:
            if (self._c.lease.holder, self._c.lease.token) != (holder, token):
                return False
            self._c.lease = replace(self._c.lease, renewed=now)
            return True

    def release_lease(self, holder: str, token: int) -> bool:
        """Only ours; the token stays."""
        self._reach("release_lease")
        with self._c.lock:
            if (self._c.lease.holder, self._c.lease.token) != (holder, token):
                return False
            self._c.lease = replace(self._c.lease, holder="", acquired=None, renewed=None)
            return True

    def bump_token(self, expected: LeaseFacts, wanted: int = 0) -> LeaseFacts | None:
        """Compare and swap."""
        self._reach("bump_token")
        return self._swap(expected, replace(expected, token=max(wanted, expected.token + 1)))

    def fence_lease(self, expected: LeaseFacts, fenced: LeaseFacts) -> LeaseFacts | None:
        """Compare and swap."""
        self._reach("fence_lease")
        return self._swap(expected, fenced)

    def abandon_lease(self, holder: str, token: int) -> bool:
        """Only ours; holder and token stay."""
        self._reach("abandon_lease")
        with self._c.lock:
            if (self._c.lease.holder, self._c.lease.token) != (holder, token):
                return False
            self._c.lease = replace(self._c.lease, renewed=None)
            return True

    def _swap(self, expected: LeaseFacts, new: LeaseFacts) -> LeaseFacts | None:
        with self._c.lock:
            if self._c.lease != expected:
                return None
            self._c.lease = new
            return new

    def debts(self) -> tuple[Debt, ...]:
        """The ledger."""
        self._reach("debts")
        return tuple(self._c.debts[key] for key in sorted(self._c.debts))

    def record_debt(self, debt: Debt, instead_of: Debt | None = None) -> bool:
        """Compare and swap."""
        self._reach("record_debt")
        with self._c.lock:
            if self._c.debts.get(debt.key) != instead_of:
                return False
            self._c.debts[debt.key] = debt
            return True

    def forget_debt(self, debt: Debt) -> bool:
        """Exactly this one."""
        self._reach("forget_debt")
        with self._c.lock:
            if self._c.debts.get(debt.key) != debt:
                return False
            del self._c.debts[debt.key]
            return True

    def workload(self, name: WorkloadName) -> WorkloadFacts | None:
        """One controller."""
        self._reach(f"workload {name}")
        return self._c.workloads.get(name)

    def set_workload(self, found: WorkloadFacts, setting: int | bool) -> bool:
        """Compare and swap."""
        self._reach(f"set_workload {found.name} {setting}")
        with self._c.lock:
            if self._c.workloads.get(found.name) != found:
                return False
            self._c.set_workload(found.name, setting)
            return True

    def namespace_annotations(self) -> dict[str, str]:
        """Marks."""
        self._reach("namespace_annotations")
        return dict(self._c.marks)

    def set_namespace_annotations(self, values: Mapping[str, str | None]) -> None:
        """None drops."""
        self._reach("set_namespace_annotations")
        for key, value in values.items():
            if value is None:
                self._c.marks.pop(key, None)
            else:
                self._c.marks[key] = value

    def brake(self) -> dict[str, str]:
        """The brake."""
        self._reach("brake")
        return dict(self._c.brake)

    def set_brake(self, data: Mapping[str, str] | None) -> None:
        """As a whole."""
        self._reach("set_brake")
        self._c.brake = dict(data or {})

    def can_i(self, wanted: Iterable[Permission]) -> tuple[str, ...]:
        """What a test denies."""
        self._reach("can_i")
        return self._c.denied

    def ask(self, question: ApiQuestion[T]) -> T:
        """Over the cluster's documents."""
        self._reach("ask")
        return self._c.answers.ask(question, self._c.documents)

    def kubelet_token(self) -> str:
        """Not a secret."""
        self._reach("kubelet_token")
        return "token"


@dataclass
class FakeGauges:
    """Remembers what was pushed."""

    values: dict[str, float] = field(default_factory=dict)
    labelled: list[tuple[str, Mapping[str, str], float]] = field(default_factory=list)
    problem: str | None = None

    def push(
        self, gauges: Mapping[str, float], labelled: Sequence[tuple[str, Mapping[str, str], float]] = ()
    ) -> str | None:
        """Keep or refuse."""
        if self.problem is None:
            self.values.update(gauges)
            self.labelled = list(labelled)
        return self.problem


def make_session(
    cluster: FakeCluster,
    store: Path,
    run_id: str = "run-1",
    policy: ClusterPolicy | None = None,
    installation: str = "airflow",
    began: float | None = None,
) -> Session:
    """A session over the fakes; what it logs is in `cluster.lines`."""
    return Session(
        policy=policy or ClusterPolicy("lab", "kube", "ssh", str(store), accept_api_outage=True),
        kube=FakeKube(cluster),
        ssh=lambda node: cluster.fakes[node.name],
        store=Store(store, "lab"),
        pushgateway=FakeGauges(),
        run_id=run_id,
        installation=installation,
        began=cluster.now if began is None else began,
        clock=cluster.clock,
        log=cluster.lines.append,
        sleep=cluster.sleep,
    )


def without_marks(node: NodeFacts) -> NodeFacts:
    """The node without a run's marks."""
    marks = ("nightshift.io/owner", "nightshift.io/token")
    return replace(node, annotations={k: v for k, v in node.annotations.items() if k not in marks})


def job_failed(code: str = "JOB_FAILED") -> RemoteJobError:
    """A job's failure as NodeSsh raises it."""
    return RemoteJobError(code, "exit code 26.", cause="kubeadm failed.", next_step="Read.", exit_code=26)


def running_job(step: str, run_id: str = "dead", token: int = 1) -> JobFacts:
    """A job that works."""
    return JobFacts(step, "running", None, run_id, token, (), 1000.0, None)


def _member(node: NodeFacts) -> str:
    """An entry of etcd's member list; its number is the node's name here."""
    return f'{{"ID":"{node.name}", "name":"{node.name}", "peerURLs":["https://{node.address}:2380"]}}'


def _manifest(name: str) -> ManifestEntry:
    return ManifestEntry(
        name=f"{name}.yaml",
        kind="file",
        mode="600",
        owner="root:root",
        size_bytes=100,
        modified=1000.0,
        sha256="0" * 64,
        pod_name=name,
        pod_namespace="kube-system",
        command=(name, "--a=b"),
        image=f"registry.k8s.io/{name}:v1.34.4",
    )


def _proven(bundles: Mapping[str, bytes]) -> dict[str, Any]:
    side = {"revision": 42, "key_count": 7, "hash": 99}
    ((name, content),) = bundles.items()
    named = {"bundle": name, "bundle_sha256": hashlib.sha256(content).hexdigest()}
    return {"saved": dict(side), "restored": dict(side), **named}


def _configz() -> dict[str, Any]:
    hard = {"imagefs.available": "15%", "nodefs.available": "10%", "nodefs.inodesFree": "5%"}
    return {"imageGCHighThresholdPercent": 85, "imageGCLowThresholdPercent": 80, "evictionHard": hard}
