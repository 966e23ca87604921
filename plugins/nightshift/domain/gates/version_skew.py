"""Gate: do all running versions fit together, now and after tonight's hop?

Rules are those of the Kubernetes version skew policy: API servers within one minor of each other,
controller-manager and scheduler at most one older and never newer than their API server, kubelets at most
three older and never newer. Versions mixed by an interrupted hop only warn: the hop is what heals them. Between two nodes of
a night mixed versions are what is expected, and pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from nightshift.domain.facts import NodeFacts
from nightshift.domain.gates.findings import Finding, conclude
from nightshift.domain.gates.hop import unknown_target
from nightshift.domain.policy import ClusterPolicy
from nightshift.domain.round import AnyTopic, Moment, Round
from nightshift.domain.target import CONTROL_PLANE_COMPONENTS, TargetChoice
from nightshift.domain.topics import COMPONENTS, NODES, TARGET
from nightshift.domain.verdicts import Outcome, Verdict
from nightshift.domain.versions import Version, component_skew_problem, kubelet_skew_problem

NAME = "version_skew"
TITLE = "Version skew"
NEEDS: tuple[AnyTopic, ...] = (NODES, COMPONENTS, TARGET)
WANTS: tuple[AnyTopic, ...] = ()
MOMENTS = frozenset({Moment.NIGHT, Moment.PLACE})

_API_SERVER = "kube-apiserver"


def check(round_: Round, policy: ClusterPolicy) -> Verdict:
    """Judge kubelets and control-plane components against the API servers and the target.

    Kubelets must still fit the API server of tonight's hop; without one only now counts.
    """
    kubelets, running, findings = _parse(round_.get(NODES), round_.get(COMPONENTS))
    api_servers = {node: found[_API_SERVER] for node, found in running.items() if _API_SERVER in found}
    if not api_servers:
        findings.append(_unknown("any API server", "no version"))
        return conclude(NAME, findings, passed="")
    findings.extend(_judge_control_plane(running, api_servers))
    target = round_.get(TARGET)
    findings.extend(_judge_kubelets(kubelets, api_servers, target))
    findings.extend(unknown_target(target) if target.is_hop else ())
    everything = [*kubelets.values(), *(v for found in running.values() for v in found.values())]
    oldest, newest = min(everything), max(everything)
    if oldest != newest and round_.moment is Moment.NIGHT:
        findings.append(_mixed(oldest, newest))
    return conclude(
        NAME,
        findings,
        passed=f"Everything runs {oldest}."
        if oldest == newest
        else f"Versions {oldest} to {newest} fit together.",
        value=f"{oldest}" if oldest == newest else f"{oldest} to {newest}",
        threshold="kubelet at most 3 minors older, others at most 1",
        evidence={node: {c: str(v) for c, v in found.items()} for node, found in running.items()},
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


def _skew(message: str) -> Finding:
    return Finding(
        Outcome.BLOCK,
        "VERSION_SKEW",
        message,
        "The Kubernetes version skew policy does not support this combination.",
        "Bring the odd one into range by hand (kubeadm upgrade node, then kubelet), one minor at a time.",
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
