"""Which APIs are asked for and stored, and which of them answer."""

from __future__ import annotations

from dataclasses import dataclass

from nightshift.domain.facts.webhooks import Backend
from nightshift.domain.round import NodeTopic, Topic


@dataclass(frozen=True)
class DeprecatedRequest:
    """A deprecated API that somebody asked for. `removed_release`: "1.35"; "" = no release is known to remove it."""

    group: str
    version: str
    resource: str
    subresource: str
    removed_release: str

    def __str__(self) -> str:
        """For people: "storage.k8s.io/v1alpha1 volumeattributesclasses"."""
        group = f"{self.group}/" if self.group else ""
        subresource = f"/{self.subresource}" if self.subresource else ""
        return f"{group}{self.version} {self.resource}{subresource}"


@dataclass(frozen=True)
class ApiRequests:
    """What one API server has counted since it started (seconds since the epoch)."""

    started: float
    deprecated: tuple[DeprecatedRequest, ...]


@dataclass(frozen=True)
class CrdFacts:
    """One CustomResourceDefinition. `conversion`: who converts between its versions; None: nobody has to."""

    name: str
    versions: tuple[str, ...]  # all that it defines
    served: tuple[str, ...]
    stored: tuple[str, ...]  # versions in which objects may lie in etcd
    conversion: Backend | None


@dataclass(frozen=True)
class ApiServiceFacts:
    """One APIService. `is_available` None: the API server has not said yet."""

    name: str
    is_available: bool | None
    service: str  # "kube-system/metrics-server"; "" = the API server itself
    reason: str
    message: str


API_REQUESTS = NodeTopic[ApiRequests](
    "api_requests", "which deprecated APIs its API server was asked for", only_control_planes=True
)
CRDS = Topic[tuple[CrdFacts, ...]]("crds", "the CustomResourceDefinitions")
API_SERVICES = Topic[tuple[ApiServiceFacts, ...]]("api_services", "the APIServices")
