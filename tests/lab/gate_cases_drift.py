"""Configuration that stands in one place and not in another, and what the gates make of it."""

from __future__ import annotations

from tests.lab.gate_cases import GateCase

OIDC = ("--oidc-issuer-url=https://id.nightshift-lab.invalid", "--oidc-client-id=kubernetes")

CASES: tuple[GateCase, ...] = (
    GateCase(
        name="OIDC flags out of band",
        faults=(("oidc-flags", "cp1"),),
        gate="drift",
        outcome="warn",
        code="DRIFT_RECOVERABLE",
        words=("cp1", "kube-apiserver", *OIDC, "reconcile_drift"),
    ),
    GateCase(
        name="OIDC flags out of band, and the owner wants to be asked",
        faults=(("oidc-flags", "cp1"),),
        gate="drift",
        outcome="block",
        code="DRIFT_RECOVERABLE",
        words=("cp1", *OIDC),
        policy={"drift": {"reconcile": "block"}},
    ),
    GateCase(
        name="OIDC flags on one control plane of three",
        faults=(("oidc-flags", "cp2"),),
        gate="drift",
        outcome="block",
        code="DRIFT_UNEVEN",
        words=("cp2 only", OIDC[0]),
        profile="ha",
    ),
    GateCase(
        name="a flag that only kubeadm-config has",
        faults=(("kubeadm-config-drifted", "profiling", "false"),),
        gate="drift",
        outcome="warn",
        code="DRIFT_PENDING",
        words=("cp1", "kube-scheduler", "--profiling=false"),
    ),
    GateCase(
        name="another identity in kubeadm-config",
        faults=(("kubeadm-config-drifted", "kubeconfig", "/etc/kubernetes/other.conf"),),
        gate="drift",
        outcome="block",
        code="DRIFT_FATAL",
        words=("cp1", "kube-scheduler", "--kubeconfig=/etc/kubernetes/other.conf"),
    ),
    GateCase(
        name="a kubelet's file edited by hand",
        faults=(("kubelet-config-edited", "w1"),),
        gate="drift",
        outcome="warn",
        code="KUBELET_CONFIG_EDITED",
        words=("w1", "maxPods: 111", "kubelet-config"),
    ),
    GateCase(
        name="a custom Corefile",
        faults=(("corefile-custom",),),
        gate="drift",
        outcome="warn",
        code="COREFILE_CUSTOM",
        words=("Corefile", "coredns"),
    ),
)
