"""The observers: threads that look at cluster, nodes and Airflow from outside and write down what changed.

They hold what they saw last as a `Scene` for whoever waits for a moment, and tell every change to the journal. A
question that gets no answer changes nothing; it is no observation.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import httpx
from tests.lab.world import DAG, CordonWatch, KubectlWatch, World

from chaos.catalogue import Moment
from chaos.scene import KUBEADM_JOB, KUBELET_JOB, STAGE_JOB, NodeSeen, Scene, TaskSeen
from chaos.timeline import Event
from nslab import probe
from nslab.nodes import machine
from nslab.shell import LabError, run

JOBS = (KUBEADM_JOB, KUBELET_JOB, STAGE_JOB, "snapshot-etcd", "rehearse", "upload-config", "reclaim-scratch")
GAUGE = "k8s_upgrade_in_flight"
_NODE_SECONDS, _TASK_SECONDS, _OUTSIDE_SECONDS = 0.15, 0.7, 0.5  # small beside what is watched, on 2 cores
_SHORT_TASK_SECONDS = 0.3  # while a task is awaited that is over after about 2 s
_SHORT_MOMENTS = frozenset({Moment.TEARDOWN})
# Of systemd's own messages; see its catalogue (systemd/sd-messages.h).
_STARTED = "39f53479d3a045ac8e11786248231fbf"
_ENDED = ("7ad2d189f7e94e70a38c781354912448", "d9b373ed55a64feb8242e02dbe79a49c")
_DISPATCHER = "nightshift-node "


class Journal:
    """The file of a case and its lines in memory; may be told from every thread."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._sink: TextIO = path.open("w", encoding="utf-8")
        self._lock = threading.Lock()
        self._events: list[Event] = []

    def tell(self, kind: str, /, at: float | None = None, **fields: Any) -> None:
        """Write one event, of now unless `at` (seconds since the epoch) says otherwise."""
        event = Event(time.time() if at is None else at, kind, fields)
        with self._lock:
            self._events.append(event)
            self._sink.write(event.line() + "\n")
            self._sink.flush()
        if kind in ("note", "strike", "over", "night", "second", "process"):
            print(f"  {event.line()}", flush=True)

    def events(self) -> list[Event]:
        """Everything told so far."""
        with self._lock:
            return list(self._events)

    def close(self) -> None:
        """Close the file."""
        self._sink.close()


class Stage:
    """What was seen last, together."""

    def __init__(self, world: World, journal: Journal) -> None:
        self.world, self.journal = world, journal
        self.run_id: str | None = None  # whose tasks are followed
        self.foreign: frozenset[str] = frozenset()
        self.task_seconds = _TASK_SECONDS  # between two looks at Airflow's tasks
        self._lock = threading.Lock()
        self._tasks: dict[tuple[str, int], TaskSeen] = {}
        self._nodes: dict[str, NodeSeen] = {}
        self._baseline: Mapping[str, Mapping[str, str]] = {}
        self._cordoned: frozenset[str] | None = None
        self._holder: str | None = None
        self._in_flight: float | None = None

    @property
    def scene(self) -> Scene:
        """Everything as it was seen last."""
        with self._lock:
            tasks = tuple(self._tasks.values())
            cordoned = (self._cordoned or frozenset()) - self.foreign
            return Scene(tasks, dict(self._nodes), self._baseline, cordoned)

    @property
    def is_safe(self) -> bool:
        """Tell whether no cordon of ours, no holder and no gauge is left."""
        with self._lock:
            is_free = self._cordoned is not None and self._cordoned <= self.foreign
            return is_free and self._holder == "" and self._in_flight == 0

    def keep_baseline(self) -> None:
        """From here on a manifest that differs was written by the upgrade."""
        with self._lock:
            self._baseline = {name: dict(node.manifests) for name, node in self._nodes.items()}

    @contextmanager
    def awaiting(self, moment: Moment) -> Iterator[None]:
        """Look at Airflow's tasks more often in this context if the moment is a short one."""
        self.task_seconds = _SHORT_TASK_SECONDS if moment in _SHORT_MOMENTS else _TASK_SECONDS
        try:
            yield
        finally:
            self.task_seconds = _TASK_SECONDS

    def follow(self, run_id: str) -> None:
        """Follow another run's tasks."""
        with self._lock:
            self.run_id, self._tasks = run_id, {}

    def see_node(self, name: str, seen: NodeSeen) -> None:
        """A node as it is now."""
        with self._lock:
            if self._nodes.get(name) == seen:
                return
            self._nodes[name] = seen
        self.journal.tell(
            "node",
            node=name,
            on=seen.is_on,
            jobs=sorted(seen.jobs),
            kubeadm=sorted(seen.kubeadm),
            dpkg=seen.dpkg,
            manifests={file: text[:8] for file, text in sorted(seen.manifests.items())},
        )

    def see_task(self, run_id: str, seen: TaskSeen, began: str | None) -> None:
        """A task instance as it is now; a new try is told on its own, with Airflow's own time of its begin."""
        key = seen.task, seen.map_index
        with self._lock:
            if run_id != self.run_id or self._tasks.get(key) == seen:
                return
            self._tasks[key] = seen
        fields: dict[str, Any] = {"run": run_id, "task": seen.task, "map": seen.map_index}
        self.journal.tell("task", **fields, state=seen.state, attempt=seen.number, began=began)

    def see_cordons(self, names: frozenset[str]) -> None:
        """Cordoned nodes, as the watch told."""
        with self._lock:
            is_new, self._cordoned = self._cordoned != names, names
        if is_new:
            self.journal.tell("cordons", names=sorted(names))

    def see_lease(self, holder: str, token: int) -> None:
        """The Lease, as the watch told."""
        with self._lock:
            self._holder = holder
        self.journal.tell("lease", holder=holder, token=token)

    def see_in_flight(self, value: float | None, known: bool) -> None:
        """The gauge; an absent one is 0, an unreadable one unknown."""
        with self._lock:
            is_new, self._in_flight = self._in_flight != value, value
        if is_new:
            self.journal.tell("gauge", known=known, value=value)


