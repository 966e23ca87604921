"""Gate: is anything in use that tonight's minor no longer bears?

Kubernetes and etcd take away flags, feature gates, kernels and old habits from minor to minor; a kubelet or an API
server that is started with one of them does not come up again. What is gone since which minor is data with a source
each (include/tables/version_killers.yaml). The entries are held against the kubelet's flags and configuration (its file
with the drop-ins of `--config-dir`, and what the running kubelet says of itself), the static-pod manifests, kubeadm's
configuration, kube-proxy, CoreDNS, etcd's versions, cgroups, kernel and container runtime of every node.

* **Blocks** when the target would not start, **warns** when it starts and complains, and when kubeadm-config pins etcd
  (`etcd.local.imageTag`), for kubeadm leaves it there.
* What `ignored_preflight_checks` lets pass is told with the verdict.
* What kubeadm itself cleans up on the way (`--pod-infra-container-image` in kubeadm-flags.env) is no finding.
* An etcd member's version is its image's tag; where that is missing or no version, what the member says of itself.
* **Blind** when an entry asks for etcd's version and nothing tells it, when an entry is about container runtimes and a node's
  is neither containerd nor CRI-O, and when a kubelet's configuration cannot be read or its file is missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from nightshift.domain.drift import shown
from nightshift.domain.facts import NodeProbe
from nightshift.domain.facts.etcd import ETCD
from nightshift.domain.facts.versions import (
    KILLERS,
    KUBEADM_CLUSTER,
    PLATFORM,
    Killer,
    KillerKind,
    KubeadmCluster,
    Platform,
)
from nightshift.domain.gates.findings import Finding, conclude
from nightshift.domain.gates.hop import unknown_target
from nightshift.domain.policy import ClusterPolicy
from nightshift.domain.quarantine import left_aside
from nightshift.domain.round import AnyTopic, Moment, NotRead, Round
from nightshift.domain.topics import COMPONENTS, CONFIGZ, NODES, PROBES, TARGET
from nightshift.domain.verdicts import Outcome, Verdict
from nightshift.domain.versions import parse_minor

NAME = "version_killers"
TITLE = "What the new minor no longer bears"
NEEDS = (TARGET, KILLERS, KUBEADM_CLUSTER, COMPONENTS, PROBES, PLATFORM, CONFIGZ, NODES)
WANTS: tuple[AnyTopic, ...] = (ETCD,)
MOMENTS = frozenset({Moment.NIGHT})

_NUMBERS = re.compile(r"\d+(?:\.\d+)*")
_GATES = "feature-gates"


@dataclass(frozen=True)
class _Flag:
    """A flag somewhere in the cluster."""

    component: str
    name: str
    value: str
    place: str  # of files: what `Killer.except_files` names
    where: str  # for people


@dataclass(frozen=True)
class _World:
    """Everything the entries are held against."""

    platforms: Mapping[str, Platform]
    cluster: KubeadmCluster
    etcd: Mapping[str, str]  # node -> image tag, or what the member says; "" = unknown
    etcd_pin: str  # the tag that kubeadm-config holds etcd at; "" = kubeadm's own
    flags: tuple[_Flag, ...]
    gates: tuple[_Flag, ...]  # one per gate: name and value are those of the gate


def check(round_: Round, policy: ClusterPolicy) -> Verdict:
    """Hold every entry that bites in tonight's minor against what is in use."""
    target = round_.get(TARGET)
    if not target.is_hop or target.minor is None:
        return conclude(NAME, unknown_target(target), passed="Nothing is upgraded tonight.")
    minor = target.minor
    biting = [k for k in round_.get(KILLERS) if bites(k, minor)]
    entries = [k for k in biting if not _is_ignored(k, policy)]
    world = _world(round_)
    findings = [
        _finding(entry, minor, found)
        for entry in entries
        for found in dict.fromkeys(_FINDERS[entry.kind](entry, world))
    ]
    if world.etcd_pin:
        findings.append(_pinned_etcd(world.etcd_pin))
    if any(entry.kind is KillerKind.ETCD for entry in entries):
        findings += [_unknown_etcd(node) for node, version in world.etcd.items() if not version]
    if any(entry.kind is KillerKind.RUNTIME for entry in entries):
        findings += [
            _unknown_runtime(node, minor) for node, p in world.platforms.items() if p.runtime is None
        ]
    aside = left_aside(round_, round_.get(NODES), policy.workers)
    findings += [
        _unknown_kubelet(node)
        for node, platform in world.platforms.items()
        if platform.kubelet_config is None and node not in aside
    ]
    ignored = _ignored(biting, world, policy)
    said = f" ignored_preflight_checks lets pass: {shown(ignored)}." if ignored else ""
    return conclude(
        NAME,
        findings,
        passed=f"Nothing in use is gone in {minor}; {len(entries)} entries were compared.{said}",
        value=f"{len(findings)} of {len(entries)} entries",
        evidence={
            **{name: _describe(platform) for name, platform in world.platforms.items()},
            **({"ignored": ignored} if ignored else {}),
        },
    )


