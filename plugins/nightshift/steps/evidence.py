"""The first evidence of a failed step: off the node and into the store before anything is retried, then judged and told.

One incident is one folder below `evidence/<run>/`, see docs/adr/0024. Whatever goes wrong while it is made is said in
it, and the step's own failure always comes out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from nightshift.clients.incident_folder import DIAGNOSIS, MANIFEST
from nightshift.domain.errors import NightshiftError
from nightshift.domain.facts import ENDED_BADLY, JobFacts, NodeFacts
from nightshift.domain.incident.record import Incident, by_time, expired_runs, is_incident, told_before
from nightshift.domain.store_paths import is_safe, path_safe
from nightshift.steps.hold import renewing_meanwhile
from nightshift.steps.incident import BEFORE_FOLDER, Failed, before_folder, before_path, make_incident, told
from nightshift.steps.session import Session, StorePort

EVIDENCE = "evidence"
_BASELINE_SECONDS = 600.0  # of logs before kubeadm


@contextmanager
def evidence_first(session: Session, node: NodeFacts, step: str, since: float) -> Iterator[None]:
    """Let no failure of a step on `node` out before its evidence since `since` (epoch seconds) is in the store.

    An API that does not answer for a while is no failure of the node: the step is tried again, and nothing is saved.

    Raises:
        NightshiftError: the step's own; its message says where the evidence lies, or why there is none.
    """
    try:
        yield
    except NightshiftError as error:
        if error.reports or not is_incident(error):
            raise
        try:
            said, report = _save(session, Failed(node, step, since, error))
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except (
            BaseException
        ) as ended:  # a task's time limit is no Exception: the step's own error must come out
            place = session.store.place(index_folder(session))
            said = (
                f"Its evidence is not complete ({type(ended).__name__}); what was saved lies below {place}."
            )
            raise error.saying(said) from ended
        session.log(f"{node.name}: {said}")
        raise error.saying(said, report) from error


def tell_earlier_end(session: Session, node: NodeFacts, known: JobFacts | None) -> None:
    """Say what a job that is started next came to the last time, when that was no good end; a first look at it is saved."""
    if known is None or known.state not in ENDED_BADLY:
        return
    how = f"failed with exit code {known.exit_code}"
    if known.state == "lost":
        how = "was lost when the node was rebooted" if known.rebooted else "was lost without a last word"
    session.log(f"{node.name}: the last {known.step} (run {known.run_id}) {how}; it looks first what is done")
    evidence_of_unseen(session, node, known)


def evidence_of_unseen(session: Session, node: NodeFacts, known: JobFacts) -> None:
    """Save the logs of this run's own job that failed while nobody followed it, before it is started again.

    Args:
        session: the run.
        node: where the job ran.
        known: the job, as the node tells it; nothing is done for one that ended well, or of another run.
    """
    if known.state not in ENDED_BADLY or known.run_id != session.owner:
        return
    is_saved = any(
        i.step == known.step and i.made >= known.started and i.has_node
        for i in _earlier(session, index_folder(session), node.name)
    )
    if not is_saved:
        said, _ = _save(session, Failed(node, known.step, known.started))
        session.log(f"{node.name}: {said}")


def baseline(session: Session, node: NodeFacts) -> None:
    """Save what a control plane is like before its kubeadm begins: should the node go down, this is what is left of it.

    Once per run and node. It never keeps the night from going on.
    """
    folder = index_folder(session)
    path = before_path(folder, node.name)
    try:
        if session.store.exists(path):
            return
        began = session.clock()
        since = began - _BASELINE_SECONDS
        session.store.write_json(f"{before_folder(folder)}/{node.name}.json", {"made": began})
        session.store.write_stream(
            path, lambda target: session.on(node).collect_evidence(since, target, is_baseline=True)
        )
        session.log(f"{node.name}: its state before kubeadm was saved in {session.clock() - began:.1f} s")
    except Exception as problem:  # noqa: BLE001 - evidence is no reason to stop
        session.log(f"{node.name}: its state before kubeadm could not be saved ({told(problem)})")


def _save(session: Session, failed: Failed) -> tuple[str, str]:
    """Save an incident; returns the sentence that says where it lies, and its name for links ("" when there is none)."""
    folder = index_folder(session)
    try:
        earlier = _earlier(session, folder, failed.node.name)
        code = failed.error.code if failed.error else ""
        if known := told_before(earlier, failed.step, code):
            return (
                f"Evidence: {session.store.place(f'{folder}/{known.name}')}.",
                f"{path_safe(session.run_id)}/{known.name}",
            )
        with renewing_meanwhile(session):
            made = make_incident(session, failed, folder, earlier, lambda i: _index(session, folder, i))
    except Exception as problem:  # noqa: BLE001 - whatever happens to the evidence, the failure itself must come out
        return f"Evidence could not be saved ({told(problem)})", ""
    if made.problem is not None:
        return f"Evidence could not be saved ({told(made.problem)})", ""
    gap = f" It lacks the node's own files: {made.gap}" if made.gap else ""
    name = made.incident.name
    return f"Evidence: {session.store.place(f'{folder}/{name}')}.{gap}", f"{path_safe(session.run_id)}/{name}"


def _earlier(session: Session, folder: str, node: str) -> tuple[Incident, ...]:
    """This run's incidents of a node; a store that does not tell is said, and the node is asked all the same."""
    try:
        return incidents_of(session.store, folder, node)
    except Exception as problem:  # noqa: BLE001 - what was said before is no reason to save nothing now
        session.log(f"{node}: this run's earlier incidents could not be read ({told(problem)})")
        return ()


