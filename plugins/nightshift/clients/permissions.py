"""One thing our user must be allowed to do on the cluster."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Permission:
    """One thing our user must be allowed to do.

    Args:
        resource: may carry a subresource, "pods/eviction".
        namespace: "" = cluster-wide.
        name: "" = any object; a role that names its objects is only found when they are named here too.
    """

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""

    def review(self) -> dict[str, dict[str, str]]:
        """The spec of an access review that asks for it."""
        return {"resourceAttributes": self.attributes()}

    def attributes(self) -> dict[str, str]:
        """As an access review asks for it."""
        resource, _, subresource = self.resource.partition("/")
        asked = {
            "verb": self.verb,
            "group": self.group,
            "resource": resource,
            "subresource": subresource,
            "namespace": self.namespace,
            "name": self.name,
        }
        return {key: value for key, value in asked.items() if value}

    def __str__(self) -> str:
        """For people, like kubectl's arguments: "get leases.coordination.k8s.io -n nightshift"."""
        group = f".{self.group}" if self.group else ""
        name = f" {self.name}" if self.name else ""
        where = f" -n {self.namespace}" if self.namespace else ""
        return f"{self.verb} {self.resource}{group}{name}{where}"
