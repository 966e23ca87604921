from __future__ import annotations

from nightshift.domain.gates import GATES


def test_every_gate_is_described_and_callable() -> None:
    assert list(GATES) == [
        *("etcd_latency", "disk_usage", "node_health", "version_skew", "static_pods"),
        *("drainability", "capacity"),
    ]
    for name, gate in GATES.items():
        assert gate.name == name
        assert gate.title
        assert gate.doc.startswith("Gate: ")
        assert callable(gate.check)
