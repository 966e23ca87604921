"""The real world of the lab tests: the lab cluster, and an Airflow of its own in front of it.

Everything is looked at from outside (kubectl with the lab's admin rights, the Pushgateway, the nodes' journals),
never through the product's own clients: the judge is not the accused.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from nsdemo.api import AirflowApi, patiently
from nsdemo.lab import FROM_VERSION, bring_up, enrol_lab, enrolled_at, lab_environment, lab_facts
from nsdemo.processes import start_airflow
from nsdemo.runs import end_earlier_runs, rest_airflow
from nsdemo.settings import PROJECT, Home

LAB = str(PROJECT / "lab" / "lab")
DAG = "upgrade_lab"
SWEEPER = "recover_lab"
NIGHT_SECONDS = 2400
ENDED = ("success", "failed")
BUSY_NIGHTS = 3  # of a night that must go through


class Api(AirflowApi):
    """What a person can do in the UI, through the API the UI uses."""

    def start(self, dag_id: str = DAG, **conf: Any) -> str:
        """Trigger a run with values of the form; returns its id."""
        return self.trigger(dag_id, **(conf if dag_id != DAG else {"reason": "lab test", **conf}))

    def mark_task_failed(self, run_id: str, task_id: str, map_index: int = -1) -> None:
        """What the button of a running task does."""
        self.change("PATCH", _instance(run_id, task_id, map_index), {"new_state": "failed"})

    def clear(self, run_id: str, task_id: str, map_index: int = -1) -> None:
        """Clear one task, also while it runs; nothing downstream of it."""
        which: Any = task_id if map_index < 0 else [task_id, map_index]
        body = {"dry_run": False, "dag_run_id": run_id, "task_ids": [which], "only_failed": False}
        self.change("POST", f"/api/v2/dags/{DAG}/clearTaskInstances", body)

    def tries(self, run_id: str) -> list[dict[str, Any]]:
        """Every try that has begun of every task of a run."""
        found = []
        for task in self.tasks(DAG, run_id):
            path = f"{_instance(run_id, task['task_id'], task['map_index'])}/tries"
            is_first = task["try_number"] <= 1
            found += [task] if is_first else self._get(path)["task_instances"]
        return [row for row in found if row["start_date"]]

    def task_log(self, run_id: str, task_id: str, dag_id: str = DAG) -> list[str]:
        """What stands in the log of a task's last try, line by line, as the UI shows it."""
        task = next(t for t in self.tasks(dag_id, run_id) if t["task_id"] == task_id)
        run = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"
        content = self._get(f"{run}/taskInstances/{task_id}/logs/{task['try_number']}")["content"]
        return [str(line["event"] if isinstance(line, dict) else line) for line in content]

    def banners(self, run_id: str, task_id: str) -> list[str]:
        """Codes of the errors that the log of a task's last try tells."""
        found = (re.match(r"\[([A-Z]+(?:_[A-Z]+)+)\] ", line) for line in self.task_log(run_id, task_id))
        return [match[1] for match in found if match]


def _instance(run_id: str, task_id: str, map_index: int) -> str:
    """Where one task instance is found in Airflow's API."""
    path = f"/api/v2/dags/{DAG}/dagRuns/{quote(run_id, safe='')}/taskInstances/{task_id}"
    return path if map_index < 0 else f"{path}/{map_index}"


