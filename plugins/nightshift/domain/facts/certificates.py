"""The certificates that a node runs on."""

from __future__ import annotations

from dataclasses import dataclass

from nightshift.domain.round import NodeTopic


@dataclass(frozen=True)
class CertificateFacts:
    """One certificate in a file of a node.

    Args:
        file: where it lies; of a kubeconfig, the certificate embedded in it.
        subject: its common name, "" when it has none.
        begins: not valid before, seconds since the epoch.
        ends: not valid after, seconds since the epoch.
        is_ca: it signs others.
    """

    file: str
    subject: str
    begins: float
    ends: float
    is_ca: bool


CERTIFICATES = NodeTopic[tuple[CertificateFacts, ...]]("certificates", "a node's certificates")
