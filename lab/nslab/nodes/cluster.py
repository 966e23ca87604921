"""The cluster: kubeadm as its documentation says, and the questions the lab asks the API."""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from nslab.build.store import write_text
from nslab.nodes import kubeadm_config, machine, state
from nslab.progress import Report
from nslab.settings import Node
from nslab.shell import CommandError, LabError, run, wait_until

_ADMIN_CONF = "/etc/kubernetes/admin.conf"


def kubectl(
    args: Sequence[str], *, check: bool = True, stdin: str | None = None, timeout: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Run kubectl of the version the lab started from, as the cluster's administrator."""
    return run([str(state.KUBECTL), *args], check=check, stdin=stdin, timeout=timeout, env=environment())


def environment() -> Mapping[str, str]:
    """Return the environment kubectl needs."""
    return {"KUBECONFIG": str(state.KUBECONFIG)}


def install_packages(name: str, version: str) -> None:
    """Install kubeadm, kubelet and kubectl from the lab's repository and hold them, as upstream says.

    crictl comes with them: no package needs it any more, and whoever runs a cluster does.
    """
    packages = ["kubeadm", "kubelet", "kubectl"]
    machine.enter(name, ["apt-get", "-q", "update"])
    script = 'export DEBIAN_FRONTEND=noninteractive; apt-get -q install -y --no-install-recommends "$@"'
    wanted = [f"{package}={version}-*" for package in packages]
    machine.enter(name, ["sh", "-c", script, "install", *wanted, "cri-tools"])
    machine.enter(name, ["apt-mark", "hold", *packages])
    machine.enter(name, ["systemctl", "enable", "--quiet", "kubelet"])


def create(lab: state.Lab, report: Report) -> None:
    """Run `kubeadm init` on the first control plane and join all other nodes, one after the other.

    One after the other, so that the n-th node gets the n-th pod network from the controller-manager.
    """
    first, *others = lab.profile.nodes
    secret = kubeadm_config.Secrets.make(secrets.token_hex)
    shape = f"{lab.profile_name}-{lab.version}"
    with report.step(f"kubeadm-init-{shape}", f"kubeadm init on {first.name}"):
        _kubeadm(
            first,
            "init",
            kubeadm_config.init(lab, secret),
            ["--upload-certs"] if lab.control_planes[1:] else [],
        )
        fetch_kubeconfig(lab)
        wait_api(120)
    authority = _authority_hash(first)
    with report.step(f"kubeadm-join-{shape}", f"joining {', '.join(n.name for n in others)}"):
        for node in others:
            _kubeadm(node, "join", kubeadm_config.join(lab, node, secret, authority), [])
            _wait_registered(node)


def fetch_kubeconfig(lab: state.Lab) -> None:
    """Copy the administrator's kubeconfig off the first control plane (which must be on)."""
    text = (machine.root_of(lab.control_planes[0].name) / _ADMIN_CONF.lstrip("/")).read_text()
    write_text(state.KUBECONFIG, text)
    state.KUBECONFIG.chmod(0o600)


def spread_dns() -> None:
    """Spread CoreDNS, which started while there was one node only, as kubeadm's documentation advises."""
    kubectl(["-n", "kube-system", "rollout", "restart", "deployment/coredns"])
    kubectl(["-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=180s"])


def wait_api(timeout: float) -> None:
    """Wait until the API server says it is ready; its open port alone means little."""
    wait_until(
        api_ready,
        "the API answers /readyz",
        timeout,
        0.3,
        "look with `lab/lab ssh cp1 journalctl -u kubelet`",
    )


def api_ready() -> bool:
    """Return whether the API server answers /readyz with ok."""
    return kubectl(["get", "--raw", "/readyz", "--request-timeout=3s"], check=False).stdout == "ok"


def wait_healthy(timeout: float = 120, since: float = 0) -> None:
    """Wait until the API is ready, all nodes are Ready and all pods of the lab run.

    `since` (seconds since the epoch) is when the nodes were booted: what the API remembers from
    before then does not count.
    """
    until = time.monotonic() + timeout
    wait_api(timeout)
    problems = ["nothing was asked yet"]

    def healthy() -> bool:
        try:
            problems[:] = unhealthy(since)
        except (CommandError, ValueError) as error:
            problems[:] = [str(error)]
        return not problems

    try:
        wait_until(healthy, "the cluster is healthy", max(1.0, until - time.monotonic()), 0.5)
    except LabError as error:
        raise LabError(
            f"{error}: {'; '.join(problems)}",
            "look with `lab/lab kubectl get nodes,pods -A`, or give it up with `lab/lab up --fresh`",
        ) from error


def unhealthy(since: float = 0) -> list[str]:
    """Return one phrase for everything that is not as it should be; empty when all is well."""
    nodes = _items("nodes")
    expected = {n.name for n in state.current().profile.nodes}
    missing = [
        f"node {name} has not joined" for name in sorted(expected - {n["metadata"]["name"] for n in nodes})
    ]
    return missing + unready_nodes(nodes, since) + unready_pods(_items("pods", "--all-namespaces"), since)


def unready_nodes(nodes: list[dict[str, Any]], since: float) -> list[str]:
    """Return a phrase for every node whose kubelet has not reported Ready after `since`."""
    phrases = []
    for node in nodes:
        ready = _ready_condition(node)
        fresh = _seconds(ready.get("lastHeartbeatTime")) >= int(since)
        if ready.get("status") != "True" or not fresh:
            phrases.append(f"node {node['metadata']['name']} is not Ready")
    return phrases


def unready_pods(pods: list[dict[str, Any]], since: float) -> list[str]:
    """Return a phrase for every pod that is not finished and has not become Ready after `since`."""
    phrases = []
    for pod in pods:
        status = pod.get("status", {})
        ready = _ready_condition(pod)
        started = [
            c.get("state", {}).get("running", {}).get("startedAt")
            for c in status.get("containerStatuses", [])
        ]
        fresh = all(_seconds(moment) >= int(since) for moment in started)
        if status.get("phase") != "Succeeded" and not (ready.get("status") == "True" and started and fresh):
            phrases.append(f"pod {pod['metadata']['namespace']}/{pod['metadata']['name']} is not Ready")
    return phrases


def _ready_condition(item: dict[str, Any]) -> dict[str, Any]:
    conditions: list[dict[str, Any]] = item.get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] == "Ready"), {})


