"""One ledger entry, the gauges and two sentences, also when nothing was done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from nightshift.clients.cron import next_start
from nightshift.domain.disk_forecast import compare
from nightshift.domain.errors import NightshiftError
from nightshift.domain.facts import NodeProbe
from nightshift.domain.gates import disk_usage
from nightshift.domain.incident.record import Incident
from nightshift.domain.ledger import (
    Failure,
    LedgerEntry,
    NodeEntry,
    NodeGate,
    report_line,
    step_seconds,
    write_note,
)
from nightshift.domain.limits import PARALLEL_NODES
from nightshift.domain.look_again import sentences
from nightshift.domain.overrides import in_force
from nightshift.domain.policy import Override
from nightshift.domain.store_paths import path_safe
from nightshift.domain.target import TargetKind
from nightshift.domain.verdicts import BLIND_CAUSE, BLIND_NEXT_STEP, Answer, Verdict
from nightshift.steps.brake import MEASURED_FILE
from nightshift.steps.evidence import forget_old, incidents_of_run, index_folder
from nightshift.steps.session import Session, on_all
from nightshift.steps.snapshot import forget_old_snapshots

_NEXT = {
    "upgraded": "The next night looks for the next version.",
    "nothing": "The next night looks again.",
    "held": "Nothing has to be done; the next night asks again.",
    "dry_run": "The next night asks again.",
}


def report(session: Session, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Answer {"note", "path", "answer", "entry", "unsaved": why the store did not take the entry, or None}.

    `facts`: whatever the run has of {open_night, choice, decision, plan, snapshot, rehearsal, quiesce, restore, postflight, recovery}
    (each as returned by its step; `plan` without what was not begun), `ended` (why that was not begun: {"sentence",
    …}), `failure` (a `Failure`, or None), `started` and `finished` (epoch seconds),
    `reports_at` (where the UI shows this run's incident reports), `quarantined` [names of the nodes that were set aside], `node_steps` {node: {step: its task's answer}}, `node_gates` [verdicts in front of nodes, with `task`, `nodes`,
    `began`, `ended`], `phase_seconds` {phase: seconds}. Absent or None: it did not run.
    """
    nodes = node_entries(session, facts)
    answer, sentence = judge_night(facts, nodes)
    incidents = _incidents(session)
    overrides = in_force(session.policy.overrides, session.clock())
    entry = LedgerEntry(
        cluster=session.policy.name,
        run_id=session.run_id,
        started=float(facts.get("started") or session.clock()),
        finished=float(facts.get("finished") or session.clock()),
        answer=answer,
        sentence=sentence,
        what_next=f"{what_next(answer, facts)}{_not_rehearsed(facts)}{_overridden(overrides)}",
        next_check=_next_check(session),
        target=(facts.get("choice") or {}).get("target") or {},
        gates=tuple(Verdict.from_dict(v) for v in (facts.get("decision") or {}).get("verdicts", ())),
        node_gates=tuple(NodeGate.from_verdict(g["task"], g) for g in facts.get("node_gates") or ()),
        nodes=nodes,
        phase_seconds=facts.get("phase_seconds") or {},
        snapshot=(facts.get("snapshot") or {}).get("path"),
        rehearsal=facts.get("rehearsal") or {},
        evidence=tuple(session.store.place(f"{index_folder(session)}/{i.name}") for i in incidents),
        quiesced=tuple((facts.get("quiesce") or {}).get("quiesced", ())),
        given_back=_given_back(facts),
        overrides=tuple(o.to_dict() for o in overrides),
        disk_forecast=_disk_forecast(session, facts, [n.name for n in nodes if n.outcome == "upgraded"]),
    )
    stamp = datetime.fromtimestamp(entry.started, UTC).strftime("%Y%m%dT%H%M%SZ")
    folder = "readiness" if answer == Answer.DRY_RUN else "ledger"  # a look is no night
    name = f"{folder}/{stamp}-{path_safe(session.run_id)}.json"
    path, unsaved = session.store.place(name), None
    try:
        session.store.write_json(name, entry.to_dict())
    except NightshiftError as error:  # people read the note first, and alert on gauges
        unsaved = error
    note = write_note(entry, report_line(incidents, str(facts.get("reports_at") or "")))
    plan = _plan(facts)
    is_done = answer == "upgraded" and not plan.get("leftover") and not plan.get("quarantined")
    if answer != Answer.DRY_RUN:  # people alert on what nights say
        publish(session, answer, entry.target, is_done=is_done)
    session.log(note)
    if unsaved is None:
        _remember_seconds(session, facts.get("node_steps") or {})
        session.log(f"Ledger entry: {path}")
        if answer != Answer.DRY_RUN:  # which changes nothing
            _forget_old(session)
    return {"note": note, "path": path, "answer": answer, "entry": entry.to_dict(), "unsaved": unsaved}


