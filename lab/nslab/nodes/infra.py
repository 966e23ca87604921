"""What stands around the cluster: registry, packages, resolver, HAProxy, Prometheus and its company, and who puts its disks first.

All of it runs as processes of the lab in its network namespace, and listens on INFRA_ADDRESS only.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from nslab.build.store import write_text
from nslab.nodes import cgroups, monitoring, network, processes, state
from nslab.settings import (
    ALERTMANAGER_PORT,
    HAPROXY_PORT,
    INFRA_ADDRESS,
    PACKAGES_PORT,
    PROMETHEUS_PORT,
    PUSHGATEWAY_PORT,
    REGISTRY_PORT,
    STATE_DIR,
)
from nslab.shell import run, wait_until

_DIRECTORY = STATE_DIR / "infra"
CGROUP = "services"  # all of them are in it, so that `down` finds each, whatever was interrupted
# Names of the processes; monitoring is apart because `reset` starts it anew with empty data.
MONITORING = ("prometheus", "alertmanager", "pushgateway")

PACKAGES = {
    "docker-registry": "serves the lab's container images to the nodes",
    "haproxy": "stands before the API servers when there are several",
    "prometheus": "collects the metrics that the gates read",
    "prometheus-alertmanager": "receives alerts, as on a real cluster",
    "prometheus-pushgateway": "receives what a night reports about itself",
}


@dataclass(frozen=True)
class Sources:
    """Directories that are served to the nodes."""

    packages: Path
    registry: Path

    def save(self) -> None:
        """Keep the paths for later commands."""
        write_text(_DIRECTORY / "sources", f"{self.packages}\n{self.registry}\n")

    @classmethod
    def load(cls) -> Sources:
        """Return the directories the present lab was started with."""
        packages, registry = (_DIRECTORY / "sources").read_text().splitlines()
        return cls(Path(packages), Path(registry))


def start(lab: state.Lab) -> None:
    """Start every service that does not run and wait until each accepts connections."""
    sources = Sources.load()
    _start("disks-first", [sys.executable, str(Path(__file__).with_name("disks_first.py"))])
    _start("dns", [sys.executable, str(Path(__file__).with_name("dns.py")), INFRA_ADDRESS, *_names(lab)])
    server = [
        sys.executable,
        "-m",
        "http.server",
        "--bind",
        INFRA_ADDRESS,
        "--directory",
        str(sources.packages),
    ]
    _start("packages", [*server, str(PACKAGES_PORT)])
    _start(
        "registry",
        ["docker-registry", "serve", str(_write("registry.yml", registry_config(sources.registry)))],
    )
    ports = [PACKAGES_PORT, REGISTRY_PORT]
    if len(lab.control_planes) > 1:
        _start("haproxy", ["haproxy", "-db", "-f", str(_write("haproxy.cfg", haproxy_config(lab)))])
        ports.append(HAPROXY_PORT)
    for port in ports:
        _wait_port(port)


def start_monitoring(lab: state.Lab) -> None:
    """Start Prometheus, Alertmanager and Pushgateway; the cluster must be up (see `monitoring`)."""
    for name, text in monitoring.config_files(lab).items():
        _write(name, text)
    here = f"--web.listen-address={INFRA_ADDRESS}"
    _start("pushgateway", pushgateway_command())
    alertmanager = ["prometheus-alertmanager", f"{here}:{ALERTMANAGER_PORT}", "--cluster.listen-address="]
    storage = f"--storage.path={_DIRECTORY / 'alertmanager'}"
    _start("alertmanager", [*alertmanager, f"--config.file={_DIRECTORY / 'alertmanager.yml'}", storage])
    prometheus = ["prometheus", f"{here}:{PROMETHEUS_PORT}", f"--config.file={_DIRECTORY / 'prometheus.yml'}"]
    _start(
        "prometheus",
        [*prometheus, f"--storage.tsdb.path={_DIRECTORY / 'prometheus'}", "--web.enable-lifecycle"],
    )
    for port in (PUSHGATEWAY_PORT, ALERTMANAGER_PORT, PROMETHEUS_PORT):
        _wait_port(port)


def pushgateway_command() -> list[str]:
    """Return the Pushgateway's command line; without a file: Debian's build keeps one outside the lab by default.

    A night's gauges would come back with the next lab, as those of a run that is long gone.
    """
    here = f"--web.listen-address={INFRA_ADDRESS}:{PUSHGATEWAY_PORT}"
    return ["prometheus-pushgateway", here, "--persistence.file="]


def clear_monitoring() -> None:
    """Stop the monitoring and forget everything it has collected."""
    for name in MONITORING:
        processes.stop(name, kill=True)
    for data in ("prometheus", "alertmanager"):
        shutil.rmtree(_DIRECTORY / data, ignore_errors=True)


def names(lab: state.Lab) -> list[str]:
    """Return the names of all processes that should run around this lab."""
    haproxy = ["haproxy"] if len(lab.control_planes) > 1 else []
    return ["disks-first", "dns", "packages", "registry", *haproxy, *MONITORING]


def registry_config(storage: Path) -> str:
    """Return the registry's configuration for images under `storage`."""
    return (
        "version: 0.1\n"
        "log: {level: warn, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {storage}}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: '{INFRA_ADDRESS}:{REGISTRY_PORT}'}}\n"
    )


def haproxy_config(lab: state.Lab) -> str:
    """Return HAProxy's configuration: TCP through to every API server that says it is ready."""
    servers = "".join(f"    server {n.name} {n.address}:6443\n" for n in lab.control_planes)
    return f"""\
defaults
    mode tcp
    timeout connect 2s
    # A slow answer of a busy machine is an answer; an API server that is away refuses at once.
    timeout check 5s
    timeout client 4h
    timeout server 4h
    retries 3
    option redispatch 1

frontend api
    bind {INFRA_ADDRESS}:{HAPROXY_PORT}
    default_backend control-planes

backend control-planes
    balance roundrobin
    option httpchk GET /readyz
    default-server check check-ssl verify none inter 1s fall 2 rise 2 on-marked-down shutdown-sessions
{servers}"""


def _names(lab: state.Lab) -> list[str]:
    return [f"{n.name}={n.address}" for n in lab.profile.nodes]


def _write(name: str, text: str) -> Path:
    path = _DIRECTORY / name
    write_text(path, text)
    return path


def _start(name: str, argv: list[str]) -> None:
    if processes.pid_of(name) is None:
        groups = cgroups.create(CGROUP)
        processes.start(name, network.inside(argv), lambda: cgroups.enter(groups))


def _wait_port(port: int) -> None:
    def listens() -> bool:
        probe = ["ss", "-Htln", "src", f"{INFRA_ADDRESS}:{port}"]
        return bool(run(network.inside(probe)).stdout.strip())

    wait_until(
        listens, f"something listens on {INFRA_ADDRESS}:{port}", 20, 0.1, f"read the logs in {state.LOGS}"
    )
