"""Kernel parameters of the machine that kubelets change: remembered by `up`, put back by `down`.

A kubelet sets them on every node it runs on; inside the lab the nodes share the machine's kernel.
"""

from __future__ import annotations

import json
from pathlib import Path

from nslab.build.store import write_text
from nslab.settings import STATE_DIR

_PARAMETERS = (
    *("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops"),
    *("kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes", "fs/inotify/max_user_instances"),
)
# Every node's systemd, kubelet and pods watch files; the limit is one for the whole machine.
_INOTIFY_INSTANCES = 2048
_KERNEL = Path("/proc/sys")
_FILE = STATE_DIR / "tunables.json"


def remember() -> None:
    """Keep the present values, unless they were kept already by this lab."""
    if not _FILE.exists():
        values = {
            name: (_KERNEL / name).read_text().strip() for name in _PARAMETERS if (_KERNEL / name).exists()
        }
        write_text(_FILE, json.dumps(values, indent=1) + "\n")


def raise_limits() -> None:
    """Give all nodes together enough inotify instances; Debian's 128 are for one machine."""
    limit = _KERNEL / "fs/inotify/max_user_instances"
    if int(limit.read_text()) < _INOTIFY_INSTANCES:
        limit.write_text(str(_INOTIFY_INSTANCES))


def restore() -> None:
    """Put the remembered values back."""
    if not _FILE.exists():
        return
    for name, value in json.loads(_FILE.read_text()).items():
        if (_KERNEL / name).read_text().strip() != value:
            (_KERNEL / name).write_text(value)
