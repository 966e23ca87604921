"""Which control-plane node an etcd member is on."""

from __future__ import annotations

import re
from collections.abc import Iterable

from nightshift.domain.facts import NodeFacts
from nightshift.domain.facts.etcd import EtcdMember

_HOST = re.compile(r"//\[?([^]/]+?)\]?(?::\d+)?(?:/|$)")  # of a peer URL; an IPv6 address stands in brackets


def node_of(member: EtcdMember, nodes: Iterable[NodeFacts]) -> str | None:
    """Return the node's name: kubeadm names a member after it; one named otherwise is known by its address."""
    hosts = {match[1] for url in member.peer_urls if (match := _HOST.search(url))}
    return next((node.name for node in nodes if node.name == member.name or node.address in hosts), None)
