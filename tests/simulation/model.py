"""The cluster of the simulation: tests/fakes, with time, power, half-done work and a network that loses things.

Clients are the real ones where they decide something: `NodeSsh` starts, attaches and follows; below it a node answers
as `include/scripts/node` does. The API is `FakeKube`, which the conformance tests hold to `KubeApi`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO

from tests.fakes.cluster import COMPONENTS, GIB, FakeCluster, FakeKube, FakeNode, etcd_text
from tests.fakes.stock import Answers
from tests.simulation.hub import START, Process

from nightshift.clients import node_ssh
from nightshift.clients.etcd_metrics import parse_etcd_metrics
from nightshift.clients.kube_api import Eviction, EvictionOutcome
from nightshift.clients.node_probe import JobStatus
from nightshift.clients.node_ssh import CommandResult, ExitCode, NodeSsh
from nightshift.domain.debts import Debt
from nightshift.domain.errors import UnreachableError
from nightshift.domain.facts import (
    EtcdSample,
    JobFacts,
    LeaseFacts,
    MountFacts,
    NodeFacts,
    NodeProbe,
    PackageFacts,
    RunningProcess,
    WorkloadFacts,
)
from nightshift.domain.facts.supply import SupplyItem
from nightshift.domain.versions import Version
from nightshift.steps import decide, snapshot, turn, verify_node
from nightshift.steps.look import etcd

if TYPE_CHECKING:
    from tests.simulation.world import World

OLD, NEW = "1.34.4", "1.35.4"
PACKAGE = "1.35.4-1.1"
UPGRADES = ("kubeadm-upgrade", "kubelet-upgrade")
_ANSWERS = Answers()  # for all seeds: the stock documents never change
_NOT_READY_SECONDS = 40.0  # the node controller's grace period
_BOOT_SECONDS = (15.0, 45.0)
_MOUNTS = tuple(
    MountFacts(path, "/", 100 * GIB, 80 * GIB, 1_000_000, 900_000)
    for path in ("/", "/var/lib/containerd", "/var/lib/kubelet", "/var/lib/etcd", "/etc/kubernetes/tmp")
)
_SIDE = {"revision": 42, "key_count": 7, "hash": 99}


def unreachable(code: str, what: str, cause: str) -> UnreachableError:
    """What the clients raise when nobody answers."""
    return UnreachableError(code, f"{what} did not answer.", cause=cause, next_step="Wait.")


@dataclass
class Job:
    """One unit on a node, and its status file."""

    step: str
    job_id: str
    owner: str
    token: int
    arguments: tuple[str, ...]
    started: float
    boot: int
    state: str = "running"
    exit_code: int | None = None
    finished: float | None = None
    lines: list[str] = field(default_factory=list)
    process: Process | None = None
    is_timed_out: bool = False
    starter: Process | None = None  # whose call started it
    is_again: bool = False  # the same owner had begun such a job here before
    acts: bool = False  # it found that something is to be done
    is_slow: bool = False  # a fault lets it take very long
    told: JobFacts | None = None  # as it was last asked about

    @property
    def is_running(self) -> bool:
        """Tell whether its unit is at work."""
        return self.state == "running"


class _Failed(Exception):
    """The job's script ends with this exit code."""


