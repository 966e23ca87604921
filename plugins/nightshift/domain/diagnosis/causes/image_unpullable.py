"""The registry does not answer, refuses, or is not trusted."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, by_signs
from nightshift.domain.diagnosis.causes.symptoms import IMAGES_STUCK

_DECISIVE = ("image.unpullable",)

CAUSE = Cause(
    name="image_unpullable",
    title="The image {subject} cannot be pulled: its registry does not answer or refuses.",
    decisive=_DECISIVE,
    explains=(*IMAGES_STUCK, "job.kubelet_unhealthy"),
    test="Does the registry answer this node? `curl -sSI https://registry.k8s.io/v2/; cat /etc/containerd/certs.d/*/hosts.toml`",
    remedy="Make the registry or its mirror reachable, repair its certificate or credentials, then run the night again.",
    specificity=4,
    match=by_signs(*_DECISIVE),
    leads_to=("dns",),
)
