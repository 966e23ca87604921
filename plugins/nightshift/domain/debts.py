"""Debts: what a run must undo again, recorded on the cluster before it is done.

A cordon is recorded on its node, in the same write. Everything else is an entry in one ConfigMap, written before the
change and removed after the undo was read back. So a record without its change may exist, never a change without its
record: whoever undoes a change, or finds that it was never made, first marks the record as ended, and an ended record
stays until that change cannot come any more (docs/adr/0018). And every undo asks first whether there is still something
to undo.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from nightshift.domain.errors import FencedError
from nightshift.domain.facts import NodeFacts, WorkloadFacts, WorkloadName

OWNER_ANNOTATION = "nightshift.io/owner"
TOKEN_ANNOTATION = "nightshift.io/token"
FIELD_MANAGER = "nightshift"  # under which name we write Node objects
# Managers that say nothing about whose cordon it is: nobody is known; the API server's own names for what it put
# together; the client library's, under which earlier versions of Nightshift wrote.
_UNTOLD_MANAGERS = ("", "ancient-changes", "before-first-apply", "OpenAPI-Generator")
# How long a request of a process that was given up may be on its way: far longer than an API server keeps one, and than
# most machines stand still before they go on.
LATE_SECONDS = 900.0
# On nodes; written in one patch with the cordon, dropped after the uncordon.
DEBT_ANNOTATIONS = (OWNER_ANNOTATION, TOKEN_ANNOTATION)


class DebtKind(StrEnum):
    """What was done, in the order in which it is undone."""

    CORDON = "cordon"  # pods need somewhere to go before anything starts new ones
    REPLICAS = "replicas"
    SUSPEND = "suspend"  # what a CronJob starts may need the controllers
    UNREADABLE = "unreadable"  # an entry nobody understands: it stays, and is said


_KINDS = {"Deployment": DebtKind.REPLICAS, "StatefulSet": DebtKind.REPLICAS, "CronJob": DebtKind.SUSPEND}
_QUIET: Mapping[DebtKind, int | bool] = {DebtKind.REPLICAS: 0, DebtKind.SUSPEND: True}


@dataclass(frozen=True)
class Debt:
    """One change that must be undone.

    Args:
        kind: what was done.
        subject: to what: "Node/w1", "Deployment/shop/web"; of an unreadable entry its key.
        undo: what is needed to undo it; for workloads {"before": the setting, "uid": of the object, "version": what the
            change waits for, it is refused by any other; "ended": since when it must be as before again, seconds since
            the epoch}. Records of an older Nightshift have no version.
        owner: who did it, see domain/owner.py.
        token: the fencing token under which it was done.
        recorded: seconds since the epoch; 0 when the record does not say (cordons).
    """

    kind: DebtKind
    subject: str
    undo: Mapping[str, Any] = field(default_factory=dict)
    owner: str = ""
    token: int = 0
    recorded: float = 0.0

    @property
    def key(self) -> str:
        """Its key in the ConfigMap; a subject has one debt at most."""
        return self.subject if self.kind is DebtKind.UNREADABLE else self.subject.replace("/", ".")

    @property
    def ended(self) -> float | None:
        """Since when what was changed must be as before again (seconds since the epoch); None: it is to be as we left it."""
        ended = self.undo.get("ended")
        return None if ended is None else float(ended)

    @property
    def workload(self) -> WorkloadName:
        """The workload it is about."""
        return WorkloadName(*self.subject.split("/"))

    def __str__(self) -> str:
        """For people: "Deployment shop/web"."""
        return self.subject.replace("/", " ", 1)


@dataclass(frozen=True)
class Repayment:
    """What is to be done about a debt now.

    Args:
        setting: what the workload is set to; None: nothing to undo now.
        why: one clause for people, without the subject.
        is_settled: nothing to undo now, and our change cannot come later any more either: the record goes.
    """

    setting: int | bool | None
    why: str
    is_settled: bool = False

    @property
    def is_due(self) -> bool:
        """Tell whether there is something to do, be it only to drop the record."""
        return self.is_settled or self.setting is not None


def to_text(debt: Debt) -> str:
    """Serialise a debt for the ConfigMap."""
    return json.dumps(asdict(debt), sort_keys=True)


def from_text(key: str, text: str) -> Debt:
    """Read an entry back; one that cannot be understood is a debt too, of the kind "unreadable"."""
    try:
        debt = Debt(**{**json.loads(text), "kind": DebtKind(json.loads(text)["kind"])})
        is_sound = debt.key == key and debt.kind in _QUIET and {"before", "uid"} <= set(debt.undo)
        is_sound = is_sound and _KINDS[debt.workload.kind] is debt.kind
    except (ValueError, TypeError, KeyError, AttributeError):
        is_sound = False
    return debt if is_sound else Debt(DebtKind.UNREADABLE, key, {"text": text})


def node_debt(node: NodeFacts) -> Debt | None:
    """The debt that a node's own annotations record; None when it carries none."""
    marks = node.annotations
    if not any(key in marks for key in DEBT_ANNOTATIONS):
        return None
    token = marks.get(TOKEN_ANNOTATION, "")
    owner = marks.get(OWNER_ANNOTATION, "")
    return Debt(DebtKind.CORDON, f"Node/{node.name}", {}, owner, int(token) if token.isdecimal() else 0)


