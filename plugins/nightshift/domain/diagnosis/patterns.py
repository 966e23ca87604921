"""What lines of logs mean: one table, sign by sign, as Kubernetes 1.34 to 1.36, etcd 3.5 to 3.7, containerd and apt write them.

A pattern names the logs it is looked for in; when one of them is missing, its sign is unread. Narrow on purpose: a sign is decisive
for a cause somewhere, so a line that healthy clusters write too must not match. The kubelet, the runtime and the API server also speak of
other people's pods: in a pattern's `foreign` logs a line is tied to this upgrade only when it names something of the control plane.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

KUBELET = r"^journal/kubelet\.log$"
RUNTIME = r"^journal/(containerd|crio)\.log$"
KERNEL = r"^journal/kernel\.log$"
JOBS = r"^journal/nightshift-all\.log$"
_STATIC = r"etcd|kube-apiserver|kube-controller-manager|kube-scheduler"


def _logs_of(component: str) -> str:
    """A static pod's log, as the kubelet has it (also rotated) and as the recorder followed it.

    The pod is named after its node, its container after the component, and its uid is the hash of its manifest: 32 hexadecimal digits
    without a dash. An etcd that a tenant runs in kube-system has a uid with dashes.
    """
    kept = rf"pods/kube-system_{component}-[^/_]+_[0-9a-f]{{32}}/{component}/\d+\.log(?:\.\d{{8}}-\d{{6}})?"
    return rf"{kept}|recorder/pods/{component}-[^/]+/{component}-[0-9a-f]+\.log"


_REHEARSED = r"rehearsal/kube-apiserver\.log"  # of the target's, in a rehearsal that failed
APISERVER = rf"^(?:{_logs_of('kube-apiserver')}|{_REHEARSED})$"
ETCD = rf"^(?:{_logs_of('etcd')})$"
CONTROL_PLANE = rf"^(?:{'|'.join(map(_logs_of, _STATIC.split('|')))})$"
# What these write is their own or the words of a tenant's webhook, volume, API service, …; etcd speaks of itself alone.
SPEAKERS = rf"^(?:{'|'.join(_logs_of(one) for one in _STATIC.split('|') if one != 'etcd')}|{_REHEARSED})$"
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
# An image as a whole word. The lookbehind makes each word be tried once: without it a hostile line costs the square of its length.
_IMAGE = r"(?<![\w./:@-])(?P<subject>[\w./:@-]*(?<![\w-])(?:kube-(?:apiserver|controller-manager|scheduler|proxy)|etcd|coredns|pause)[:@][^\s\"\\,;]+)"
_KLOG = r"\d{4} \S+\s+\d+ \S+\] "
# A component's own last words, at the beginning of its own line: what it quotes of others stands behind other words or is escaped.
_END = rf"^(?:\S+ kubelet\[\d+\]: )?(?:[EF]{_KLOG}\"command failed\" err=\"|F{_KLOG}|Error: |panic: )"
_INDENTED = r"^\S+ kubelet\[\d+\]: \s"
_KUBELETS_OWN = rf"^\S+ kubelet\[\d+\]: [WEF]{_KLOG}\"[^\"\\]{{1,100}}\" err=\""
# The kubelet's names of a control-plane pod, and its own last words. A uid with dashes is of no static pod.
_DASHED = r"[0-9a-f]{8}-[0-9a-f]{4}-"
_STATIC_POD = rf"(?:{_STATIC})-[\w.-]{{1,253}}_kube-system(?!\({_DASHED})"
OURS = rf"kube-system/(?:{_STATIC})-|{_STATIC_POD}|{_END}"
# A line of the kubelet about another pod, or with the words of one in it, whatever else it names. klog writes a value of several lines
# indented below its key: such a line is a quotation, too.
_STRANGERS = re.compile(
    rf"(?<!\\)\bpod=\"(?!kube-system/(?:{_STATIC})-)|\bpodUID=\"{_DASHED}|\"Probe failed\"|(?<!\\)\boutput=\"|{_INDENTED}"
)
_API = r":6443[/:\"\s]|:2379\b"
_PORTS = r"(?:6443|2379|2380|2381|10248|10250|10257|10259)"


@dataclass(frozen=True)
class Pattern:
    """One kind of line.

    Args:
        sign: its name.
        logs: regular expressions of the files it is looked for in.
        needles: each such line has one of these words: most lines are passed over by them.
        steps: found one after the other in the line; group `subject`, when there is one, is what it is about. Several steps, not one
            expression with `.*` between them: that one would try again and again on a line that lacks its end.
        unless: a line with one of these words does not count.
        foreign: those of `logs` that speak of other people's pods too.
        ours: a line of a foreign log of the node that has this is about the control plane or the kubelet itself.
        own: the same for a log of `SPEAKERS`.
    """

    sign: str
    logs: tuple[str, ...]
    needles: tuple[str, ...]
    steps: tuple[re.Pattern[str], ...]
    unless: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    ours: re.Pattern[str] = re.compile(OURS)
    own: re.Pattern[str] = re.compile(_END)

    def subject(self, text: str) -> str | None:
        """What a line is about, "" when it is of this kind and names nothing; None when it is of another kind."""
        if not any(word in text for word in self.needles) or any(word in text for word in self.unless):
            return None
        subject, position = "", 0
        for step in self.steps:
            found = step.search(text, position)
            if found is None:
                return None
            position = found.end()
            subject = subject or next((value for value in found.groupdict().values() if value), "")
        return subject.rstrip(":")  # a sentence goes on behind an image's name

    def is_ours(self, path: str, text: str) -> bool:
        """Whether a line of this file is about the upgrade or its control plane, and not about a tenant's pod."""
        if not any(re.match(log, path) for log in self.foreign):
            return True
        if re.match(SPEAKERS, path):
            return self.own.search(text) is not None and not text.startswith((" ", "\t"))
        return self.ours.search(text) is not None and not _STRANGERS.search(text)


