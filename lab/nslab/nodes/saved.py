"""Disks of freshly made, healthy clusters, kept so that the next one takes seconds.

A saved cluster is a directory with one disk per node; it appears under its name in one step.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from nslab.nodes import base, machine, pool, state

RECIPE = 2  # raise when a change to the cluster or the sample workload makes older disks wrong
_SUFFIX = f"base{base.RECIPE}-r{RECIPE}"
_MAX_AGE = 300 * 24 * 3600  # seconds; kubeadm's certificates live one year


def directory_of(lab: state.Lab) -> Path:
    """Return where the disks of this lab's fresh cluster are kept."""
    return pool.SAVED / f"{lab.profile_name}-{lab.version}-{_SUFFIX}"


def exist(lab: state.Lab) -> bool:
    """Return whether this lab's fresh cluster has been saved, and its certificates are good for weeks yet."""
    directory = directory_of(lab)
    return directory.is_dir() and time.time() - directory.stat().st_mtime < _MAX_AGE


def save(lab: state.Lab) -> None:
    """Keep the disks of all nodes, which must be off."""
    partial = directory_of(lab).with_name(f".{directory_of(lab).name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for node in lab.profile.nodes:
        pool.clone(machine.disk_of(node.name), partial / f"{node.name}.img")
    shutil.rmtree(directory_of(lab), ignore_errors=True)
    partial.rename(directory_of(lab))
    _drop_outdated()


def restore(lab: state.Lab) -> None:
    """Give every node (all must be off) its saved disk."""
    for node in lab.profile.nodes:
        machine.create_disk(node, lab, directory_of(lab) / f"{node.name}.img")


def _drop_outdated() -> None:
    """Delete disks of earlier recipes; nothing can restore them any more."""
    for directory in pool.SAVED.iterdir():
        if not directory.name.endswith(_SUFFIX):
            shutil.rmtree(directory)
