"""A control-plane image is not in the registry."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, of_the_unpulled
from nightshift.domain.diagnosis.causes.symptoms import IMAGES_STUCK

_DECISIVE = ("image.missing", "image.not_mirrored")


CAUSE = Cause(
    name="image_missing",
    title="The image {subject} is in no registry or mirror that this node reaches.",
    decisive=_DECISIVE,
    explains=(*IMAGES_STUCK, "job.kubelet_unhealthy"),
    test="Does the registry have it? `crictl pull IMAGE` (pulls), or `nightshift-node image-manifests IMAGE` (only asks)",
    remedy="Push or mirror the image, or name another imageRepository in kubeadm-config, then run the night again.",
    specificity=4,
    match=of_the_unpulled(*_DECISIVE),
    # The next host that is asked is upstream's own, whose name a closed-off node cannot resolve.
    leads_to=("dns", "image_unpullable"),
    answers=("state/images",),
)
