"""Faults of the static-pod directory, and what the gates make of them."""

from __future__ import annotations

from tests.lab.gate_cases import GateCase

CASES: tuple[GateCase, ...] = (
    GateCase(
        name="a backup beside the manifest",
        faults=(("stray-manifest", "cp1"),),
        gate="static_pods",
        outcome="block",
        code="STRAY_MANIFEST",
        words=("cp1", "/etc/kubernetes/manifests/kube-apiserver.yaml.bak", "kube-system/kube-apiserver"),
    ),
    GateCase(
        name="one pod in two files",
        faults=(("duplicate-pod-name", "w1"),),
        gate="static_pods",
        outcome="block",
        code="DUPLICATE_MANIFEST",
        words=("w1", "nslab-twin-old.yaml", "nslab-twin.yaml", "the kubelet runs nslab-twin.yaml"),
    ),
    # The edit also gives the scheduler a flag, and its pod a time to end, that kubeadm-config does not know.
    GateCase(
        name="an edited manifest that does not run yet",
        faults=(("manifest-edited", "cp1"),),
        gate="static_pods",
        outcome="block",
        code="MANIFEST_NOT_RUNNING",
        words=(
            "cp1",
            "kube-scheduler",
            "only in the file --profiling=false",
            "after the process had started",
        ),
        dependants={"drift": "warn"},
    ),
    GateCase(
        name="a manifest everybody may write",
        faults=(("manifest-wrong-mode", "cp1"),),
        gate="static_pods",
        outcome="block",
        code="MANIFEST_ACCESS",
        words=("cp1", "/etc/kubernetes/manifests/kube-scheduler.yaml", "mode 666"),
    ),
)