def _incidents(session: Session) -> tuple[Incident, ...]:
    """Every incident of this run, whatever node it is of; what cannot be read is said, and the night is told without."""
    try:
        return incidents_of_run(session.store, index_folder(session))
    except Exception as error:  # noqa: BLE001 - the night must be told
        session.log(f"The run's incidents could not be read: {error}")
        return ()


def _forget_old(session: Session) -> None:
    """Old evidence and snapshots go when the night is told; what hinders that is said."""
    for what, forget in (("evidence", forget_old), ("snapshots", forget_old_snapshots)):
        try:
            forget(session)
        except Exception as error:  # noqa: BLE001 - the night must be told
            session.log(f"Old {what} could not be removed: {error}")


def _not_rehearsed(facts: Mapping[str, Any]) -> str:
    """Said in the morning when the policy asked for a rehearsal that the node could not give."""
    said = facts.get("rehearsal") or {}
    return f" {said['sentence']}" if said and not said["rehearsed"] and not said["by_policy"] else ""


def _next_check(session: Session) -> str:
    """When the schedule looks again, for people; a date that is frozen is no night."""
    policy = session.policy
    if policy.schedule is None:
        return ""
    now = datetime.fromtimestamp(session.clock(), UTC)
    start = next_start(policy.schedule, now, policy.window.frozen_dates)
    return f"{start:%Y-%m-%d %H:%M} UTC" if start else ""


def _overridden(overrides: Sequence[Override]) -> str:
    """Said every night until they expire: what an owner took upon himself is easily forgotten."""
    if not overrides:
        return ""
    return f" Overrides in force: {'; '.join(str(override) for override in overrides)}."


