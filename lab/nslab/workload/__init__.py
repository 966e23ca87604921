"""The shop: a sample workload that gives drains something to respect and the probe something to ask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

MANIFEST = Path(__file__).with_name("shop.yaml")
NAMESPACE = "shop"
ROLLED_OUT = ("deployment/web", "statefulset/cart", "daemonset/agent")


def deploy(kubectl: Callable[[Sequence[str]], object], timeout: int = 180) -> None:
    """Create or update the shop with `kubectl(arguments)` and wait until all of it is ready.

    `timeout` is in seconds and holds for each wait; kubectl's own error is passed on.
    """
    kubectl(["apply", "-f", str(MANIFEST)])
    for resource in ROLLED_OUT:
        kubectl(["-n", NAMESPACE, "rollout", "status", resource, f"--timeout={timeout}s"])
    kubectl(["-n", NAMESPACE, "wait", "--for=condition=Ready", "pod/lonely", f"--timeout={timeout}s"])
