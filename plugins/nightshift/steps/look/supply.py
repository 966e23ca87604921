"""Ask one control-plane node whether everything is there that tonight will download."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from nightshift.clients.questions.kubeadm_cluster import KUBEADM_CLUSTER_QUESTION
from nightshift.clients.tables import load_pins
from nightshift.domain.errors import BlindError, UnreachableError
from nightshift.domain.facts.supply import SupplyFacts, SupplyItem
from nightshift.domain.gates.supply import target_images
from nightshift.domain.target import TargetChoice, TargetKind
from nightshift.domain.topics import TARGET
from nightshift.domain.versions import Version, next_minor
from nightshift.steps.look.gathering import Seen
from nightshift.steps.session import NodePort, Session

T = TypeVar("T")


def read_supply(session: Session, seen: Seen) -> SupplyFacts:
    """What the first control-plane node that can be reached says about tonight's target.

    When the target is not known, only the repositories of the running minor and the next are looked at: a wrong signature
    there is often why it is not known.

    Raises:
        BlindError: SUPPLY_SILENT, no control-plane node can be asked, or its answer is incomplete.
    """
    target: TargetChoice | None = seen.find(TARGET)
    base = session.policy.target.package_repository
    if target is None or not target.is_hop or target.minor is None or target.version is None:
        minors = _repositories(target)
        return _ask_one(session, seen, lambda port: _all_repositories(port, minors, base))
    minor, package = target.minor, target.package_version
    images, unasked = target_images(target.version, session.kube.ask(KUBEADM_CLUSTER_QUESTION), load_pins())
    # Staging pulls the probe's image, too.
    wanted = tuple(dict.fromkeys((*images, session.policy.probe_image)))
    return _ask_one(session, seen, lambda port: port.supply(minor, package, base, wanted), unasked)


def _repositories(target: TargetChoice | None) -> tuple[str, ...]:
    """Where the packages would come from; nothing to ask when nothing is to be done."""
    if target is None or target.kind is not TargetKind.BLIND or target.running is None:
        return ()
    minor = Version.parse(target.running).minor
    return minor, next_minor(minor)


def _all_repositories(port: NodePort, minors: Sequence[str], base: str) -> tuple[SupplyItem, ...]:
    answers = [port.supply(minor, None, base, ()) for minor in minors]
    # That there is no next minor yet is no finding.
    return tuple(item for answer in answers[:1] for item in answer) + tuple(
        item for answer in answers[1:] for item in answer if item.state.value != "missing"
    )


def _ask_one(
    session: Session,
    seen: Seen,
    ask: Callable[[NodePort], tuple[SupplyItem, ...]],
    unasked: tuple[str, ...] = (),
) -> SupplyFacts:
    """A node that cannot be reached passes the question on, as in `detect_target`."""
    reasons = []
    for node in (n for n in seen.nodes if n.is_control_plane):
        try:
            return SupplyFacts(node.name, ask(session.on(node)), unasked)
        except UnreachableError as error:
            session.log(f"{node.name}: {error}")
            reasons.append(f"{node.name}: {error.message}")
    raise BlindError(
        "SUPPLY_SILENT",
        "No control-plane node could be asked whether packages and images are there.",
        cause="; ".join(reasons) or "The cluster shows no control-plane node.",
        next_step="Make one reachable over SSH; the night stays closed until then.",
    )
