"""The nodes of the large cluster that does not exist: each answers probe, configz and looks like a stock kubeadm node.

What they say is what the tests' nodes say (`tests/fakes`), so that whatever a gate comes to ask is answered here as well.
Looks are texts that the product parses for each node; probes and configz, which are a few lines, come parsed.
"""

from __future__ import annotations

from tests.fakes.cluster import FakeCluster, FakeNode, etcd_text
from tests.fakes.stock import stock_documents

from bench.fake_fleet import CONTROL_PLANES, VERSION

__all__ = ["Nodes", "stock_documents"]

_OBSERVATIONS = 500  # of each of etcd's histograms in the window


class Nodes:
    """All nodes of a fleet, on one clock of their own: it moves by looking at it, so nothing grows old on a slow machine.

    Args:
        count: control planes included; their names are the fleet's.
    """

    def __init__(self, count: int) -> None:
        self._cluster = FakeCluster(CONTROL_PLANES, count - CONTROL_PLANES, VERSION)
        self.clock = self._cluster.clock

    def on(self, name: str) -> FakeNode:
        """The way to one node."""
        return self._cluster.fakes[name]

    def pass_window(self, seconds: float) -> None:
        """Let etcd's window go by: every member is busy and fast."""
        self._cluster.sleep(seconds)
        for node in self._cluster.fakes.values():
            node.etcd = etcd_text(observations=_OBSERVATIONS)
