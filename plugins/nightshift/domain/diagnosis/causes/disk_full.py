"""A file system is full: images, packages, etcd or kubeadm's backup found no room."""

from __future__ import annotations

from dataclasses import replace

from nightshift.domain.diagnosis.cause import Cause, Match, matched
from nightshift.domain.diagnosis.causes.symptoms import ETCD_STUCK, IMAGES_STUCK, PACKAGES_STUCK
from nightshift.domain.diagnosis.signs import Sign, Signs

_DECISIVE = ("disk.no_space", "disk.full")
_RECORDED = "recorder.fs_full"  # the recorder saw it full while the job was at work
_ROOM = "disk.room"


def _match(signs: Signs) -> Match | None:
    """Who says that there was no room, and which mount had none.

    What says so may speak of another file system than it seems; a mount that has room when the evidence is taken makes it doubtful.
    """
    found = matched(signs.of(*_DECISIVE, _RECORDED))
    if found is None or found.kept_down or signs.of("job.no_space"):
        return found
    doubt = next((why for sign in found.decisive if (why := _doubt(sign, signs))), "")
    return replace(found, doubt=doubt)


def _doubt(sign: Sign, signs: Signs) -> str:
    if sign.name != "disk.no_space":
        return ""
    mounts = signs.of("disk.full", _RECORDED, _ROOM)
    holding = [mount for mount in mounts if f"{sign.subject}/".startswith(f"{mount.subject.rstrip('/')}/")]
    longest = max((len(mount.subject) for mount in holding), default=0)
    nearest = {mount.name for mount in holding if len(mount.subject) == longest}
    # A line without a path may be about any mount.
    named = nearest if sign.subject.startswith("/") else {mount.name for mount in mounts}
    return f"{sign.subject or 'each mount'} had room when the evidence was taken" if named == {_ROOM} else ""


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
    specificity=4,
    match=_match,
    # A mount that is full now is no proof that this step found no room: somebody must have said so.
    links=("disk.no_space", "job.no_space"),
    leads_to=("image_unpullable", "kubelet_down", "package_manager_busy", "etcd_io_starvation"),
    answers=("state/df",),
)
