"""What lines of logs mean: one table, sign by sign, as Kubernetes 1.34 to 1.36, etcd 3.5 to 3.7, containerd and apt write them.

A pattern names the logs it is looked for in; when one of them is missing, its sign is unread. Narrow on purpose: a sign is decisive
for a cause somewhere, so a line that healthy clusters write too must not match.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

KUBELET = r"^journal/kubelet\.log$"
RUNTIME = r"^journal/(containerd|crio)\.log$"
KERNEL = r"^journal/kernel\.log$"
JOBS = r"^journal/nightshift-all\.log$"
APISERVER = r"^pods/kube-system_kube-apiserver-[^/]+/kube-apiserver/\d+\.log$"
ETCD = r"^pods/kube-system_etcd-[^/]+/etcd/\d+\.log$"
CONTROL_PLANE = (
    r"^pods/kube-system_(kube-apiserver|kube-controller-manager|kube-scheduler|etcd)-[^/]+/[^/]+/\d+\.log$"
)
DRIVER = r"^driver/error\.txt$"  # the failed step's own message, put there by whoever has it

# How people call these logs.
TITLES = {
    KUBELET: "the kubelet's journal",
    RUNTIME: "the container runtime's journal",
    KERNEL: "the kernel's messages",
    JOBS: "the journal of Nightshift's jobs",
    APISERVER: "a log of kube-apiserver",
    ETCD: "a log of etcd",
    CONTROL_PLANE: "a log of a control-plane pod",
    DRIVER: "the failed step's own message",
}

_PROCESSES = "etcd|kube-apiserver|kube-controller|kube-scheduler|kubelet|containerd"
_IMAGES = r"(?:[^\s\"\\]*/)?(?:kube-(?:apiserver|controller-manager|scheduler|proxy)|etcd|coredns|pause)[:@][^\s\"\\,;]+"


@dataclass(frozen=True)
class Pattern:
    """One kind of line.

    Args:
        sign: its name.
        logs: regular expressions of the files it is looked for in.
        needles: each such line has one of these words: most lines are passed over by them.
        expression: must match the line; group `subject`, when there is one, is what it is about.
        unless: a line with one of these words does not count.
    """

    sign: str
    logs: tuple[str, ...]
    needles: tuple[str, ...]
    expression: re.Pattern[str]
    unless: tuple[str, ...] = ()


def _pattern(sign: str, logs: tuple[str, ...], needles: str, expression: str, *unless: str) -> Pattern:
    return Pattern(sign, logs, tuple(needles.split("|")), re.compile(expression), unless)


# What failed: kubeadm's own words (kubernetes/kubernetes cmd/kubeadm/app/phases/upgrade/staticpods.go), the kubelet's and systemd's.
SYMPTOMS = (
    _pattern("kubeadm.hash_unchanged", (JOBS,), "static Pod hash", r"static Pod hash for component (?P<subject>[\w-]+) .*did not change"),
    _pattern("kubeadm.rolled_back", (JOBS,), "recover everything", r"kubeadm has tried to recover everything into the earlier state"),
    _pattern("kubeadm.etcd_failed", (JOBS,), "etcd", r"fatal error when trying to upgrade the etcd cluster|\[upgrade/etcd\] Failed to upgrade etcd"),
    _pattern("kubeadm.preflight", (JOBS,), "[ERROR ", r"\[ERROR (?P<subject>[\w-]+)\]:"),
    _pattern("pod.crash_loop", (KUBELET,), "CrashLoopBackOff", r"CrashLoopBackOff.*?(?P<subject>kube-apiserver|kube-controller-manager|kube-scheduler|etcd)"),
    _pattern("apiserver.etcd_timeout", (APISERVER,), "context deadline exceeded", r"Error creating leases|error creating storage factory: context deadline exceeded"),
    _pattern("apiserver.died", (APISERVER,), " ", r"^F\d{4} |\"command failed\"|^Error: |^panic: "),
    _pattern("etcd.died", (ETCD,), " ", r"\"level\":\"(?:fatal|panic)\"|^panic: |^flag provided but not defined"),
    _pattern("kubelet.exited", (KUBELET,), "kubelet.service", r"kubelet\.service: Scheduled restart job, restart counter is at (?:[3-9]|\d{2,})\."),
    _pattern("drain.blocked", (JOBS, DRIVER), "DRAIN_BLOCKED|disruption budget", r"DRAIN_BLOCKED|violate the pod's disruption budget"),
    _pattern("driver.unreachable", (DRIVER,), "NODE_UNREACHABLE|JOB_LOST", r"NODE_UNREACHABLE|JOB_LOST"),
)  # fmt: skip

# What did it.
CAUSES = (
    _pattern("apiserver.unknown_flag", (APISERVER,), "unknown", r"unknown (?:shorthand )?flag: (?P<subject>\S+)"),
    _pattern("apiserver.bad_flag_value", (APISERVER,), "invalid argument", r"invalid argument .* for \"(?P<subject>--[\w-]+)"),
    _pattern("apiserver.unknown_feature", (APISERVER,), "feature gate", r"unrecognized feature gate: (?P<subject>\w+)|cannot set feature gate (?P<locked>\w+)"),
    _pattern("kubelet.unknown_flag", (KUBELET,), "unknown", r"unknown (?:shorthand )?flag: (?P<subject>[^\s\"\\]+)"),
    _pattern("kubelet.bad_config", (KUBELET,), "kubelet", r"\"command failed\" err=\"failed to (?:load|validate|decode) kubelet con(?!figuration, error: kubelet is configured to not run on a host using cgroup)[^\"]*(?P<subject>unknown field[^\"]*|unrecognized feature gate: \w+)"),
    _pattern("etcd.unknown_flag", (ETCD,), "not defined", r"flag provided but not defined: (?P<subject>-[\w-]+)"),
    _pattern("apiserver.authentication", (APISERVER,), "command failed|Error: ", r"(?:\"command failed\"|^Error: ).*?(?P<subject>jwt\[\d+\][\w.\[\]]*|--?oidc-[\w-]+|oidc-[\w-]+|authentication-config(?:uration)?\b|AuthenticationConfiguration|auth-?config[\w.-]*)", "authorization-config"),
    _pattern("certificate.expired", (CONTROL_PLANE, KUBELET), "expired", r"(?:certificate has expired or is not yet valid: current time \S+ is after (?P<subject>[^\s\"\\,]+))|(?:client certificate in (?P<file>\S+) is expired)", "webhook", "v1beta1.metrics"),
    _pattern("certificate.not_yet_valid", (CONTROL_PLANE, KUBELET), "not yet valid", r"certificate has expired or is not yet valid: current time \S+ is before (?P<subject>[^\s\"\\,]+)", "webhook"),
    _pattern("certificate.untrusted", (CONTROL_PLANE, KUBELET), "x509: certificate", r"x509: certificate (?P<subject>signed by unknown authority|is valid for .*?, not [^\s\"\\]+)", "webhook", "v1beta1.metrics", "oidc", "pull", "registry"),
    _pattern("port.taken", (CONTROL_PLANE, KUBELET), "address already in use", r"listen tcp\d? (?P<subject>\S+): bind: address already in use"),
    _pattern("kubelet.cgroup_v1", (KUBELET,), "cgroup v1", r"kubelet is configured to not run on a host using cgroup v1"),
    _pattern("kubeadm.cgroup_v1", (JOBS,), "SystemVerification", r"\[ERROR SystemVerification\]: cgroups? v1 "),
    _pattern("etcd.no_space", (ETCD, APISERVER), "exceeded|NOSPACE", r"\"msg\":\"message exceeded backend quota; raising alarm\"|etcdserver: mvcc: database space exceeded|\"alarm\":\"NOSPACE\""),
    _pattern("etcd.no_leader", (ETCD,), "leader", r"\"msg\":\"serving /health false; no leader\"|\"msg\":\"[^\"]*\".*\"(?:error|reason)\":\"(?:RAFT NO LEADER|etcdserver: no leader)"),
    _pattern("etcd.downgrade", (ETCD,), "downgrade", r"invalid downgrade; server version is lower than determined cluster version"),
    _pattern("etcd.version_path", (JOBS,), "etcd", r"etcd version .* (?:is not supported|must be upgraded)|cannot upgrade etcd"),
    _pattern("etcd.clock", (ETCD,), "clock", r"prober found high clock drift|clock difference against peer .* is too high"),
    _pattern("image.missing", (KUBELET, JOBS, RUNTIME), "not found|manifest unknown|NotFound", rf"(?:[Ff]ailed to pull|PullImage|could not be pulled|ImagePull\]).*?(?P<subject>{_IMAGES}).*?(?:not found|manifest unknown|NotFound)", "no match for platform"),
    _pattern("image.unpullable", (KUBELET, JOBS, RUNTIME), "pull|PullImage|ImagePull]", rf"(?:[Ff]ailed to pull|PullImage|ImagePull\]).*?(?P<subject>{_IMAGES}).*?(?:connection refused|i/o timeout|x509:|no such host|[Uu]nauthorized|denied|50\d )"),
    _pattern("image.architecture", (KUBELET, JOBS, RUNTIME, CONTROL_PLANE), "no match for platform|exec format error", rf"(?:(?P<subject>{_IMAGES}).*)?no match for platform in manifest|exec /?(?P<program>\S+): exec format error|exec format error"),
    _pattern("disk.no_space", (KUBELET, RUNTIME, JOBS, CONTROL_PLANE), "no space left on device", r"(?:(?P<subject>/[^\s:\"\\]+): )?no space left on device", "inotify", "cgroup", "cpuset"),
    _pattern("webhook.failed", (APISERVER, JOBS, KUBELET), "webhook", r"failed calling webhook \\*\"(?P<subject>[^\"\\]+)|admission webhook \\*\"(?P<denier>[^\"\\]+)\\*\" denied the request", "failing open"),
    _pattern("drain.budget", (JOBS, DRIVER), "disruption budget|PDB_", r"[Cc]annot evict pod as it would violate the pod's disruption budget|PDB_(?:DEADLOCK|NO_ROOM)|disruption budget (?P<subject>\S+) allows no"),
    _pattern("dns.failed", (KUBELET, RUNTIME, JOBS), "lookup |resolv", r"lookup (?P<subject>[\w.-]+)(?: on [^:\s]+(?::\d+)?)?: (?:no such host|server misbehaving|i/o timeout|.*connection refused|Temporary failure)|Temporary failure resolving '(?P<host>[^']+)'|Could not resolve '(?P<other>[^']+)'"),
    _pattern("dpkg.locked", (JOBS,), "lock", r"Could not get lock (?P<subject>\S+?)\.? |Unable to (?:acquire the dpkg frontend lock|lock)|dpkg frontend lock was locked by another process"),
    _pattern("dpkg.interrupted", (JOBS,), "dpkg", r"dpkg was interrupted, you must manually run|dpkg --configure -a failed"),
    _pattern("apt.signature", (JOBS,), "NO_PUBKEY|EXPKEYSIG|BADSIG|sign", r"NO_PUBKEY (?P<subject>\w+)|EXPKEYSIG (?P<key>\w+)|BADSIG|signatures? couldn't be verified|repository '(?P<url>[^']+)' is not signed|OpenPGP signature verification failed"),
    _pattern("oom.killed", (KERNEL, KUBELET), "Killed process|victim process|OOM killer|oom-kill", rf"Killed process \d+ \((?P<subject>{_PROCESSES})|victim process: (?P<victim>{_PROCESSES})|(?P<unit>kubelet|containerd)\.service: .*(?:OOM killer|oom-kill)"),
    _pattern("boot.marker", (KUBELET, RUNTIME, JOBS), "-- Boot ", r"^-- Boot [0-9a-f]{32} --"),
    _pattern("kubeadm.foreign", (JOBS, DRIVER), "somebody else", r"somebody else is at it: kubeadm is run by (?P<subject>[^,]+)"),
    _pattern("kubelet.manifest_unread", (KUBELET,), "manifest", r"Could not process manifest file.*?(?P<subject>/etc/kubernetes/manifests/[^\s:\"\\]+)|Unable to read config path.*?(?P<path>/[^\s\"\\]+)"),
)  # fmt: skip

PATTERNS = (*SYMPTOMS, *CAUSES)
