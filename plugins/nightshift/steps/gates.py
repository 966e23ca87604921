"""Ask the gates: gather what they need in one round, let each judge it. Looking is in steps/look, judging in domain/gates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nightshift.domain.errors import NightshiftError
from nightshift.domain.facts import EtcdSample
from nightshift.domain.gates import GATES, Gate, disk_usage, etcd_latency
from nightshift.domain.gates.judging import judge
from nightshift.domain.overrides import apply_overrides
from nightshift.domain.round import AnyTopic, Moment, Reading
from nightshift.domain.target import TargetChoice
from nightshift.domain.topics import ETCD_BEFORE, ETCD_NOW, TARGET
from nightshift.domain.verdicts import Outcome, Verdict
from nightshift.steps.hold import renew_if_ours
from nightshift.steps.look import GATHERERS
from nightshift.steps.look.etcd import reading_from_dict, reading_to_dict
from nightshift.steps.look.gathering import gather
from nightshift.steps.session import Session


def ask(
    session: Session,
    gates: Iterable[str],
    moment: Moment,
    nodes_ahead: Sequence[str] = (),
    given: Mapping[str, Reading] | None = None,
) -> list[dict[str, Any]]:
    """Ask these gates in one round; answer their verdicts as dicts, in the same order.

    Nothing is raised for an outside system: what could not be read makes the gates that need it blind.

    Args:
        session: the cluster.
        gates: names of gates.
        moment: where in the night they are asked.
        nodes_ahead: in front of a slot or wave, the nodes behind it.
        given: facts the caller knows already, by topic.
    """
    asked = [GATES[name] for name in gates]
    round_ = gather(session, _topics(asked), GATHERERS, moment, nodes_ahead=nodes_ahead, given=given)
    verdicts = (judge(gate, round_, session.policy) for gate in asked)
    return [_said(session, as_overridden(session, verdict)) for verdict in verdicts]


def as_overridden(session: Session, verdict: Verdict) -> Verdict:
    """The verdict as the owner's overrides leave it."""
    return apply_overrides(verdict, session.policy.overrides, session.clock())


def ask_night(session: Session, gates: Sequence[str], choice: Mapping[str, Any]) -> dict[str, Any]:
    """Answer {"verdicts": [...]} of these gates before the night. `choice`: what `detect_target` said."""
    return {"verdicts": ask(session, gates, Moment.NIGHT, given=_target(session, choice))}


def ask_place(
    session: Session, nodes: Sequence[str], choice: Mapping[str, Any], gates: Sequence[str] | None = None
) -> dict[str, Any]:
    """Answer {"verdicts": [...]} of all gates that are asked again in front of a slot or wave, but for etcd's, which has its window.

    Args:
        session: the cluster.
        nodes: the nodes behind it.
        choice: what `detect_target` said.
        gates: only these; None: all of them.
    """
    wanted = place_gates() if gates is None else gates
    return {"verdicts": ask(session, wanted, Moment.PLACE, nodes, _target(session, choice))}


def place_gates() -> list[str]:
    """Names of the gates of `ask_place`."""
    return [
        gate.name
        for gate in GATES.values()
        if Moment.PLACE in gate.moments and gate.name != etcd_latency.NAME
    ]


def gather_etcd_samples(session: Session) -> dict[str, Any]:
    """One look at every member, see `look.etcd.reading_to_dict`.

    Also renews the Lease when this run holds it: the gate's window is a long wait between mutating steps.
    """
    try:
        renew_if_ours(session)
    except NightshiftError as error:  # whoever must hold it finds out by itself; a look needs no Lease
        session.log(str(error))
    reading = gather(session, [ETCD_NOW], GATHERERS, Moment.NIGHT).readings[ETCD_NOW.name]
    for name in sorted({*(reading.value or {}), *reading.problems}):
        session.log(f"{name}: etcd metrics {'could not be read' if name in reading.problems else 'read'}")
    return reading_to_dict(reading)


def continues_window(session: Session, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Tell whether a gate's window may begin at an earlier gate's last sample: all members answered, both times."""
    if any(look["problem"] or look["problems"] for look in (before, now)):
        return False
    return etcd_latency.continues(_members(before), _members(now), session.policy.etcd_latency)


def check_etcd_latency(
    session: Session, before: Mapping[str, Any], after: Mapping[str, Any], nodes: Sequence[str] = ()
) -> dict[str, Any]:
    """Verdict (as a dict) from two samples taken `policy.etcd_latency.window_seconds` apart.

    `nodes`: in front of a slot or wave, those behind it.
    """
    now = session.clock()
    given = {
        ETCD_BEFORE.name: reading_from_dict(before, now),
        ETCD_NOW.name: reading_from_dict(after, after["taken"]),
    }
    moment = Moment.PLACE if nodes else Moment.NIGHT
    return ask(session, [etcd_latency.NAME], moment, nodes, given)[0]


def check_disk_usage(session: Session, choice: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Verdict: would a mount overflow?"""
    given = _target(session, choice) if choice else {}
    return ask(session, [disk_usage.NAME], Moment.NIGHT, given=given)[0]


def blind_verdict(gate: str, error: NightshiftError) -> Verdict:
    """A gate that could not even begin to look."""
    return Verdict(
        gate, Outcome.BLIND, error.code, error.message, cause=error.cause, resolution=error.next_step
    )


def _topics(gates: Iterable[Gate]) -> list[AnyTopic]:
    return [topic for gate in gates for topic in (*gate.needs, *gate.wants)]


def _target(session: Session, choice: Mapping[str, Any]) -> dict[str, Reading]:
    """Tonight's target as a fact: it was decided, so it does not grow old."""
    return {TARGET.name: Reading(session.clock(), value=TargetChoice.from_dict(choice["target"]))}


def _members(look: Mapping[str, Any]) -> dict[str, EtcdSample]:
    """The samples of one look, by member."""
    members: dict[str, EtcdSample] = reading_from_dict(look, look["taken"]).value
    return members


def _said(session: Session, verdict: Verdict) -> dict[str, Any]:
    """Log the verdict and return it."""
    session.log(f"{verdict.gate}: {verdict.outcome.value} ({verdict.code}). {verdict.message}")
    if verdict.resolution:
        session.log(f"What would flip it: {verdict.resolution}")
    if verdict.look_again:
        session.log(verdict.look_again.sentence)
    return verdict.to_dict()