def _seconds(moment: str | None) -> float:
    """Return an RFC 3339 time of the API as seconds since the epoch; 0 when there is none."""
    return datetime.fromisoformat(moment).timestamp() if moment else 0.0


def _items(*what: str) -> list[dict[str, Any]]:
    answer = kubectl(["get", *what, "-o", "json", "--request-timeout=5s"]).stdout
    items: list[dict[str, Any]] = json.loads(answer)["items"]
    return items


def _wait_registered(node: Node) -> None:
    query = ["get", "node", node.name, "-o", "jsonpath={.spec.podCIDR}", "--request-timeout=3s"]

    def has_pod_network() -> bool:
        return bool(kubectl(query, check=False).stdout)

    wait_until(has_pod_network, f"{node.name} has its pod network", 180)


def _kubeadm(node: Node, command: str, config: str, options: list[str]) -> None:
    path = f"/root/kubeadm-{command}.yaml"
    machine.enter(node.name, ["sh", "-c", 'umask 077; cat > "$1"', "write", path], stdin=config)
    try:
        machine.enter(node.name, ["kubeadm", command, f"--config={path}", *options], timeout=600)
    finally:
        machine.enter(node.name, ["rm", "-f", path], check=False)  # it holds the join secrets


def _authority_hash(node: Node) -> str:
    """Return the hash of the cluster's CA key in the form `kubeadm join` pins it."""
    pipeline = (
        "openssl x509 -pubkey -noout -in /etc/kubernetes/pki/ca.crt"
        " | openssl pkey -pubin -outform DER | openssl dgst -sha256 -r"
    )
    return "sha256:" + machine.enter(node.name, ["sh", "-c", pipeline]).stdout.split()[0]
