"""Nightshift with one thing broken: the simulation must find each of these, or it proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from tests.fakes.cluster import FakeKube
from tests.simulation.model import SimApi, SimKube, SimNode

from nightshift.domain import recovery
from nightshift.steps import hold, turn


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
    self._c.nodes[name] = replace(self._c.nodes[name], is_unschedulable=False)
    self.drop_node_annotations(name)
    return True


def _cordons_first(self: SimKube, name: str, owner: str, token: int) -> bool:
    """Two writes, the record second."""
    cluster = self._world.cluster

    def change(**changes: Any) -> None:
        self._inner._reach("cordon")
        cluster.nodes[name] = replace(cluster.nodes[name], **changes)

    node = cluster.nodes[name]
    if node.is_unschedulable and recovery.OWNER_ANNOTATION not in node.annotations:
        return False
    self._world.call("api", None, f"cordon {name}", lambda: change(is_unschedulable=True))
    marks = {recovery.OWNER_ANNOTATION: owner, recovery.TOKEN_ANNOTATION: str(token)}
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


MUTANTS = {
    "uncordons a foreign cordon": Mutant((SimApi, "uncordon"), _uncordons_anything, ("foreign cordon",)),
    "records the debt after the act": Mutant((SimKube, "cordon"), _cordons_first, ("unrecorded",)),
    "does not check the token": Mutant((SimNode, "is_token_old"), _takes_any_token, ("old token",)),
    "forgets to renew": Mutant(
        (hold, "_keep_renewing"), _never_renews, ("took the cluster from a live run",)
    ),
    "treats unreachable as dead": Mutant(
        (recovery, "_work"),
        _unreachable_is_idle(recovery._work),
        ("unreachable is not dead", "uncordoned under work"),
    ),
    # What the simulation found in the product, and what was mended then.
    "looks at no other control plane": Mutant((turn, "others_in_hand"), _sees_nobody, ("control plane",)),
    "asks for quorum at the gate only": Mutant((turn, "members_missing"), _sees_nobody, ("quorum",)),
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
