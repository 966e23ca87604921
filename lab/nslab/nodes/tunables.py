"""What kubelets and the lab change of the machine's kernel: remembered by `up`, put back by `down`.

A kubelet sets parameters on every node it runs on, and inside the lab the nodes share the machine's kernel. The lab itself
lets the kernel threads behind its disks go first (disks_first.py).
"""

from __future__ import annotations

import json
from pathlib import Path

from nslab.build.store import write_text
from nslab.nodes.disks_first import Threads
from nslab.settings import STATE_DIR

_PARAMETERS = (
    *("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops"),
    *("kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes", "fs/inotify/max_user_instances"),
)
# Every node's systemd, kubelet and pods watch files; the limit is one for the whole machine.
_INOTIFY_INSTANCES = 2048
_KERNEL = Path("/proc/sys")
_FILE = STATE_DIR / "tunables.json"
_FIRST = STATE_DIR / "kernel-threads.json"


def remember() -> None:
    """Keep the present values, unless they were kept already by this lab."""
    if not _FILE.exists():
        values = {
            name: (_KERNEL / name).read_text().strip() for name in _PARAMETERS if (_KERNEL / name).exists()
        }
        write_text(_FILE, json.dumps(values, indent=1) + "\n")
    if not _FIRST.exists():
        write_text(_FIRST, json.dumps(Threads().first()) + "\n")


def raise_limits() -> None:
    """Give all nodes together enough inotify instances; Debian's 128 are for one machine."""
    limit = _KERNEL / "fs/inotify/max_user_instances"
    if int(limit.read_text()) < _INOTIFY_INSTANCES:
        limit.write_text(str(_INOTIFY_INSTANCES))


def restore() -> None:
    """Put the remembered values back."""
    if _FIRST.exists():
        before = json.loads(_FIRST.read_text())
        threads = Threads()
        threads.lower([pid for pid in threads.first() if pid not in before])
    if not _FILE.exists():
        return
    for name, value in json.loads(_FILE.read_text()).items():
        if (_KERNEL / name).read_text().strip() != value:
            (_KERNEL / name).write_text(value)
