"""What nodes and registries say about images; the manifests are of the forms that registry.k8s.io and the lab serve."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from nightshift.clients.questions.images import layers_of, parse_manifests, parse_node_images
from nightshift.domain.facts.images import NodeImages
from nightshift.domain.target_images import ALL_NAMES, images_of

MANIFEST = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "config": {"digest": "sha256:c", "size": 1000},
    "layers": [{"digest": "sha256:a", "size": 100}, {"digest": "sha256:b", "size": 33}],
}
INDEX = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.docker.distribution.manifest.list.v2+json",
    "manifests": [
        {"digest": "sha256:arm", "platform": {"os": "linux", "architecture": "arm64"}},
        {"digest": "sha256:win", "platform": {"os": "windows", "architecture": "amd64"}},
        {"digest": "sha256:amd", "platform": {"os": "linux", "architecture": "amd64"}},
    ],
}


class Registry:
    """Answers with these documents, and keeps what it was asked."""

    def __init__(self, answers: Mapping[str, tuple[int, Any]]) -> None:
        self.answers = answers
        self.asked: list[list[str]] = []

    def __call__(self, images: Sequence[str]) -> dict[str, tuple[int, str]]:
        self.asked.append(list(images))
        known = {image: self.answers[image] for image in images if image in self.answers}
        return {image: (status, json.dumps(document)) for image, (status, document) in known.items()}


def test_an_image_of_one_architecture() -> None:
    registry = Registry({"r/pause:1": (200, MANIFEST)})
    assert layers_of(registry, ["r/pause:1"], "amd64") == (
        {"r/pause:1": {"sha256:a": 100, "sha256:b": 33}},
        {},
    )
    assert len(registry.asked) == 1


def test_an_index_is_followed_to_the_nodes_architecture() -> None:
    registry = Registry({"r/etcd:1": (200, INDEX), "r/etcd@sha256:amd": (200, MANIFEST)})
    layers, problems = layers_of(registry, ["r/etcd:1"], "amd64")
    assert (list(layers), problems) == (["r/etcd:1"], {})
    assert registry.asked[1] == ["r/etcd@sha256:amd"]
    assert layers_of(registry, ["r/etcd:1"], "s390x")[1] == {
        "r/etcd:1": "the registry has it not for linux/s390x"
    }


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((404, {}), "the registry answers 404"),
        ((401, {}), "the registry answers 401"),
        (None, "no registry answers"),
        ((200, []), "no manifest"),
        ((200, {"errors": []}), "no image manifest"),
        ((200, {"layers": [{"digest": "sha256:a"}]}), "no image manifest"),
    ],
)
def test_what_is_not_told_is_a_problem_of_that_image_alone(answer: Any, why: str) -> None:
    answers = {"r/ok:1": (200, MANIFEST)} | ({"r/bad:1": answer} if answer else {})
    layers, problems = layers_of(Registry(answers), ["r/ok:1", "r/bad:1"], "amd64")
    assert list(layers) == ["r/ok:1"]
    assert why in problems["r/bad:1"]


def test_the_verbs_lines() -> None:
    body = base64.b64encode(b'{"layers":[]}').decode()
    assert parse_manifests(f"r/a:1\t200\t{body}\nr/b:1\t000\t\n") == {
        "r/a:1": (200, '{"layers":[]}'),
        "r/b:1": (0, ""),
    }
    for broken in ("r/a:1\t200", "r/a:1\tok\t", "r/a:1\t200\t???"):
        with pytest.raises(ValueError):
            parse_manifests(broken)


def test_the_section_of_the_look() -> None:
    text = "image\tregistry.k8s.io/pause:3.10.1\nblob\tsha256:01f6\npackages\t1.35.4-1.1\n"
    assert parse_node_images(text) == NodeImages(
        frozenset({"registry.k8s.io/pause:3.10.1"}), frozenset({"sha256:01f6"}), frozenset({"1.35.4-1.1"})
    )
    assert parse_node_images("") == NodeImages()
    for broken in ("image", "image\t", "else\tx"):
        with pytest.raises(ValueError, match="not a line about images"):
            parse_node_images(broken)


def test_the_images_of_a_release() -> None:
    references = ("r.example/k8s/kube-proxy:v1.35.4", "r.example:5000/dns/coredns:v1.14.0", "r/etcd:3.6.6-0")
    images = {i.name: i for i in images_of(references, ("pause",), "r/probe:1")}
    assert {name: image.reference for name, image in images.items()} == {
        "kube-proxy": references[0],
        "coredns": references[1],
        "etcd": references[2],
        "pause": None,
        "probe": "r/probe:1",
    }
    assert {name for name, image in images.items() if not image.is_everywhere} == {"etcd"}
    assert all(image.recorded_bytes > 0 for image in images.values())


def test_of_a_release_that_nobody_knows_all_recorded_sizes_count() -> None:
    images = images_of((), ALL_NAMES, "r/probe:1")
    assert len(images) == 8
    assert [image.reference for image in images] == [None] * 7 + ["r/probe:1"]
