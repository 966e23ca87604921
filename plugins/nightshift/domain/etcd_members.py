"""Which control-plane node an etcd member is on."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from nightshift.domain.facts import NodeFacts
from nightshift.domain.facts.etcd import EtcdMember


def node_of(member: EtcdMember, nodes: Iterable[NodeFacts]) -> str | None:
    """Return the node's name: kubeadm names a member after it; one named otherwise is known by its address."""
    hosts = {urlsplit(url).hostname for url in member.peer_urls}
    return next((node.name for node in nodes if node.name == member.name or node.address in hosts), None)
