"""Prometheus and Alertmanager: what they scrape, the two rules that show alerts work, and the alerts that Nightshift ships."""

from __future__ import annotations

from pathlib import Path

from nslab.nodes import cluster, state
from nslab.settings import ALERTMANAGER_PORT, INFRA_ADDRESS, PUSHGATEWAY_PORT, STATE_DIR, Node

TOKEN = STATE_DIR / "infra" / "prometheus.token"
_SHIPPED_RULES = Path(__file__).parents[3] / "include" / "prometheus" / "nightshift.rules.yaml"
_NAMESPACE, _ACCOUNT = "nightshift-lab-monitoring", "prometheus"

# The least Prometheus needs: the API server's and the kubelets' metrics pages.
RIGHTS = f"""\
apiVersion: v1
kind: Namespace
metadata: {{name: {_NAMESPACE}}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {{name: {_ACCOUNT}, namespace: {_NAMESPACE}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: {_NAMESPACE}}}
rules:
  - {{nonResourceURLs: [/metrics], verbs: [get]}}
  - {{apiGroups: [""], resources: [nodes/metrics], verbs: [get]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: {_NAMESPACE}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {_NAMESPACE}}}
subjects:
  - {{kind: ServiceAccount, name: {_ACCOUNT}, namespace: {_NAMESPACE}}}
"""

_RULES = """\
groups:
  - name: lab
    rules:
      - alert: Watchdog
        expr: vector(1)
        labels: {severity: none}
        annotations: {summary: "Always on; when it is missing, alerts do not arrive."}
      - alert: NodeNotReady
        expr: up{job="kubelet"} == 0
        for: 30s
        labels: {severity: warning}
        annotations: {summary: "The kubelet of {{ $labels.node }} does not answer."}
"""

_ALERTMANAGER = """\
route: {receiver: nobody, group_by: [alertname], group_wait: 5s, group_interval: 30s}
receivers: [{name: nobody}]
"""


def grant() -> None:
    """Create Prometheus' account in the cluster and keep a token for it; may be repeated."""
    cluster.kubectl(["apply", "-f", "-"], stdin=RIGHTS)
    year = "8760h"
    token = cluster.kubectl(
        ["create", "token", _ACCOUNT, "-n", _NAMESPACE, f"--duration={year}"]
    ).stdout.strip()
    TOKEN.parent.mkdir(parents=True, exist_ok=True)
    TOKEN.touch(mode=0o600)
    TOKEN.write_text(token)


def config_files(lab: state.Lab) -> dict[str, str]:
    """Return name and text of every configuration file of the monitoring."""
    return {
        "prometheus.yml": _prometheus(lab),
        "rules.yml": _RULES,
        "nightshift.yml": _SHIPPED_RULES.read_text(encoding="utf-8"),
        "alertmanager.yml": _ALERTMANAGER,
    }


def _prometheus(lab: state.Lab) -> str:
    nodes = lab.profile.nodes
    jobs = [
        _job("apiserver", _targets(lab.control_planes, 6443), tls=True),
        _job("kubelet", _targets(nodes, 10250), tls=True),
        _job("cadvisor", _targets(nodes, 10250), tls=True, path="/metrics/cadvisor"),
        _job("node", _targets(nodes, 9100)),
        _job("pushgateway", f"      - targets: ['{INFRA_ADDRESS}:{PUSHGATEWAY_PORT}']\n", honor_labels=True),
    ]
    head = (
        "global: {scrape_interval: 5s, evaluation_interval: 5s}\n"
        "rule_files: [rules.yml, nightshift.yml]\n"
        f"alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{INFRA_ADDRESS}:{ALERTMANAGER_PORT}']}}]}}]}}\n"
        "scrape_configs:\n"
    )
    return head + "".join(jobs)


def _targets(nodes: tuple[Node, ...], port: int) -> str:
    return "".join(
        f"      - {{targets: ['{n.address}:{port}'], labels: {{node: {n.name}}}}}\n" for n in nodes
    )


def _job(
    name: str, targets: str, *, tls: bool = False, path: str = "/metrics", honor_labels: bool = False
) -> str:
    lines = [f"  - job_name: {name}", f"    metrics_path: {path}"]
    if honor_labels:
        lines.append("    honor_labels: true")
    if tls:
        # Kubelets of a stock kubeadm cluster sign their serving certificates themselves.
        lines += ["    scheme: https", "    tls_config: {insecure_skip_verify: true}"]
        lines.append(f"    authorization: {{credentials_file: {TOKEN}}}")
    lines.append("    static_configs:")
    return "\n".join(lines) + "\n" + targets
