"""A file system is full: images, packages, etcd or kubeadm's backup found no room."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, by_signs
from nightshift.domain.diagnosis.causes.symptoms import ETCD_STUCK, IMAGES_STUCK, PACKAGES_STUCK

_DECISIVE = ("disk.no_space", "disk.full")

CAUSE = Cause(
    name="disk_full",
    title="The disk is full ({subject}).",
    decisive=_DECISIVE,
    explains=(
        *ETCD_STUCK,
        *IMAGES_STUCK,
        *PACKAGES_STUCK,
        "job.no_space",
        "job.kubelet_unhealthy",
        "kubelet.exited",
    ),
    test="Is there room, and are there inodes? `df -h / /var/lib/etcd /var/lib/containerd /var/lib/kubelet; df -i /`",
    remedy="Make room on that mount (old images, logs, kubeadm's scratch in /etc/kubernetes/tmp), then run the night again.",
    runbook="DISK_WOULD_FILL",
    specificity=4,
    match=by_signs(*_DECISIVE),
    leads_to=("image_unpullable", "kubelet_down", "package_manager_busy", "etcd_io_starvation"),
)
