"""A cluster at the other end of real connections: an API server over HTTP and one SSH server per node, on loopback.

Airflow's connections, the provider's hooks, paramiko and the Kubernetes client are real; on a node, the check of the
installed scripts is the real shell text over really installed files; verbs that look have an answer, others do not.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import paramiko
import pytest
from tests.fakes.api_server import ApiState, serve
from tests.fakes.cluster import COMPONENTS
from tests.unit.clients.fake_sshd import FakeSshd
from tests.unit.clients.test_node_probe import text as probe_text

from nightshift.clients.script_bundle import INSTALL_DIR, ScriptBundle
from nightshift.clients.ssh_connect import generate_key_pair
from nightshift.domain.policy import ClusterPolicy
from nightshift.orchestration import runtime
from nightshift.steps.session import Session

KUBERNETES, SSH = "test_kubernetes", "test_ssh"
NODES = ("cp1", "w1", "w2")
_LOOKS = ("probe", "etcd-metrics", "kubelet-configz", "package-index", "job-poll")
_ASKS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


class WireNode:
    """The shell behind one SSH server."""

    def __init__(self, directory: Path) -> None:
        self.library = directory / "node"
        self.commands: list[str] = []
        with tarfile.open(fileobj=io.BytesIO(ScriptBundle.shipped().archive())) as tar:
            tar.extractall(directory)
        for path in (self.library, *self.library.rglob("*")):
            os.chown(path, 0, 0)
            if path.is_dir():
                path.chmod(0o755)

    def answer(self, command: str, stdin: bytes) -> tuple[int, bytes, bytes]:
        """Verify as a node does, then do the verb."""
        verify, _, as_root = command.partition("exec sudo -n ")
        check = verify.replace(INSTALL_DIR, str(self.library)) + "exit 0"
        code = subprocess.run(["sh", "-c", check], check=False).returncode
        if code:
            return code, b"", b""
        verb, *arguments = as_root.split()[1:]
        self.commands.append(verb)
        if verb == "probe":
            return 0, probe_text().encode(), b""
        if verb == "package-index":
            return 0, f"{arguments[0]}.4-1.1\n".encode(), b""
        return 2, b"", b"unknown verb"


class Wire:
    """Servers, connections, and what a night did to them."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, stack: ExitStack) -> None:
        self.store = directory / "store"
        self.notes: list[str] = []
        self.monkeypatch = monkeypatch
        self.key = generate_key_pair()
        self.shells = {name: WireNode(directory / name) for name in NODES}
        self.sshds = self._serve_ssh(stack)
        self.state = ApiState()
        self.state.put("/api/v1/namespaces/nightshift", {"metadata": {"name": "nightshift"}})
        for name, sshd in self.sshds.items():
            self.state.add_node(name, address=sshd.address, is_control_plane=name == "cp1")
        for component in COMPONENTS:
            self._add_component(component)
        self._api = stack.enter_context(ExitStack())
        self.connect_api(self._api.enter_context(serve(self.state)))
        self.connect_ssh(self.key.private)
        monkeypatch.setenv("NIGHTSHIFT_INSTALLATION", "airflow-wire")

    def _add_component(self, component: str) -> None:
        """The pod of a control-plane component on cp1."""
        name = f"{component}-cp1"
        metadata = {"name": name, "namespace": "kube-system", "labels": {"component": component}}
        item = {
            "metadata": {**metadata, "uid": name},
            "spec": {"nodeName": "cp1", "containers": [{"image": f"registry.k8s.io/{component}:v1.34.4"}]},
            "status": {"phase": "Running"},
        }
        self.state.put(f"/api/v1/namespaces/kube-system/pods/{name}", item)

    def _serve_ssh(self, stack: ExitStack) -> dict[str, FakeSshd]:
        accepted = paramiko.Ed25519Key.from_private_key(io.StringIO(self.key.private))
        sshds: dict[str, FakeSshd] = {}
        for number, name in enumerate(NODES, start=1):
            port = next(iter(sshds.values())).port if sshds else 0  # a connection has one port for all nodes
            address = f"127.0.0.{number}"
            sshds[name] = FakeSshd(accepted, self.shells[name].answer, address=address, port=port)
            stack.callback(sshds[name].close)
        return sshds

    def connect_api(self, address: str) -> None:
        """Give Airflow the connection to the API."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "a",
            "clusters": [{"name": "a", "cluster": {"server": address}}],
            "users": [{"name": "a", "user": {"token": "t"}}],
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        }
        self._connect(KUBERNETES, conn_type="kubernetes", extra={"kube_config": json.dumps(config)})

    def connect_ssh(self, private_key: str) -> None:
        """Give Airflow the connection to the nodes."""
        host_keys = {name: sshd.pinned for name, sshd in self.sshds.items()}
        extra = {"private_key": private_key, "host_keys": host_keys}
        port = self.sshds["cp1"].port
        self._connect(SSH, conn_type="ssh", login="nightshift", port=port, extra=extra)

    def _connect(self, name: str, **value: Any) -> None:
        self.monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(value))

    def lose_connection(self, name: str) -> None:
        """Take a connection away from Airflow."""
        self.monkeypatch.delenv(f"AIRFLOW_CONN_{name.upper()}")

    def lose_name(self, name: str) -> None:
        """Give Airflow another name, or none: the empty one."""
        self.monkeypatch.setenv("NIGHTSHIFT_INSTALLATION", name)

    def stop_api(self) -> None:
        """From now on connections to the API are refused."""
        self._api.close()

    @contextmanager
    def open_session(
        self,
        policy: ClusterPolicy,
        run_id: str,
        log: Any = None,
        began: float | None = None,
        *,
        needs_api: bool = True,
    ) -> Iterator[Session]:
        """The real one, with the store in the test's directory."""
        local = replace(policy, store=self.store.as_uri())
        with runtime.open_session(local, run_id, log or print, began, needs_api=needs_api) as session:
            yield session

    def touched(self) -> list[str]:
        """Every request and command that could have changed something."""
        asked = [
            f"{method} {path}"
            for method, path, _ in self.state.requests
            if method != "GET" and (method, path) != ("POST", _ASKS)
        ]
        return asked + [
            f"{name}: {verb}"
            for name, shell in self.shells.items()
            for verb in shell.commands
            if verb not in _LOOKS
        ]
