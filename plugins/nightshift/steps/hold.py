"""Hold the Lease while a mutating step works: one hand on the cluster, proven again by every step.

Each step claims or renews for itself, because clearing one task in the UI re-arms neither the night's
setup nor its teardown.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from nightshift.domain.errors import (
    FencedError,
    LateTryError,
    LeaseHeldError,
    NightshiftError,
    UnreachableError,
)
from nightshift.domain.facts import LeaseFacts, NodeFacts
from nightshift.domain.fencing import token_to_catch_up
from nightshift.domain.owner import is_recovery, require_own_name
from nightshift.domain.takeover import is_fenced
from nightshift.steps.session import Session, on_all, patiently, wait_until

RUN_ANNOTATION = "nightshift.io/run-id"  # its value is an owner, see domain/owner.py
STARTED_ANNOTATION = "nightshift.io/started"
TARGET_ANNOTATION = "nightshift.io/target"
_CLAIM_TRIES = 3
_FENCE_TRIES = 3
_RECOVERY_POLL_SECONDS = 1.0
_WATCH_SECONDS = 2.0  # between two looks at a Lease that seems dead
RENEWAL_SECONDS = 15.0  # a renewal on its way takes at most one API time limit


@dataclass(frozen=True)
class Held:
    """A Lease that is ours: its fencing token, and the question whether it still is ours."""

    token: int
    check: Callable[[], None]  # raises FencedError (RUN_FENCED) when the Lease was lost


@contextmanager
def hold(session: Session, nodes: Sequence[NodeFacts]) -> Iterator[Held]:
    """Claim or renew the Lease, fence `nodes`, keep renewing in a thread until the block ends.

    Raises:
        LeaseHeldError: LEASE_HELD, another run or a recovery is at the cluster.
        FencedError: RUN_FENCED, the Lease was lost while the block worked (also raised at its end), or
            already before it began.
    """
    token = _fence(session, nodes, acquire(session))
    with renewing(session, session.owner, token) as lost:

        def check() -> None:
            if lost.is_set():
                raise _fenced(session, token)

        yield Held(token, check)
        check()


def require_held(session: Session, held: Held) -> None:
    """Ask the Lease itself whether it is ours; the thread that renews it asks every few seconds only.

    Raises:
        FencedError: RUN_FENCED.
    """
    lease = patiently(session, "reading the Lease", session.kube.lease)
    if (lease.holder, lease.token) != (session.owner, held.token):
        raise _fenced(session, held.token)


@contextmanager
def renewing(session: Session, holder: str, token: int) -> Iterator[threading.Event]:
    """Keep a Lease alive in a thread until the block ends; the event is set when somebody else has it."""
    lost, stop = threading.Event(), threading.Event()
    thread = threading.Thread(target=_keep_renewing, args=(session, holder, token, stop, lost), daemon=True)
    thread.start()
    try:
        yield lost
    finally:
        stop.set()
        thread.join(timeout=RENEWAL_SECONDS)


def acquire(session: Session) -> int:
    """Make the Lease ours and return its token; a claim that was lost meanwhile is made again, with a bigger one.

    Every step that changes something comes by here, also one that a person clears or lets run by marking others.

    Raises:
        ConfigError: CONFIG_INVALID, this Airflow has no name of its own.
        LeaseHeldError: LEASE_HELD.
        LateTryError: RUN_FENCED, this run was fenced since this try of its task began.
    """
    require_own_name(session.installation)
    return patiently(session, "taking the Lease", lambda: _acquire(session))


def _acquire(session: Session) -> int:
    """One attempt; safe to repeat when the API went away in the middle of it."""
    for _ in range(_CLAIM_TRIES):
        lease = session.kube.lease()
        if is_fenced(lease, session.owner, session.began):
            raise _late(session, lease)
        if lease.holder == session.owner:
            if session.kube.renew_lease(session.owner, lease.token, session.clock()):
                return lease.token
            continue
        if lease.is_live(session.clock()):
            if await_recovery(session, lease):
                continue
            raise lease_held(lease)
        if not is_recovery(lease.holder) and not is_surely_dead(session, lease):
            continue
        seconds = session.policy.limits.lease_seconds
        claimed = session.kube.claim_lease(session.owner, session.clock(), seconds, lease)
        if claimed is not None:
            session.log(f"Lease claimed with token {claimed.token}")
            announce(session)
            return claimed.token
    raise lease_held(session.kube.lease())


def is_surely_dead(session: Session, lease: LeaseFacts) -> bool:
    """Watch an expired Lease for longer than a live run needs to renew it; False as soon as anybody writes it.

    A run whose API was away for longer than its Lease lives renews seconds after the API's return, and the sweeper
    or another run may be there first. An API that goes away meanwhile is raised: whoever asks again watches anew.
    """
    if not lease.holder or lease.renewed is None:  # nobody's, or given up by a recovery
        return True
    deadline = session.clock() + session.policy.limits.lease_renew_seconds + RENEWAL_SECONDS
    while session.clock() < deadline:
        session.sleep(_WATCH_SECONDS)
        if session.kube.lease() != lease:
            session.log(f"The Lease of {lease.holder} was expired and is written again: its run is alive")
            return False
    return True


def _fence(session: Session, nodes: Sequence[NodeFacts], token: int) -> int:
    """Raise the nodes' token and return it; it is a bigger one when the Lease had fallen behind the nodes.

    Raises:
        FencedError: RUN_FENCED, the Lease was lost meanwhile; NODE_FENCED, the nodes stay ahead of it.
        NightshiftError: the first node's that could not be fenced.
    """
    tries = 0
    while errors := _fence_errors(session, nodes, token):
        tries += 1
        for error in errors:
            if tries == _FENCE_TRIES or not isinstance(error, FencedError):
                raise error
        token = _catch_up(session, token)
    return token


def _fence_errors(session: Session, nodes: Sequence[NodeFacts], token: int) -> list[NightshiftError]:
    """Raise the nodes' token; what came of it where it was refused."""
    answers = on_all(nodes, lambda node: session.on(node).fence(token))
    errors = {name: answer for name, answer in answers.items() if isinstance(answer, NightshiftError)}
    if errors:
        session.log(f"Not fenced with token {token}: {', '.join(errors)}")
    return list(errors.values())


