"""An image is not made for this node's processor."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, by_signs
from nightshift.domain.diagnosis.causes.symptoms import ETCD_STUCK, IMAGES_STUCK

_DECISIVE = ("image.architecture",)

CAUSE = Cause(
    name="image_architecture",
    title="The image or program {subject} is not made for this node's processor.",
    decisive=_DECISIVE,
    explains=(*IMAGES_STUCK, *ETCD_STUCK),
    test="Which architectures does the image have? `uname -m; nightshift-node image-manifests IMAGE`",
    remedy="Mirror the image with all architectures of the cluster, remove the wrong copy from the node, then run the night again.",
    runbook="IMAGE_MISSING",
    specificity=5,
    match=by_signs(*_DECISIVE),
)