def _pattern(
    sign: str,
    logs: tuple[str, ...],
    needles: str,
    steps: str | tuple[str, ...],
    *unless: str,
    foreign: tuple[str, ...] = (),
    ours: str = OURS,
    own: str = _END,
) -> Pattern:
    compiled = tuple(re.compile(step) for step in ((steps,) if isinstance(steps, str) else steps))
    return Pattern(
        sign,
        logs,
        tuple(needles.split("|")),
        compiled,
        unless,
        foreign,
        re.compile(ours),
        re.compile(own),
    )


# What failed: kubeadm's own words (kubernetes/kubernetes cmd/kubeadm/app/phases/upgrade/staticpods.go), the kubelet's and systemd's.
SYMPTOMS = (
    _pattern("kubeadm.hash_unchanged", (JOBS,), "static Pod hash", r"static Pod hash for component (?P<subject>[\w-]+)[^\n]{0,300}?(?:did not change|deadline exceeded|timed out|refused)"),
    _pattern("kubeadm.rolled_back", (JOBS,), "recover everything", r"kubeadm has tried to recover everything into the earlier state"),
    _pattern("kubeadm.etcd_failed", (JOBS,), "etcd", r"fatal error when trying to upgrade the etcd cluster|\[upgrade/etcd\] Failed to upgrade etcd"),
    _pattern("kubeadm.preflight", (JOBS,), "[ERROR ", r"\[ERROR (?P<subject>[\w-]+)\]:"),
    _pattern("pod.crash_loop", (KUBELET,), "CrashLoopBackOff", ("CrashLoopBackOff", rf"(?P<subject>{_STATIC})-[\w.-]{{1,253}}_kube-system(?!\({_DASHED})")),
    _pattern("apiserver.etcd_timeout", (APISERVER,), "context deadline exceeded", r"Error creating leases|error creating storage factory: context deadline exceeded"),
    _pattern("apiserver.died", (APISERVER,), "F0|F1|command failed|Error: |panic: ", r"^F\d{4} |\"command failed\"|^Error: |^panic: "),
    _pattern("etcd.died", (ETCD,), "\"fatal\"|\"panic\"|panic: |flag provided", r"\"level\":\"(?:fatal|panic)\"|^panic: |^flag provided but not defined"),
    _pattern("kubelet.exited", (KUBELET,), "kubelet.service", r"kubelet\.service: Scheduled restart job, restart counter is at (?:[3-9]|\d{2,})\."),
    _pattern("drain.blocked", (JOBS, DRIVER), "DRAIN_BLOCKED|disruption budget", r"DRAIN_BLOCKED|violate the pod's disruption budget"),
    _pattern("driver.unreachable", (DRIVER,), "NODE_UNREACHABLE|JOB_LOST", r"NODE_UNREACHABLE|JOB_LOST"),
    _pattern("driver.busy", (DRIVER,), "JOB_BUSY", r"\[JOB_BUSY\]"),
    _pattern("driver.verify", (DRIVER,), "VERIFY_FAILED", r"\[VERIFY_FAILED\]"),
    _pattern("driver.rehearsal", (DRIVER,), "REHEARSAL_", r"\[REHEARSAL_\w+\]"),
    _pattern("driver.snapshot", (DRIVER,), "SNAPSHOT_", r"\[SNAPSHOT_(?:MISMATCH|UNREADABLE)\]"),
    # A step that failed did fail, whatever its code; it counts only when nothing says more (see reading.py).
    _pattern("driver.failed", (DRIVER,), "[", r"^\[(?P<subject>[A-Z][A-Z0-9_]{2,60})\]"),
)  # fmt: skip

