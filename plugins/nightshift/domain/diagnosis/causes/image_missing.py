"""A control-plane image is not in the registry."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, by_signs
from nightshift.domain.diagnosis.causes.symptoms import IMAGES_STUCK

_DECISIVE = ("image.missing",)

CAUSE = Cause(
    name="image_missing",
    title="The image {subject} is not in its registry.",
    decisive=_DECISIVE,
    explains=(*IMAGES_STUCK, "job.kubelet_unhealthy"),
    test="Does the registry have it? `crictl pull IMAGE` (pulls), or `nightshift-node image-manifests IMAGE` (only asks)",
    remedy="Push or mirror the image, or name another imageRepository in kubeadm-config, then run the night again.",
    runbook="IMAGE_MISSING",
    specificity=4,
    match=by_signs(*_DECISIVE),
)