def bites(killer: Killer, minor: str) -> bool:
    """Tell whether an entry says anything about this minor."""
    wanted = parse_minor(minor)
    return parse_minor(killer.since) <= wanted and (
        killer.until is None or wanted <= parse_minor(killer.until)
    )


def is_below(version: str, floor: str) -> bool:
    """Compare the numbers both versions begin with; a version that begins with none is below everything."""
    return _numbers(version) < _numbers(floor)


def _numbers(text: str) -> tuple[int, ...]:
    match = _NUMBERS.match(text.strip().removeprefix("v"))
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def _is_ignored(killer: Killer, policy: ClusterPolicy) -> bool:
    return killer.preflight is not None and killer.preflight in policy.ignored_preflight_checks


def _ignored(killers: Iterable[Killer], world: _World, policy: ClusterPolicy) -> list[str]:
    """What would be a finding, had the owner not told kubeadm to pass over its check."""
    return [
        f"{found} ({killer.preflight})"
        for killer in killers
        if _is_ignored(killer, policy)
        for found in dict.fromkeys(_FINDERS[killer.kind](killer, world))
    ]


def _world(round_: Round) -> _World:
    platforms, cluster = round_.by_node(PLATFORM), round_.get(KUBEADM_CLUSTER)
    flags = (
        *_kubelet_flags(platforms),
        *_manifest_flags(round_.by_node(PROBES)),
        *_kubeadm_flags(cluster),
    )
    etcd = _etcd_versions(round_)
    return _World(
        platforms,
        cluster,
        {} if cluster.external_etcd else etcd,
        "" if cluster.external_etcd else cluster.etcd_image[1],
        flags,
        (*_all_gates(flags, platforms, cluster), *_running_gates(platforms, round_.by_node(CONFIGZ))),
    )


def _etcd_versions(round_: Round) -> dict[str, str]:
    """By control plane, from the image's tag or else from the member; "" when neither tells it."""
    tags = round_.get(COMPONENTS)
    try:
        states = round_.by_node(ETCD)
    except NotRead:  # only asked where a tag is missing
        states = {}
    said = {node: state.status.version for node, state in states.items() if state.status is not None}
    names = sorted({*tags, *(node.name for node in round_.get(NODES) if node.is_control_plane)})
    return {node: _readable(tags.get(node, {}).get("etcd", "")) or said.get(node, "") for node in names}


def _readable(tag: str) -> str:
    return tag if _numbers(tag) else ""


def _kubelet_flags(platforms: Mapping[str, Platform]) -> Iterator[_Flag]:
    for node, platform in platforms.items():
        for flag in platform.kubelet_flags:
            yield _Flag("kubelet", flag.name, flag.value, flag.place, f"kubelet on {node} ({flag.place})")


def _manifest_flags(probes: Mapping[str, NodeProbe]) -> Iterator[_Flag]:
    for node, probe in probes.items():
        for entry in probe.manifests:
            for word in entry.command[1:]:
                name, _, value = word.lstrip("-").partition("=")
                if word.startswith("-"):
                    where = f"{entry.pod_name} on {node} ({entry.name})"
                    yield _Flag(entry.pod_name or "", name, value, entry.name, where)


def _kubeadm_flags(cluster: KubeadmCluster) -> Iterator[_Flag]:
    for component, flags in cluster.extra_args.items():
        for name, value in flags:
            yield _Flag(component, name, value, "kubeadm-config", f"{component} in kubeadm-config")


