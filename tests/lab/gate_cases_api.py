"""Cases of the gates about the API, its webhooks, alerts and the owner's rules."""

from __future__ import annotations

from tests.lab.gate_cases import GateCase

PROMETHEUS = "http://${NIGHTSHIFT_LAB_INFRA:-10.217.0.2}:9090"
ALERTMANAGER = "http://${NIGHTSHIFT_LAB_INFRA:-10.217.0.2}:9093"

CASES: tuple[GateCase, ...] = (
    GateCase(
        name="a webhook without endpoints stands before evictions",
        faults=(("webhook-without-endpoints",),),
        gate="webhooks",
        outcome="block",
        code="WEBHOOK_DEAD",
        words=("nslab-dead", "default/nslab-nobody", "no ready endpoint", "pods/eviction in shop"),
    ),
    GateCase(
        name="a healthy webhook for a kind of its own",
        faults=(("webhook-narrow",),),
        gate="webhooks",
        outcome="pass",
        code="OK",
        words=("1 admission webhooks",),
    ),
    GateCase(
        name="all that is behind a webhook is on one node",
        faults=(("webhook-on-one-node",),),
        gate="webhooks",
        outcome="warn",
        code="WEBHOOK_ON_ONE_NODE",
        words=("nslab-alone", "only ready endpoint is on w", "configmaps in kube-public"),
    ),
    GateCase(
        name="a webhook outside the cluster stands before evictions",
        faults=(("webhook-outside",),),
        gate="webhooks",
        outcome="blind",
        code="WEBHOOK_OUTSIDE",
        words=("nslab-outside", "guard.nslab.example.org", "nobody has looked", "pods/eviction in shop"),
    ),
    GateCase(
        name="a conversion webhook without endpoints",
        faults=(("crd-dead-conversion",),),
        gate="api_use",
        outcome="block",
        code="CRD_CONVERSION_DEAD",
        words=("things.nslab.example.org", "v1beta1", "default/nslab-nobody"),
    ),
    GateCase(
        name="an aggregated API that nobody serves",
        faults=(("apiservice-unavailable",),),
        gate="api_use",
        outcome="block",
        code="API_SERVICE_UNAVAILABLE",
        words=("v1.away.nslab.example.org", "default/nslab-nobody", "not available"),
    ),
    GateCase(
        name="an API that the target removes was asked for",
        faults=(("deprecated-api-in-use", "cp1"),),
        gate="api_use",
        outcome="block",
        code="API_REMOVED_IN_USE",
        words=("storage.k8s.io/v1alpha1 volumeattributesclasses", "Kubernetes 1.35", "target is 1.35"),
        dependants={"drift": "warn"},  # the flag that serves it is not in kubeadm-config
    ),
    GateCase(
        name="a critical alert in Alertmanager",
        faults=(("critical-alert",),),
        gate="alerts",
        outcome="block",
        code="ALERT_FIRING",
        words=("LabOnFire", "critical", "firing since"),
        policy={"alerts": {"prometheus_url": PROMETHEUS, "alertmanager_url": ALERTMANAGER}},
    ),
    GateCase(
        name="a critical alert that the owner ignores",
        faults=(("critical-alert", "OldFriend"),),
        gate="alerts",
        outcome="pass",
        code="OK",
        words=("No critical alert is firing",),
        policy={
            "alerts": {
                "prometheus_url": PROMETHEUS,
                "alertmanager_url": ALERTMANAGER,
                "ignore": ["OldFriend"],
            }
        },
    ),
    GateCase(
        name="Prometheus is down and the policy requires it",
        faults=(("prometheus-down",),),
        gate="alerts",
        outcome="blind",
        code="ALERTS_UNREADABLE",
        words=(":9090", "did not tell which alerts fire"),
        policy={"alerts": {"prometheus_url": PROMETHEUS, "alertmanager_url": ALERTMANAGER, "required": True}},
    ),
    GateCase(
        name="Prometheus is down and the policy does not require it",
        faults=(("prometheus-down",),),
        gate="alerts",
        outcome="warn",
        code="ALERTS_UNREADABLE",
        words=(":9090", "did not tell which alerts fire"),
        policy={"alerts": {"prometheus_url": PROMETHEUS, "alertmanager_url": ALERTMANAGER}},
    ),
    GateCase(
        name="a rule in PromQL is asked of a Prometheus that is down",
        faults=(("prometheus-down",),),
        gate="rules",
        outcome="blind",
        code="RULE_BROKEN",
        words=("nodes-gone",),
        dependants={"alerts": "warn"},
        policy={
            "alerts": {"prometheus_url": PROMETHEUS},
            "rules": [{"name": "nodes-gone", "promql": 'up{job="node"} == 0', "message": "A node is gone."}],
        },
    ),
    GateCase(
        name="a rule in CEL fires",
        faults=(("cordoned-by-human", "cp1"),),
        gate="rules",
        outcome="hold",
        code="RULE_FIRED",
        words=("maintenance", "Somebody works on a node"),
        dependants={"node_health": "block"},
        policy={
            "rules": [
                {
                    "name": "maintenance",
                    "cel": "nodes.exists(n, n.unschedulable)",
                    "message": "Somebody works on a node.",
                    "outcome": "hold",
                }
            ]
        },
    ),
)
