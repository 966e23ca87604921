"""`lab break` and `lab heal`: the table of faults, and keeping the records true."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from nslab import locks
from nslab.faults import records
from nslab.faults.access import HOST_KEY_CHANGED
from nslab.faults.addons import ADDON
from nslab.faults.api_objects import (
    APISERVICE_UNAVAILABLE,
    CRD_DEAD_CONVERSION,
    WEBHOOK_NARROW,
    WEBHOOK_ON_ONE_NODE,
    WEBHOOK_OUTSIDE,
    WEBHOOK_WITHOUT_ENDPOINTS,
)
from nslab.faults.api_use import DEPRECATED_API_IN_USE
from nslab.faults.configuration import COREFILE_CUSTOM, KUBEADM_CONFIG_DRIFTED, KUBELET_CONFIG_EDITED
from nslab.faults.control_plane import NODE_POWER_OFF, SCRATCH_PILE, STRAY_MANIFEST
from nslab.faults.disks import DISK_CONTENDED, DISK_FILL, INODE_EXHAUSTION, SCRATCH_MOUNT
from nslab.faults.etcd import ETCD_SLOW
from nslab.faults.etcd_members import ETCD_ALARM, MEMBER_DOWN
from nslab.faults.manifests import (
    DUPLICATE_POD_NAME,
    MANIFEST_EDITED,
    MANIFEST_WRONG_MODE,
    OIDC_FLAGS_ADDED,
)
from nslab.faults.model import Case, Fault
from nslab.faults.monitoring import CRITICAL_ALERT, PROMETHEUS_DOWN
from nslab.faults.node_state import (
    CERTIFICATE_EXPIRED,
    CERTIFICATE_SOON,
    CLOCK_OFFSET,
    CORDONED_BY_HUMAN,
    NODE_FLAP,
)
from nslab.faults.outages import API_DOWN, ETCD_STOPPED, METRICS_CUT, SSH_CUT
from nslab.faults.packages import (
    APT_LOCK_HELD,
    DPKG_HALF_CONFIGURED,
    KUBELET_FLAG,
    REBOOT_REQUIRED,
    REPO_AWAY,
    REPO_WRONG_SIGNATURE,
)
from nslab.faults.services import service_faults
from nslab.faults.supply import IMAGE_MISSING, PACKAGE_MISSING
from nslab.faults.upgrade_traps import trap_faults
from nslab.faults.workloads import BARE_POD, NO_ROOM, PDB_DEADLOCK, PDB_OVERLAP, POD_PINNED
from nslab.shell import LabError

FAULTS = {
    fault.name: fault
    for fault in (
        *(ETCD_SLOW, DISK_CONTENDED, DISK_FILL, STRAY_MANIFEST, NODE_POWER_OFF, SCRATCH_PILE),
        *(IMAGE_MISSING, PACKAGE_MISSING, HOST_KEY_CHANGED, SSH_CUT, API_DOWN, ETCD_STOPPED),
        *(
            WEBHOOK_WITHOUT_ENDPOINTS,
            WEBHOOK_NARROW,
            WEBHOOK_ON_ONE_NODE,
            WEBHOOK_OUTSIDE,
            CRD_DEAD_CONVERSION,
            APISERVICE_UNAVAILABLE,
        ),
        *(DEPRECATED_API_IN_USE, CRITICAL_ALERT, PROMETHEUS_DOWN),
        *(CORDONED_BY_HUMAN, NODE_FLAP, CLOCK_OFFSET, CERTIFICATE_EXPIRED, CERTIFICATE_SOON),
        *(ETCD_ALARM, METRICS_CUT, MEMBER_DOWN),
        *(DUPLICATE_POD_NAME, MANIFEST_EDITED, MANIFEST_WRONG_MODE, OIDC_FLAGS_ADDED),
        *(KUBELET_CONFIG_EDITED, COREFILE_CUSTOM, KUBEADM_CONFIG_DRIFTED),
        *(REPO_WRONG_SIGNATURE, REPO_AWAY, DPKG_HALF_CONFIGURED, APT_LOCK_HELD, REBOOT_REQUIRED),
        *(KUBELET_FLAG, ADDON),
        *service_faults(),
        *trap_faults(),
        *(INODE_EXHAUSTION, SCRATCH_MOUNT, PDB_DEADLOCK, PDB_OVERLAP, POD_PINNED, BARE_POD, NO_ROOM),
    )
}


def active() -> list[str]:
    """Return every fault that is on, as one line each."""
    return [_describe(case) for case in records.active()]


def inflict(name: str, arguments: Sequence[str]) -> list[str]:
    """Make trouble; return one sentence per case. A fault that is on already is made anew.

    What fails is undone; it stays on record only where that fails as well.
    """
    fault = _fault(name)
    sentences = []
    for case in fault.parse(arguments):
        for former in records.active():
            if former.key == case.key:
                fault.undo(former)
        records.add(case)
        try:
            sentences.append(fault.inflict(case))
        except LabError:
            _undo(case)
            raise
    return sentences


def heal(name: str, words: Sequence[str] = ()) -> list[str]:
    """Undo every case of a fault whose subject or parameters hold all `words`; return what was done."""
    _fault(name)
    cases = [c for c in records.active() if c.fault == name and set(words) <= _words(c)]
    return [_undo(case) for case in cases]


def heal_all() -> list[str]:
    """Undo every fault that is on; nodes without power come first, the rest needs them. Then the youngest.

    A fault that came later may keep the undoing of an earlier one from taking effect: a stray manifest's API server runs
    without the flags that are taken out of the other file.
    """
    youngest = sorted(records.active(), key=records.since, reverse=True)
    cases = sorted(youngest, key=lambda c: c.fault != NODE_POWER_OFF.name)
    return [_undo(case) for case in cases]


def forget() -> None:
    """Drop the faults that lie on the nodes, because these are about to be replaced; undo the others."""
    for case in records.active():
        if FAULTS[case.fault].outlives_reset:
            FAULTS[case.fault].undo(case)
        records.remove(case)


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `lab break` and `lab heal`."""
    table = "\n".join(f"  {f.usage:32} {f.summary}" for f in FAULTS.values())
    layout = argparse.RawDescriptionHelpFormatter
    make = subparsers.add_parser(
        "break", help="make trouble", epilog=f"faults:\n{table}", formatter_class=layout
    )
    make.add_argument("--list", action="store_true", help="list the faults, and those that are on")
    make.add_argument("fault", nargs="?")
    make.add_argument("arguments", nargs="*")
    make.set_defaults(run=_break_command)
    undo = subparsers.add_parser(
        "heal", help="undo trouble", epilog=f"faults:\n{table}", formatter_class=layout
    )
    undo.add_argument("fault", help="a fault's name, or `all`")
    undo.add_argument("arguments", nargs="*", help="only the cases with this node, mount, …")
    undo.set_defaults(run=_heal_command)