def _all_gates(
    flags: tuple[_Flag, ...], platforms: Mapping[str, Platform], cluster: KubeadmCluster
) -> Iterator[_Flag]:
    for flag in flags:
        if flag.name == _GATES:
            for name, value in _pairs(flag.value):
                yield _Flag(flag.component, name, value, flag.place, flag.where)
    for node, platform in platforms.items():
        for name, value in _gates_in(platform.kubelet_config):
            place = "config.yaml"
            yield _Flag("kubelet", name, value, place, f"kubelet on {node} ({place})")
    for name, value in cluster.kubelet_gates.items():
        yield _Flag("kubelet", name, value.lower(), "kubelet-config", "kubelet in ConfigMap kubelet-config")
    for name, value in cluster.proxy_gates.items():
        yield _Flag("kube-proxy", name, value.lower(), "kube-proxy", "kube-proxy's ConfigMap")


def _running_gates(
    platforms: Mapping[str, Platform], running: Mapping[str, Mapping[str, object]]
) -> Iterator[_Flag]:
    """The gates that a kubelet says it runs with and that no place we read tells of."""
    for node, configuration in running.items():
        platform = platforms.get(node)
        known = set(_gates_in(platform.kubelet_config)) if platform else set()
        for flag in platform.kubelet_flags if platform else ():
            known |= set(_pairs(flag.value)) if flag.name == _GATES else set()
        for name, value in _gates_in(configuration):
            if (name, value) not in known:
                where = f"kubelet on {node} (its running configuration)"
                yield _Flag("kubelet", name, value, "configz", where)


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """Names and values in the value of --feature-gates."""
    for pair in text.split(","):
        name, _, value = pair.strip().partition("=")
        yield name, value.lower()


def _gates_in(configuration: Mapping[str, object] | None) -> Iterator[tuple[str, str]]:
    """Names and values of the feature gates in a kubelet's configuration."""
    gates = (configuration or {}).get("featureGates")
    for name, value in gates.items() if isinstance(gates, Mapping) else ():
        yield str(name), str(value).lower()


def _flag(killer: Killer, world: _World) -> Iterator[str]:
    for flag in world.flags:
        known = not killer.components or flag.component in killer.components
        fits = killer.value is None or flag.value == killer.value
        named = any(re.fullmatch(name.replace("*", ".*"), flag.name) for name in killer.names)
        if known and fits and named and flag.place not in killer.except_files:
            yield f"Flag --{flag.name} of {flag.where}"


def _feature_gate(killer: Killer, world: _World) -> Iterator[str]:
    for gate in world.gates:
        known = not killer.components or gate.component in killer.components
        if known and gate.name in killer.names and killer.value in (None, gate.value):
            yield f"Feature gate {gate.name}={gate.value} of {gate.where}"


def _kubeadm_gate(killer: Killer, world: _World) -> Iterator[str]:
    for name, value in world.cluster.feature_gates.items():
        if name in killer.names and killer.value in (None, value.lower()):
            yield f"Feature gate {name}={value.lower()} of kubeadm itself in kubeadm-config"


def _kubeadm_api(killer: Killer, world: _World) -> Iterator[str]:
    version = world.cluster.api_version.rpartition("/")[2]
    if version in killer.names:
        yield f"kubeadm-config is written in {version}"


def _cgroup_v1(killer: Killer, world: _World) -> Iterator[str]:
    for node, platform in world.platforms.items():
        config = platform.kubelet_config or {}
        is_allowed = any(config.get(name) is False for name in killer.names)
        if platform.cgroup == "v1" and not is_allowed:
            yield f"Node {node} runs on cgroup v1"


def _kernel(killer: Killer, world: _World) -> Iterator[str]:
    for node, platform in world.platforms.items():
        series = ".".join(str(number) for number in _numbers(platform.kernel)[:2])
        if series not in killer.names and is_below(platform.kernel, killer.below or ""):
            yield f"Node {node} runs kernel {platform.kernel}"


def _runtime(killer: Killer, world: _World) -> Iterator[str]:
    for node, platform in world.platforms.items():
        if platform.runtime in killer.components and is_below(
            platform.runtime_version or "", killer.below or ""
        ):
            yield f"Node {node} runs {platform.runtime} {platform.runtime_version}"


def _etcd(killer: Killer, world: _World) -> Iterator[str]:
    for node, tag in world.etcd.items():
        if tag and is_below(tag, killer.below or ""):
            yield f"etcd on {node} is {tag.partition('-')[0]}"
    pin = _readable(world.etcd_pin)
    if pin and is_below(pin, killer.below or ""):
        yield f"etcd.local.imageTag in kubeadm-config is {pin.partition('-')[0]}"


def _coredns_version(killer: Killer, world: _World) -> Iterator[str]:
    version = world.cluster.coredns_version
    if version is not None and version not in killer.names:
        yield f"CoreDNS is {version}"


