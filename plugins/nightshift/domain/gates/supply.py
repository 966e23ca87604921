"""Gate: is everything there that tonight will download?

Asked from one control-plane node, with its own keyring, proxies and registry mirrors: the package repository of the
target's minor (does it answer, is it signed by the key this node trusts), the exact packages and what they depend on, and
the manifest of every image of the target. It blocks on a wrong signature, a missing package or image, when apt would not install them, and on a
kubeadm that is newer than the target; no answer is blind, and so is a kubeadm whose version is that of no release. The tags
of etcd, CoreDNS and pause are known before the target's own kubeadm is there only for the releases in
include/tables/releases.yaml; of others they are not asked for, which warns (staging finds out, before anything is changed).
A registry that wants a login warns:
only the container runtime has it. It blocks, too, when apt would fetch something else on the way (a dependency) that is held on
a node to be upgraded: the installation would change it and lose the hold. The holds on kubeadm, kubelet, kubectl,
kubernetes-cni and cri-tools are no such thing: an upgrade takes them off and sets the same ones again. Any other hold is the owner's and stays. An image that every node that needs it has already counts as found: nobody fetches it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from nightshift.domain.facts import NodeProbe
from nightshift.domain.facts.images import NODE_IMAGES
from nightshift.domain.facts.packages import LIFTED_HOLDS, PACKAGES
from nightshift.domain.facts.supply import SUPPLY, ReleasePins, Supplied, SupplyFacts, SupplyItem
from nightshift.domain.facts.versions import DEFAULT_REGISTRY, KubeadmCluster
from nightshift.domain.gates.findings import Finding, conclude
from nightshift.domain.gates.hop import unknown_target
from nightshift.domain.policy import ClusterPolicy
from nightshift.domain.round import AnyTopic, Moment, NotRead, Round
from nightshift.domain.target import TargetChoice
from nightshift.domain.target_images import is_everywhere
from nightshift.domain.topics import NODES, PROBES, TARGET
from nightshift.domain.verdicts import Outcome, Verdict
from nightshift.domain.versions import Version

NAME = "supply"
TITLE = "Packages and images"
NEEDS: tuple[AnyTopic, ...] = (TARGET, SUPPLY, PROBES)
WANTS: tuple[AnyTopic, ...] = (NODES, NODE_IMAGES, PACKAGES)
MOMENTS = frozenset({Moment.NIGHT})

_NODES_NAMED = 5  # in one sentence
_KUBERNETES_IMAGES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy")


def check(round_: Round, policy: ClusterPolicy) -> Verdict:
    """Judge what the repository and the registry answered."""
    target, supply = round_.get(TARGET), _with_present(round_.get(SUPPLY), round_)
    # A repository that is not to be trusted is often why there is no target, and says more.
    findings = list(_judge_repositories(supply)) or unknown_target(target)
    if not target.is_hop or target.version is None:
        return conclude(NAME, findings, passed="Nothing is upgraded tonight.")
    # A kubeadm that is too new is why apt refuses, and says more.
    findings += _judge_kubeadm(round_.by_node(PROBES), Version.parse(target.version))
    findings += [*_judge_packages(supply), *_judge_holds(supply, _held(round_, target))]
    findings += [*_judge_images(supply), *_judge_unasked(supply, target.version)]
    findings = findings or list(_judge_unspoken(supply))
    found = sum(item.state is Supplied.FOUND for item in supply.items)
    return conclude(
        NAME,
        findings,
        passed=f"All {found} packages and images of {target.version} are there, signed by the key {supply.node} trusts.",
        value=f"{found} of {len(supply.items)}",
        threshold=f"{len(supply.items)} of {len(supply.items)}",
        evidence={
            "asked_from": supply.node,
            "not_asked": list(supply.unasked),
            "answers": [f"{i.kind} {i.name}: {i.state.value}" for i in supply.items],
        },
    )


def target_images(
    version: str, cluster: KubeadmCluster, pins: Sequence[ReleasePins]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The images kubeadm of this release will ask for, and the names of those whose tags nobody knows yet.

    Args:
        version: the target, "1.35.4".
        cluster: kubeadm's configuration: repositories and the owner's own tags.
        pins: the table of what kubeadm asks for beside Kubernetes' own images.
    """
    base = cluster.image_repository
    images = [f"{base}/{name}:v{version}" for name in _KUBERNETES_IMAGES]
    known = _pins_of(version, pins)
    etcd_base, etcd_tag = cluster.etcd_image
    dns_base, dns_tag = cluster.dns_image
    wanted = {
        "coredns": (_coredns_name(dns_base or base), dns_tag or (known.coredns if known else "")),
        "pause": (f"{base}/pause", known.pause if known else ""),
    }
    if not cluster.external_etcd:
        wanted["etcd"] = (f"{etcd_base or base}/etcd", etcd_tag or (known.etcd if known else ""))
    if cluster.coredns_version is None:
        del wanted["coredns"]
    images += [f"{name}:{tag}" for name, tag in wanted.values() if tag]
    return tuple(images), tuple(sorted(name for name, (_, tag) in wanted.items() if not tag))