# A client's own certificate trouble, as the server tells it: about that client, not about the control plane.
_OTHERS = (
    "Event occurred",
    "Unable to authenticate the request",
    "TLS handshake error from",
    "remote error: tls",
    # etcd about one of its clients: a scraper's certificate is nobody's but the scraper's. See `etcd.client_expired`.
    '"rejected connection"',
    "rejected connection on client endpoint",
)
_REFUSED_CLIENT = r"\"msg\":\"rejected connection(?: on client endpoint)?\""
_EXPIRED = r"certificate has expired or is not yet valid: current time \S+ is after (?P<subject>[^\s\"\\,]+)"
_UNTRUSTED = (
    r"x509: certificate (?P<subject>signed by unknown authority|is valid for [^\"\\]{1,200}?, not [^\s\"\\]+)"
)
_OUR_CERTIFICATES = rf"kubelet\.conf|/var/lib/kubelet/pki|{_API}|{_STATIC_POD}|{_END}"

# Where the control plane itself writes, as its own logs name it.
_WRITTEN = r"(?<![^\s:\"\\])/(?:var/lib/etcd|etc/kubernetes|var/log/(?:kubernetes|audit|pods))[/:]"
_OUR_REQUESTS = r"resource lock kube-system/|upgrade-health-check"

_WEBHOOK = r"failed calling webhook \\*\"(?P<subject>[^\"\\]+)|admission webhook \\*\"(?P<denier>[^\"\\]+)\\*\" denied the request"
_LOOKUP = r"lookup (?P<subject>[\w.-]+)(?: on [^:\s]+(?::\d+)?)?: (?:no such host|server misbehaving|i/o timeout|[^\n]{0,120}connection refused|Temporary failure)|Temporary failure resolving '(?P<host>[^']+)'|Could not resolve '(?P<other>[^']+)'"
# kubeadm asks the Internet for the newest version, and takes its own when nobody answers: no air-gapped cluster is ill of that.
_KUBEADM_GOES_ON = (
    "could not fetch a Kubernetes version from the internet",
    "falling back to the local client version",
)