def _coredns_plugin(killer: Killer, world: _World) -> Iterator[str]:
    if world.cluster.coredns_version is not None:
        for plugin in corefile_plugins(world.cluster.corefile):
            if plugin not in killer.names:
                yield f"The Corefile uses the plugin {plugin}"


def corefile_plugins(text: str) -> tuple[str, ...]:
    """Names of the plugins in a Corefile's server blocks; `import` and snippets are none."""
    found: list[str] = []
    depth = 0
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if words and depth == 1 and words[0] not in ("}", "import"):
            found.append(words[0])
        depth += words.count("{") - words.count("}")
    return tuple(dict.fromkeys(found))


def _proxy_mode(killer: Killer, world: _World) -> Iterator[str]:
    if world.cluster.proxy_mode is not None and world.cluster.proxy_mode in killer.names:
        yield f"kube-proxy runs in mode {world.cluster.proxy_mode}"


_FINDERS: Mapping[KillerKind, Callable[[Killer, _World], Iterator[str]]] = {
    KillerKind.FLAG: _flag,
    KillerKind.FEATURE_GATE: _feature_gate,
    KillerKind.KUBEADM_GATE: _kubeadm_gate,
    KillerKind.KUBEADM_API: _kubeadm_api,
    KillerKind.CGROUP_V1: _cgroup_v1,
    KillerKind.KERNEL: _kernel,
    KillerKind.RUNTIME: _runtime,
    KillerKind.ETCD: _etcd,
    KillerKind.COREDNS_VERSION: _coredns_version,
    KillerKind.COREDNS_PLUGIN: _coredns_plugin,
    KillerKind.PROXY_MODE: _proxy_mode,
}


def _finding(killer: Killer, minor: str, found: str) -> Finding:
    blocks = killer.outcome == "block"
    return Finding(
        Outcome.BLOCK if blocks else Outcome.WARN,
        "VERSION_KILLER" if blocks else "VERSION_DEPRECATED",
        f"{found}: {killer.message} (Kubernetes {minor}, entry {killer.name}).",
        f"Kubernetes changed this in {killer.since}: {killer.source}",
        killer.remedy,
        value=found,
        threshold=killer.below or killer.since,
    )


def _pinned_etcd(tag: str) -> Finding:
    return Finding(
        Outcome.WARN,
        "ETCD_PINNED",
        f"kubeadm-config holds etcd at {tag} (etcd.local.imageTag), so the upgrade does not bring the etcd of the new minor.",
        "Somebody set the tag in ConfigMap kubeadm-config, for an etcd that kubeadm did not bring at that time.",
        "When it is no longer needed, take etcd.local.imageTag out (kubectl -n kube-system edit configmap kubeadm-config); "
        "who keeps it, upgrades etcd himself from now on.",
        value=tag,
        threshold="kubeadm's own",
    )


def _unknown_etcd(node: str) -> Finding:
    return Finding(
        Outcome.BLIND,
        "VERSION_UNKNOWN",
        f"The version of etcd on {node} could not be told.",
        "Its pod is absent from the API or its image has no tag that is a version, and the member itself did not answer.",
        "Look at the etcd pod's image tag in kube-system, and whether the member answers.",
        value="unknown",
        threshold="known on every control plane",
    )


def _unknown_runtime(node: str, minor: str) -> Finding:
    return Finding(
        Outcome.BLIND,
        "RUNTIME_UNKNOWN",
        f"Which container runtime {node} runs is not known, and Kubernetes {minor} does not bear old ones.",
        "Neither containerd's nor CRI-O's socket is in its usual place under /run.",
        f"Start the runtime of {node}, or read in its documentation whether its version is good for {minor}; overrule the gate then.",
    )


def _unknown_kubelet(node: str) -> Finding:
    return Finding(
        Outcome.BLIND,
        "KUBELET_CONFIG_UNREADABLE",
        f"The file that configures the kubelet of {node} is missing, so it is not known how the next one would start.",
        "/var/lib/kubelet/config.yaml was taken away, or --config of the kubelet names a file that is not there.",
        "Bring the file back (kubeadm upgrade node phase kubelet-config), then ask again.",
        value="missing",
        threshold="there",
    )


def _describe(platform: Platform) -> dict[str, str]:
    runtime = f"{platform.runtime} {platform.runtime_version}" if platform.runtime else "unknown"
    return {"cgroup": platform.cgroup, "kernel": platform.kernel, "runtime": runtime}
