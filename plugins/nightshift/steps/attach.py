"""A try that begins while its own job keeps the API away: it follows the job over SSH until the API is there again.

A single control plane's kubeadm takes the API away for a minute, twice. A step that asks the API first would stand
there for as long, and for longer than its patience on a slow disk, although its own job can be followed all the time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from nightshift.domain.errors import NightshiftError
from nightshift.domain.facts import JobFacts, NodeAddress
from nightshift.steps.session import Session, node_log


def follow_own_job(
    session: Session,
    node_name: str,
    job: str,
    wanted: Collection[tuple[str, ...]],
    addresses: Mapping[str, str] | None,
) -> None:
    """Follow the job that an earlier try of this step started, while the API does not answer. Only looks.

    Comes back when there is no such job (any more), when the API is ready, and when the node does not answer: whoever
    calls this goes on as if it had not been called. The Lease, the token and the owner's word are asked then, before
    anything is done; `run_job` attaches to a job that still runs. So nothing here has to hold the Lease: nobody
    else can take it while the API is away.

    Args:
        session: the run.
        node_name: where the job would be.
        job: name of the job script.
        wanted: arguments with which this step may have started it.
        addresses: of the plan. A node that it does not name (an older release made it) is not looked at.
    """
    address = (addresses or {}).get(node_name)
    if not address:
        return
    is_told = [False]

    def is_enough(seen: JobFacts) -> bool:
        is_ours = seen.run_id == session.owner and seen.arguments in wanted
        if not is_ours or session.kube.ready():
            return True
        if not is_told[0]:
            session.log(f"{node_name}: the API is away, and {job} of this run is at work: following it")
            is_told[0] = True
        return False

    try:
        last = session.on(NodeAddress(node_name, address)).follow_job(
            job, node_log(session, node_name), is_enough
        )
    except NightshiftError as error:
        session.log(f"{node_name}: {job} cannot be followed at {address} ({error.code}: {error.cause})")
        return
    if is_told[0] and last is not None:
        how = "the API is there again" if last.state == "running" else f"{job} ended ({last.state})"
        session.log(f"{node_name}: {how}; asking who holds the cluster")
