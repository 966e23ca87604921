"""`addon`: a workload that carries an add-on's image, without a replica: what counts is which version it names."""

from __future__ import annotations

import json
from collections.abc import Sequence

from nslab.faults.model import Case, Fault, read_arguments
from nslab.nodes import cluster
from nslab.shell import LabError

USAGE = "addon IMAGE:TAG"
NAME = "nslab-addon"


def parse(arguments: Sequence[str]) -> list[Case]:
    """Read `IMAGE:TAG`, with its registry."""
    (image,) = read_arguments(arguments, USAGE, 1)
    if ":" not in image.rpartition("/")[2]:
        raise LabError(f"{image} has no tag", "name it like quay.io/calico/node:v3.29.1")
    return [Case("addon", NAME, {"image": image})]


def deployment(image: str) -> dict[str, object]:
    """Return the Deployment: nothing of it ever runs."""
    labels = {"app": NAME}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME, "namespace": "default", "labels": labels},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "addon", "image": image}]},
            },
        },
    }


def install(case: Case) -> str:
    """Apply it."""
    cluster.kubectl(["apply", "-f", "-"], stdin=json.dumps(deployment(case.text("image"))))
    return f"Deployment default/{NAME} names {case.text('image')}"


def remove(case: Case) -> str:
    """Delete it."""
    cluster.kubectl(["delete", "deployment", NAME, "--namespace=default", "--ignore-not-found"])
    return f"Deployment default/{NAME} is gone"


ADDON = Fault(
    "addon", USAGE, "make a Deployment without replicas that names this image", parse, install, remove
)
