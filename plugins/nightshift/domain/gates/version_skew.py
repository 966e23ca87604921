"""Gate: do all running versions fit together, now and after tonight's hop?

Rules are those of the Kubernetes version skew policy: API servers within one minor of each other,
controller-manager and scheduler at most one older and never newer than their API server, kubelets at most
three older and never newer, kube-proxy at most three older than the API server and never newer, and at most three minors
from the kubelet beside it (https://kubernetes.io/releases/version-skew-policy/). Kubelets and kube-proxy are held against the
newest API server: while a hop is unfinished some are ahead of the oldest. Versions mixed by an interrupted hop only warn: the
hop is what heals them. Between two nodes of a night mixed versions are what is expected, and pass.

kube-proxy is what DaemonSet kube-system/kube-proxy wants and what its pods were made with; a cluster without it (its CNI does
that work) lacks nothing, and so does a node that runs none. A tag that is no version is blind, as of every other component.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from nightshift.domain.facts import NodeFacts
from nightshift.domain.facts.versions import KUBE_PROXY, KubeProxy
from nightshift.domain.gates.findings import Finding, conclude
from nightshift.domain.gates.hop import unknown_target
from nightshift.domain.policy import ClusterPolicy
from nightshift.domain.round import AnyTopic, Moment, Round
from nightshift.domain.target import CONTROL_PLANE_COMPONENTS, TargetChoice
from nightshift.domain.topics import COMPONENTS, NODES, TARGET
from nightshift.domain.verdicts import Outcome, Verdict
from nightshift.domain.versions import (
    Version,
    component_skew_problem,
    kubelet_skew_problem,
    proxy_kubelet_skew_problem,
    proxy_skew_problem,
)

NAME = "version_skew"
TITLE = "Version skew"
NEEDS: tuple[AnyTopic, ...] = (NODES, COMPONENTS, KUBE_PROXY, TARGET)
WANTS: tuple[AnyTopic, ...] = ()
MOMENTS = frozenset({Moment.NIGHT, Moment.PLACE})

_API_SERVER = "kube-apiserver"
_DAEMON_SET = "DaemonSet kube-system/kube-proxy"
_REMEDY = "Bring the odd one into range by hand (kubeadm upgrade node, then kubelet), one minor at a time."
_PROXY_REMEDY = (
    "Set the image of DaemonSet kube-system/kube-proxy to a version in range (kubectl -n kube-system set image "
    "daemonset/kube-proxy kube-proxy=IMAGE), and see that all its pods follow (kubectl -n kube-system rollout status)."
)


def check(round_: Round, policy: ClusterPolicy) -> Verdict:
    """Judge kubelets, kube-proxy and control-plane components against the API servers and the target.

    Kubelets and kube-proxy must still fit the API server of tonight's hop; without one only now counts.
    """
    kubelets, running, findings = _parse(round_.get(NODES), round_.get(COMPONENTS))
    proxies, unread = _parse_proxies(round_.get(KUBE_PROXY))
    findings.extend(unread)
    api_servers = {node: found[_API_SERVER] for node, found in running.items() if _API_SERVER in found}
    if not api_servers:
        findings.append(_unknown("any API server", "no version"))
        return conclude(NAME, findings, passed="")
    findings.extend(_judge_control_plane(running, api_servers))
    target = round_.get(TARGET)
    findings.extend(_judge_kubelets(kubelets, api_servers, target))
    findings.extend(_judge_proxies(proxies, kubelets, api_servers, target))
    findings.extend(unknown_target(target) if target.is_hop else ())
    everything = [*kubelets.values(), *(v for found in running.values() for v in found.values())]
    oldest, newest = min(everything), max(everything)
    if oldest != newest and round_.moment is Moment.NIGHT:
        findings.append(_mixed(oldest, newest))
    # Not among what is called mixed: a kube-proxy that kubeadm does not look after is not brought along by the hop.
    oldest, newest = min([oldest, *proxies.values()]), max([newest, *proxies.values()])
    return conclude(
        NAME,
        findings,
        passed=f"Everything runs {oldest}."
        if oldest == newest
        else f"Versions {oldest} to {newest} fit together.",
        value=f"{oldest}" if oldest == newest else f"{oldest} to {newest}",
        threshold="kubelet and kube-proxy at most 3 minors older, others at most 1",
        evidence={
            **{node: {c: str(v) for c, v in found.items()} for node, found in running.items()},
            "kube-proxy": sorted({str(version) for version in proxies.values()}),
        },
    )


def _parse(
    nodes: Sequence[NodeFacts], components: Mapping[str, Mapping[str, str]]
) -> tuple[dict[str, Version], dict[str, dict[str, Version]], list[Finding]]:
    """Read all versions; whatever cannot be read is a blind finding."""
    kubelets: dict[str, Version] = {}
    running: dict[str, dict[str, Version]] = {}
    findings: list[Finding] = []
    for node in nodes:
        wanted = {"kubelet": node.kubelet_version}
        if node.is_control_plane:
            found = components.get(node.name, {})
            wanted.update({name: found.get(name, "") for name in CONTROL_PLANE_COMPONENTS})
        for name, text in wanted.items():
            try:
                version = Version.parse(text)
            except ValueError:
                findings.append(_unknown(f"{name} on {node.name}", text or "nothing"))
                continue
            if name == "kubelet":
                kubelets[node.name] = version
            else:
                running.setdefault(node.name, {})[name] = version
    return kubelets, running, findings


def _parse_proxies(proxy: KubeProxy) -> tuple[dict[str, Version], list[Finding]]:
    """What the DaemonSet wants and what each node's pod is, by where it stands."""
    said = {**({} if proxy.wanted is None else {_DAEMON_SET: proxy.wanted}), **proxy.running}
    proxies: dict[str, Version] = {}
    findings: list[Finding] = []
    for where, text in said.items():
        try:
            proxies[where] = Version.parse(text)
        except ValueError:
            if where == _DAEMON_SET or text != proxy.wanted:  # said once, and not once for each node
                findings.append(_unknown(_proxy_of(where), text or "nothing"))
    return proxies, findings