def _with_present(supply: SupplyFacts, round_: Round) -> SupplyFacts:
    """The same answers; an image that is on every node that needs it is found, whatever its registry said."""
    items = (
        replace(item, state=Supplied.FOUND, detail="on every node that needs it")
        if item.kind == "image" and _is_present(item.name, round_)
        else item
        for item in supply.items
    )
    return replace(supply, items=tuple(items))


def _is_present(image: str, round_: Round) -> bool:
    try:
        present = round_.by_node(NODE_IMAGES)
    except NotRead:
        return False
    needing = [n.name for n in round_.find(NODES) or () if n.is_control_plane or is_everywhere(image)]
    return bool(needing) and all(name in present and image in present[name].images for name in needing)


def _coredns_name(repository: str) -> str:
    """In the default registry, and only there, kubeadm looks for CoreDNS one level deeper."""
    return f"{repository}/coredns/coredns" if repository == DEFAULT_REGISTRY else f"{repository}/coredns"


def _pins_of(version: str, pins: Sequence[ReleasePins]) -> ReleasePins | None:
    wanted = Version.parse(version)
    return next((p for p in pins if Version.parse(p.first) <= wanted <= Version.parse(p.last)), None)


def _judge_repositories(supply: SupplyFacts) -> Iterator[Finding]:
    for item in _of("repository", supply):
        if item.state is Supplied.REFUSED:
            yield Finding(
                Outcome.BLOCK,
                "REPOSITORY_REFUSED",
                f"The package repository of {item.name} is not signed by the key that {supply.node} trusts: {item.detail}",
                "Its key was renewed, or what answers is not the repository.",
                "Compare the repository's Release.key with the keyring of the node's source; renew the keyring on all nodes "
                "only when you know why it changed.",
                value="wrong signature",
                threshold="signed",
            )
        elif item.state is Supplied.AWAY:
            yield _silent(supply.node, f"The package repository of {item.name}", item)
        elif item.state is Supplied.MISSING:
            yield _missing_package(f"The package repository has no minor {item.name}", item)


def _judge_unspoken(supply: SupplyFacts) -> Iterator[Finding]:
    """Of each kind something is asked for; an answer without it is none."""
    for kind in ("repository", "package", "image"):
        if not any(item.kind == kind for item in supply.items):
            yield Finding(
                Outcome.BLIND,
                "SUPPLY_SILENT",
                f"The answer of {supply.node} says nothing about any {kind}.",
                "Its scripts are not those of this version, or its answer was cut off.",
                f"Enrol {supply.node} again, then ask again.",
            )


def _judge_packages(supply: SupplyFacts) -> Iterator[Finding]:
    for item in _of("package", supply):
        if item.state is Supplied.MISSING:
            yield _missing_package(f"Package {item.name} cannot be downloaded", item)
        elif item.state is Supplied.REFUSED:
            yield _refused_package(supply.node, item)
        elif item.state is not Supplied.FOUND:
            yield _silent(supply.node, f"Package {item.name}", item)


def _held(round_: Round, target: TargetChoice) -> dict[str, list[str]]:
    """Node to be upgraded -> what is held there and no installation of ours takes off; unread holds make `packages` blind."""
    try:
        health = round_.by_node(PACKAGES)
    except NotRead:
        return {}
    asked = {n: h for n, h in health.items() if not target.nodes_behind or n in target.nodes_behind}
    names = {node: {name.partition(":")[0] for name in health.held} for node, health in asked.items()}
    return {node: sorted(held - LIFTED_HOLDS) for node, held in sorted(names.items())}


