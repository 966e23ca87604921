"""Fold all verdicts into one answer and, on go, a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nightshift.clients.etcd_metrics import parse_etcd_metrics
from nightshift.domain.errors import NightshiftError
from nightshift.domain.facts import NodeFacts
from nightshift.domain.gates import GATES
from nightshift.domain.plan import GATE as PLAN_GATE
from nightshift.domain.plan import Plan, build_plan
from nightshift.domain.target import TargetChoice
from nightshift.domain.verdicts import Answer, Verdict, fold_verdicts
from nightshift.steps.gates import as_overridden, blind_verdict
from nightshift.steps.preview import say_night
from nightshift.steps.session import Session, on_all


def decide(
    session: Session,
    choice: Mapping[str, Any],
    verdicts: Sequence[Mapping[str, Any] | None],
    *,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Answer {"answer", "sentence", "verdicts", "plan": `Plan.to_dict()`|None}.

    A dry run answers "dry_run" with what the night would be (steps/preview.py), whatever the gates say.

    A gate whose task gave nothing (None) counts as silent, which is blind. The plan is made even when
    the answer is no, so that a reader sees what would have happened; only "go" carries it on.
    """
    spoken = [Verdict.from_dict(v) for v in verdicts if v]
    target = TargetChoice.from_dict(choice["target"])
    plan: Plan | None = None
    try:
        plan = make_plan(session, target)
        spoken.append(as_overridden(session, plan.verdict))
        session.log(f"Plan: {plan.sentence}")
    except (
        NightshiftError
    ) as error:  # what the plan needs to know could not be known: the night's answer, not its end
        spoken.append(blind_verdict(PLAN_GATE, error))
    decision = fold_verdicts(spoken, [*GATES, PLAN_GATE])
    for verdict in decision.verdicts:
        session.log(f"{verdict.gate}: {verdict.outcome.value} ({verdict.code}). {verdict.message}")
    session.log(f"Decision: {decision.answer.value}. {decision.sentence}")
    if dry_run and plan is not None:
        return say_night(session, decision, plan, target)
    is_go = plan is not None and decision.answer is Answer.GO
    return {**decision.to_dict(), "plan": plan.to_dict() if plan and is_go else None}


def make_plan(session: Session, target: TargetChoice) -> Plan:
    """Order tonight's work from what is there now."""
    nodes = session.kube.nodes()
    return build_plan(
        nodes,
        session.kube.component_versions(),
        target,
        session.policy,
        config_version=session.kube.kubeadm_config().get("kubernetesVersion"),
        etcd_leader=find_etcd_leader(session, nodes),
        pod_counts=session.kube.evictable_pod_counts(),
    )


def find_etcd_leader(session: Session, nodes: Sequence[NodeFacts]) -> str | None:
    """Node of the etcd leader; None when nobody says so (order is then by name)."""
    members = [n for n in nodes if n.is_control_plane]
    if len(members) < 2:
        return members[0].name if members else None
    for name, text in on_all(members, lambda node: session.on(node).etcd_metrics()).items():
        if text is None or isinstance(text, NightshiftError):
            continue
        sample = parse_etcd_metrics(text, name, session.clock())
        if sample and sample.is_leader:
            return name
    return None