def _catch_up(session: Session, token: int) -> int:
    """Raise the token of a Lease that is still ours above what the nodes have seen; unchanged when it moves just now.

    Raises:
        FencedError: RUN_FENCED, the Lease is not ours any more.
    """
    probes = on_all(session.kube.nodes(), lambda node: session.on(node).probe().token)
    seen = [answer for answer in probes.values() if isinstance(answer, int)]
    lease = session.kube.lease()
    wanted = token_to_catch_up(lease, session.owner, token, seen)
    if wanted is None:
        raise _fenced(session, token)
    raised = session.kube.bump_token(lease, wanted)
    if raised is None:
        return token
    session.log(
        f"The Lease is ours and its token {token} is older than {wanted - 1}, which nodes have seen: the Lease was "
        f"made anew or restored. Raised to {raised.token}"
    )
    return raised.token


def await_recovery(session: Session, lease: LeaseFacts) -> bool:
    """Wait while a recovery is at work under `lease`; False when it is none, or takes longer than a Lease lives.

    Most recoveries end within seconds; one that died leaves a Lease that expires meanwhile.
    """
    if not is_recovery(lease.holder):
        return False
    session.log(f"Waiting for a recovery to end: {describe_holder(lease)}")

    def has_ended() -> bool:
        now = session.kube.lease()
        return now.holder != lease.holder or not now.is_live(session.clock())

    return wait_until(session, session.policy.limits.lease_seconds, has_ended, _RECOVERY_POLL_SECONDS)


def announce(session: Session) -> None:
    """Say on the cluster and in the gauges who is at it since when. After the Lease, never before."""
    known = session.kube.namespace_annotations()
    if known.get(RUN_ANNOTATION) != session.owner:
        started = datetime.fromtimestamp(session.clock(), UTC).isoformat(timespec="seconds")
        session.kube.set_namespace_annotations({RUN_ANNOTATION: session.owner, STARTED_ANNOTATION: started})
    gauges = {"k8s_upgrade_in_flight": 1.0, "k8s_upgrade_started_timestamp": session.clock()}
    push(session, gauges)


