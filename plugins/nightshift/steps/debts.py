"""Repay recorded debts: ask whether there is still something to undo, undo it, read back, then drop the record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from nightshift.domain.debts import Debt, end, is_same, judge_workload_debt
from nightshift.domain.errors import NightshiftError, UnreachableError, VerificationError
from nightshift.domain.facts import WorkloadFacts, WorkloadName

_TRIES = 5  # autoscalers and people write the same objects


class LedgerPort(Protocol):
    """What is needed of the API (`steps/session.py: KubePort`; enrolment has no session)."""

    def debts(self) -> tuple[Debt, ...]:
        """Everything recorded in the ledger of debts, unreadable entries included."""

    def record_debt(self, debt: Debt, instead_of: Debt | None = None) -> bool:
        """Record a debt in place of `instead_of` (None: of nothing); False when the ledger has something else there."""

    def forget_debt(self, debt: Debt) -> bool:
        """Remove exactly this debt; False when the ledger has none, or another one of that subject."""

    def workload(self, name: WorkloadName) -> WorkloadFacts | None:
        """A Deployment, StatefulSet or CronJob; None when it does not exist."""

    def set_workload(self, found: WorkloadFacts, setting: int | bool) -> bool:
        """Set wanted replicas, or suspend; False when it changed since it was found."""


def due_debts(kube: LedgerPort, now: float) -> tuple[Debt, ...]:
    """What the ledger records and something is to be done about; not what is as before and only watched.

    Args:
        kube: the cluster.
        now: seconds since the epoch.
    """
    return tuple(debt for debt in kube.debts() if debt.ended is None or _is_due(kube, debt, now))


def _is_due(kube: LedgerPort, debt: Debt, now: float) -> bool:
    return judge_workload_debt(debt, kube.workload(debt.workload), now).is_due


def repay(kube: LedgerPort, debt: Debt, now: float) -> str:
    """Repay one debt of a workload and say what came of it, as a clause: "Deployment shop/web has 3 replicas again".

    Safe to repeat, and a debt that somebody else took over or repaid meanwhile is theirs. What was changed by
    somebody else stays as it is: then only the record goes. The record is marked as ended before the workload is
    touched: a run that goes on knows from it that this was no person's doing.

    Args:
        kube: the cluster.
        debt: as the ledger had it, ended or not.
        now: seconds since the epoch.

    Raises:
        VerificationError: VERIFY_FAILED, it does not keep what is written.
        NightshiftError: the API refused, or is away; the record stays.
    """
    said = ""
    for _ in range(_TRIES):
        found = kube.workload(debt.workload)
        known = next((other for other in kube.debts() if is_same(debt, other)), None)
        if known is None:
            return said or f"{debt} is another's to give back by now"
        due = judge_workload_debt(known, found, now)
        ended = end(known, now)
        if due.is_settled:
            kube.forget_debt(known)
        elif known != ended and not kube.record_debt(ended, instead_of=known):
            continue
        if due.setting is None or found is None:
            return said or f"{debt} {due.why}"
        if kube.set_workload(found, due.setting):
            said = f"{debt} {due.why}"
    raise VerificationError(
        "VERIFY_FAILED",
        f"{debt} could not be given back in {_TRIES} attempts.",
        cause="Something else changes it all the time, or it does not keep what is written.",
        next_step="Look who writes it (kubectl get -o yaml --show-managed-fields); the sweeper tries again every minute.",
    )


def repay_all(
    debts: Sequence[Debt], repay_one: Callable[[Debt], str]
) -> tuple[list[str], dict[str, NightshiftError]]:
    """Repay debts one after the other; what was done, and by debt what went wrong, which keeps no other one back.

    Raises:
        UnreachableError: the API is away, which is no answer about any of them.
    """
    done: list[str] = []
    failed: dict[str, NightshiftError] = {}
    for debt in debts:
        try:
            done.append(repay_one(debt))
        except UnreachableError:
            raise
        except NightshiftError as error:
            failed[str(debt)] = error
    return done, failed
