"""Cases of the gates about nodes: their state, their clocks, their certificates."""

from __future__ import annotations

from tests.lab.gate_cases import GateCase

CASES: tuple[GateCase, ...] = (
    GateCase(
        name="a control plane cordoned by a person",
        faults=(("cordoned-by-human", "cp1"),),
        gate="node_health",
        outcome="block",
        code="NODE_CORDONED",
        words=("cp1", "kubectl", "since"),
    ),
    GateCase(
        name="a node that was away a moment ago",
        faults=(("node-flap", "w1"),),
        gate="node_health",
        outcome="block",
        code="NODE_NOT_SETTLED",
        words=("w1", "600 s"),
        policy={
            "nodes": {"settle_seconds": 600}
        },  # a round with its settle window takes longer than the default
    ),
    GateCase(
        name="an expired certificate",
        faults=(("certificate-expired", "cp1"),),
        gate="certificates",
        outcome="block",
        code="CERTIFICATE_EXPIRED",
        words=("/etc/kubernetes/pki/front-proxy-client.crt on cp1", "expired on"),
    ),
    GateCase(
        name="a certificate that expires soon",
        faults=(("certificate-soon", "cp1", "5"),),
        gate="certificates",
        outcome="warn",
        code="CERTIFICATE_EXPIRING",
        words=("/etc/kubernetes/pki/front-proxy-client.crt on cp1", "days", "below 14 days"),
    ),
    GateCase(
        name="a clock that is ahead (simulated)",
        faults=(("clock-offset", "w2", "7000"),),
        gate="clock",
        outcome="block",
        code="CLOCK_SKEW",
        words=("w2", "500 ms"),
    ),
)