def _proxy_of(where: str) -> str:
    return f"kube-proxy {'in' if where == _DAEMON_SET else 'on'} {where}"


def _judge_control_plane(
    running: Mapping[str, Mapping[str, Version]], api_servers: Mapping[str, Version]
) -> Iterator[Finding]:
    oldest, newest = min(api_servers.values()), max(api_servers.values())
    if newest.minors_ahead_of(oldest) > 1:
        yield _skew(f"API servers run {oldest} and {newest}: more than one minor apart.")
    for node, found in running.items():
        for name, version in found.items():
            if name == _API_SERVER or node not in api_servers:
                continue
            problem = component_skew_problem(name, version, api_servers[node])
            if problem:
                yield _skew(f"On {node}, {problem}.")


def _judge_kubelets(
    kubelets: Mapping[str, Version], api_servers: Mapping[str, Version], target: TargetChoice
) -> Iterator[Finding]:
    """Compare with the newest API server: in an unfinished hop the first kubelet is ahead of others."""
    newest = max(api_servers.values())
    after = Version.parse(target.version) if target.version else newest
    for node, kubelet in kubelets.items():
        problem = kubelet_skew_problem(kubelet, newest)
        if problem:
            yield _skew(f"On {node}, {problem}.")
            continue
        problem = kubelet_skew_problem(kubelet, max(after, newest))
        if problem:
            yield _skew(f"On {node}, after tonight's hop {problem}.")


def _judge_proxies(
    proxies: Mapping[str, Version],
    kubelets: Mapping[str, Version],
    api_servers: Mapping[str, Version],
    target: TargetChoice,
) -> Iterator[Finding]:
    """Compare with the newest API server, now and tonight's, then with the kubelet beside it."""
    newest = max(api_servers.values())
    after = max(newest, Version.parse(target.version) if target.version else newest)
    for where, proxy in proxies.items():
        problem = proxy_skew_problem(proxy, newest)
        if not problem and (later := proxy_skew_problem(proxy, after)):
            problem = f"after tonight's hop {later}"
        if problem and where != _DAEMON_SET and proxy == proxies.get(_DAEMON_SET):
            continue  # said of the DaemonSet, and not once for each node
        if not problem and where in kubelets:
            problem = proxy_kubelet_skew_problem(proxy, kubelets[where])
        if problem:
            yield _skew(f"{'In' if where == _DAEMON_SET else 'On'} {where}, {problem}.", _PROXY_REMEDY)


def _skew(message: str, resolution: str = _REMEDY) -> Finding:
    return Finding(
        Outcome.BLOCK,
        "VERSION_SKEW",
        message,
        "The Kubernetes version skew policy does not support this combination.",
        resolution,
    )


def _mixed(oldest: Version, newest: Version) -> Finding:
    return Finding(
        Outcome.WARN,
        "VERSIONS_MIXED",
        f"Versions are mixed, {oldest} to {newest}.",
        "An earlier upgrade was interrupted or nodes are still waiting for their turn.",
        "Nothing: tonight's hop brings them together.",
        value=f"{oldest} to {newest}",
    )


def _unknown(subject: str, said: str) -> Finding:
    return Finding(
        Outcome.BLIND,
        "VERSION_UNKNOWN",
        f"The running version of {subject} could not be told (read: {said}).",
        "The pod or node is absent from the API, or its version is no Kubernetes release.",
        "Look at the pod's image tag in kube-system and at kubectl get nodes.",
    )