class World:
    """The lab and its Airflow, brought up when first needed."""

    def __init__(self) -> None:
        self.home = Home.default()
        self.facts: dict[str, str] = {}
        self.used = True  # unknown: what an earlier session left

    def fresh(self, profile: str = "small", version: str = FROM_VERSION) -> World:
        """Bring the cluster back to its fresh state (unless nothing touched it) and Airflow in front of it."""
        wanted = (profile, version)
        is_there = (self.facts.get("NSLAB_PROFILE"), self.facts.get("NSLAB_VERSION")) == wanted
        if self.used or not is_there:
            rest_airflow(self.home, DAG, print)
            self._bring_lab(profile, version)
        enrol_lab(self.home, self.facts)
        start_airflow(self.home, self.airflow_settings(), print)
        self.api = Api(self.home)
        self.api.wait_until_healthy(240)
        for dag_id in (DAG, SWEEPER):
            self.api.wait_for_dag(dag_id, 240)
        end_earlier_runs(self.api, DAG, enrolled_at(), print)
        self.api.unpause(DAG)
        self.used = False
        return self

    def airflow_settings(self) -> dict[str, str]:
        """What Airflow's processes are told beyond the installation's own settings."""
        return lab_environment(self.facts)

    def up(self, profile: str = "small") -> World:
        """Bring the lab up, or back to its fresh cluster; no Airflow."""
        rest_airflow(self.home, DAG, print)
        self._bring_lab(profile, FROM_VERSION)
        self.used = False
        return self

    def _bring_lab(self, profile: str, version: str) -> None:
        if (
            lab_facts()
        ):  # a node that is down cannot be healed, and `up --fresh` forgets what was broken by itself
            self.lab("heal", "all", check=False)
        self.facts = bring_up(profile, print, version)

    # The lab

    def lab(self, *arguments: str, check: bool = True) -> str:
        """Run a lab command; returns what it printed."""
        done = subprocess.run([LAB, *arguments], capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"lab {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def on_node(self, node: str, command: str, check: bool = True) -> str:
        """Run a shell command on a node as root."""
        return self.lab("ssh", node, command, check=check)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl as the lab's administrator, patient with an API that restarts."""
        command = [*self.kubectl_command(), *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        for _ in range(30):
            if done.returncode == 0:
                break
            time.sleep(2)
            done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def nodes(self) -> dict[str, dict[str, Any]]:
        """Node objects by name."""
        return {
            n["metadata"]["name"]: n for n in json.loads(self.kubectl("get", "nodes", "-o", "json"))["items"]
        }

    def kubelet_versions(self) -> dict[str, str]:
        """Kubelet version by node."""
        return {name: node["status"]["nodeInfo"]["kubeletVersion"] for name, node in self.nodes().items()}

    def cordoned(self) -> list[str]:
        """Names of cordoned nodes."""
        return [name for name, node in self.nodes().items() if node["spec"].get("unschedulable")]

    def movable_pods(self) -> dict[str, set[str]]:
        """Node -> "namespace/name" of what a drain of it evicts: no mirror pod and none of a DaemonSet."""
        found: dict[str, set[str]] = {name: set() for name in self.nodes()}
        for pod in json.loads(self.kubectl("get", "pods", "-A", "-o", "json"))["items"]:
            about = pod["metadata"]
            owners = {owner["kind"] for owner in about.get("ownerReferences", [])}
            if not owners & {"DaemonSet", "Node"}:
                found.setdefault(pod["spec"].get("nodeName", ""), set()).add(
                    f"{about['namespace']}/{about['name']}"
                )
        return found

    def cordons(self) -> CordonWatch:
        """Watches which nodes are cordoned, while the context lasts."""
        return CordonWatch(self.kubectl_command())

    def kubectl_command(self) -> list[str]:
        """kubectl with the lab's administrator rights."""
        return [self.facts["NSLAB_KUBECTL"], "--kubeconfig", self.facts["KUBECONFIG"]]

    def probed(self) -> dict[str, dict[str, Any]]:
        """What the availability probe saw, by target."""
        return {s["target"]: s for s in json.loads(self.lab("probe", "report", "--json"))}

    def marks(self) -> list[str]:
        """Every nightshift.io/ annotation on nodes and on our namespace, as text."""
        found = []
        space = json.loads(self.kubectl("get", "namespace", "nightshift", "-o", "json"))
        for thing in [*self.nodes().values(), space]:
            for key in thing["metadata"].get("annotations", {}):
                if key.startswith("nightshift.io/"):
                    found.append(f"{thing['metadata']['name']}: {key}")
        return found

    def lease(self) -> tuple[str, int]:
        """Holder and token of the Lease; ("", 0) when there is none yet."""
        items = json.loads(self.kubectl("-n", "nightshift", "get", "leases", "-o", "json"))["items"]
        if not items:
            return "", 0
        annotations = items[0]["metadata"].get("annotations", {})
        return items[0]["spec"].get("holderIdentity") or "", int(annotations.get("nightshift.io/token", 0))

    def gauge(self, name: str) -> float | None:
        """Value of a gauge in the Pushgateway; None when it was never pushed."""
        with urllib.request.urlopen(f"{self.facts['NSLAB_PUSHGATEWAY_URL']}/metrics", timeout=5) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith((f"{name}{{", f"{name} ")):
                    return float(line.rsplit(" ", 1)[1])
        return None

    def push_gauge(self, name: str, value: float) -> None:
        """Put a gauge into this cluster's group, as an earlier run would have left it."""
        request = urllib.request.Request(
            f"{self.facts['NSLAB_PUSHGATEWAY_URL']}/metrics/job/nightshift/cluster/lab",
            data=f"{name} {value}\n".encode(),
            method="POST",
        )
        with urllib.request.urlopen(request, timeout=5):
            return

    def fingerprint(self) -> dict[str, str]:
        """What must not change when a night touches nothing: specs of nodes, files and packages on them."""
        probe = (
            "sha256sum /etc/kubernetes/manifests/* /var/lib/kubelet/config.yaml /etc/apt/sources.list.d/* 2>/dev/null;"
            "dpkg-query -W kubeadm kubelet kubectl; systemctl show -p ActiveEnterTimestamp kubelet"
        )
        seen = {name: self.on_node(name, probe) for name in self.nodes()}
        return {
            **seen,
            **{f"{n} spec": json.dumps(o["spec"], sort_keys=True) for n, o in self.nodes().items()},
        }

    # Airflow

    def night(self, seconds: float = NIGHT_SECONDS, **conf: Any) -> dict[str, Any]:
        """Start a run and wait for its end; returns the run with its ledger entry under "ledger"."""
        self.used = True
        return self.finish(self.api.start(**conf), seconds)

    def finish(self, run_id: str, seconds: float = NIGHT_SECONDS, dag_id: str = DAG) -> dict[str, Any]:
        """Wait for the end of a run."""
        run = wait_until(
            lambda: (r := self.run(run_id, dag_id))["state"] in ENDED and r,
            f"end of {run_id}",
            seconds,
            pause=2,
        )
        return {**run, "ledger": self.ledger(run_id)}

    def run(self, run_id: str, dag_id: str = DAG) -> dict[str, Any]:
        """One run."""
        found: dict[str, Any] = patiently(lambda: self.api.run(dag_id, run_id))
        return found

    def states(self, run_id: str) -> dict[str, str | None]:
        """State by task id (of mapped tasks: the last one)."""
        return {t["task_id"]: t["state"] for t in patiently(lambda: self.api.tasks(DAG, run_id))}

    def upgrade(self, seconds: float = NIGHT_SECONDS, **conf: Any) -> dict[str, Any]:
        """A night that is expected to go through; see `is_just_busy`."""
        for _ in range(BUSY_NIGHTS):
            run = self.night(seconds, **conf)
            if not self.is_just_busy(run):
                break
        return run

    def upgrade_on_a_quiet_disk(self) -> dict[str, Any]:
        """The same of three control planes after an hour of nights: the one disk below them may stay slow for minutes."""
        for pause in (0, 60, 180, 300):
            time.sleep(pause)
            run = self.upgrade(seconds=3600)
            if not self.is_just_busy(run):
                break
        return run

    def upgrade_until_job(self, task_id: str, node: str, unit: str, seconds: float = 900) -> str:
        """Start a night and wait until a task runs and its unit works on the node; returns the run's id."""
        self.used = True
        for _ in range(BUSY_NIGHTS):
            run_id = self.api.start()
            if wait_until(partial(self._job_or_end, run_id, task_id, node, unit), unit, seconds) == "working":
                return run_id
            run = self.finish(run_id)
            assert self.is_just_busy(run), run["note"]
        raise AssertionError(f"this machine was too busy for {BUSY_NIGHTS} nights")

    def upgrade_until_running(self, task_id: str, seconds: float = 1800) -> str:
        """Start a night and wait until a task of it runs, on whichever node; returns the run's id."""
        self.used = True
        for _ in range(BUSY_NIGHTS):
            run_id = self.api.start()
            state = wait_until(partial(self._running_or_end, run_id, task_id), f"{task_id} runs", seconds)
            if state == "running":
                return run_id
            run = self.finish(run_id)
            assert self.is_just_busy(run), run["note"]
        raise AssertionError(f"this machine was too busy for {BUSY_NIGHTS} nights")

    def _running_or_end(self, run_id: str, task_id: str) -> str | None:
        """The task's state once it runs, or will not any more; None: not yet."""
        state = self.states(run_id).get(task_id)
        return state if state in ("running", *ENDED, "upstream_failed", "skipped") else None

    def _job_or_end(self, run_id: str, task_id: str, node: str, unit: str) -> str | None:
        """Whether the task's unit works, or the run ended without it; None: not yet."""
        state = self.states(run_id).get(task_id)
        if state in (*ENDED, "upstream_failed", "skipped"):
            return "ended"
        is_active = (
            state == "running"
            and self.on_node(node, f"systemctl is-active {unit}", False).strip() == "active"
        )
        return "working" if is_active else None

    def is_just_busy(self, run: dict[str, Any]) -> bool:
        """Tell whether the etcd gate refused: work beside the lab on this machine's disk; the next night asks again."""
        entry = run["ledger"] or {"answer": "", "gates": []}
        codes = {gate["code"] for gate in entry["gates"] if gate["outcome"] == "block"}
        is_busy = entry["answer"] == "blocked" and codes == {"ETCD_SLOW"}
        if is_busy:
            print(f"the machine is busy: {run['note']}", flush=True)
        return is_busy

    def ledger(self, run_id: str) -> dict[str, Any] | None:
        """The entry of a night or of a look; None when it wrote none."""
        store = Path(self.home.store) / "lab"
        for path in sorted((*store.glob("ledger/*.json"), *store.glob("readiness/*.json")), reverse=True):
            entry: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if entry["run_id"] == run_id:
                return entry
        return None

    def task_process(self, run_id: str, task_id: str) -> int:
        """Process id of a running task's own process; its supervisor's title has the executor's name in it."""
        ids = [t["id"] for t in self.api.tasks(DAG, run_id) if t["task_id"] == task_id]
        found = task_process(ids)
        assert found is not None, f"no process of {task_id} is running"
        return found

    def is_clean(self) -> bool:
        """Tell whether nothing of any run is left: cordon, marks, Lease holder, in-flight gauge."""
        return (
            not self.cordoned()
            and not self.marks()
            and self.lease()[0] == ""
            and not self.gauge("k8s_upgrade_in_flight")
        )


def task_process(instances: Collection[str]) -> int | None:
    """Process id of the own process of one of these task instances, by its title; None while none of them has one."""
    titles = {f"airflow worker -- {one}" for one in instances}
    return next((int(path.name) for path in Path("/proc").glob("[0-9]*") if title_of(path) in titles), None)


def title_of(process: Path) -> str:
    """Command line of a process by its directory in /proc; "" when it is gone."""
    try:
        title = (process / "cmdline").read_bytes().replace(b"\0", b" ")
    except OSError:
        return ""
    return title.decode(errors="replace").strip()


class KubectlWatch(ABC):
    """Follows objects through a watch, not by asking: what was so for a moment only must not be missed.

    Args:
        kubectl: the command with its kubeconfig.
        arguments: of `get`; without headers, one object a line.
    """

    def __init__(self, kubectl: list[str], *arguments: str) -> None:
        self._command = [*kubectl, "get", *arguments, "--watch", "--no-headers"]
        self._ended = threading.Event()
        self._watch: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._watch:
            self._watch.terminate()
        self._thread.join(10)

    @abstractmethod
    def take(self, line: str) -> None:
        """One object as it is now."""

    def _follow(self) -> None:
        """One watch after the other: each ends when the API server behind it restarts, and lists everything anew."""
        while not self._ended.wait(0.4):  # an API that is away refuses at once
            self._watch = subprocess.Popen(
                self._command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
            assert self._watch.stdout is not None
            for line in self._watch.stdout:
                self.take(line.rstrip("\n"))
            self._watch.wait()


class CordonWatch(KubectlWatch):
    """Which nodes are cordoned, now and at every moment since the watch began."""

    def __init__(self, kubectl: list[str], tell: Callable[[frozenset[str]], None] | None = None) -> None:
        super().__init__(kubectl, "nodes", "-o", "custom-columns=NAME:.metadata.name,OFF:.spec.unschedulable")
        self._tell = tell
        self._now: set[str] = set()
        self._moments: list[frozenset[str]] = []

    @property
    def seen(self) -> set[str]:
        """Every node that was cordoned at some time."""
        return set().union(*self._moments)

    def most_at_once(self, prefix: str) -> int:
        """How many nodes with this prefix were cordoned at the same time at most."""
        return max(len([n for n in moment if n.startswith(prefix)]) for moment in self._moments)

    def take(self, line: str) -> None:
        """One node."""
        name, off = line.split()
        (self._now.add if off == "true" else self._now.discard)(name)
        self._moments.append(frozenset(self._now))
        if self._tell:
            self._tell(self._moments[-1])


def kill(pid: int) -> None:
    """SIGKILL."""
    os.kill(pid, signal.SIGKILL)


def wait_until(ask: Callable[[], Any], what: str, seconds: float, pause: float = 1.0) -> Any:
    """Ask until the answer is true; fails with what was waited for."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := ask():
            return answer
        time.sleep(pause)
    raise AssertionError(f"waited {seconds:.0f} s in vain for: {what}")
