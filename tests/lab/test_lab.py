"""The lab itself: what every other case stands on."""

from __future__ import annotations

import time

import pytest
from tests.lab.world import World

RESET_SECONDS = 180  # three times the limit for a quiet machine: CI shares its cores


@pytest.mark.ci
def test_reset_brings_a_used_cluster_back_to_the_fresh_one(world: World) -> None:
    world.up()
    world.kubectl("create", "namespace", "left-behind")
    world.on_node("w1", "touch /etc/left-behind")
    world.push_gauge("left_behind", 1)
    began = time.monotonic()
    world.lab("reset")
    assert time.monotonic() - began < RESET_SECONDS
    assert set(world.kubelet_versions().values()) == {"v1.34.4"}
    assert "left-behind" not in world.kubectl("get", "namespaces", "-o", "name")
    assert world.on_node("w1", "ls /etc/left-behind", check=False).strip() == ""
    assert world.gauge("left_behind") is None