def _break_command(options: argparse.Namespace) -> None:
    if options.list or not options.fault:
        print("\n".join(f"{f.usage:32} {f.summary}" for f in FAULTS.values()))
        print("\non now:", *(active() or ["nothing"]), sep="\n  ")
        return
    with locks.operation(f"break {options.fault}"):
        print("\n".join(inflict(options.fault, options.arguments)))


def _heal_command(options: argparse.Namespace) -> None:
    with locks.operation(f"heal {options.fault}"):
        done = heal_all() if options.fault == "all" else heal(options.fault, options.arguments)
    print("\n".join(done) or "nothing to heal: no such fault is on")


def _fault(name: str) -> Fault:
    if name not in FAULTS:
        raise LabError(f"there is no fault {name!r}", f"the faults are {', '.join(FAULTS)}")
    return FAULTS[name]


def _undo(case: Case) -> str:
    sentence = FAULTS[case.fault].undo(case)
    records.remove(case)
    return sentence


def _words(case: Case) -> set[str]:
    """Return what a case can be named by on the command line."""
    values = (str(v) for v in case.parameters.values() if not isinstance(v, list))
    return {case.subject, *values}


def _describe(case: Case) -> str:
    values = [str(v) for v in case.parameters.values() if not isinstance(v, list)]
    words = values if case.subject.partition(":")[0] in values else [case.subject, *values]
    return " ".join([case.fault, *words])
