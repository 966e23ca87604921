"""What a node has of images, and what a registry says about them (OCI distribution and image specifications)."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nightshift.clients.questions import NodeQuestion
from nightshift.domain.facts.images import NodeImages

Ask = Callable[[Sequence[str]], Mapping[str, tuple[int, str]]]


def parse_node_images(text: str) -> NodeImages:
    """Read the section `images`: lines `image|blob|packages TAB value`.

    Raises:
        ValueError: a line is not understood.
    """
    found: dict[str, set[str]] = {"image": set(), "blob": set(), "packages": set()}
    for line in text.splitlines():
        kind, _, value = line.partition("\t")
        if kind not in found or not value:
            raise ValueError(f"not a line about images: {line[:200]!r}")
        found[kind].add(value)
    return NodeImages(frozenset(found["image"]), frozenset(found["blob"]), frozenset(found["packages"]))


def parse_manifests(text: str) -> dict[str, tuple[int, str]]:
    """Read the verb `image-manifests`: lines `IMAGE TAB HTTP status TAB base64`.

    Raises:
        ValueError: a line is not understood.
    """
    answers = {}
    for line in text.splitlines():
        image, status, encoded = line.split("\t")
        try:
            answers[image] = (int(status), base64.b64decode(encoded, validate=True).decode(errors="replace"))
        except binascii.Error as error:
            raise ValueError(f"not base64: {encoded[:40]!r}") from error
    return answers


def layers_of(
    ask: Ask, images: Sequence[str], architecture: str
) -> tuple[dict[str, dict[str, int]], dict[str, str]]:
    """Ask for each image's layers (digest -> bytes as downloaded); second answer: image -> why they are not known.

    An index is followed to the manifest of this architecture: two rounds of questions at most.
    """
    layers: dict[str, dict[str, int]] = {}
    problems: dict[str, str] = {}
    followed: dict[str, str] = {}  # reference by digest -> image
    for image, answer in _answers(ask, images).items():
        try:
            document = _document(answer)
            if "manifests" in document:
                name, _, _ = image.rpartition(":")
                followed[f"{name}@{_digest_for(document, architecture)}"] = image
            else:
                layers[image] = _sizes(document)
        except ValueError as error:
            problems[image] = str(error)
    for reference, answer in _answers(ask, list(followed)).items():
        try:
            layers[followed[reference]] = _sizes(_document(answer))
        except ValueError as error:
            problems[followed[reference]] = str(error)
    return layers, problems


def _answers(ask: Ask, images: Sequence[str]) -> dict[str, tuple[int, str]]:
    """Exactly one answer for each; one that was left out is no answer."""
    answers = ask(images) if images else {}
    return {image: answers.get(image, (0, "")) for image in images}


def _document(answer: tuple[int, str]) -> dict[str, Any]:
    status, body = answer
    if status != 200:
        raise ValueError(f"the registry answers {status}" if status else "no registry answers")
    document = json.loads(body)
    if not isinstance(document, dict):
        raise ValueError("the registry's answer is no manifest")
    return document


def _digest_for(index: Mapping[str, Any], architecture: str) -> str:
    for entry in index["manifests"]:
        platform = entry.get("platform") or {}
        if platform.get("os") == "linux" and platform.get("architecture") == architecture:
            return str(entry["digest"])
    raise ValueError(f"the registry has it not for linux/{architecture}")


def _sizes(manifest: Mapping[str, Any]) -> dict[str, int]:
    try:
        return {str(layer["digest"]): int(layer["size"]) for layer in manifest["layers"]}
    except (KeyError, TypeError) as error:
        raise ValueError("the registry's answer is no image manifest") from error


NODE_IMAGES_QUESTION = NodeQuestion("images", parse_node_images)