class SimCluster(FakeCluster):
    """State shared by the API and the nodes, watched by the invariants."""

    def __init__(self, world: World, control_planes: int, workers: int) -> None:
        self.world, self.hub = world, world.hub
        self._lease = LeaseFacts("", 0, None, None, 0)
        super().__init__(control_planes, workers, OLD)
        self.api_calls = _Forgetful()
        self.answers = _ANSWERS
        self.fakes = {name: SimNode(self, name) for name in self.nodes}
        self.nodes = _Watched(self.nodes, world)
        self.members = [name for name in self.nodes if self.nodes[name].is_control_plane]
        self.changes = 0  # grows with everything the invariants look at
        self._is_served = True

    now = property(lambda self: self.hub.now, lambda self, value: None)

    @property
    def lease(self) -> LeaseFacts:
        """The Lease; whoever writes it is watched."""
        return self._lease

    @lease.setter
    def lease(self, new: LeaseFacts) -> None:
        old, self._lease = self._lease, new
        if old is not new:
            self.world.watch.lease_changed(old, new)

    def clock(self) -> float:
        """Now."""
        return self.hub.now

    @property
    def is_api_up(self) -> bool:
        """Tell whether a request finds an API server behind which etcd has its quorum."""
        return self._is_served and self.hub.now >= self.api_away_until

    def recount(self) -> None:
        """Members or API servers have come or gone."""
        up = serving = 0
        for name in self.members:
            node = self.fakes[name]
            if node.is_on:
                up += node.is_member_up
                serving += node.is_serving
        self._is_served = serving > 0 and up * 2 > len(self.members)


class _Forgetful(list[str]):
    """A list nobody reads."""

    def append(self, item: str) -> None:
        """Forget it."""


class _Watched(dict[str, NodeFacts]):
    """Node objects; each write is told to the invariants."""

    def __init__(self, items: dict[str, NodeFacts], world: World) -> None:
        super().__init__(items)
        self._world = world

    def __setitem__(self, name: str, new: NodeFacts) -> None:
        old = self[name]
        super().__setitem__(name, new)
        self._world.watch.node_changed(name, old, new)


