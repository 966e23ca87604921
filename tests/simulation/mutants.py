"""Nightshift with one thing broken: the simulation must find each of these, or it proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from tests.fakes import cluster as fake_cluster
from tests.fakes.cluster import FakeKube, without_marks
from tests.simulation.model import SimApi, SimKube, SimNode

from nightshift.domain import debts, recovery
from nightshift.steps import brake, drain_node, hold, quiesce, recover, turn, upgrade_node, verify_node


@dataclass(frozen=True)
class Mutant:
    """One broken behaviour.

    Args:
        place: what is replaced, an object and the name of its attribute.
        broken: what it is replaced with.
        finds: how the breach begins that is to be found.
    """

    place: tuple[Any, str]
    broken: Any
    finds: tuple[str, ...]


def _uncordons_anything(
    self: FakeKube, name: str, owner: str | None = None, token: str | None = None
) -> bool:
    self._reach("uncordon")
    self._c.nodes[name] = without_marks(replace(self._c.nodes[name], is_unschedulable=False))
    return True


def _cordons_first(self: SimKube, name: str, owner: str, token: int) -> bool:
    """Two writes, the record second."""
    cluster = self._world.cluster

    def change(**changes: Any) -> None:
        self._inner._reach("cordon")
        cluster.nodes[name] = replace(cluster.nodes[name], **changes)

    node = cluster.nodes[name]
    if node.is_unschedulable and debts.OWNER_ANNOTATION not in node.annotations:
        return False
    self._world.call("api", None, f"cordon {name}", lambda: change(is_unschedulable=True))
    marks = {debts.OWNER_ANNOTATION: owner, debts.TOKEN_ANNOTATION: str(token)}
    self._world.call("api", None, f"mark {name}", lambda: change(annotations=marks))
    return True


def _takes_any_token(self: SimNode, token: int) -> bool:
    return False


def _never_renews(*_: object) -> None:
    """The thread ends at once."""


def _unreachable_is_idle(work: Callable[..., Any]) -> Callable[..., Any]:
    return lambda probe: () if probe is None else work(probe)


def _sees_nobody(*_: object) -> tuple[str, ...]:
    return ()


def _records_nothing(self: SimApi, debt: debts.Debt, instead_of: debts.Debt | None = None) -> bool:
    return True


def _asks_once(asking: Callable[..., Callable[[], None]]) -> Callable[..., Callable[[], None]]:
    """The question before the first pod, and no other."""

    def instead(*args: Any, **named: Any) -> Callable[[], None]:
        due = [asking(*args, **named)]
        return lambda: due.pop()() if due else None

    return instead


def _asks_nobody(*_: object) -> None:
    """No brake, no window."""


def _is_never(*_: object) -> bool:
    return False


MUTANTS = {
    "uncordons a foreign cordon": Mutant((SimApi, "uncordon"), _uncordons_anything, ("foreign cordon",)),
    "records the debt after the act": Mutant((SimKube, "cordon"), _cordons_first, ("unrecorded",)),
    "does not check the token": Mutant((SimNode, "is_token_old"), _takes_any_token, ("old token",)),
    "forgets to renew": Mutant(
        (hold, "_keep_renewing"), _never_renews, ("took the cluster from a live run",)
    ),
    "treats unreachable as dead": Mutant(
        (recovery, "work_on"),
        _unreachable_is_idle(recovery.work_on),
        ("unreachable is not dead", "uncordoned under work"),
    ),
    # What the simulation found in the product, and what was mended then.
    "looks at no other control plane": Mutant((turn, "others_in_hand"), _sees_nobody, ("control plane",)),
    "asks for quorum at the gate only": Mutant((turn, "members_missing"), _sees_nobody, ("quorum",)),
    # What came later than the simulation.
    "makes quiet without a record": Mutant((SimApi, "record_debt"), _records_nothing, ("unrecorded",)),
    "does not look for its record": Mutant((quiesce, "_keep_recorded"), _asks_nobody, ("unrecorded",)),
    "drops what may still come": Mutant((debts, "_may_still_come"), _is_never, ("unrecorded",)),
    "gives back while kubeadm works": Mutant((recovery, "_is_window_open"), _is_never, ("loud",)),
    "leaves what was given back loud": Mutant((upgrade_node, "quiesce_again"), _asks_nobody, ("loud",)),
    "does not ask the brake while a drain waits": Mutant(
        (drain_node, "asking"), _asks_once(drain_node.asking), ("brake",)
    ),
    "does not ask the brake": Mutant((brake, "held"), _asks_nobody, ("brake",)),
    # What an audit found, and what the simulation did not play until then.
    "takes the cluster from a resumed run": Mutant(
        (recover, "is_resumed"), _is_never, ("took the cluster from a live run",)
    ),
    "does not renew while it verifies": Mutant(
        (verify_node, "renewing_meanwhile"), nullcontext, ("took the cluster from a live run",)
    ),
    "lifts a person's cordon under our mark": Mutant(
        (fake_cluster, "is_foreign_cordon"), _is_never, ("foreign cordon",)
    ),
}


@contextmanager
def broken(name: str | None) -> Iterator[None]:
    """Let the product be this mutant for a while; None: itself."""
    if name is None:
        yield
        return
    mutant = MUTANTS[name]
    place, attribute = mutant.place
    had = attribute in vars(place)
    kept = vars(place).get(attribute)
    setattr(place, attribute, mutant.broken)
    try:
        yield
    finally:
        if had:
            setattr(place, attribute, kept)
        else:
            delattr(place, attribute)
