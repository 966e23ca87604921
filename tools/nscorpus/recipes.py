"""What is played on the lab, and what is true of it: one recipe, one incident. `record.py` plays them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nscorpus.incidents import HEALTHY, UNCATALOGUED

KUBELET, JOBS, DRIVER = "journal/kubelet.log", "journal/nightshift-all.log", "driver/"
APISERVER, ETCD = "pods/kube-system_kube-apiserver", "pods/kube-system_etcd"
PROXY = "kube-proxy:v1.35.4"
NOWHERE = "http://packages.nslab.invalid:8081"


@dataclass(frozen=True)
class Recipe:
    """One incident to record.

    Args:
        name: of its directory.
        side: "train" or "heldout".
        cause: what the label says, see `incidents.Label`.
        truth: the same in a sentence.
        step: a name in `record.STEPS`.
        node: where the step works.
        faults: arguments of `lab break`, in order; healed afterwards.
        during: (seconds after the step's job began, arguments of `lab`) for what happens in the middle of it.
        conditions, decoys, decisive: of the label.
        spoils: afterwards the cluster is of no more use to another recipe.
        base_url: of the package repository, when the step is told another one.
        manifests_seconds: how long kubeadm waits for a static pod.
        is_without_etcd: kubeadm leaves etcd's own upgrade out, to save its two minutes.
        limit_seconds: of the job.
    """

    name: str
    side: str
    cause: str
    truth: str
    step: str
    node: str = "w1"
    faults: tuple[tuple[str, ...], ...] = ()
    during: tuple[tuple[float, tuple[str, ...]], ...] = ()
    conditions: tuple[str, ...] = ()
    decoys: tuple[str, ...] = ()
    decisive: tuple[str, ...] = ()
    spoils: bool = False
    base_url: str = ""
    manifests_seconds: int = 60
    is_without_etcd: bool = False
    limit_seconds: int = 900


def _stage(name: str, side: str, cause: str, truth: str, *faults: tuple[str, ...], decisive: tuple[str, ...] = (JOBS, DRIVER), **more: object) -> Recipe:  # fmt: skip
    return replace(Recipe(name, side, cause, truth, "stage", faults=faults, decisive=decisive), **more)  # type: ignore[arg-type]


def _kubelet(
    name: str, side: str, cause: str, truth: str, *faults: tuple[str, ...], **more: object
) -> Recipe:
    plain = Recipe(name, side, cause, truth, "kubelet", faults=faults, decisive=(KUBELET,))
    return replace(plain, **more)  # type: ignore[arg-type]


def _apply(name: str, side: str, cause: str, truth: str, *faults: tuple[str, ...], **more: object) -> Recipe:
    return replace(Recipe(name, side, cause, truth, "kubeadm", "cp1", faults), **more)  # type: ignore[arg-type]


# While kubeadm works: on a disk that was that slow before, its own checks already end it.
HISTORIC_IO = (
    (8.0, ("break", "disk-contended", "cp1")),
    (9.0, ("break", "etcd-slow", "400", "cp1")),
)
STARVING_IO = (
    (8.0, ("break", "disk-contended", "cp1")),
    (9.0, ("break", "etcd-slow", "1500", "cp1")),
)

RECIPES = (
    # Staging on a worker: fails before anything changed, so that many fit into one lab.
    _stage("live-repository-signature", "train", "repository_signature", "The package index of 1.35 is signed by a stranger.", ("repo-wrong-signature", "1.35")),
    _stage("live-image-missing-proxy", "train", "image_missing", "The registry has no kube-proxy:v1.35.4.", ("image-missing", PROXY)),
    _stage("live-registry-cut", "train", "image_unpullable", "The registry refuses every connection of w1.", ("registry-cut", "w1")),
    _stage("live-image-architecture", "train", "image_architecture", "kube-proxy:v1.35.4 exists for s390x only.", ("image-wrong-architecture", PROXY)),
    _stage("live-dns-repository", "train", "dns", "The repository's name cannot be resolved on w1.", base_url=NOWHERE),
    _stage("live-disk-full-stage", "train", "disk_full", "The root file system of w1 is full.", ("disk-fill", "w1", "/", "100%"), decisive=(JOBS, DRIVER, "state/df")),
    _stage("live-foreign-kubeadm", "train", "foreign_kubeadm", "Somebody runs kubeadm on w1 by hand.", ("foreign-kubeadm", "w1"), decisive=(DRIVER,)),
    _stage("live-ssh-cut", "train", "ssh_cut", "Nothing gets through to sshd of w1.", ("ssh-cut", "w1"), decisive=(DRIVER,)),
    _stage("live-reboot-under-stage", "train", "node_rebooted", "w1 lost its power under the job and booted again.", during=((4.0, ("break", "node-power-off", "w1")), (7.0, ("heal", "node-power-off", "w1"))), decisive=(JOBS, KUBELET, "state/processes", "journal/"), spoils=True),
    _stage("live-package-missing", "train", UNCATALOGUED, "The repository's index names a kubeadm that is not there (404).", ("package-missing", "kubeadm", "1.35.4")),
    Recipe("live-pdb-deadlock", "train", "pdb_deadlock", "A budget asks for all of its pods.", "drain", faults=(("pdb-deadlock",),), decisive=(DRIVER,)),
    Recipe("live-webhook-eviction", "train", "webhook", "A webhook with nobody behind it stands before evictions.", "drain", faults=(("webhook-without-endpoints",),), decisive=(DRIVER,)),
    _stage("live-healthy-stage", "train", HEALTHY, "Nothing: the control plane was staged.", node="cp1"),
    # kubeadm on the control plane; the first ones end in its own checks.
    _apply("live-etcd-nospace", "train", "etcd_quota", "etcd has the alarm NOSPACE.", during=((2.0, ("break", "etcd-alarm-nospace", "cp1")),), spoils=True, decisive=(ETCD, APISERVER, JOBS, "pods/")),
    _apply("live-api-starvation", "train", "api_starvation", "A priority level without room turns kubeadm's Jobs away; a slow client has its one place.", ("api-requests-rejected", "cp1"), decisive=(JOBS, DRIVER)),
    _apply("live-apiserver-flag", "train", "apiserver_flag", "kubeadm-config gives the API server a flag that 1.35 does not know.", ("upgrade-flag", "apiserver", "no-such-flag=1"), decisive=(APISERVER,), is_without_etcd=True),
    _apply("live-stray-manifest", "train", "stray_static_pod", "kube-apiserver.yaml.bak lies beside the manifest and wins.", ("stray-manifest", "cp1"), decisive=("manifests/",), is_without_etcd=True),
    _apply("live-etcd-flag", "train", "etcd_flag", "kubeadm-config gives etcd a flag that 3.6 does not know.", ("upgrade-flag", "etcd", "experimental-no-such=1"), decisive=(ETCD,), manifests_seconds=150),
    _apply("live-healthy-control-plane", "train", HEALTHY, "Nothing: kubeadm upgraded the control plane.", spoils=True, manifests_seconds=240),
    # Kubelets of workers: before the control plane, to save the time of its upgrade; a kubelet that does not start asks no API.
    _kubelet("live-kubelet-flag", "train", "kubelet_flag", "/etc/default/kubelet has a flag that 1.35 took away.", ("kubelet-flag", "w1", "pod-infra-container-image=registry.k8s.io/pause:3.10.1")),
    _kubelet("live-cgroup-v1", "train", "cgroup_v1", "The node has cgroup v1, and kubelet 1.35 refuses it.", ("cgroup-v1-refused", "w1")),
    _kubelet("live-cri-disabled", "train", "runtime_too_old", "containerd offers no CRI v1.", ("cri-disabled", "w1"), decisive=(KUBELET, JOBS)),
    _kubelet("live-kubelet-certificate", "train", "certificate_expired", "The kubelet's client certificate has ended.", ("kubelet-certificate-expired", "w1")),
    _kubelet("live-kubelet-port", "train", "port_taken", "Another process has the kubelet's port 10250.", ("port-taken", "w1")),
    _kubelet("live-kubelet-gate", "train", "kubelet_flag", "The kubelet's configuration has a feature gate that 1.35 does not know.", ("kubelet-config-line", "w1", "featureGates: {NoSuchGate: true}")),
    _kubelet("live-kubelet-masked", "train", "kubelet_down", "The kubelet is masked.", ("kubelet-masked", "w1"), decisive=("state/processes",)),
    _kubelet("live-healthy-kubelet", "train", HEALTHY, "Nothing: the kubelet was upgraded."),
    # Held out: recorded after the rules were frozen.
    _stage("live-h-healthy-stage", "heldout", HEALTHY, "Nothing: the control plane was staged.", node="cp1"),
    _stage("live-h-image-missing-coredns", "heldout", "image_missing", "The registry has no coredns:v1.13.1.", ("image-missing", "coredns/coredns:v1.13.1"), node="w2"),
    _stage("live-h-registry-name", "heldout", "dns", "The mirror's name cannot be resolved on w2.", ("registry-unknown-name", "w2"), node="w2"),
    _stage("live-h-repository-away", "heldout", UNCATALOGUED, "No package repository answers.", ("repo-away",), node="w2"),
    _stage("live-h-job-stopped", "heldout", UNCATALOGUED, "A person stopped the job's unit.", node="w2", during=((1.5, ("ssh", "w2", "systemctl stop nightshift-stage")),)),
    _stage("live-h-job-killed", "heldout", UNCATALOGUED, "A person killed the job's processes.", node="w2", during=((1.5, ("ssh", "w2", "pkill -KILL -f nightshift/jobs/[s]tage")),)),
    _stage("live-h-api-refused", "heldout", UNCATALOGUED, "A packet filter refuses every connection to the API server.", during=((0.25, ("break", "api-down", "cp1")),), node="w2"),
    Recipe("live-h-dpkg-lock", "heldout", "package_manager_busy", "Another process holds dpkg's lock on w2.", "kubeadm", "w2", (("apt-lock-held", "w2"),), decisive=(JOBS, DRIVER), limit_seconds=330),
    Recipe("live-h-rights-missing", "heldout", UNCATALOGUED, "Nodes may not read kubeadm-config any more.", "kubeadm", "w2", (("kubeadm-rights-missing",),)),
    _apply("live-h-config-missing", "heldout", UNCATALOGUED, "The ConfigMap kubeadm-config is gone.", ("kubeadm-config-missing",)),
    _apply("live-h-manifest-immutable", "heldout", UNCATALOGUED, "The API server's manifest is immutable (chattr +i).", ("manifests-immutable", "cp1"), is_without_etcd=True),
    _apply("live-h-kubeadm-killed", "heldout", UNCATALOGUED, "A person killed kubeadm.", spoils=True, during=((12.0, ("ssh", "cp1", "pkill -KILL -x kubeadm")),)),
    _apply("live-h-authentication", "heldout", "authentication_config", "The AuthenticationConfiguration's issuer has no https.", ("authentication-config-bad", "cp1"), decisive=(APISERVER,), is_without_etcd=True),
    _apply("live-h-static-pod-path", "heldout", "kubelet_other_directory", "The kubelet reads another directory than kubeadm writes.", ("static-pod-path", "cp1"), decisive=("state/kubelet-config",), is_without_etcd=True),
    _apply("live-h-object-unreadable", "heldout", "unservable_object", "A PriorityClass of an unknown version is stored in etcd.", ("object-unreadable", "cp1"), decisive=(APISERVER, JOBS), spoils=True, is_without_etcd=True),
    _apply("live-h-historic", "train", "stray_static_pod", "The night of 2026-06-24: the stray copy is what runs.", ("scratch-pile", "cp1", "145"), ("oidc-flags", "cp1"), ("stray-manifest", "cp1"), during=HISTORIC_IO, conditions=("etcd_io_starvation", "scratch_pile", "drift"), decisive=("manifests/",), spoils=True, manifests_seconds=120, is_without_etcd=True),
    _apply("live-h-contended", "train", "etcd_io_starvation", "The historic night without its stray file: the disk is contended.", ("scratch-pile", "cp1", "145"), ("oidc-flags", "cp1"), during=STARVING_IO, conditions=("scratch_pile", "drift"), decisive=(ETCD,), spoils=True, manifests_seconds=45, is_without_etcd=True),
    _apply("live-h-quorum", "heldout", "etcd_quorum", "etcd counts a second member that does not exist.", during=((4.0, ("break", "etcd-ghost-member", "cp1")),), decisive=(ETCD,), spoils=True, manifests_seconds=150),
    _kubelet("live-h-kubelet-config", "heldout", "kubelet_flag", "The kubelet's configuration has a value that is out of bounds.", ("kubelet-config-line", "w2", "imageGCHighThresholdPercent: 300"), node="w2"),
    _kubelet("live-h-kubelet-authority", "heldout", "certificate_wrong", "The kubelet trusts another authority than the API server's.", ("kubelet-authority-wrong", "w2"), node="w2", step="kubelet-verified"),
    Recipe("live-h-pdb-overlap", "train", "pdb_deadlock", "Two budgets over the same pods let nothing be evicted.", "drain", "w2", (("pdb-overlap",),), decisive=(DRIVER,)),
    _stage("live-h-inodes", "heldout", "disk_full", "The root file system of w2 has no inode left.", ("inode-exhaustion", "w2", "/", "99"), node="w2", decisive=(JOBS, DRIVER, "state/df")),
)  # fmt: skip
