"""What a sign or a cause is called in front of people: one plain clause for each, as it is read at seven in the morning.

A clause stands behind "What failed:", "looked for and not seen:" and "does not say whether". The names themselves are in docs/diagnosis.md
and in a diagnosis' JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

CLAUSES: Mapping[str, str] = {
    # The failure itself.
    "kubeadm.hash_unchanged": "kubeadm waited in vain for a component's new pod",
    "kubeadm.rolled_back": "kubeadm gave up and put the old manifests back",
    "kubeadm.etcd_failed": "kubeadm could not upgrade etcd",
    "kubeadm.preflight": "kubeadm's own checks refused",
    "pod.crash_loop": "a control-plane pod ends again and again",
    "apiserver.etcd_unreachable": "the API server did not reach etcd for long",
    "apiserver.etcd_timeout": "the API server gave up on etcd",
    "apiserver.died": "the API server ended",
    "etcd.died": "etcd ended",
    "kubelet.exited": "the kubelet ends again and again",
    "drain.blocked": "a drain could not evict all pods",
    "driver.unreachable": "the step lost the node or its job",
    "driver.busy": "the node was busy with another job",
    "driver.verify": "the node was not what it should be after the step",
    "driver.rehearsal": "the rehearsal failed",
    "driver.snapshot": "the etcd snapshot was not good",
    "driver.failed": "the step failed",
    "job.package_missing": "the job found no package",
    "job.image_missing": "the job found no image",
    "job.repository_refused": "the job could not use the package repository",
    "job.snapshot_mismatch": "the job found another snapshot than it had made",
    "job.kubelet_unhealthy": "the kubelet was not healthy after the job",
    "job.no_space": "the job found too little room on a disk",
    "job.kubeadm_failed": "the job ended because kubeadm failed",
    "job.not_staged": "the job found its packages or images not on the node",
    "job.etcd_unavailable": "the job got no answer from etcd",
    "job.refused": "the job refused to begin",
    "job.install_failed": "the job could not install packages",
    "job.api_unavailable": "the job did not begin, because the API did not answer",
    "job.api_lost": "the job lost the API while it waited for it",
    "job.rehearsal_failed": "the target's API server did not work in the rehearsal",
    "job.package_held": "the job found a package that its owner holds",
    "job.dpkg_busy": "the job waited in vain for dpkg",
    "job.busy": "the node refused the job, because it was busy",
    "job.timed_out": "the job was ended at its time limit",
    "job.failed": "the job failed",
    "job.unfinished": "the job never ended",
    # What did it, by lines of logs.
    "apiserver.unknown_flag": "the API server refuses a flag that it does not know",
    "apiserver.bad_flag_value": "the API server refuses a flag's value",
    "apiserver.unknown_feature": "the API server refuses a feature gate",
    "apiserver.authentication": "the API server refuses its authentication configuration",
    "apiserver.unservable": "the API server cannot read an object that is stored in etcd",
    "apiserver.refused_by_etcd": "etcd refuses the API server's certificate",
    "kubelet.unknown_flag": "the kubelet refuses a flag that it does not know",
    "kubelet.bad_config": "the kubelet refuses its configuration",
    "kubelet.cgroup_v1": "the kubelet refuses cgroup v1",
    "kubelet.manifest_unread": "the kubelet cannot read a manifest",
    "kubelet.crashed": "the kubelet ended by itself",
    "kubelet.stopped": "the kubelet was stopped",
    "kubelet.last_words": "the kubelet says why it ended",
    "kubeadm.cgroup_v1": "kubeadm refuses cgroup v1",
    "kubeadm.foreign": "somebody else runs kubeadm",
    "kubeadm.known_bug": "kubeadm failed with the words of a bug that this version has",
    "component.serving": "a component listens on its port",
    "etcd.unknown_flag": "etcd refuses a flag that it does not know",
    "etcd.no_space": "etcd's database is full",
    "etcd.no_leader": "etcd says that it has no leader",
    "etcd.leaderless": "etcd was without a leader for a long time",
    "etcd.downgrade": "etcd refuses data that a newer etcd wrote",
    "etcd.version_path": "etcd's version cannot be upgraded to this one",
    "etcd.clock": "etcd's members have different clocks",
    "etcd.member": "an etcd member is not a full member",
    "etcd.slow_apply": "etcd is slow now and then",
    "etcd.slow_fsync": "etcd's disk is slow to write",
    "etcd.starved": "etcd is slow for whole seconds",
    "etcd.client_expired": "etcd refused a client whose certificate has expired",
    "etcd.client_untrusted": "etcd refused a client whose certificate it does not trust",
    "certificate.expired": "a certificate has expired",
    "certificate.not_yet_valid": "a certificate is not valid yet",
    "certificate.untrusted": "a certificate is not trusted",
    "certificates.ended": "a certificate on the node's disk has expired",
    "port.taken": "a port is in use already",
    "image.missing": "the registry does not have an image",
    "image.not_mirrored": "the mirror does not have an image, and no other host was reached",
    "image.unpulled": "an image could not be pulled",
    "image.unpullable": "the registry does not answer or refuses",
    "image.architecture": "an image is made for another processor",
    "disk.no_space": "no space is left on a disk",
    "webhook.failed": "an admission webhook fails or refuses",
    "webhook.in_step": "the failed step names an admission webhook",
    "drain.budget": "a PodDisruptionBudget allows no eviction",
    "drain.pod_stays": "a drain names a pod that may not go or does not end",
    "dns.failed": "a name cannot be resolved",
    "dns.in_step": "the failed step could not resolve a name",
    "dpkg.locked": "dpkg is locked by another process",
    "dpkg.interrupted": "dpkg was interrupted and waits for a repair",
    "apt.signature": "the package repository's signature is not trusted",
    "oom.killed": "the kernel killed a process for want of memory",
    "oom.of_ours": "the process that was killed is the control plane's own",
    "oom.of_others": "the process that was killed is of another pod",
    "boot.marker": "the node booted while its log was written",
    "runtime.too_old": "the container runtime does not offer what the kubelet needs",
    "api.too_many_requests": "the API server turns requests away",
    "api.told_to_wait": "kubeadm was told to ask the API again later",
    # What did it, by the node's state and the recorder.
    "manifests.duplicate": "two files in the manifests directory are the same pod",
    "manifests.stray": "a file in the manifests directory is no manifest by its name",
    "manifests.runs": "the running process has the arguments of one of the two files",
    "manifests.swapped": "the API server was swapped with a stray copy's while the job was at work",
    "rehearsal.worked": "tonight's rehearsal brought the target's API server up",
    "driver.node_away": "the node did not answer over SSH",
    "disk.full": "a file system is full",
    "disk.room": "a file system has room",
    "scratch.pile": "kubeadm's old backups pile up",
    "kubelet.not_running": "no kubelet runs",
    "kubelet.static_pod_path": "the kubelet reads another manifests directory",
    "kubeadm.running": "kubeadm still runs",
    "node.rebooted": "the node booted after the job began",
    "apiserver.drift": "kubeadm-config and the API server's manifest differ",
    "recorder.foreign_kubeadm": "another kubeadm began while ours was at work",
    "recorder.hash_unchanged": "a pod stayed the same though kubeadm had written its new manifest",
    "recorder.restarts": "a pod had one container after another",
    "recorder.etcd_slow_fsync": "etcd's disk took long to write",
    "recorder.etcd_fast_at_slow_fsync": "etcd's disk wrote fast when etcd's log says that it was slow to write",
    "recorder.etcd_fast_when_slow": "etcd's disk wrote fast while etcd was slow",
    "recorder.etcd_slow_applies": "etcd was slow very often",
    "recorder.etcd_no_leader": "etcd had no leader for seconds",
    "recorder.writer": "another process wrote much to etcd's disk",
    "recorder.io_pressure": "the node waited for its disks most of the time",
    "recorder.fs_full": "a file system was full for a while",
    "recorder.memory_low": "the node had hardly any memory left",
    "recorder.apiserver_not_ready": "the API server was away for more than a minute",
    "recorder.gap": "the node stood still for seconds",
}


def spoken(sign: str) -> str:
    """A sign's clause; of one that has none (an older report's, another version's) its name."""
    return CLAUSES.get(sign, sign)


def said_of(sign: str, subject: str) -> str:
    """A sign's clause with what it is about."""
    if not subject:
        return spoken(sign)
    return f"{spoken(sign)}{':' if sign in CLAUSES else ''} {subject}"


def either(signs: Iterable[str]) -> str:
    """The clauses of several signs, any of which would do."""
    return ", or ".join(spoken(sign) for sign in signs)


def cause_name(cause: str) -> str:
    """A cause's name as words."""
    return cause.replace("_", " ")
