"""`host-key-changed`: a node shows another SSH host key than the pinned one, as after a reinstallation.

The lab's own way in over SSH is closed by it too (it pins the key as everybody should); this fault enters without SSH.
"""

from __future__ import annotations

from collections.abc import Sequence

from nslab.faults.model import Case, Fault, node_name, read_arguments
from nslab.nodes import machine, state
from nslab.shell import run, wait_until

USAGE = "host-key-changed NODE"
KEY = "/etc/ssh/ssh_host_ed25519_key"  # the only one the lab's nodes have
KEPT = "/etc/ssh/.nslab-host-key"

# The true pair is moved aside once, so that repeating the fault never takes the false one for it. Files are complete
# before they get their names, and sshd reads them anew: sessions that are open stay open.
CHANGE = f"""
set -eu
[ -e {KEPT} ] || {{ cp -p {KEY}.pub {KEPT}.pub; mv {KEY} {KEPT}; }}
rm -f {KEY}.new {KEY}.new.pub
ssh-keygen -q -t ed25519 -N '' -C false -f {KEY}.new
mv {KEY}.new.pub {KEY}.pub
mv {KEY}.new {KEY}
systemctl reload ssh
"""
RESTORE = f"""
set -eu
[ -e {KEPT} ] || exit 0
cp -p {KEPT}.pub {KEY}.pub
mv {KEPT} {KEY}
rm -f {KEPT}.pub {KEY}.new {KEY}.new.pub
systemctl reload ssh
"""


def parse(arguments: Sequence[str]) -> list[Case]:
    """Read `NODE`."""
    (name,) = read_arguments(arguments, USAGE, 1)
    return [Case("host-key-changed", node_name(name))]


def change(case: Case) -> str:
    """Give the node a new host key."""
    machine.enter(case.subject, ["sh", "-c", CHANGE])
    _wait_shown(case.subject)
    return f"{case.subject} shows a host key that nobody has pinned"


def restore(case: Case) -> str:
    """Give it its own key back."""
    machine.enter(case.subject, ["sh", "-c", RESTORE])
    _wait_shown(case.subject)
    return f"{case.subject} shows its own host key again"


def _wait_shown(name: str) -> None:
    """Wait until sshd, which starts anew to read its key, shows the one on the node's disk."""
    key = machine.enter(name, ["cat", f"{KEY}.pub"]).stdout.split()[1]
    scan = ["ssh-keyscan", "-T", "2", "-t", "ed25519", state.node(name).address]
    wait_until(lambda: key in run(scan, check=False).stdout, f"{name} shows its host key", 30, 0.1)


HOST_KEY_CHANGED = Fault(
    "host-key-changed", USAGE, "let a node show another SSH host key than the pinned one",
    parse, change, restore,
)  # fmt: skip