def _judge_holds(supply: SupplyFacts, held: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    """What apt would fetch beside the packages themselves (those are named with their version), and somebody holds."""
    for name in dict.fromkeys(item.name for item in _of("package", supply)):
        nodes = [node for node, names in held.items() if name in names]
        if nodes:
            where = ", ".join(nodes[:_NODES_NAMED])
            more = len(nodes) - _NODES_NAMED
            where += f" and {more} more" if more > 0 else ""
            yield Finding(
                Outcome.BLOCK,
                "PACKAGE_HELD",
                f"{name} is held on {where}, and apt on {supply.node} would change it together with kubeadm and kubelet.",
                "The target's packages depend on another version of it; its hold is none that an upgrade takes off.",
                f"Ask who holds it, and why; then sudo apt-mark unhold {name} on {where}. A node that has the version "
                "already needs nothing changed: there an override of this finding is right.",
                value=f"held on {len(nodes)} nodes",
                threshold="not held",
            )


def _judge_images(supply: SupplyFacts) -> Iterator[Finding]:
    for item in _of("image", supply):
        if item.state is Supplied.MISSING:
            yield Finding(
                Outcome.BLOCK,
                "IMAGE_MISSING",
                f"Image {item.name} is not in its registry ({item.detail}).",
                "It was never pushed or mirrored there, or was deleted.",
                "Make the image available under exactly that name, then ask again.",
                value="missing",
                threshold="there",
            )
        elif item.state is Supplied.REFUSED:
            yield Finding(
                Outcome.WARN,
                "IMAGE_UNCHECKED",
                f"Whether image {item.name} is there is not known: its registry wants a login ({item.detail}).",
                "Only the container runtime has the login.",
                f"Nothing, when the runtime may pull it: staging tries before anything is changed. Else log in on {supply.node}.",
            )
        elif item.state is Supplied.AWAY:
            yield _silent(supply.node, f"The registry of image {item.name}", item)


def _judge_unasked(supply: SupplyFacts, version: str) -> Iterator[Finding]:
    if supply.unasked:
        yield Finding(
            Outcome.WARN,
            "IMAGE_UNASKED",
            f"Whether the images of {', '.join(supply.unasked)} are there is not known: with which tags kubeadm {version} asks "
            "for them is not known yet.",
            "include/tables/releases.yaml does not list this release.",
            "Nothing: staging pulls them before anything is changed. A registry of your own must have what "
            f"`kubeadm config images list --kubernetes-version {version}` names.",
            value=f"{len(supply.unasked)} not asked for",
            threshold="all asked for",
        )


def _judge_kubeadm(probes: Mapping[str, NodeProbe], target: Version) -> Iterator[Finding]:
    for node, probe in probes.items():
        if probe.kubeadm_version is None:
            continue  # staging brings the right one
        try:
            installed = Version.parse(probe.kubeadm_version)
        except ValueError:
            yield _unreadable(node, probe.kubeadm_version, target)
            continue
        if installed > target:
            yield Finding(
                Outcome.BLOCK,
                "KUBEADM_TOO_NEW",
                f"kubeadm on {node} is {installed}, newer than the target {target}.",
                "Somebody installed it by hand; apt does not go back by itself, and kubeadm upgrades only to its own minor.",
                f"Install kubeadm of the running version on {node} again (apt-get install --allow-downgrades), or aim at {installed}.",
                value=str(installed),
                threshold=str(target),
            )


def _unreadable(node: str, said: str, target: Version) -> Finding:
    return Finding(
        Outcome.BLIND,
        "KUBEADM_UNREADABLE",
        f"kubeadm on {node} {f'says that it is {said!r}, which is no release' if said else 'does not say its version'}: "
        f"whether it is newer than {target} is not known.",
        "A pre-release or a build of its own was installed by hand (apt does not go back by itself), or it does not start.",
        f"Install kubeadm of the running version on {node} from the package repository.",
        value=said or "no version",
        threshold=f"a release up to {target}",
    )


def _of(kind: str, supply: SupplyFacts) -> Iterator[SupplyItem]:
    return (item for item in supply.items if item.kind == kind)


def _missing_package(what: str, item: SupplyItem) -> Finding:
    return Finding(
        Outcome.BLOCK,
        "PACKAGE_MISSING",
        f"{what}: {item.detail}",
        "The repository answers and does not have it; a mirror may be copied half way.",
        "Publish or mirror it, or choose another target, then ask again.",
        value="missing",
        threshold="there",
    )


def _refused_package(node: str, item: SupplyItem) -> Finding:
    return Finding(
        Outcome.BLOCK,
        "PACKAGE_REFUSED",
        f"apt on {node} would not install {item.name}: {item.detail}",
        "What the node already has stands in the way: a newer package, one that would have to be removed, a dependency "
        "that is not met.",
        f"On {node}: apt-get check and dpkg -l kubeadm kubelet kubectl kubernetes-cni show it; put it right, then ask again.",
        value="refused",
        threshold="can be installed",
    )


def _silent(node: str, what: str, item: SupplyItem) -> Finding:
    return Finding(
        Outcome.BLIND,
        "SUPPLY_SILENT",
        f"{what} gave no answer to {node}: {item.detail}",
        "It is down, or the network or a proxy is in between.",
        f"Ask it by hand from {node} with curl; the night stays closed until it answers.",
    )