# What did it.
CAUSES = (
    _pattern("apiserver.unknown_flag", (APISERVER,), "unknown", (_END, r"unknown (?:shorthand )?flag: (?P<subject>[^\s\"\\]+)")),
    _pattern("apiserver.bad_flag_value", (APISERVER,), "invalid argument", (_END, "invalid argument ", r" for \\*\"(?P<subject>--[\w-]+)")),
    _pattern("apiserver.unknown_feature", (APISERVER,), "feature gate", (_END, r"unrecognized feature gate: (?P<subject>\w+)|cannot set feature gate (?P<locked>\w+)")),
    _pattern("kubelet.unknown_flag", (KUBELET,), "unknown", (_END, r"unknown (?:shorthand )?flag: (?P<subject>[^\s\"\\]+)")),
    _pattern("kubelet.bad_config", (KUBELET,), "command failed", (rf"^\S+ kubelet\[\d+\]: E{_KLOG}\"command failed\" err=\"failed to (?:load|validate|decode|set|construct) (?!kubelet configuration, error: kubelet is configured to not run on a host using cgroup)", r"(?P<subject>unknown field \\*\"?[\w.\[\]]+|unrecognized feature gate: \w+|invalid configuration: [^\"\\,;]{1,120}|cannot unmarshal \w+ into Go [\w.]+(?: field)? [\w.]*)")),
    _pattern("etcd.unknown_flag", (ETCD,), "not defined", r"flag provided but not defined: (?P<subject>-[\w-]+)"),
    _pattern("apiserver.authentication", (APISERVER,), "command failed|Error: ", (_END, r"(?P<subject>jwt\[\d+\][\w.\[\]]*|--?oidc-[\w-]+|oidc-[\w-]+|authentication-config(?:uration)?\b|AuthenticationConfiguration|auth-?config[\w.-]*)"), "authorization-config"),
    _pattern("certificate.expired", (CONTROL_PLANE, KUBELET), "expired", rf"(?:{_EXPIRED})|(?:client certificate in (?P<file>\S+) is expired)", "webhook", "failing or missing response", *_OTHERS, foreign=(KUBELET, SPEAKERS), ours=_OUR_CERTIFICATES, own=_OUR_CERTIFICATES),
    _pattern("certificate.not_yet_valid", (CONTROL_PLANE, KUBELET), "not yet valid", r"certificate has expired or is not yet valid: current time \S+ is before (?P<subject>[^\s\"\\,]+)", "webhook", *_OTHERS, foreign=(KUBELET, SPEAKERS), ours=_OUR_CERTIFICATES, own=_OUR_CERTIFICATES),
    _pattern("certificate.untrusted", (CONTROL_PLANE, KUBELET), "x509: certificate", _UNTRUSTED, "webhook", "failing or missing response", "oidc", "pull", "registry", *_OTHERS, foreign=(KUBELET, SPEAKERS), ours=_OUR_CERTIFICATES, own=_OUR_CERTIFICATES),
    _pattern("etcd.client_expired", (ETCD,), "rejected connection", (_REFUSED_CLIENT, _EXPIRED)),
    _pattern("etcd.client_untrusted", (ETCD,), "rejected connection", (_REFUSED_CLIENT, _UNTRUSTED)),
    _pattern("apiserver.etcd_unreachable", (APISERVER,), ":2379", (r":2379\b", r"connect: connection refused|no route to host|no such host|i/o timeout")),
    _pattern("apiserver.refused_by_etcd", (APISERVER,), "remote error: tls", (r":2379\b", r"remote error: tls: (?P<subject>[\w ]{1,60})")),
    _pattern("port.taken", (CONTROL_PLANE, KUBELET), "address already in use", rf"listen tcp\d? (?P<subject>\S*?:{_PORTS}): bind: address already in use", foreign=(KUBELET, SPEAKERS), ours=rf"{_END}|{_KUBELETS_OWN}listen "),
    # It listens: what kept it from that before is over.
    _pattern("component.serving", (CONTROL_PLANE,), "erving ", rf"^[IWE]{_KLOG}Serving securely on \S*:(?P<subject>\d+)$|\"msg\":\"serving (?:client|peer) traffic[^\n]{{0,200}}?\"address\":\"[^\"]{{0,100}}:(?P<port>\d+)\""),
    # systemd's and the kubelet's words of an end that nobody asked for, and of one that somebody did.
    _pattern("kubelet.crashed", (KUBELET,), "kubelet.service", r"^\S+ systemd\[\d+\]: kubelet\.service: (?:Failed with result|Scheduled restart job)"),
    _pattern("kubelet.stopped", (KUBELET,), "kubelet.service", r"^\S+ systemd\[\d+\]: kubelet\.service: Deactivated successfully"),
    _pattern("kubelet.last_words", (KUBELET,), "command failed|Failed to |]: F|]: Error: |]: panic: ", rf"^\S+ kubelet\[\d+\]: (?:[EF]{_KLOG}\"(?:command failed|Failed to (?:listen|start)[^\"\\]{{0,60}})\" err=\"|F{_KLOG}|Error: |panic: )(?P<subject>[^\n]{{1,200}})"),
    _pattern("kubelet.cgroup_v1", (KUBELET,), "cgroup v1", (_END, r"kubelet is configured to not run on a host using cgroup v1")),
    _pattern("kubeadm.cgroup_v1", (JOBS,), "SystemVerification", r"\[ERROR SystemVerification\]: cgroups? v1 "),
    _pattern("etcd.no_space", (ETCD, APISERVER), "exceeded|NOSPACE", r"\"msg\":\"message exceeded backend quota; raising alarm\"|etcdserver: mvcc: database space exceeded|\"alarm\":\"NOSPACE\"", "webhook"),
    _pattern("etcd.downgrade", (ETCD,), "downgrade", r"invalid downgrade; server version is lower than determined cluster version"),
    _pattern("etcd.version_path", (JOBS,), "etcd", r"etcd version .* (?:is not supported|must be upgraded)|cannot upgrade etcd"),
    _pattern("etcd.clock", (ETCD,), "clock", r"prober found high clock drift|clock difference against peer .* is too high"),
    _pattern("image.missing", (KUBELET, JOBS, RUNTIME), "not found|manifest unknown|NotFound", (r"[Ff]ailed to pull|PullImage|failed to resolve reference|ImagePull\]", _IMAGE, r"not found|manifest unknown|NotFound"), "no match for platform", foreign=(KUBELET, RUNTIME)),
    _pattern("image.unpulled", (JOBS,), "could not be pulled", r"image (?P<subject>\S+) could not be pulled"),
    _pattern("image.unpullable", (KUBELET, JOBS, RUNTIME), "pull|PullImage|ImagePull]|failed to resolve reference", (r"[Ff]ailed to pull|PullImage|failed to resolve reference|ImagePull\]", _IMAGE, r"connection refused|i/o timeout|x509:|[Uu]nauthorized|denied|50\d "), "lookup ", foreign=(KUBELET, RUNTIME)),
    _pattern("image.architecture", (KUBELET, JOBS, RUNTIME, CONTROL_PLANE), "no match for platform|exec format error", rf"{_IMAGE}[^\n]{{0,200}}?no match for platform in manifest|no match for platform in manifest|exec /?(?P<program>\S+): exec format error|exec format error", foreign=(KUBELET, RUNTIME, SPEAKERS), own=rf"{_END}|^exec "),
    _pattern("disk.no_space", (KUBELET, RUNTIME, JOBS, CONTROL_PLANE), "o space left on device", r"(?:(?<![^\s:\"\\])(?P<subject>/[^\s:\"\\]+): )?[Nn]o space left on device", "inotify", "cgroup", "cpuset", "webhook", "Event occurred", foreign=(KUBELET, RUNTIME, SPEAKERS), own=rf"{_END}|{_WRITTEN}"),
    _pattern("webhook.failed", (CONTROL_PLANE, JOBS, KUBELET, DRIVER), "webhook", _WEBHOOK, "failing open", foreign=(SPEAKERS, KUBELET), ours=rf"upgrade-health-check|kube-system/(?:{_STATIC})-|{_STATIC_POD}", own=rf"{_END}|upgrade-health-check"),
    _pattern("webhook.in_step", (JOBS, DRIVER, CONTROL_PLANE), "webhook", _WEBHOOK, "failing open", foreign=(SPEAKERS,), own="upgrade-health-check"),
    _pattern("drain.budget", (JOBS, DRIVER), "disruption budget|PDB_|budget |DisruptionBudget", r"[Cc]annot evict pod as it would violate the pod's disruption budget|PDB_(?:DEADLOCK|NO_ROOM)|budget (?P<subject>\S+) (?:allows no|can never allow a) disruption|disruption budget (?P<refusing>\S+) (?:needs \d+ healthy pods|is still being processed)|more than one PodDisruptionBudget"),
    # A drain's own words about pods that no budget keeps (steps/drain_node.py, domain/drain.py).
    _pattern("drain.pod_stays", (DRIVER,), "DRAIN_BLOCKED", r"\[DRAIN_BLOCKED\][^\n]*?(?P<subject>[\w.-]+/[\w.-]+)(?:: has (?:emptyDir data|no controller)| \(is terminating\))"),
    _pattern("dns.failed", (KUBELET, RUNTIME, JOBS), "lookup |resolv", _LOOKUP, *_KUBEADM_GOES_ON, foreign=(KUBELET, RUNTIME), ours=rf"{OURS}|{_API}"),
    _pattern("dns.in_step", (JOBS, DRIVER), "lookup |resolv", _LOOKUP, *_KUBEADM_GOES_ON),
    _pattern("dpkg.locked", (JOBS,), "lock", r"Could not get lock (?P<subject>\S+?)\.? |Unable to (?:acquire the dpkg frontend lock|lock)|dpkg frontend lock was locked by another process", "Waiting for cache lock"),
    _pattern("dpkg.interrupted", (JOBS,), "dpkg", r"dpkg was interrupted, you must manually run|dpkg --configure -a failed"),
    _pattern("apt.signature", (JOBS,), "NO_PUBKEY|EXPKEYSIG|BADSIG|sign", r"NO_PUBKEY (?P<subject>\w+)|EXPKEYSIG (?P<key>\w+)|BADSIG|signatures? couldn't be verified|repository '(?P<url>[^']+)' is not signed|OpenPGP signature verification failed"),
    _pattern("oom.killed", (KERNEL, KUBELET), "Killed process|victim process|OOM killer|oom-kill", rf"Killed process \d+ \((?P<subject>{_PROCESSES})|victim process: (?P<victim>{_PROCESSES})|(?P<unit>kubelet|containerd)\.service: .*(?:OOM killer|oom-kill)"),
    # mm/oom_kill.c, dump_oom_summary: the cgroup says whose process it was. kubelet's names: …/pod<uid>/… or …-pod<uid>.slice/…
    _pattern("oom.of_ours", (KERNEL, KUBELET), "oom-kill:|OOM killer|oom-kill", rf"oom-kill:[^\n]{{0,600}}?task_memcg=[^,\n]{{0,300}}?(?:pod[0-9a-f]{{32}}(?![\w-])|/(?:kubelet|containerd)\.service)[^,\n]{{0,300}},task=(?P<subject>{_PROCESSES})|(?P<unit>kubelet|containerd)\.service: .*(?:OOM killer|oom-kill)"),
    _pattern("oom.of_others", (KERNEL,), "oom-kill:", rf"oom-kill:[^\n]{{0,600}}?task_memcg=[^,\n]{{0,300}}?pod[0-9a-f]{{8}}[-_][^,\n]{{0,300}},task=(?P<subject>{_PROCESSES})"),
    _pattern("boot.marker", (KUBELET, RUNTIME, JOBS), "-- Boot ", r"^-- Boot [0-9a-f]{32} --"),
    _pattern("kubeadm.foreign", (JOBS, DRIVER), "somebody else", r"somebody else is at it: kubeadm is run by (?P<subject>[^,]+)"),
    _pattern("kubelet.manifest_unread", (KUBELET,), "Could not process manifest|Unable to read config path", rf"Could not process manifest file[^\n]{{0,400}}?(?P<subject>/etc/kubernetes/manifests/(?:{_STATIC})\.yaml)(?![\w.~-])|Unable to read config path.*?(?P<path>/[^\s\"\\]+)"),
    # kubernetes/kubernetes#131164, containerd/containerd#7799. Every kubelet of 1.34 to 1.37 says of containerd 1.x that it has no RuntimeConfig,
    # and goes on: that counts only as its last word.
    _pattern("runtime.too_old", (KUBELET, JOBS), "CRI v1|runtime.v1", r"CRI v1 (?P<api>runtime|image) API is not implemented for endpoint|unknown service (?P<subject>runtime\.v1\.(?:RuntimeService|ImageService))|\] \"command failed\" [^\n]{0,400}unknown method RuntimeConfig", "alling back", foreign=(KUBELET,), ours=_KUBELETS_OWN),
    # client-go's words for HTTP 429; an eviction that a budget refuses is a 429, too.
    _pattern("api.too_many_requests", (JOBS, CONTROL_PLANE, KUBELET, DRIVER), "oo many requests|TooManyRequests", r"the server has received too many requests and has asked us to try again later|[Tt]oo many requests, please try again later", "disruption budget", "evict", foreign=(SPEAKERS, KUBELET), ours=_OUR_REQUESTS, own=_OUR_REQUESTS),
    # client-go asks again when it is told to (429, 503), until its own time is over; the API server itself writes nothing of that.
    _pattern("api.told_to_wait", (JOBS,), "client rate limiter Wait", r"could not create Job [^\n]{0,200}client rate limiter Wait returned an error"),
    # kubernetes/kubeadm#3287, #2997; etcd-io/etcd server/etcdserver/errors.go
    _pattern("etcd.member", (JOBS, APISERVER, ETCD), "learner|permanently removed|member count is unequal|already been bootstrapped", r"(?P<subject>can only promote a learner member which is in sync with leader|rpc not supported for learner|the member has been permanently removed from the cluster|member count is unequal|has already been bootstrapped)", "webhook", foreign=(ETCD, SPEAKERS), ours=r"\"level\":\"(?:fatal|panic)\""),
    # staging/src/k8s.io/apiserver/pkg/storage/cacher: a resource that cannot be listed never becomes ready.
    _pattern("apiserver.unservable", (APISERVER, JOBS), "ailed to list|ListAndWatch|unable to ", r"no kind \\*\"(?P<subject>\w+)\\*\" is registered for version|unable to transform key \\*\"(?P<key>/registry/[^\s\"\\]+)|couldn't get version/kind; json parse error|unable to decode (?P<object>/registry/[^\s\"\\]+)", "conversion webhook", foreign=(SPEAKERS,), own=rf"{_END}|[Ff]ailed to list \*(?!unstructured)\w+\.\w+: |unable to transform key|unable to decode /registry/"),
)  # fmt: skip

PATTERNS = (*SYMPTOMS, *CAUSES)
