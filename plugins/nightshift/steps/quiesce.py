"""Make workloads quiet while the control plane is upgraded, and give them back: recorded as debts before they are touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from nightshift.domain.debts import Debt, quiesce_debt, quiet_setting, workload_debts, workload_subject
from nightshift.domain.errors import ConfigError, VerificationError, merge
from nightshift.domain.facts import WorkloadFacts, WorkloadName
from nightshift.steps.brake import KUBEADM_JOB, asking
from nightshift.steps.debts import repay, repay_all
from nightshift.steps.hold import Held, hold
from nightshift.steps.session import Session, patiently, wait_until

_TRIES = 5  # autoscalers and people write the same objects


def quiesce(session: Session, node_name: str) -> dict[str, Any]:
    """Answer {"quiesced": ["Deployment shop/web", ...], "sentence"}: everything the policy names is quiet now.

    `node_name` is the node that is drained next: what keeps it from being begun keeps everything from being made quiet.

    Raises:
        ConfigError: WORKLOAD_MISSING.
        HeldError: brake or window, before kubeadm was begun on that node; nothing was made quiet.
        StoppedError: STOPPED_HALF_WAY.
        VerificationError: VERIFY_FAILED, something does not become quiet.
    """
    ask = asking(session, session.node(node_name), KUBEADM_JOB, begins=True)
    with hold(session, []) as held:
        ask()
        quiet = [name for name in session.policy.quiesce if _make_quiet(session, name, held)]
        _require_quiet(session, session.policy.quiesce)
    listed = ", ".join(map(str, quiet))
    sentence = f"Quiet until the control plane is done: {listed or 'nothing that was not so before'}."
    session.log(sentence)
    return {"quiesced": list(map(str, quiet)), "sentence": sentence}


def quiesce_again(session: Session, held: Held) -> None:
    """Make quiet again what a recovery gave back meanwhile: a cleared slot is under way without its `quiesce`.

    What is still recorded, and not as ended, was set by somebody else if it is not quiet, and is not fought over. Its
    record is taken over: a recovery that this run overtook may be about to give it back.
    """

    def is_kept(name: WorkloadName) -> bool:
        known = _known(session, name)
        return known is not None and known.ended is None and _take_over(session, known, held)

    missing = [
        name
        for name in session.policy.quiesce
        if not patiently(session, f"looking for the record of {name}", partial(is_kept, name))
    ]
    for name in missing:
        _make_quiet(session, name, held)
    if missing:
        _require_quiet(session, missing)


def restore(session: Session) -> dict[str, Any]:
    """Answer {"restored": ["Deployment shop/web has 3 replicas again", ...], "sentence"}.

    Raises:
        NightshiftError: what could not be given back, as one error; the rest was.
    """
    with hold(session, []):
        owed = workload_debts(patiently(session, "reading the ledger of debts", session.kube.debts))

        def repay_one(debt: Debt) -> str:
            return patiently(
                session, f"giving back {debt}", lambda: repay(session.kube, debt, session.clock())
            )

        done, failed = repay_all(owed, repay_one)
    sentence = f"{'; '.join(done) or 'Nothing was quiet'}."
    session.log(sentence)
    if failed:
        raise merge(failed)
    return {"restored": done, "sentence": sentence}


def require_workloads(session: Session) -> None:
    """Look up everything the policy wants quiet, before anything is touched.

    Raises:
        ConfigError: WORKLOAD_MISSING, naming all that do not exist.
    """
    missing = [name for name in session.policy.quiesce if session.kube.workload(name) is None]
    if missing:
        raise _missing(missing)


def _make_quiet(session: Session, name: WorkloadName, held: Held) -> bool:
    """Record, then change; False when it was quiet before, which is nobody's debt.

    A recovery that comes between the two finds nothing to undo, watches for a while and drops the record. So it is
    looked for afterwards, also when this run has lost the Lease: what we changed must be found by whoever comes next.
    """
    recorded: list[Debt] = []
    try:
        return patiently(
            session, f"making {name} quiet", lambda: _make_quiet_now(session, name, held, recorded)
        )
    finally:
        for debt in recorded[-1:]:
            patiently(session, f"recording {name}", partial(_keep_recorded, session, debt))


def _make_quiet_now(session: Session, name: WorkloadName, held: Held, recorded: list[Debt]) -> bool:
    """One attempt; safe to repeat when the API went away in the middle of it. Adds to `recorded`."""
    for _ in range(_TRIES):
        held.check()
        found, known = session.kube.workload(name), _known(session, name)
        if found is None:
            raise _missing([name])
        if found.setting == quiet_setting(name.kind):
            if known is None or known.undo["uid"] != found.uid:
                return False
            if known.ended is None:
                if _take_over(session, known, held):
                    return True
                continue
            # A recovery is about to give it back, or was. Its write would come while kubeadm works; after ours it is
            # refused, and the next round makes it quiet under a record of its own.
            session.kube.set_workload(found, known.undo["before"])
            continue
        debt = quiesce_debt(found, session.owner, held.token, session.clock())
        if not session.kube.record_debt(debt, instead_of=known):
            continue
        recorded.append(debt)
        if session.kube.set_workload(found, quiet_setting(name.kind)):
            session.log(f"{name}: made quiet, {_as_it_was(found)} before")
            return True
    raise VerificationError(
        "VERIFY_FAILED",
        f"{name} could not be made quiet in {_TRIES} attempts.",
        cause="Something else writes it all the time.",
        next_step="Look who does (kubectl get -o yaml --show-managed-fields), then clear this task.",
    )


def _keep_recorded(session: Session, debt: Debt) -> None:
    """Record a debt again when its workload is quiet and the ledger says nothing of it."""
    found = session.kube.workload(debt.workload)
    is_quiet = found is not None and found.setting == quiet_setting(found.name.kind)
    if is_quiet and _known(session, debt.workload) is None and session.kube.record_debt(debt):
        session.log(f"{debt}: recorded again; a recovery had come between the record and the change")


def _take_over(session: Session, known: Debt, held: Held) -> bool:
    """Make the debt of a run that died, or of this one before it was fenced, ours; False when it changed meanwhile.

    What it was before that run is what will be given back.
    """
    ours = replace(known, owner=session.owner, token=held.token)
    return ours == known or session.kube.record_debt(ours, instead_of=known)


def _known(session: Session, name: WorkloadName) -> Debt | None:
    """What the ledger records about this workload."""
    return next((debt for debt in session.kube.debts() if debt.subject == workload_subject(name)), None)


def _require_quiet(session: Session, names: Sequence[WorkloadName]) -> None:
    """Read back: settings kept, and no replica left; a CronJob's jobs that run already come to their own end."""
    loud: list[str] = []

    def is_quiet() -> bool:
        found = [(name, session.kube.workload(name)) for name in names]
        loud[:] = [f"{name} {_as_it_was(now)}" for name, now in found if now is not None and _is_loud(now)]
        return not loud

    limit = session.policy.limits.node_ready_seconds
    if not wait_until(session, limit, is_quiet):
        raise VerificationError(
            "VERIFY_FAILED",
            f"Not quiet within {limit} s: {'; '.join(loud) or 'the API did not answer'}.",
            cause="Their controllers do not follow, or something sets them back.",
            next_step="Look at them (kubectl describe), or take them out of quiesce; then clear this task.",
        )


def _is_loud(found: WorkloadFacts) -> bool:
    is_cron = found.name.kind == "CronJob"
    return found.setting != quiet_setting(found.name.kind) or (not is_cron and found.running > 0)


def _as_it_was(found: WorkloadFacts) -> str:
    if found.name.kind == "CronJob":
        return "suspended" if found.setting else f"not suspended, {found.running} jobs at work"
    return f"{found.setting} replicas wanted, {found.running} there"


def _missing(names: list[WorkloadName]) -> ConfigError:
    return ConfigError(
        "WORKLOAD_MISSING",
        f"The cluster has no {', '.join(map(str, names))}.",
        cause="quiesce in the cluster's YAML names it; it was deleted, renamed, or is spelled differently.",
        next_step="Correct quiesce in the cluster's YAML, enrol again, and start the run again.",
    )
