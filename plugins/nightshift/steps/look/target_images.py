"""The sizes of the target's images, asked by one control-plane node through the mirror that its runtime uses."""

from __future__ import annotations

from dataclasses import replace

from nightshift.clients.questions.images import layers_of
from nightshift.domain.errors import NightshiftError
from nightshift.domain.facts import NodeFacts
from nightshift.domain.facts.images import TargetImage, TargetImages
from nightshift.domain.target import TargetChoice
from nightshift.domain.target_images import DEFAULT_REPOSITORY, images_of
from nightshift.domain.topics import TARGET
from nightshift.steps.look.gathering import Seen
from nightshift.steps.session import Session

_ARCHITECTURE = "kubernetes.io/arch"  # label of every Node


def read_target_images(session: Session, seen: Seen) -> TargetImages:
    """All images of the target; where nobody tells a size, recorded ones stand in and the reason is kept."""
    target: TargetChoice | None = seen.find(TARGET)
    try:
        repository = session.kube.kubeadm_config().get("imageRepository") or DEFAULT_REPOSITORY
    except NightshiftError as error:
        session.log(str(error))
        repository = DEFAULT_REPOSITORY
    images = images_of(target.version if target else None, repository, session.policy.probe_image)
    asker = next((n for n in seen.nodes if n.is_control_plane and n.is_ready), None)
    if asker is None:
        return TargetImages(images, "no control-plane node is Ready to ask the registry")
    try:
        return _with_sizes(session, asker, images)
    except NightshiftError as error:
        session.log(f"{asker.name}: {error}")
        return TargetImages(images, f"{asker.name} could not ask the registry: {error.message}")


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
