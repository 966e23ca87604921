"""The images of all Deployments, StatefulSets and DaemonSets: three lists, however many pods there are."""

from __future__ import annotations

from collections.abc import Iterator

from nightshift.clients.permissions import Permission
from nightshift.clients.questions import ApiQuestion, ApiReader
from nightshift.domain.facts.addons import WorkloadImage

_KINDS = {"daemonsets": "DaemonSet", "deployments": "Deployment", "statefulsets": "StatefulSet"}


def read_workload_images(api: ApiReader) -> tuple[WorkloadImage, ...]:
    """Every container of every workload, init containers left out."""
    return tuple(image for resource, kind in _KINDS.items() for image in _images(api, resource, kind))


def _images(api: ApiReader, resource: str, kind: str) -> Iterator[WorkloadImage]:
    for item in api.list(f"/apis/apps/v1/{resource}"):
        metadata = item["metadata"]
        for container in item["spec"]["template"]["spec"].get("containers") or ():
            yield WorkloadImage(
                f"{kind} {metadata['namespace']}/{metadata['name']}", str(container.get("image", ""))
            )


WORKLOAD_IMAGES_QUESTION = ApiQuestion(
    read_workload_images, tuple(Permission("list", "apps", resource) for resource in _KINDS)
)
