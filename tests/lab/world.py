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
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nsdemo.api import AirflowApi, patiently
from nsdemo.lab import bring_up, enrol_lab, lab_environment, lab_facts
from nsdemo.processes import start_airflow, stop_airflow
from nsdemo.settings import PROJECT, Home, airflow_environment

LAB = str(PROJECT / "lab" / "lab")
DAG = "upgrade_lab"
SWEEPER = "recover_lab"
NIGHT_SECONDS = 2400
ENDED = ("success", "failed")


class Api(AirflowApi):
    """What a person can do in the UI, through the API the UI uses."""

    def mark_run(self, run_id: str, state: str) -> None:
        """Mark a run as success or failed."""
        self._change("PATCH", f"/api/v2/dags/{DAG}/dagRuns/{quote(run_id, safe='')}", {"state": state})

    def start(self, **conf: Any) -> str:
        """Trigger a run with values of the form; returns its id."""
        body = {"logical_date": None, "conf": {"reason": "lab test", **conf}}
        return str(self._change("POST", f"/api/v2/dags/{DAG}/dagRuns", body)["dag_run_id"])

    def task_log(self, run_id: str, task_id: str) -> list[str]:
        """What stands in the log of a task's last try, line by line, as the UI shows it."""
        task = next(t for t in self.tasks(DAG, run_id) if t["task_id"] == task_id)
        run = f"/api/v2/dags/{DAG}/dagRuns/{quote(run_id, safe='')}"
        content = self._get(f"{run}/taskInstances/{task_id}/logs/{task['try_number']}")["content"]
        return [str(line["event"] if isinstance(line, dict) else line) for line in content]

    def banners(self, run_id: str, task_id: str) -> list[str]:
        """Codes of the errors that the log of a task's last try tells."""
        found = (re.match(r"\[([A-Z]+(?:_[A-Z]+)+)\] ", line) for line in self.task_log(run_id, task_id))
        return [match[1] for match in found if match]

    def _change(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self._client.request(method, path, json=body)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        found: dict[str, Any] = answer.json()
        return found


class World:
    """The lab and its Airflow, brought up when first needed."""

    def __init__(self) -> None:
        self.home = Home.default()
        self.facts: dict[str, str] = {}
        self.used = True  # unknown: what an earlier session left

    def fresh(self, profile: str = "small", version: str | None = None) -> World:
        """Bring the cluster back to its fresh state (unless nothing touched it) and Airflow in front of it."""
        wanted = (profile, version or "1.34.4")
        is_there = (self.facts.get("NSLAB_PROFILE"), self.facts.get("NSLAB_VERSION")) == wanted
        if self.used or not is_there:
            stop_airflow(self.home, print)
            self._bring_lab(profile, version)
        enrol_lab(self.home, self.facts)
        start_airflow(self.home, lab_environment(self.facts), print)
        self.api = Api(self.home)
        self.api.wait_until_healthy(240)
        for dag_id in (DAG, SWEEPER):
            self.api.wait_for_dag(dag_id, 240)
        self.api.unpause(DAG)
        self.used = False
        return self

    def up(self) -> World:
        """Bring the small lab up, or back to its fresh cluster; no Airflow."""
        stop_airflow(self.home, print)
        self._bring_lab("small", None)
        self.used = False
        return self

    def _bring_lab(self, profile: str, version: str | None) -> None:
        have = lab_facts()
        if have:
            self.lab("heal", "all")
        if version is not None:
            if have.get("NSLAB_VERSION") != version or have.get("NSLAB_PROFILE") != profile:
                self.lab("down")
                self.lab("up", "--profile", profile, "--version", version)
            else:
                self.lab("reset")
            self.facts = lab_facts()
            return
        if have.get("NSLAB_VERSION") not in (None, "1.34.4"):
            self.lab("down")
        self.facts = bring_up(profile, print)

    # The lab

    def lab(self, *arguments: str, check: bool = True) -> str:
        """Run a lab command; returns what it printed."""
        done = subprocess.run([LAB, *arguments], capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"lab {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def on_node(self, node: str, command: str, check: bool = True) -> str:
        """Run a shell command on a node as root."""
        return self.lab("ssh", node, command, check=check)

    def kubectl(self, *arguments: str) -> str:
        """Run kubectl as the lab's administrator, patient with an API that restarts."""
        command = [self.facts["NSLAB_KUBECTL"], "--kubeconfig", self.facts["KUBECONFIG"], *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        for _ in range(30):
            if done.returncode == 0:
                break
            time.sleep(2)
            done = subprocess.run(command, capture_output=True, text=True, check=False)
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

    def cordons(self) -> CordonWatch:
        """Watches which nodes are cordoned, while the context lasts."""
        return CordonWatch([self.facts["NSLAB_KUBECTL"], "--kubeconfig", self.facts["KUBECONFIG"]])

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

    def finish(self, run_id: str, seconds: float = NIGHT_SECONDS) -> dict[str, Any]:
        """Wait for the end of a run."""
        run = wait_until(
            lambda: (r := self.run(run_id))["state"] in ENDED and r, f"end of {run_id}", seconds, pause=2
        )
        return {**run, "ledger": self.ledger(run_id)}

    def run(self, run_id: str) -> dict[str, Any]:
        """One run."""
        found: dict[str, Any] = patiently(lambda: self.api.run(DAG, run_id))
        return found

    def states(self, run_id: str) -> dict[str, str | None]:
        """State by task id (of mapped tasks: the last one)."""
        return {t["task_id"]: t["state"] for t in patiently(lambda: self.api.tasks(DAG, run_id))}

    def wait_for_job(self, run_id: str, task_id: str, node: str, unit: str, seconds: float = 900) -> None:
        """Wait until a task runs and its unit works on the node."""

        def working() -> bool:
            state = self.states(run_id).get(task_id)
            assert state not in (*ENDED, "upstream_failed", "skipped"), f"{task_id} is already {state}"
            return (
                state == "running"
                and self.on_node(node, f"systemctl is-active {unit}", False).strip() == "active"
            )

        wait_until(working, f"{unit} on {node}", seconds, pause=1)

    def ledger(self, run_id: str) -> dict[str, Any] | None:
        """The ledger entry of a run; None when it wrote none."""
        directory = Path(self.home.store) / "lab" / "ledger"
        for path in sorted(directory.glob("*.json"), reverse=True):
            entry: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if entry["run_id"] == run_id:
                return entry
        return None

    def task_processes(self, task_id: str) -> list[int]:
        """Process ids of a running task of this installation: its supervisor and its own process, oldest first."""
        environment = airflow_environment(self.home, {})
        home = f"AIRFLOW_HOME={environment['AIRFLOW_HOME']}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                text = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                mine = home in (path / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if mine and task_id in text:
                found.append(int(path.name))
        return sorted(found)

    def is_clean(self) -> bool:
        """Tell whether nothing of any run is left: cordon, marks, Lease holder, in-flight gauge."""
        return (
            not self.cordoned()
            and not self.marks()
            and self.lease()[0] == ""
            and not self.gauge("k8s_upgrade_in_flight")
        )


class CordonWatch:
    """Follows the nodes through a watch, not by asking: a short overlap of two cordons must not be missed."""

    def __init__(self, kubectl: list[str]) -> None:
        columns = "custom-columns=NAME:.metadata.name,OFF:.spec.unschedulable"
        self._command = [*kubectl, "get", "nodes", "--watch", "--no-headers", "-o", columns]
        self._now: set[str] = set()
        self._moments: list[frozenset[str]] = []
        self._ended = threading.Event()
        self._watch: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> CordonWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._watch:
            self._watch.terminate()
        self._thread.join(10)

    @property
    def seen(self) -> set[str]:
        """Every node that was cordoned at some time."""
        return set().union(*self._moments)

    def most_at_once(self, prefix: str) -> int:
        """How many nodes with this prefix were cordoned at the same time at most."""
        return max(len([n for n in moment if n.startswith(prefix)]) for moment in self._moments)

    def _follow(self) -> None:
        """One watch after the other: each ends when the API server behind it restarts, and lists all nodes anew."""
        while not self._ended.wait(0.2):
            self._watch = subprocess.Popen(
                self._command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
            assert self._watch.stdout is not None
            for line in self._watch.stdout:
                name, off = line.split()
                (self._now.add if off == "true" else self._now.discard)(name)
                self._moments.append(frozenset(self._now))
            self._watch.wait()


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