class SimNode(FakeNode):
    """One machine: it has power or not, and what its jobs wrote stays."""

    cluster: SimCluster

    def __init__(self, cluster: SimCluster, name: str) -> None:
        super().__init__(cluster, name)
        self.is_cp = cluster.nodes[name].is_control_plane
        self.is_on = True
        self.boot = 1
        self.is_cut = False  # the network between Airflow and this node
        self.away_since: float | None = None
        self.member_down_since: float | None = None
        self.is_member_up = self.is_cp
        self.is_serving = self.is_cp  # its API server
        self.etcd_version = OLD
        self.reached = 0  # the newest token that ever reached it, whatever it remembers
        self.units: dict[str, Job] = {}
        self.staged: str | None = None
        self.kubeadm = OLD
        self.kubelet_package = OLD
        self.flags_of = OLD  # which kubeadm wrote the kubelet's flags
        self.done: set[tuple[str, str]] = set()
        self.by_hand_until = 0.0
        self.fails = 0  # how many of the next jobs fail half-way
        self.slow = 0  # how many of the next jobs take very long
        self.bad_upgrades = 0  # how many of the next jobs that upgrade it fail
        self.offers = {
            "1.34": PackageFacts("1.34", ("1.34.4-1.1",)),
            "1.35": PackageFacts("1.35", (PACKAGE,)),
        }

    # -- power ---------------------------------------------------------------------------------------------

    @property
    def is_reachable(self) -> bool:
        """Tell whether SSH finds it."""
        return self.is_on and not self.is_cut

    def note_reach(self) -> None:
        """Remember since when it is away."""
        if self.is_reachable:
            self.away_since = None
        elif self.away_since is None:
            self.away_since = self.cluster.now

    def power_off(self, seconds: float) -> None:
        """Power goes, and comes back after a while."""
        if not self.is_on:
            return
        self.is_on, self.is_serving, self.by_hand_until = False, False, 0.0
        self._member(False)
        self.note_reach()
        for job in self.units.values():
            if job.is_running and job.process is not None:
                job.process.kill()
                self.cluster.world.watch.job_ended(self, job)
        boot = self.boot
        self.cluster.hub.after(_NOT_READY_SECONDS, lambda: self._not_ready(boot))
        self.cluster.hub.after(seconds, self._power_on)

    def _not_ready(self, boot: int) -> None:
        if not self.is_on and self.boot == boot:
            self._report(is_ready=None)

    def _power_on(self) -> None:
        self.boot += 1
        self.is_on = True
        for job in self.units.values():
            if job.is_running:
                job.state = "lost"
        self.note_reach()
        self.is_serving = self.is_cp
        self._member(self.is_cp)
        boot = self.boot
        self.cluster.hub.after(self.cluster.world.rng.uniform(*_BOOT_SECONDS), lambda: self._booted(boot))

    def _booted(self, boot: int) -> None:
        """The kubelet that is on disk starts."""
        if self.is_on and self.boot == boot:
            self.run_kubelet()

    def run_kubelet(self) -> None:
        """The kubelet registers itself."""
        self.cluster.world.watch.kubelet_starts(self, self.kubelet_package)
        self._report(is_ready=True, kubelet_version=self.kubelet_package)

    def _report(self, **changes: Any) -> None:
        self.cluster.nodes[self.name] = replace(self.cluster.nodes[self.name], **changes)

    def _member(self, is_up: bool) -> None:
        self.is_member_up = is_up
        if is_up:
            self.member_down_since = None
        elif self.member_down_since is None:
            self.member_down_since = self.cluster.now
        self.cluster.recount()

    def stop_member(self, seconds: float) -> None:
        """Its etcd stops for a while."""
        if not self.is_on or not self.is_member_up:
            return
        self._member(False)
        boot = self.boot
        self.cluster.hub.after(
            seconds, lambda: self._member(True) if self.boot == boot and self.is_on else None
        )

    # -- what SSH finds ------------------------------------------------------------------------------------

    def reach(self) -> None:
        """Raise when SSH does not find it."""
        if not self.is_reachable:
            raise unreachable("NODE_UNREACHABLE", self.name, "no route")

    @property
    def active(self) -> list[Job]:
        """Jobs at work."""
        return [job for job in self.units.values() if job.is_running and self.is_on]

    @property
    def is_held_up(self) -> bool:
        """Tell whether a fault still lets a job here take very long."""
        return any(job.is_slow for job in self.active)

    def facts(self, job: Job) -> JobFacts:
        """As `job_line` says it."""
        if job.told is None or job.told.state != job.state:  # nothing else of it ever changes alone
            is_lost = job.state == "lost"
            code = None if is_lost else job.exit_code
            job.told = JobFacts(
                *(job.step, job.state, code, job.owner, job.token, job.arguments, job.started, job.finished),
                is_lost,
            )
        return job.told

    def probe(self) -> NodeProbe:
        """Everything."""
        self.reach()
        base = _tidy(self.name, self.is_cp)
        kubeadm = [job for job in self.active if job.step == "kubeadm-upgrade"]
        pids = tuple(int(job.started - START) + 100 for job in kubeadm)
        if self.by_hand_until > self.cluster.now:
            pids += (99,)
        probe = object.__new__(NodeProbe)  # `replace` takes ten times as long, and this is asked all the time
        probe.__dict__.update(
            base.__dict__,
            boot_id=f"b{self.boot}",
            clock=self.cluster.now,
            kubelet_version=self.kubelet_package,
            kubeadm_version=self.kubeadm,
            kubectl_version=self.kubelet_package,
            scratch=self.scratch,
            kubeadm_pids=pids,
            jobs=tuple(self.facts(job) for job in self.units.values()),
            token=self.token,
        )
        return probe

    def etcd_metrics(self) -> str | None:
        """Its member's metrics; a member that is down does not answer."""
        self.reach()
        if not self.is_cp:
            return None
        if not self.is_member_up:
            raise unreachable("ETCD_METRICS_UNREADABLE", f"etcd on {self.name}", "connection refused")
        up = [
            n
            for n in self.cluster.members
            if self.cluster.fakes[n].is_on and self.cluster.fakes[n].is_member_up
        ]
        has_leader = len(up) * 2 > len(self.cluster.members)
        tick = int((self.cluster.now - START) // 10)
        return _metrics(tick, has_leader=has_leader, is_leader=up[0] == self.name)

    def verb(self, verb: str, words: Sequence[str]) -> tuple[int, str, str]:
        """Answer as `nightshift-node` does: exit code, standard output, standard error."""
        self.reach()
        if verb == "fence":
            code = self._require_token(int(words[0]))
            return code, "", "token is older" if code else ""
        assert verb == "start-job", verb
        return self._start(words[0], int(words[1]), words[2], int(words[3]), words[4], tuple(words[5:]))

    def is_token_old(self, token: int) -> bool:
        """As `require_token` judges it."""
        return token < self.token

    def _require_token(self, token: int) -> int:
        if self.is_token_old(token):
            return ExitCode.FENCED
        self.cluster.world.watch.command_taken(self, token)
        self.token = max(self.token, token)
        self.reached = max(self.reached, token)
        return ExitCode.OK

    def _start(
        self, step: str, token: int, owner: str, limit: int, request: str, arguments: tuple[str, ...]
    ) -> tuple[int, str, str]:
        if self._require_token(token):
            return ExitCode.FENCED, "", "token is older"
        known = self.units.get(step)
        if known is not None and known.job_id == request:
            return ExitCode.OK, f"started {request}", ""  # the answer was lost on its way
        for job in self.active:
            if job.step == step and job.arguments == arguments:
                return ExitCode.OK, f"attached {job.job_id}", ""
            return ExitCode.BUSY, "", f"{job.step} is at work for run {job.owner}"
        if self.by_hand_until > self.cluster.now:
            return ExitCode.BUSY, "", "kubeadm is run by somebody else"
        hub = self.cluster.hub
        job = Job(step, request, owner, token, arguments, hub.now, self.boot)
        job.is_again = known is not None and known.owner == owner
        self.cluster.world.watch.job_starts(self, job)
        self.units[step] = job
        job.process = Process(f"{self.name}:{step}")
        hub.spawn(job.process, lambda: self._work(job))
        hub.after(limit, lambda: self._time_out(job))
        return ExitCode.OK, f"started {job.job_id}", ""

    def _time_out(self, job: Job) -> None:
        if job.is_running and self.is_on and job.boot == self.boot and job.process is not None:
            job.process.kill()
            job.is_timed_out = True
            self._roll_back()
            self._end(job, ExitCode.TIMED_OUT)

    # -- jobs ----------------------------------------------------------------------------------------------

    def _work(self, job: Job) -> None:
        world = self.cluster.world
        pace = 1.0
        if self.slow > 0 and job.step in (*UPGRADES, "stage"):
            self.slow -= 1
            job.is_slow = True
            pace = world.rng.uniform(6.0, 15.0)
        fails_at = -1
        if self.fails > 0 and job.step in (*UPGRADES, "stage", "snapshot-etcd"):
            self.fails -= 1
            fails_at = world.rng.randrange(5)
        elif self.bad_upgrades > 0 and job.step in UPGRADES:
            self.bad_upgrades -= 1
            fails_at = 0
        try:
            for phase, seconds in enumerate(getattr(self, f"_{job.step.replace('-', '_')}")(job)):
                if phase == fails_at:
                    raise _Failed(ExitCode.KUBEADM_FAILED)
                self.cluster.hub.sleep(seconds * pace * world.rng.uniform(0.7, 1.5))
        except _Failed as failure:
            self._roll_back()
            self._end(job, int(str(failure)))
        else:
            self._end(job, ExitCode.OK)

    def _roll_back(self) -> None:
        """The kubelet runs whatever manifest is there."""
        self.is_serving = self.is_cp
        self.cluster.recount()

    def _end(self, job: Job, code: int) -> None:
        job.exit_code, job.finished = code, self.cluster.now
        job.state = "succeeded" if code == ExitCode.OK else "failed"
        self.cluster.world.watch.job_ended(self, job)

    def _act(self, job: Job) -> None:
        job.acts = True
        self.cluster.world.watch.job_acts(self, job)

    def _wait_for_api(self) -> Iterator[float]:
        end = self.cluster.now + 180
        while not self.cluster.is_api_up:
            if self.cluster.now >= end:
                raise _Failed(ExitCode.API_UNAVAILABLE)
            yield 4.0

    def _stage(self, job: Job) -> Iterator[float]:
        yield 5.0
        self.staged = job.arguments[1].partition("-")[0]
        yield 3.0

    def _snapshot_etcd(self, job: Job) -> Iterator[float]:
        if not self.is_member_up:
            raise _Failed(ExitCode.ETCD_UNAVAILABLE)
        yield 4.0
        name = f"etcd-{int(self.cluster.now)}.tar.gz"
        self.bundles[name] = f"{self.name} {self.cluster.now}".encode()
        digest = hashlib.sha256(self.bundles[name]).hexdigest()
        said = {"saved": _SIDE, "restored": _SIDE, "bundle": name, "bundle_sha256": digest}
        job.lines.append(f"RESULT {json.dumps(said)}")
        yield 2.0

    def _reclaim_scratch(self, job: Job) -> Iterator[float]:  # type: ignore[override]  # a job here, an effect there
        yield 2.0
        self.scratch = tuple(entry for entry in self.scratch if entry.name not in job.arguments[1:])

    def _kubeadm_upgrade(self, job: Job) -> Iterator[float]:  # type: ignore[override]
        """`jobs/kubeadm-upgrade`, and what kubeadm does in it, one manifest after the other."""
        mode, version = job.arguments[:2]
        yield from self._wait_for_api()
        if self._is_upgraded(mode, version):
            return
        self._act(job)
        yield 1.0
        if self.kubeadm != version:
            if self.staged != version:
                raise _Failed(ExitCode.NOT_STAGED)
            yield 3.0
            self.kubeadm = version
        yield 2.0
        target = version if mode == "apply" else self.cluster.config_version
        if self.is_cp:
            yield from self._upgrade_control_plane(target)
        if mode == "apply":
            yield from self._require_api()
            self.cluster.config_version = version
            yield 3.0  # kubelet-config, tokens, add-ons
        yield from self._require_api()
        self.flags_of = target
        self.done.add((mode, version))
        self.cluster.changes += 1

    def _is_upgraded(self, mode: str, version: str) -> bool:
        if (mode, version) not in self.done or self.kubeadm != version:
            return False
        if self.is_cp and any(v != version for v in self.cluster.components[self.name].values()):
            return False
        return self.cluster.config_version == version

    def _upgrade_control_plane(self, target: str) -> Iterator[float]:
        if self.etcd_version != target:
            self.stop_member(6.0)
            yield 8.0
            self.etcd_version = target
        for component in COMPONENTS:
            if self.cluster.components[self.name][component] == target:
                continue
            is_server = component == "kube-apiserver"
            if is_server:
                self.is_serving = False
                self.cluster.recount()
            yield 4.0
            self.cluster.components[self.name] = {**self.cluster.components[self.name], component: target}
            if is_server:
                self.is_serving = True
                self.cluster.recount()
            yield 3.0

    def _require_api(self) -> Iterator[float]:
        """Kubeadm asks for a minute, then gives up."""
        end = self.cluster.now + 60
        while not self.cluster.is_api_up:
            if self.cluster.now >= end:
                raise _Failed(ExitCode.KUBEADM_FAILED)
            yield 4.0

    def _kubelet_upgrade(self, job: Job) -> Iterator[float]:  # type: ignore[override]
        version = job.arguments[0]
        if Version.parse(self.flags_of).minor != Version.parse(version).minor:
            raise _Failed(ExitCode.REFUSED)
        if self.kubelet_package == version == self.cluster.nodes[self.name].kubelet_version:
            return
        self._act(job)
        if self.kubelet_package != version:
            if self.staged != version:
                raise _Failed(ExitCode.NOT_STAGED)
            yield 4.0
            self.kubelet_package = version
        yield 1.0
        self._report(is_ready=False)
        boot = self.boot
        self.cluster.hub.after(
            20.0, lambda: self._booted(boot)
        )  # systemd starts it whatever becomes of the job
        yield 4.0
        self.run_kubelet()
        yield 1.0


@lru_cache(maxsize=64)
def _tidy(name: str, is_cp: bool) -> NodeProbe:
    """What does not change about a node."""
    small = FakeCluster(1, 0)
    names = (*COMPONENTS, "etcd") if is_cp else ()
    probe = small.fakes["cp1"].probe()
    processes = tuple(RunningProcess(n, i + 1, (n, "--a=b")) for i, n in enumerate(names))
    manifests = probe.manifests if is_cp else ()
    return replace(probe, node=name, mounts=_MOUNTS, manifests=manifests, processes=processes)


@lru_cache(maxsize=4096)
def _metrics(tick: int, *, has_leader: bool, is_leader: bool) -> str:
    """Metrics of a member that takes 20 writes a second."""
    lines = etcd_text(observations=200.0 * tick, leader=has_leader).splitlines()
    text = "\n".join(line for line in lines if 'le="0.128"' not in line and 'le="0.256"' not in line) + "\n"
    return text.replace("etcd_server_is_leader 1", f"etcd_server_is_leader {int(is_leader)}")


class SimSsh(NodeSsh):
    """The real client of one process; what it would run on the node is asked of the model."""

    def __init__(self, world: World, node: SimNode) -> None:
        super().__init__(node.name, _no_connection, None, sleep=world.hub.sleep)  # type: ignore[arg-type]
        self._world, self._machine = world, node

    def run(self, verb: str, *args: str, stdin: bytes = b"", timeout_seconds: float = 60) -> CommandResult:
        """One command."""
        code, out, err = self._ask(f"{verb} {' '.join(args[:2])}", lambda: self._machine.verb(verb, args))
        self._judge(verb, code, err)
        return CommandResult(code, out.encode(), err)

    def _ask(self, what: str, answer: Callable[[], Any]) -> Any:
        return self._world.call("ssh", self._machine, what, answer)

    def probe(self) -> NodeProbe:
        """Everything."""
        return self._ask("probe", self._machine.probe)

    def look(self, sections: Sequence[str]) -> dict[str, tuple[int, str]]:
        """Sections."""
        return self._ask("look", lambda: self._machine.look(sections))

    def etcd_metrics(self) -> str | None:
        """Metrics."""
        return self._ask("etcd-metrics", self._machine.etcd_metrics)

    def kubelet_configz(self, token: str) -> dict[str, Any]:
        """Configuration."""
        return self._ask("kubelet-configz", lambda: (self._machine.reach(), self._machine.configz)[1])

    def image_manifests(self, images: Sequence[str]) -> dict[str, tuple[int, str]]:
        """A registry that does not answer."""
        return self._ask("image-manifests", lambda: self._machine.image_manifests(images))

    def supply(
        self, minor: str, package_version: str | None, base_url: str, images: Sequence[str]
    ) -> tuple[SupplyItem, ...]:
        """Everything is there."""
        return self._ask(
            f"supply {minor}", lambda: self._machine.supply(minor, package_version, base_url, images)
        )

    def package_index(self, minor: str, base_url: str) -> PackageFacts:
        """What is offered."""

        def answer() -> PackageFacts:
            self._machine.reach()
            return self._machine.offers.get(minor, PackageFacts(minor, ()))

        return self._ask(f"package-index {minor}", answer)

    def fetch(self, kind: str, name: str, target: BinaryIO, *, timeout_seconds: float = 0) -> str:
        """A bundle."""
        content = self._ask(f"fetch {name}", lambda: (self._machine.reach(), self._machine.bundles[name])[1])
        target.write(content)
        return hashlib.sha256(content).hexdigest()

    def collect_evidence(
        self, since: float, target: BinaryIO, *, is_baseline: bool = False, timeout_seconds: float = 0
    ) -> None:
        """A bundle."""
        self._ask("collect-evidence", self._machine.reach)
        target.write(b"evidence")

    def ask_again(self, sections: Sequence[str], target: BinaryIO, *, timeout_seconds: float = 0) -> None:
        """Nothing that can be read."""
        self._ask("collect-evidence", self._machine.reach)

    def close(self) -> None:
        """Nothing is held."""

    def _poll(self, step: str, cursor: str) -> node_ssh._Poll:
        return self._ask(f"job-poll {step}", lambda: self._status(step, cursor))

    def _status(self, step: str, cursor: str) -> node_ssh._Poll:
        self._machine.reach()
        job = self._machine.units.get(step)
        if job is None:
            absent = JobFacts(step, "absent", None, "", 0, (), 0.0, None)
            return node_ssh._Poll(JobStatus(absent, "-", is_timed_out=False), "-", ())
        seen = 0 if cursor == "-" else int(cursor)
        status = JobStatus(self._machine.facts(job), job.job_id, job.is_timed_out)
        return node_ssh._Poll(status, str(len(job.lines)), tuple(job.lines[seen:]))

    def _patiently(self, work: Callable[[], Any], _log: Callable[[str], None]) -> Any:
        """As the real one, by the simulation's clock; nobody reads the log here."""
        until, pause = self._world.hub.now + self._reattach_seconds, 0.5
        while True:
            try:
                return work()
            except UnreachableError:
                if self._world.hub.now >= until:
                    raise
                self._sleep(pause)
                pause = min(10.0, pause * 2)


def _no_connection() -> Any:
    raise AssertionError("the simulation opens no connection")


class SimKube:
    """`FakeKube` behind a network: each call may be late, lost, or the last one of its process."""

    def __init__(self, world: World) -> None:
        self._world, self._inner = world, SimApi(world.cluster)

    def __getattr__(self, name: str) -> Any:
        """Wrap a method once."""
        method = getattr(self._inner, name)

        def ask(*args: Any, **named: Any) -> Any:
            shown = f"{name} {args[0] if args and isinstance(args[0], str) else ''}"
            return self._world.call("api", None, shown, lambda: method(*args, **named))

        self.__dict__[name] = ask
        return ask

    def ready(self) -> bool:
        """An API that does not answer is not ready."""
        try:
            return bool(self._world.call("api", None, "ready", self._inner.ready))
        except UnreachableError:
            return False


class SimApi(FakeKube):
    """The fake, with the model's notion of being there, and controllers that start evicted pods elsewhere."""

    _c: SimCluster

    def _reach(self, what: str) -> None:
        if not self._c.is_api_up:
            raise unreachable("API_UNREACHABLE", "the API", "connection refused")

    def ready(self) -> bool:
        """Ready when it is there."""
        return self._c.is_api_up

    def evict(self, namespace: str, name: str, uid: str) -> Eviction:
        """As the fake; the model counts on pods going."""
        where = next((node for node, pods in self._c.pods.items() if any(p.uid == uid for p in pods)), None)
        answer = super().evict(namespace, name, uid)
        if answer.outcome is EvictionOutcome.EVICTED and where is not None:
            self._c.world.watch.evicted(self._c.fakes[where])
            self._c.hub.after(self._c.pod_seconds + 1.0, lambda: self._start_elsewhere(name))
        return answer

    def _start_elsewhere(self, name: str) -> None:
        """A controller starts the pod anew where there is room."""
        room = [
            node for node, facts in self._c.nodes.items() if not facts.is_unschedulable and facts.is_ready
        ]
        if room:
            self._c.add_pod(self._c.world.rng.choice(room), name, uid=f"uid-{name}-{self._c.hub.events}")

    def set_namespace_annotations(self, values: Any) -> None:
        """As the fake."""
        super().set_namespace_annotations(values)
        self._c.changes += 1

    def record_debt(self, debt: Debt, instead_of: Debt | None = None) -> bool:
        """As the fake."""
        self._c.changes += 1
        return super().record_debt(debt, instead_of)

    def forget_debt(self, debt: Debt) -> bool:
        """As the fake."""
        self._c.changes += 1
        return super().forget_debt(debt)

    def set_workload(self, found: WorkloadFacts, setting: int | bool) -> bool:
        """As the fake; whoever gives one back is watched."""
        is_set = super().set_workload(found, setting)
        self._c.changes += 1
        if is_set:
            self._c.world.watch.workload_set(found.name, setting)
        return is_set


class MemoryStore:
    """`Store` without a disk: complete or absent, like the real one."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._files: dict[str, bytes] = {}

    def write_json(self, relative: str, data: Any) -> str:
        """Write at once or not at all."""
        text = json.dumps(data, default=str).encode()
        self._world.call("store", None, f"write {relative}", lambda: self._files.update({relative: text}))
        return f"/store/{relative}"

    def read_json(self, relative: str) -> dict[str, Any] | None:
        """Read."""
        found = self._world.call("store", None, f"read {relative}", lambda: self._files.get(relative))
        return None if found is None else dict(json.loads(found))

    def exists(self, relative: str) -> bool:
        """Tell."""
        return bool(self._world.call("store", None, f"exists {relative}", lambda: relative in self._files))

    def write_stream(self, relative: str, fill: Callable[[BinaryIO], None]) -> str:
        """It appears when it is complete."""
        target = BytesIO()
        fill(target)
        content = target.getvalue()
        self._world.call("store", None, f"write {relative}", lambda: self._files.update({relative: content}))
        return f"/store/{relative}"

    def write_text(self, relative: str, text: str) -> str:
        """Write at once or not at all."""
        content = text.encode("utf-8", errors="replace")
        self._world.call("store", None, f"write {relative}", lambda: self._files.update({relative: content}))
        return f"/store/{relative}"

    def read_bytes(self, relative: str, limit: int) -> bytes | None:
        """Read."""
        found = self._world.call("store", None, f"read {relative}", lambda: self._files.get(relative))
        return None if found is None else bytes(found[:limit])

    def chunks(self, relative: str) -> Iterator[bytes]:
        """In one piece."""
        yield self._world.call("store", None, f"read {relative}", lambda: self._files[relative])

    def names(self, folder: str) -> tuple[str, ...]:
        """List."""

        def found() -> tuple[str, ...]:
            below = [name.removeprefix(f"{folder}/") for name in self._files if name.startswith(f"{folder}/")]
            return tuple(sorted({name.partition("/")[0] for name in below}))

        return self._world.call("store", None, f"list {folder}", found)

    def remove(self, relative: str) -> None:
        """As a whole."""

        def gone() -> None:
            for name in [n for n in self._files if n == relative or n.startswith(f"{relative}/")]:
                del self._files[name]

        self._world.call("store", None, f"remove {relative}", gone)

    def check(self, name: str) -> None:
        """It works. No moment of its own: nothing at the cluster depends on it, and every seed keeps its course."""

    def place(self, relative: str) -> str:
        """Where it lies."""
        return f"/store/{relative}"


class SimGauges:
    """A Pushgateway that may be away."""

    def __init__(self, world: World) -> None:
        self._world = world

    def push(self, gauges: Any, labelled: Any = ()) -> str | None:
        """Keep, or say what went wrong."""
        try:
            return self._world.call(
                "gauges", None, f"push {dict(gauges)}", lambda: self._world.keep_gauges(gauges)
            )
        except UnreachableError as error:
            return str(error)


@lru_cache(maxsize=8192)
def _parsed(text: str) -> EtcdSample | None:
    return parse_etcd_metrics(text, "", 0.0)


def parse_once(text: str, member: str, taken: float) -> EtcdSample | None:
    """The real one, once for each text: the same come again and again."""
    known = _parsed(text)
    if known is None:
        return None
    sample = object.__new__(EtcdSample)
    sample.__dict__.update(known.__dict__, member=member, taken=taken)
    return sample


@cache
def read_ahead() -> None:
    """Parse what members say in the first half hour of a night, so that not each forked process has to."""
    for tick in range(180):
        for is_leader in (True, False):
            _parsed(_metrics(tick, has_leader=True, is_leader=is_leader))


for _reader in (decide, etcd, snapshot, turn, verify_node):  # all there are, says test_one_night.py
    _reader.parse_etcd_metrics = parse_once  # type: ignore[attr-defined]  # imported there