def push(session: Session, gauges: dict[str, float]) -> None:
    """Publish gauges; a Pushgateway that is away is said, never raised."""
    problem = session.pushgateway.push(gauges)
    if problem:
        session.log(f"Gauges were not published: {problem}")


def renew_if_ours(session: Session) -> bool:
    """Renew the Lease when this run holds it (long waits between mutating steps); False when it does not."""
    lease = session.kube.lease()
    if lease.holder != session.owner:
        return False
    return session.kube.renew_lease(session.owner, lease.token, session.clock())


@contextmanager
def renewing_if_ours(session: Session) -> Iterator[None]:
    """Keep the Lease alive while a step only looks, when this run holds it.

    A Lease that is lost meanwhile stops nothing: whoever only looks harms nobody.
    """
    lease = session.kube.lease()
    if lease.holder != session.owner:
        yield
        return
    with renewing(session, session.owner, lease.token):
        yield


@contextmanager
def renewing_meanwhile(session: Session) -> Iterator[None]:
    """Keep this run's Lease alive in a thread until the block ends; nothing that goes wrong there reaches the block.

    It begins at once, and goes on trying while the API is away.
    """
    stop = threading.Event()
    thread = threading.Thread(target=_renew_until, args=(session, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=RENEWAL_SECONDS)


def _renew_until(session: Session, stop: threading.Event) -> None:
    """Renew until told to stop, or until the Lease is another's."""
    is_said = False
    while True:
        try:
            if not renew_if_ours(session):
                return
        except Exception as problem:  # noqa: BLE001 - whatever the API answers in a bad night, the next try may be better
            if not is_said:
                session.log(f"The Lease could not be renewed, it is tried again: {problem}")
            is_said = True
        if stop.wait(session.policy.limits.lease_renew_seconds):
            return


def lease_held(lease: LeaseFacts) -> LeaseHeldError:
    """Say who is at the cluster since when."""
    return LeaseHeldError(
        "LEASE_HELD",
        f"Somebody is at this cluster: {describe_holder(lease)}.",
        cause="Another run, or the recovery of one, holds the Lease and keeps renewing it.",
        next_step="Wait for it to end, or end that run; a dead one's Lease expires on its own.",
    )


def describe_holder(lease: LeaseFacts) -> str:
    """Holder and times, for people."""
    return (
        f"{lease.holder or 'nobody'} since {_said(lease.acquired)} (last sign of life {_said(lease.renewed)})"
    )


def _said(moment: float | None) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S} UTC" if moment is not None else "unknown"


def _keep_renewing(
    session: Session, holder: str, token: int, stop: threading.Event, lost: threading.Event
) -> None:
    """Renew until told to stop. An API that is away is no loss: nobody else can take the Lease then either."""
    is_away = False
    while not stop.wait(session.policy.limits.lease_renew_seconds):
        try:
            if not session.kube.renew_lease(holder, token, session.clock()):
                lost.set()
                return
            is_away = False
        except UnreachableError:
            if not is_away:
                session.log("The API does not answer. The Lease is renewed as soon as it does")
            is_away = True
        except Exception as problem:  # noqa: BLE001 - a thread that ends here would let a live run's Lease expire
            session.log(f"The Lease could not be renewed: {problem}")


def _fenced(session: Session, token: int) -> FencedError:
    """The Lease went to somebody else."""
    return FencedError(
        "RUN_FENCED",
        f"Run {session.run_id} lost the Lease it held with token {token}.",
        cause="A recovery or another run took it over, because this run was taken for dead.",
        next_step="Look at the newer run or at the recovery's log; clear this task to go on from here.",
    )


def _late(session: Session, lease: LeaseFacts) -> LateTryError:
    """This try had begun when its run was fenced: it may be a process that Airflow has given up."""
    return LateTryError(
        "RUN_FENCED",
        f"Run {session.owner} was fenced at {_said(lease.fenced_at)}, after this try of its task had begun "
        f"({_said(session.began)}).",
        cause="The run ended, was marked as failed, or was taken for dead; a recovery took the cluster back.",
        next_step="If the run is to go on, clear this task: a new try claims the Lease again.",
    )