def require_no_newer_mark(node: NodeFacts, token: int) -> None:
    """Refuse a cordon under a token that is older than that of the node's mark.

    Raises:
        FencedError: RUN_FENCED, naming the mark's owner.
    """
    debt = node_debt(node)
    if debt is None or debt.token <= token:
        return
    raise FencedError(
        "RUN_FENCED",
        f"{node.name} carries the mark of {debt.owner or 'a run'} with token {debt.token}; {token} is older.",
        cause="This run was taken for dead while it stood still; a newer one is at the node.",
        next_step="Look at the newer run; clear this task to go on from here after it.",
    )


def is_foreign_cordon(node: NodeFacts) -> bool:
    """Tell whether a node is cordoned by somebody else, who keeps it: without our mark, or since our mark was written.

    A person may lift our cordon, which leaves the mark, and cordon the node for work of their own.
    """
    if not node.is_unschedulable:
        return False
    is_ours = node.cordoned_by in (FIELD_MANAGER, *_UNTOLD_MANAGERS)
    return OWNER_ANNOTATION not in node.annotations or not is_ours


def quiet_setting(kind: str) -> int | bool:
    """What makes a workload of that kind quiet: no replicas, or suspended."""
    return _QUIET[_KINDS[kind]]


def workload_subject(name: WorkloadName) -> str:
    """How a debt names a workload."""
    return f"{name.kind}/{name.namespace}/{name.name}"


def quiesce_debt(found: WorkloadFacts, owner: str, token: int, now: float) -> Debt:
    """The debt of making this workload quiet; to be recorded before that is done."""
    undo = {"before": found.setting, "uid": found.uid, "version": found.version}
    return Debt(_KINDS[found.name.kind], workload_subject(found.name), undo, owner, token, now)


def end(debt: Debt, now: float) -> Debt:
    """The same debt, ended: what it is about is to be as before from now on (seconds since the epoch)."""
    return debt if debt.ended is not None else replace(debt, undo={**debt.undo, "ended": now})


def is_same(one: Debt, other: Debt) -> bool:
    """Tell whether two records are of one change, ended or not."""
    return _unended(one) == _unended(other)


def _unended(debt: Debt) -> Debt:
    return replace(debt, undo={key: value for key, value in debt.undo.items() if key != "ended"})


def judge_workload_debt(debt: Debt, found: WorkloadFacts | None, now: float) -> Repayment:
    """Decide what is to be done about a workload now; whatever somebody else did to it meanwhile stays.

    Args:
        debt: of kind REPLICAS or SUSPEND.
        found: the workload as it is; None: it does not exist any more.
        now: seconds since the epoch.
    """
    before = debt.undo["before"]
    if found is None:
        return Repayment(None, "was deleted meanwhile; nothing is owed", is_settled=True)
    if found.uid != debt.undo["uid"]:
        return Repayment(None, "was deleted and made anew meanwhile; it stays as it is", is_settled=True)
    if found.setting == _QUIET[debt.kind] and found.setting != before:
        return Repayment(before, f"{_said(debt.kind, before)} again")
    why = f"{_said(debt.kind, found.setting)} as before"
    if found.setting != before:
        why = f"{_said(debt.kind, found.setting)}: somebody set that meanwhile, and it stays"
    is_settled = not _may_still_come(debt, found, now)
    if not is_settled:
        why += f"; watched for up to {LATE_SECONDS / 60:.0f} minutes, our change may be on its way"
    return Repayment(None, why, is_settled)


def _may_still_come(debt: Debt, found: WorkloadFacts, now: float) -> bool:
    """Tell whether our change may still be made: the API refuses it unless the workload is as it was at the record."""
    is_refused = found.version != debt.undo.get("version")
    return not is_refused and (debt.ended is None or now < debt.ended + LATE_SECONDS)


def workload_debts(debts: Iterable[Debt]) -> tuple[Debt, ...]:
    """Those of workloads, as they are to be repaid."""
    return in_order(debt for debt in debts if debt.kind in _QUIET)


def in_order(debts: Iterable[Debt]) -> tuple[Debt, ...]:
    """Sort debts as they are to be repaid: by kind, of one kind the latest first."""
    kinds = list(DebtKind)
    return tuple(sorted(debts, key=lambda d: (kinds.index(d.kind), -d.recorded, d.subject)))


def _said(kind: DebtKind, setting: int | bool) -> str:
    if kind is DebtKind.SUSPEND:
        return "is suspended" if setting else "is not suspended"
    return f"has {setting} replicas"
