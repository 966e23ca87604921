"""The whole cluster after the night."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightshift.domain.debts import OWNER_ANNOTATION
from nightshift.domain.drift import shown
from nightshift.domain.errors import NightshiftError, VerificationError
from nightshift.domain.facts import NodeFacts
from nightshift.domain.quarantine import set_aside_by
from nightshift.steps.debts import due_debts
from nightshift.steps.hold import renewing_if_ours
from nightshift.steps.kubelet_settings import settings_lost
from nightshift.steps.session import Session, on_all
from nightshift.steps.verify_node import node_problems


def postflight(session: Session, choice: Mapping[str, Any], plan: Mapping[str, Any]) -> dict[str, Any]:
    """Answer {"nodes", "leftover", "quarantined", "kubelet_settings_lost", "sentence"}.

    Of each node {"kubelet", "ready"}; of each kubelet that lost settings a list of them. What this night or an earlier one set aside is named and not judged.

    Raises:
        VerificationError: VERIFY_FAILED, naming every node and what is wrong with it.
    """
    with renewing_if_ours(session):
        return _look(session, str(choice["target"]["version"]), choice["target"].get("running"), plan)


def _look(session: Session, version: str, running: str | None, plan: Mapping[str, Any]) -> dict[str, Any]:
    """Ask every node, then judge."""
    leftover = set(plan["leftover"])
    nodes = session.kube.nodes()
    aside = {*set_aside_by(session.owner, nodes), *plan.get("quarantined", ())}
    done = [n for n in nodes if n.name not in leftover | aside]
    problems: list[str] = []
    for name, found in on_all(done, lambda node: _problems(session, node, version)).items():
        said = [str(found)] if isinstance(found, NightshiftError) else found
        problems += [f"{name}: {problem}" for problem in said]
        session.log(f"{name}: {'; '.join(said) or f'on {version}, as written'}")
    problems += [
        f"{debt} is still owed by run {debt.owner}" for debt in due_debts(session.kube, session.clock())
    ]
    if problems:
        raise VerificationError(
            "VERIFY_FAILED",
            f"The cluster is not what it should be after the night: {'; '.join(problems)}.",
            cause="These checks do not hold although every step said it was done.",
            next_step="Look at the nodes named; when they are right, clear this task: it only looks.",
        )
    head = f"Upgraded from {running} to {version}: " if running else ""
    tail = f" {len(leftover)} nodes continue tomorrow." if leftover else ""
    tail += f" Set aside: {', '.join(sorted(aside))}." if aside else ""
    lost = settings_lost(session, done)
    tail += _said_lost(lost) if lost else ""
    sentence = f"{head}{len(done)} of {len(nodes)} nodes run {version}, Ready and as written.{tail}"
    session.log(sentence)
    return {
        "nodes": {n.name: {"kubelet": n.kubelet_version, "ready": n.is_ready} for n in nodes},
        "leftover": sorted(leftover),
        "quarantined": sorted(aside),
        "kubelet_settings_lost": {name: list(settings) for name, settings in lost.items()},
        "sentence": sentence,
    }


def _said_lost(lost: Mapping[str, tuple[str, ...]]) -> str:
    said = "; ".join(f"{node}: {shown(settings)}" for node, settings in sorted(lost.items()))
    return f" Kubelet settings that were set before the upgrade and are gone: {said}."


def _problems(session: Session, node: NodeFacts, version: str) -> list[str]:
    """One node, our own mark included."""
    problems = node_problems(session, node, version)
    if OWNER_ANNOTATION in node.annotations:
        problems.append(f"still marked by run {node.annotations[OWNER_ANNOTATION]}")
    return problems