def index_folder(session: Session) -> str:
    """This run's folder in the store."""
    return f"{EVIDENCE}/{path_safe(session.run_id)}"


def _index(session: Session, folder: str, incident: Incident) -> None:
    """Remember an incident. One file per node: two nodes of a wave may fail together."""
    kept = [i for i in incidents_of(session.store, folder, incident.node) if i.name != incident.name]
    entries = [i.to_dict() for i in (*kept, incident)]
    session.store.write_json(f"{folder}/{incident.node}.json", {"incidents": entries})


def incidents_of(store: StorePort, folder: str, node: str) -> tuple[Incident, ...]:
    """A run's incidents of one node, oldest first."""
    listed: Mapping[str, Any] = store.read_json(f"{folder}/{node}.json") or {}
    entries = listed.get("incidents")
    found = (
        [Incident.from_dict(e) for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []
    )
    return by_time(i for i in found if i is not None)


def incidents_of_run(store: StorePort, folder: str) -> tuple[Incident, ...]:
    """All incidents of a run, oldest first: also of a node that is in no plan, and those that an index has lost."""
    names = [name for name in store.names(folder) if is_safe(name)]
    nodes = [name.removesuffix(".json") for name in names if name.endswith(".json")]
    indexed = {i.name: i for node in nodes for i in incidents_of(store, folder, node)}
    lost = [name for name in names if not name.endswith(".json") and name not in (*indexed, BEFORE_FOLDER)]
    found = (_incident_in(store, folder, name) for name in lost)
    return by_time([*indexed.values(), *(i for i in found if i is not None)])


def _incident_in(store: StorePort, folder: str, name: str) -> Incident | None:
    """An incident by its own folder; None when its manifest was not written any more."""
    manifest = store.read_json(f"{folder}/{name}/{MANIFEST}")
    if manifest is None:
        return None
    return Incident.from_folder(name, manifest, store.read_json(f"{folder}/{name}/{DIAGNOSIS}"))


def forget_old(session: Session) -> tuple[str, ...]:
    """Remove the evidence of old runs, as the policy's `evidence` says; returns their folders' names.

    What a run kept of its nodes for the case that one goes down (`baseline`) goes at its end, when nothing failed; of a
    run that was killed it goes with its age. A folder that holds anything else is evidence, whether its index can be
    read or not.
    """
    policy, own = session.policy.evidence, path_safe(session.run_id)
    names = [run for run in session.store.names(EVIDENCE) if is_safe(run)]
    idle = {run for run in names if session.store.names(f"{EVIDENCE}/{run}") == (BEFORE_FOLDER,)}
    oldest = session.clock() - policy.keep_days * 86_400
    gone = [run for run in names if run in idle and (run == own or _baseline_made(session, run) < oldest)]
    runs = {run: incidents_of_run(session.store, f"{EVIDENCE}/{run}") for run in names if run not in idle}
    gone += expired_runs(runs, session.clock(), policy.keep_days, policy.keep_runs)
    for run in gone:
        session.store.remove(f"{EVIDENCE}/{run}")
    old = [run for run in gone if run != own]
    if old:
        session.log(f"Evidence older than {policy.keep_days} days was removed: {', '.join(old)}")
    return tuple(old)


def _baseline_made(session: Session, run: str) -> float:
    """When the youngest of a run's baselines was begun, seconds since the epoch; one of unknown age stays."""
    folder = before_folder(f"{EVIDENCE}/{run}")
    said = [
        session.store.read_json(f"{folder}/{name}") or {}
        for name in session.store.names(folder)
        if name.endswith(".json")
    ]
    times = [made for made in (one.get("made") for one in said) if isinstance(made, int | float)]
    return max(times, default=session.clock())
