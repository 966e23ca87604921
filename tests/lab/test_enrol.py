"""`unenrol` takes back what `enrol` made, and what a job that died had taken from a node's owner."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.lab.world import World

from nsdemo.lab import CLUSTER, CLUSTERS, enrol_lab, lab_environment

# Everything the installer writes on a node (include/scripts/enrol-node).
LEFT = (
    "ls -d /usr/local/lib/nightshift /usr/local/lib/nightshift.* /var/lib/nightshift /home/nightshift /etc/sudoers.d/nightshift /run/nightshift; "
    "id nightshift; pgrep -af nightshift-[r]ecorder"
)


def unenrol(world: World) -> str:
    """As an administrator calls it; returns what it said."""
    command = [sys.executable, "-m", "nightshift.cli", "unenrol", "--cluster", CLUSTER]
    command += ["--kubeconfig", world.facts["KUBECONFIG"], "--ssh-user", "root"]
    command += ["--ssh-key", world.facts["NSLAB_SSH_KEY"], "--known-hosts", world.facts["NSLAB_KNOWN_HOSTS"]]
    environment = {**os.environ, **lab_environment(world.facts), "NIGHTSHIFT_CLUSTERS": str(CLUSTERS)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def on_nodes(world: World, command: str) -> dict[str, str]:
    return {name: world.on_node(name, command, check=False).strip() for name in world.nodes()}


def test_unenrol_takes_everything_back_and_the_owners_holds_with_it(world: World) -> None:
    world.up()
    world.used = True
    enrol_lab(world.home, world.facts)
    assert all("/var/lib/nightshift" in said for said in on_nodes(world, LEFT).values())
    holds = world.on_node("w1", "apt-mark showhold")
    assert "kubelet" in holds.split()
    # As a kubelet's job leaves it that died between its installation and its holds.
    world.on_node("w1", "echo kubelet >/var/lib/nightshift/held && apt-mark unhold kubelet")

    said = unenrol(world)

    assert "held again: kubelet" in said, said
    assert world.on_node("w1", "apt-mark showhold") == holds
    assert set(on_nodes(world, LEFT).values()) == {""}
    objects = world.kubectl("get", "namespaces,clusterroles,clusterrolebindings", "-o", "name").split()
    assert [name for name in objects if "nightshift" in name and "nightshift-lab" not in name] == []
    marks = world.kubectl("get", "nodes", "-o", "jsonpath={.items[*].metadata.annotations}")
    assert "nightshift.io/" not in marks, marks

    assert "nothing was there" in unenrol(world), "it may be repeated"
    enrol_lab(world.home, world.facts)
    assert all("/var/lib/nightshift" in said for said in on_nodes(world, LEFT).values())