class LeaseWatch(KubectlWatch):
    """The Lease at every change; renewals are dropped."""

    def __init__(self, kubectl: list[str], tell: Callable[[str, int], None]) -> None:
        columns = (
            r"custom-columns=TOKEN:.metadata.annotations.nightshift\.io/token,HOLDER:.spec.holderIdentity"
        )
        super().__init__(kubectl, "leases", "-n", "nightshift", "-o", columns)
        self._tell = tell
        self._last: tuple[str, int] | None = None

    def take(self, line: str) -> None:
        """One state of the Lease."""
        now = lease_of(line)
        if now != self._last:
            self._last = now
            self._tell(*now)


def lease_of(line: str) -> tuple[str, int]:
    """Holder and token of a line of `LeaseWatch`."""
    token, _, holder = line.strip().partition(" ")
    holder = holder.strip()
    return "" if holder == "<none>" else holder, int(token) if token.isdecimal() else 0


class Observers:
    """All observers of one case, while the context lasts."""

    def __init__(self, stage: Stage) -> None:
        self._stage, self._world = stage, stage.world
        self._ended = threading.Event()
        self._stack = ExitStack()
        self._names = [word.split("=")[0] for word in self._world.facts["NSLAB_NODES"].split()]

    def __enter__(self) -> Observers:
        kubectl = self._world.kubectl_command()
        self._stack.enter_context(CordonWatch(kubectl, self._stage.see_cordons))
        self._stack.enter_context(LeaseWatch(kubectl, self._stage.see_lease))
        for pause, look in self._looks():
            threading.Thread(target=self._repeat, args=(pause, look), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._stack.close()

    def _looks(self) -> Sequence[tuple[Callable[[], float], Callable[[], None]]]:
        """What is looked at, and how many seconds pass before each look."""
        return (
            (lambda: _NODE_SECONDS, self._look_at_nodes),
            (lambda: self._stage.task_seconds, self._look_at_tasks),
            (lambda: _OUTSIDE_SECONDS, self._look_at_gauge),
            (lambda: _OUTSIDE_SECONDS, Readiness(self._world.facts["NSLAB_API"], self._stage.journal).look),
        )

    def _repeat(self, pause: Callable[[], float], look: Callable[[], None]) -> None:
        while not self._ended.wait(pause()):
            try:
                look()
            except (OSError, ValueError, KeyError, httpx.HTTPError, LabError):
                continue  # no answer, or half of one: nothing was seen

    def _look_at_nodes(self) -> None:
        for name, seen in nodes_now(self._names).items():
            self._stage.see_node(name, seen)

    def _look_at_tasks(self) -> None:
        run_id = self._stage.run_id
        if run_id is None:
            return
        for row in self._world.api.tasks(DAG, run_id):
            seen = TaskSeen(row["id"], row["task_id"], row["map_index"], row["state"], row["try_number"])
            self._stage.see_task(run_id, seen, row["start_date"])

    def _look_at_gauge(self) -> None:
        try:
            self._stage.see_in_flight(self._world.gauge(GAUGE) or 0.0, True)
        except OSError:
            self._stage.see_in_flight(None, False)


class Readiness:
    """Whether the Kubernetes API is ready; its changes go into the journal."""

    def __init__(self, server: str, journal: Journal) -> None:
        self._url, self._journal = f"{server}/readyz", journal
        self._last: bool | None = None

    def look(self) -> None:
        """Ask once."""
        ready = probe.ask("api", self._url).ok
        if ready != self._last:
            self._last = ready
            self._journal.tell("api", ready=ready)


# Nodes, as the machine sees them


def nodes_now(names: Sequence[str]) -> dict[str, NodeSeen]:
    """Look at all nodes at once: one walk over the machine's processes, and the manifests on their disks."""
    spaces = {space: name for name in names if (space := _pid_space(machine.find_leader(name)))}
    found: dict[str, list[tuple[int, str, Sequence[str]]]] = {name: [] for name in spaces.values()}
    for pid, comm, argv in _interesting_processes():
        name = spaces.get(_pid_space(pid) or "")
        if name:
            found[name].append((pid, comm, argv))
    return {
        name: node_seen(found[name], manifests_of(machine.root_of(name)))
        if name in found
        else NodeSeen(is_on=False)
        for name in names
    }


def node_seen(processes: Sequence[tuple[int, str, Sequence[str]]], manifests: Mapping[str, str]) -> NodeSeen:
    """Say what a node's processes (pid, name, arguments) mean."""
    return NodeSeen(
        jobs=frozenset(comm for _, comm, _ in processes if comm in JOBS),
        kubeadm=frozenset(
            pid for pid, comm, argv in processes if comm == "kubeadm" and argv[1:2] == ["upgrade"]
        ),
        dpkg=any(comm == "dpkg" for _, comm, _ in processes),
        manifests=manifests,
    )


def manifests_of(root: Path) -> dict[str, str]:
    """Hashes of a node's static pod manifests by file name; {} while its disk is not mounted."""
    found = {}
    for path in (root / "etc/kubernetes/manifests").glob("*.yaml"):
        with suppress(OSError):
            found[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _interesting_processes() -> Iterator[tuple[int, str, list[str]]]:
    for path in Path("/proc").glob("[0-9]*"):
        try:
            comm = (path / "comm").read_text().strip()
            if comm in (*JOBS, "kubeadm", "dpkg"):
                yield int(path.name), comm, (path / "cmdline").read_bytes().decode().split("\0")
        except (OSError, UnicodeDecodeError):
            continue  # it has ended


def _pid_space(pid: int | None) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid") if pid is not None else None
    except OSError:
        return None


# What is read when a case is over: the nodes' own journals, and every try of every task


def read_node_journals(world: World, since: float, journal: Journal) -> None:
    """Write down when jobs started and ended, and what sudo ran for us, by systemd's own word."""
    for name in (word.split("=")[0] for word in world.facts["NSLAB_NODES"].split()):
        directory = machine.root_of(name) / "var/log/journal"
        command = ["journalctl", "--directory", str(directory), "--output=json", f"--since=@{since:.0f}"]
        matches = ["_PID=1", "+", "SYSLOG_IDENTIFIER=sudo"]
        for line in run([*command, *matches], check=False).stdout.splitlines():
            event = journal_event(name, line)
            if event is not None:
                journal.tell(event.kind, event.at, **event.data)


def journal_event(node: str, line: str) -> Event | None:
    """Read one line of `journalctl --output=json`; None when it is about something else.

    A unit of ours is a job when its step is one: the recorder beside a job only looks.
    """
    try:
        entry: Mapping[str, Any] = json.loads(line)
        at, message = int(entry["__REALTIME_TIMESTAMP"]) / 1e6, str(entry.get("MESSAGE") or "")
    except (ValueError, KeyError):
        return None
    if entry.get("SYSLOG_IDENTIFIER") == "sudo":
        _, found, words = message.partition(_DISPATCHER)
        verb, *rest = words.split() or [""]
        step, cursor = (*rest, "", "")[:2]
        fields = {"node": node, "verb": verb, "step": step}
        if verb == "job-poll":
            fields["cursor"] = cursor
        return Event(at, "command", fields) if found else None
    unit, kind = str(entry.get("UNIT", "")), entry.get("MESSAGE_ID")
    step = unit.removeprefix("nightshift-").removesuffix(".service")
    if step not in JOBS or unit != f"nightshift-{step}.service" or kind not in (_STARTED, *_ENDED):
        return None
    what = "started" if kind == _STARTED else "ended"
    return Event(at, "unit", {"node": node, "unit": step, "what": what, "boot": str(entry.get("_BOOT_ID"))})


def read_tries(world: World, run_ids: Sequence[str], journal: Journal) -> None:
    """Write down every try of every task of these runs; a run that Airflow has lost has none."""
    for run_id in run_ids:
        with suppress(httpx.HTTPError):
            for row in world.api.tries(run_id):
                journal.tell("attempt", _seconds(row["start_date"]), **attempt_fields(run_id, row))


def attempt_fields(run_id: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an `attempt` from Airflow's row of it."""
    return {
        "run": run_id,
        "task": row["task_id"],
        "map": row["map_index"],
        "number": row["try_number"],
        "ended": row["end_date"] and _seconds(row["end_date"]),
        "state": row["state"],
    }


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def pushgateway_answers(world: World) -> bool:
    """Tell whether the gauge can be read at all: without it a case proves nothing."""
    return probe.ask("pushgateway", f"{world.facts['NSLAB_PUSHGATEWAY_URL']}/metrics").ok
