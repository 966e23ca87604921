"""The sizes of the target's images, asked by one control-plane node through the mirror that its runtime uses."""

from __future__ import annotations

from dataclasses import replace

from nightshift.clients.questions.images import layers_of
from nightshift.clients.questions.kubeadm_cluster import KUBEADM_CLUSTER_QUESTION
from nightshift.clients.tables import load_pins
from nightshift.domain.errors import NightshiftError
from nightshift.domain.facts import NodeFacts
from nightshift.domain.facts.images import TargetImage, TargetImages
from nightshift.domain.facts.versions import DEFAULT_REGISTRY, KubeadmCluster
from nightshift.domain.gates.supply import target_images
from nightshift.domain.target import TargetChoice
from nightshift.domain.target_images import ALL_NAMES, images_of
from nightshift.domain.topics import TARGET
from nightshift.steps.look.gathering import Seen
from nightshift.steps.session import Session

_ARCHITECTURE = "kubernetes.io/arch"  # label of every Node
_STOCK = KubeadmCluster("", coredns_version="")  # nothing is set, and CoreDNS of some version is kubeadm's


def read_target_images(session: Session, seen: Seen) -> TargetImages:
    """All images of the target; where nobody tells a size, recorded ones stand in and the reason is kept."""
    images, doubt = _names(session, seen.find(TARGET))
    asker = next((n for n in seen.nodes if n.is_control_plane and n.is_ready), None)
    if asker is None:
        return TargetImages(images, _join(doubt, "no control-plane node is Ready to ask the registry"))
    try:
        found = _with_sizes(session, asker, images)
    except NightshiftError as error:
        session.log(f"{asker.name}: {error}")
        found = TargetImages(images, f"{asker.name} could not ask the registry: {error.message}")
    return replace(found, problem=_join(doubt, found.problem))


def _names(session: Session, target: TargetChoice | None) -> tuple[tuple[TargetImage, ...], str]:
    """The images as the gate supply names them, and why these names may be wrong ("" when they are kubeadm's)."""
    if target is None or target.version is None:
        return images_of((), ALL_NAMES, session.policy.probe_image), ""
    try:
        cluster, doubt = session.kube.ask(KUBEADM_CLUSTER_QUESTION), ""
    except NightshiftError as error:
        session.log(str(error))
        cluster = _STOCK
        doubt = f"kubeadm's configuration could not be read ({error.message}), images of {DEFAULT_REGISTRY} are assumed"
    references, untagged = target_images(target.version, cluster, load_pins())
    return images_of(references, untagged, session.policy.probe_image), doubt


def _join(*problems: str) -> str:
    return "; ".join(problem for problem in problems if problem)


def _with_sizes(session: Session, asker: NodeFacts, images: tuple[TargetImage, ...]) -> TargetImages:
    port = session.on(asker)
    references = [image.reference for image in images if image.reference is not None]
    layers, problems = layers_of(port.image_manifests, references, asker.labels.get(_ARCHITECTURE, "amd64"))
    unknown = [image.name for image in images if image.reference is None]
    if unknown:
        problems[", ".join(unknown)] = "their tags are not known"
    for image, problem in problems.items():
        session.log(f"{image}: {problem}; its recorded size counts")
    return TargetImages(
        tuple(replace(image, layers=layers.get(image.reference or "")) for image in images),
        "; ".join(f"{image}: {problem}" for image, problem in problems.items()),
    )
