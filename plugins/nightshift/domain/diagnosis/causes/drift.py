"""kubeadm-config and the running API server differ: an upgrade takes hand-made settings back. A condition."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, Role, by_signs

_DECISIVE = ("apiserver.drift",)

CAUSE = Cause(
    name="drift",
    title="kubeadm-config and the API server's manifest differ in {subject}.",
    decisive=_DECISIVE,
    explains=(),
    test="What would the upgrade change? `kubeadm upgrade diff`",
    remedy="Write the settings into kubeadm-config before the next upgrade (`kubeadm init phase upload-config kubeadm`).",
    specificity=1,
    match=by_signs(*_DECISIVE),
    role=Role.CONDITION,
    answers=(
        r"manifests/kube-apiserver\.yaml",
        "cluster/kubeadm-config",
        "state/kubeadm-config",
    ),
)
