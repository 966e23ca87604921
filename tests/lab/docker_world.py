"""A Docker of its own for the tests: the daemon, its clients, and a way to published ports.

The daemon lives in its own network, mount and process namespaces. Its bridges, firewall rules, forwarding switch and
containers cannot meet the machine's (nor the lab's), and they end with its first process, however the test ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from nslab import settings as lab
from nslab.debian import ensure_debian_packages
from nslab.nodes.cgroups import hierarchies
from nslab.shell import LabError, run, wait_until

ASSETS = Path(__file__).parent / "docker"
# Debian's own programs first: machines have other things named `docker` further along.
PATH = f"/usr/sbin:/usr/bin:/sbin:/bin:{os.environ.get('PATH', '')}"

_CGROUP = "nightshift-docker"
_RESOLVER = "10.0.2.3"  # slirp4netns answers there, from whatever resolver the machine has
_CLONE_NEWNET = 0x40000000

_PACKAGES = {
    "dockerd": ("docker.io", "runs the containers of docker-compose.yaml"),
    "debootstrap": ("debootstrap", "makes the base image"),
    "ip": ("iproute2", "looks at the network of the containers"),
    "ps": ("procps", "lists the processes of a container"),
    "slirp4netns": ("slirp4netns", "lets image builds reach the package registries, without a firewall rule"),
}
Report = Callable[[str], None]


def install_docker(report: Report) -> list[str]:
    """Install what is missing, after saying so; returns the Compose command."""
    wanted = [package for program, package in _PACKAGES.items() if not shutil.which(program, path=PATH)]
    ensure_debian_packages(dict(wanted), report)
    if run(["docker", "compose", "version"], check=False, env={"PATH": PATH}).returncode == 0:
        return ["docker", "compose"]
    if not shutil.which("docker-compose", path=PATH):
        ensure_debian_packages({"docker-compose": "reads docker-compose.yaml"}, report)
    return ["docker-compose"]


class Docker:
    """One daemon; `environment` leads its clients to it, `transport` leads HTTP to the ports it publishes.

    Args:
        data: the daemon's images and containers; kept afterwards.
    """

    def __init__(self, data: Path) -> None:
        self._scratch = Path(tempfile.mkdtemp(prefix="nightshift-docker-"))
        self._data = data
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = 0
        self.transport: httpx.BaseTransport = httpx.HTTPTransport()
        self.environment = {
            "PATH": PATH,
            "DOCKER_HOST": f"unix://{self._scratch}/docker.sock",
            "DOCKER_CONFIG": str(self._scratch / "client"),  # nobody's logins and contexts
        }

    def start(self) -> None:
        """Start the daemon and wait until it answers."""
        config = self._scratch / "daemon.json"
        config.write_text(json.dumps(self._settings()))
        hidden = (str(lab.STATE_DIR), str(lab.CACHE_DIR), "/run")
        namespaces = ["--net", "--mount", "--mount-proc", "--pid", "--fork", "--kill-child"]
        self._process = _bound_to_us(
            ["unshare", *namespaces, str(ASSETS / "isolated-dockerd"), str(config), *hidden],
            self._scratch / "dockerd.log",
        )
        _wait(self._answers, "dockerd answers", self._scratch / "dockerd.log")
        self.transport = _ThroughNetwork(self._pid)

    def stop(self) -> None:
        """End the daemon with everything in its namespaces; its data stay, nothing else does."""
        self.transport.close()  # its thread would keep the network alive
        if self._process and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid or self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        _remove_cgroups()
        shutil.rmtree(self._scratch)

    def clear(self) -> None:
        """Remove all containers, volumes and networks; images stay."""
        for kind, listing in (
            ("container", ["--all"]),
            ("volume", []),
            ("network", ["--filter=type=custom"]),
        ):
            if found := self.docker(kind, "ls", "--quiet", *listing).split():
                self.docker(kind, "rm", *(["--force"] if kind != "network" else []), *found)

    def docker(self, *arguments: str, check: bool = True) -> str:
        """Run a docker command; returns what it printed."""
        return run(["docker", *arguments], env=self.environment, check=check).stdout

    def inside(self, *argv: str) -> str:
        """Run a program of the machine among the daemon's processes, in its network."""
        namespaces = ["--target", str(self._pid), "--net", "--pid", "--mount"]
        return run(["nsenter", *namespaces, "--", *argv], env={"PATH": PATH}).stdout

    @contextmanager
    def outbound(self) -> Iterator[None]:
        """Let containers reach the outside, as this machine does, while the context lasts."""
        log = self._scratch / "slirp4netns.log"
        process = _bound_to_us(
            ["slirp4netns", "--configure", "--disable-host-loopback", str(self._pid), "tap0"], log
        )
        try:
            _wait(self._has_way_out, "a way out of the containers' network", log)
            yield
        finally:
            process.terminate()
            process.wait(10)

    def _has_way_out(self) -> bool:
        return "default" in self.inside("ip", "route")

    def _settings(self) -> dict[str, object]:
        return {
            "data-root": str(self._data),
            "exec-root": str(self._scratch / "exec"),
            "pidfile": str(self._scratch / "docker.pid"),
            "hosts": [f"unix://{self._scratch}/docker.sock"],
            "group": "root",
            "dns": [_RESOLVER],
            "cgroup-parent": f"/{_CGROUP}",
            "exec-opts": ["native.cgroupdriver=cgroupfs"],  # no systemd is in these namespaces
            "log-level": "warn",
        }

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise LabError("dockerd ended")
        children = psutil.Process(self._process.pid).children()
        self._pid = children[0].pid if children else 0
        return (
            bool(self._pid) and run(["docker", "version"], env=self.environment, check=False).returncode == 0
        )


class _ThroughNetwork(httpx.BaseTransport):
    """Opens connections in another process's network namespace: a thread may change its own."""

    def __init__(self, pid: int) -> None:
        self._inner = httpx.HTTPTransport()
        self._thread = ThreadPoolExecutor(1, initializer=_enter_network, initargs=(pid,))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._thread.submit(self._inner.handle_request, request).result()

    def close(self) -> None:
        self._inner.close()
        self._thread.shutdown()


def _enter_network(pid: int) -> None:
    with open(f"/proc/{pid}/ns/net") as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")


def _wait(ready: Callable[[], bool], what: str, log: Path) -> None:
    """Wait up to a minute; a failure says what the program's log says, for that is about to be removed."""
    try:
        wait_until(ready, what, 60)
    except LabError as error:
        raise LabError(f"{error}\n{log.read_text(errors='replace')[-3000:]}") from error


def _bound_to_us(argv: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a program that the kernel kills when we die, out of reach of the terminal's Ctrl-C."""
    with log.open("wb") as sink:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *argv],
            env={**os.environ, "PATH": PATH},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _remove_cgroups() -> None:
    """Remove the daemon's groups; the last processes in them may still be on their way out."""
    deadline = time.monotonic() + 10
    groups = [tree / _CGROUP for tree in hierarchies()]
    while any(group.exists() for group in groups) and time.monotonic() < deadline:
        for group in groups:
            for directory, _, _ in os.walk(group, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(directory)
        time.sleep(0.05)
