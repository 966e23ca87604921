"""An image is not made for this node's processor."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, of_the_unpulled
from nightshift.domain.diagnosis.causes.symptoms import ETCD_STUCK, IMAGES_STUCK

_DECISIVE = ("image.architecture",)

CAUSE = Cause(
    name="image_architecture",
    title="The image or program {subject} is not made for this node's processor.",
    decisive=_DECISIVE,
    explains=(*IMAGES_STUCK, *ETCD_STUCK),
    test="Which architectures does the image have? `uname -m; nightshift-node image-manifests IMAGE`",
    remedy="Mirror the image with all architectures of the cluster, remove the wrong copy from the node, then run the night again.",
    specificity=5,
    match=of_the_unpulled(*_DECISIVE),
    leads_to=("image_missing", "image_unpullable"),
)
