"""Drains: budgets that never let go, pods that cannot move, workers without room for one another's pods."""

from __future__ import annotations

from tests.lab.gate_cases import GateCase

CASES: tuple[GateCase, ...] = (
    GateCase(
        name="pdb-deadlock",
        faults=(("pdb-deadlock",),),
        gate="drainability",
        outcome="block",
        code="PDB_DEADLOCK",
        words=("nslab-pdb-deadlock/guard", "2 healthy, 2 required of 2", "Deployment nslab-pdb-deadlock/app"),
    ),
    GateCase(
        name="pdb-overlap",
        faults=(("pdb-overlap",),),
        gate="drainability",
        outcome="block",
        code="PDB_OVERLAP",
        words=("nslab-pdb-overlap/first, nslab-pdb-overlap/second", "more than one PodDisruptionBudget"),
    ),
    GateCase(
        name="pod-pinned",
        faults=(("pod-pinned", "w1"),),
        gate="drainability",
        outcome="warn",
        code="POD_PINNED",
        words=(
            "Deployment nslab-pod-pinned/app will be down while w1 is upgraded",
            "kubernetes.io/hostname=w1",
        ),
    ),
    GateCase(
        name="bare-pod",
        faults=(("bare-pod", "w2"),),
        gate="drainability",
        outcome="block",
        code="POD_UNREPLICATED",
        words=("w2 cannot be drained", "nslab-bare-pod/bare", "no controller"),
    ),
    # The shop's StatefulSet keeps data in an emptyDir; shipped, the policy gives such data up.
    GateCase(
        name="local-storage-protected",
        faults=(),
        gate="drainability",
        outcome="block",
        code="POD_LOCAL_DATA",
        words=("shop/cart-", "emptyDir"),
        policy={"drain": {"delete_emptydir_data": False}},
    ),
    GateCase(
        name="no-room",
        faults=(("no-room",),),
        gate="capacity",
        outcome="block",
        code="CAPACITY_SHORT",
        words=("nslab-no-room/app-", "find no room on the other nodes", "CPU"),
    ),
    GateCase(
        name="no-room-accepted",
        faults=(("no-room",),),
        gate="capacity",
        outcome="warn",
        code="CAPACITY_SHORT",
        words=("nslab-no-room/app-",),
        policy={"drain": {"without_room": "warn"}},
    ),
)