def _given_back(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """What came of the workloads that were quiet: by their own task, or by the recovery when that did not run."""
    restore, recovery = facts.get("restore"), facts.get("recovery") or {}
    return tuple(restore["restored"] if restore else recovery.get("repaid", ()))


def _disk_forecast(
    session: Session, facts: Mapping[str, Any], upgraded: Sequence[str]
) -> dict[str, dict[str, dict[str, float]]]:
    """How full the upgraded nodes are against what the disk gate foresaw; a node that does not answer is left out."""
    verdicts = (facts.get("decision") or {}).get("verdicts", ())
    evidence = next((v.get("evidence") or {} for v in verdicts if v["gate"] == disk_usage.NAME), {})
    said: Mapping[str, Any] = evidence.get("forecast") or {}
    if not said or not upgraded:
        return {}
    try:
        nodes = [node for node in session.kube.nodes() if node.name in upgraded]
    except NightshiftError as error:
        session.log(f"The disks were not compared with their forecast: {error}")
        return {}
    probes: dict[str, NodeProbe] = {}
    for name, answer in on_all(nodes, lambda node: session.on(node).probe(), PARALLEL_NODES).items():
        if isinstance(answer, NightshiftError):
            session.log(f"{name}: its disks were not compared with their forecast: {answer}")
        else:
            probes[name] = answer
    return compare(said, probes)


def _remember_seconds(session: Session, steps: Mapping[str, Mapping[str, Any]]) -> None:
    """Keep how long each node took, for the night that asks whether it still fits into the window.

    The steps alone count: between two of them a person may have slept. One that attached to a running job saw its end
    only.
    """
    measured = {
        node: sum(step_seconds(done).values())
        for node, done in steps.items()
        if {"drain", "kubeadm", "kubelet", "verify", "uncordon"} <= done.keys()
        and not any(done[step].get("attached") for step in ("kubeadm", "kubelet"))
    }
    if measured:
        session.store.write_json(
            MEASURED_FILE, {**(session.store.read_json(MEASURED_FILE) or {}), **measured}
        )


def judge_night(facts: Mapping[str, Any], nodes: tuple[NodeEntry, ...]) -> tuple[str, str]:
    """The night's answer and its sentence, from the first phase that said no to the last that said yes."""
    upgraded = [n.name for n in nodes if n.outcome == "upgraded"]
    failure: Failure | None = facts.get("failure")
    if failure:
        aside = ", ".join(facts.get("quarantined") or ())
        tail = f" Set aside, the other workers went on: {aside}." if aside else ""
        tail += f" Already upgraded: {', '.join(upgraded)}." if upgraded else ""
        is_partial = upgraded or failure.code == "STOPPED_HALF_WAY"
        return "partial" if is_partial else failure.answer, f"{failure.sentence}{tail}"
    for phase in ("open_night", "choice", "decision"):
        said = facts.get(phase)
        if said and said["answer"] != Answer.GO:
            return str(said["answer"]), _reasoned(said)
    if not _plan(facts):
        return "failed", "The run ended before it decided anything."
    why = str((facts.get("ended") or {}).get("sentence", ""))
    if why and not upgraded:
        return Answer.HELD.value, why
    if not facts.get("postflight"):
        return ("partial" if upgraded else "failed"), "The run ended before the upgrade was complete."
    said = str(facts["postflight"]["sentence"])
    return "upgraded", f"{said} The night ended early. {why}" if why else said


def _reasoned(said: Mapping[str, Any]) -> str:
    """Say a phase's refusal; what could not be known also with its code and cause, as the red task's log has it."""
    sentence = str(said["sentence"])
    if said["answer"] != Answer.BLIND:
        return sentence
    return (
        f"Blind ({said.get('code') or 'NIGHT_BLIND'}): {sentence} Cause: {said.get('cause') or BLIND_CAUSE}"
    )


def what_next(answer: str, facts: Mapping[str, Any]) -> str:
    """What a person should do or expect, one sentence."""
    leftover = _plan(facts).get("leftover") or ()
    if answer in ("upgraded", "held") and leftover:
        return f"{', '.join(leftover)} continue on the next night."
    verdicts = (facts.get("decision") or {}).get("verdicts", ())
    if answer in _NEXT:
        held = [v for v in verdicts if v["outcome"] == "hold"] if answer == Answer.HELD else ()
        return f"{_NEXT[answer]} {sentences(held)}".rstrip()
    failure: Failure | None = facts.get("failure")
    if failure and failure.next_step:
        return failure.next_step
    shut = [v for v in verdicts if v["outcome"] in ("block", "blind") and v["resolution"]]
    if shut:
        flips = " ".join(dict.fromkeys(v["resolution"] for v in shut))
        return f"To flip it: {flips} {sentences(shut)}".rstrip()
    if answer == Answer.BLIND:
        return BLIND_NEXT_STEP
    return (
        "Read the failed task's log, which names cause and next step; clearing that task goes on from there."
    )


def _plan(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """The night's plan; empty when there was none."""
    plan: Mapping[str, Any] = facts.get("plan") or (facts.get("decision") or {}).get("plan") or {}
    return plan


def node_entries(session: Session, facts: Mapping[str, Any]) -> tuple[NodeEntry, ...]:
    """What happened to each node, by what the cluster says now against what it said before."""
    choice = facts.get("choice") or {}
    before = {n["name"]: n["kubelet"] for n in choice.get("nodes") or ()}
    target = (choice.get("target") or {}).get("version")
    steps = facts.get("node_steps") or {}
    try:
        now = {n.name: n.kubelet_version for n in session.kube.nodes()} if before else {}
    except NightshiftError as error:
        session.log(f"The nodes could not be read for the report: {error}")
        now = {}
    plan = _plan(facts)
    aside = {*(facts.get("quarantined") or ()), *plan.get("quarantined", ())}
    return tuple(
        NodeEntry(
            name=name,
            from_version=version,
            to_version=now.get(name, "unknown"),
            outcome=_outcome(name, version, now.get(name), target, {**plan, "aside": aside}),
            **_times(steps.get(name) or {}),
        )
        for name, version in sorted(before.items())
    )


def _times(steps: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The times of a `NodeEntry`, as far as the node's steps came to their end."""
    drain, uncordon = steps.get("drain"), steps.get("uncordon")
    return {
        "began": drain["began"] if drain else None,
        "seconds": round(uncordon["ended"] - drain["began"], 1) if drain and uncordon else None,
        "steps": step_seconds(steps),
    }


def _outcome(name: str, before: str, now: str | None, target: str | None, plan: Mapping[str, Any]) -> str:
    """One node's word for the ledger."""
    if name in plan.get("leftover", ()):
        return "tomorrow"
    planned = {s["node"] for s in plan.get("control_plane", ())} | {
        n for wave in plan.get("waves", ()) for n in wave
    }
    if target is not None and now == target:
        return "already" if before == target else "upgraded"
    if name in plan["aside"]:
        return "quarantined"
    return "failed" if name in planned else "untouched"


def publish(session: Session, answer: str, target: Mapping[str, Any], *, is_done: bool) -> None:
    """Gauges of the night's outcome; a Pushgateway that is away is said, never raised.

    A night that could not tell what is offered leaves the last known offer; one that knows of none takes it back.
    """
    gauges = {
        "k8s_upgrade_blocked": float(answer == Answer.BLOCKED),
        "k8s_upgrade_held": float(answer == Answer.HELD),
        "k8s_upgrade_failed": float(answer not in (*_NEXT, Answer.BLOCKED)),
        "k8s_version_check_last_run_timestamp": session.clock(),
    }
    available = []
    if target.get("kind") not in (None, TargetKind.BLIND):
        labels = {
            "kind": str(target["kind"]),
            "running": str(target.get("running") or "unknown"),
            "target": str(target.get("version") or TargetKind.NONE),
        }
        is_waiting = target["kind"] != TargetKind.NONE and not is_done
        available.append(("k8s_upgrade_available", labels, float(is_waiting)))
    problem = session.pushgateway.push(gauges, available)
    if problem:
        session.log(f"Gauges were not published: {problem}")
