"""What a fault is, and how its arguments are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from nslab.nodes import state
from nslab.shell import LabError

Parameters = Mapping[str, str | int | list[str]]


@dataclass(frozen=True)
class Case:
    """One instance of a fault: what it was asked for and what it is told apart by."""

    fault: str
    subject: str  # node, image or package; there is one case per fault and subject at a time
    parameters: Parameters = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Name of the case's record: file-system safe and unique per fault and subject."""
        safe = "".join(c if c.isalnum() or c in "-." else "_" for c in self.subject)
        return f"{self.fault}@{safe}"

    def number(self, name: str) -> int:
        """Return a parameter that is a whole number."""
        return int(str(self.parameters[name]))

    def text(self, name: str) -> str:
        """Return a parameter that is a text."""
        return str(self.parameters[name])

    def names(self, name: str) -> list[str]:
        """Return a parameter that is a list of texts."""
        value = self.parameters[name]
        return list(value) if isinstance(value, list) else [str(value)]


@dataclass(frozen=True)
class Fault:
    """A kind of trouble: how it is asked for, made and undone.

    `inflict` and `undo` may be repeated and may follow an interrupted run of either.
    `outlives_reset` tells that the trouble lies outside the nodes' disks, so that a reset of the
    nodes does not undo it by itself.
    """

    name: str
    usage: str  # arguments, as in a synopsis
    summary: str
    parse: Callable[[Sequence[str]], list[Case]]
    inflict: Callable[[Case], str]  # returns one sentence: what is so now
    undo: Callable[[Case], str]
    outlives_reset: bool = False


def read_arguments(arguments: Sequence[str], usage: str, required: int, optional: int = 0) -> list[str]:
    """Return the arguments; raise `LabError` with the synopsis when there are too few or too many."""
    if not required <= len(arguments) <= required + optional:
        raise LabError(f"{len(arguments)} arguments given", f"usage: lab/lab break {usage}")
    return list(arguments)


def node_name(name: str, role: str | None = None) -> str:
    """Return `name` when the present lab has such a node (of this role); raise `LabError` otherwise."""
    node = state.node(name)
    if role is not None and node.role != role:
        raise LabError(f"{name} is no {role} node", "choose another; `lab/lab status` lists them")
    return node.name


def positive(text: str, what: str, highest: int) -> int:
    """Return a whole number from 1 to `highest`; raise `LabError` naming `what` otherwise."""
    if not text.isdecimal() or not 1 <= int(text) <= highest:
        raise LabError(f"{what} is {text!r}", f"give a whole number from 1 to {highest}")
    return int(text)
