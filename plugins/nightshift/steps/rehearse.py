"""The target's API server started in isolation on tonight's data, on the node that took the snapshot; changes nothing.

It is the last look before the first change: with what kubeadm would write, on what is in etcd, with the images and
packages that lie ready. What it finds ends the night here, with every node as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightshift.domain.rehearsal import Rehearsal, reason_against
from nightshift.steps.brake import require_may_begin
from nightshift.steps.evidence import evidence_first, index_folder
from nightshift.steps.hold import hold
from nightshift.steps.incident import rehearsal_path, told
from nightshift.steps.reconcile_drift import configuration_to_be, encoded_configuration
from nightshift.steps.session import Session, node_log
from nightshift.steps.snapshot import require_way_back

JOB = "rehearse"


def rehearse(session: Session, choice: Mapping[str, Any], plan: Mapping[str, Any] | None) -> dict[str, Any]:
    """Answer {"rehearsed", "reason", "by_policy", "node", "ready_seconds", "seconds", "resources", "left_out", "sentence"}.

    A second time it is done again: it takes seconds, and what it looks at may be another.

    Raises:
        RemoteJobError: REHEARSAL_FAILED with the API server's own words; JOB_TIMED_OUT and relatives.
        VerificationError: SNAPSHOT_ABSENT, there is no data to rehearse with.
        BlindError: what kubeadm-config will say could not be read.
        HeldError: brake or window.
    """
    require_may_begin(session)
    target = choice["target"]
    against = reason_against(
        session.policy.rehearse,
        str(target["kind"]),
        has_control_plane=bool((plan or {}).get("control_plane")),
    )
    if against is not None:
        return _answer(session, Rehearsal(False, against), target["version"], "", by_policy=True)
    known = require_way_back(session)
    node = session.node(known["node"])
    configuration = configuration_to_be(session)
    encoded = [encoded_configuration(configuration)] if configuration is not None else []
    with hold(session, [node]) as held, evidence_first(session, node, JOB, session.clock()):
        outcome = session.on(node).run_job(
            JOB,
            held.token,
            session.owner,
            [target["version"], known["bundle"], *encoded],
            session.policy.limits.rehearse_job_seconds,
            node_log(session, node.name),
            held.check,
        )
    answer = _answer(
        session, Rehearsal.from_result(outcome.result), target["version"], node.name, by_policy=False
    )
    _keep(session, answer)
    return answer


def _keep(session: Session, answer: Mapping[str, Any]) -> None:
    """Keep it for the report of a later failure. That is no reason to stop."""
    try:
        kept = {"made": session.clock(), **answer}
        session.store.write_json(rehearsal_path(index_folder(session)), kept)
    except Exception as problem:  # noqa: BLE001 - evidence is no reason to stop
        session.log(f"The rehearsal could not be kept for a report ({told(problem)})")


def _answer(session: Session, done: Rehearsal, version: str, node: str, *, by_policy: bool) -> dict[str, Any]:
    sentence = done.sentence(version, node)
    session.log(sentence)
    return {**done.to_dict(), "by_policy": by_policy, "node": node, "sentence": sentence}
