"""The signs that are the failure itself, in groups as causes explain them."""

from __future__ import annotations

# The API server, or another static pod, does not come up in its new form.
CONTROL_PLANE_STUCK = (
    "kubeadm.hash_unchanged",
    "kubeadm.rolled_back",
    "pod.crash_loop",
    "job.kubeadm_failed",
    "job.api_lost",
    "job.api_unavailable",
    "job.timed_out",
    "driver.verify",
    "driver.rehearsal",
    "job.rehearsal_failed",
)
APISERVER_STUCK = (*CONTROL_PLANE_STUCK, "apiserver.died", "job.rehearsal_failed")
ETCD_STUCK = (
    *CONTROL_PLANE_STUCK,
    "apiserver.died",
    "apiserver.etcd_timeout",
    "etcd.died",
    "kubeadm.etcd_failed",
    "job.etcd_unavailable",
    "driver.snapshot",
)
# A kubelet that does not run moves no static pod either.
KUBELET_STUCK = (
    "kubelet.exited",
    "kubelet.not_running",
    "kubeadm.hash_unchanged",
    "kubeadm.rolled_back",
    "job.kubelet_unhealthy",
    "job.kubeadm_failed",
    "job.timed_out",
    "driver.verify",
)
PACKAGES_STUCK = ("job.install_failed", "job.package_missing", "job.repository_refused", "job.timed_out")
IMAGES_STUCK = (
    "job.image_missing",
    "job.kubeadm_failed",
    "job.timed_out",
    "kubeadm.preflight",
    "kubeadm.hash_unchanged",
    "kubeadm.rolled_back",
)

SYMPTOMS = tuple(
    dict.fromkeys(
        (
            *APISERVER_STUCK,
            *ETCD_STUCK,
            *KUBELET_STUCK,
            *PACKAGES_STUCK,
            *IMAGES_STUCK,
            "job.no_space",
            "job.package_held",
            "job.dpkg_busy",
            "job.busy",
            "job.unfinished",
            "job.failed",
            "job.snapshot_mismatch",
            "job.not_staged",
            "job.refused",
            "drain.blocked",
            "driver.unreachable",
            "driver.busy",
            "driver.failed",
        )
    )
)
