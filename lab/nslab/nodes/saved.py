"""Disks of freshly made, healthy clusters, kept so that the next one takes seconds.

A saved cluster is a directory with one disk per node; it appears under its name in one step.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from nslab.nodes import base, machine, pool, state

RECIPE = 1  # raise when a change to the cluster or the sample workload makes older disks wrong


def directory_of(lab: state.Lab) -> Path:
    """Return where the disks of this lab's fresh cluster are kept."""
    return pool.SAVED / f"{lab.profile_name}-{lab.version}-base{base.RECIPE}-r{RECIPE}"


def exist(lab: state.Lab) -> bool:
    """Return whether this lab's fresh cluster has been saved."""
    return directory_of(lab).is_dir()


def save(lab: state.Lab) -> None:
    """Keep the disks of all nodes, which must be off."""
    partial = directory_of(lab).with_name(f".{directory_of(lab).name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for node in lab.profile.nodes:
        pool.clone(machine.disk_of(node.name), partial / f"{node.name}.img")
    shutil.rmtree(directory_of(lab), ignore_errors=True)
    partial.rename(directory_of(lab))


def restore(lab: state.Lab) -> None:
    """Give every node (all must be off) its saved disk."""
    for node in lab.profile.nodes:
        machine.create_disk(node, lab, directory_of(lab) / f"{node.name}.img")
