"""The API server does not accept its authentication configuration or its OIDC flags."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, by_signs
from nightshift.domain.diagnosis.causes.symptoms import APISERVER_STUCK

_DECISIVE = ("apiserver.authentication",)

CAUSE = Cause(
    name="authentication_config",
    title="kube-apiserver does not accept its authentication configuration ({subject}).",
    decisive=_DECISIVE,
    explains=APISERVER_STUCK,
    test="What does it say of the file, and are both forms set? `grep -nE 'oidc|authentication-config' /etc/kubernetes/manifests/kube-apiserver.yaml`",
    remedy="Correct the file, or use either --authentication-config or --oidc-*, never both; write the same into kubeadm-config, then run the night again.",
    specificity=5,
    match=by_signs(*_DECISIVE),
    answers=(r"manifests/kube-apiserver\.yaml",),
)
