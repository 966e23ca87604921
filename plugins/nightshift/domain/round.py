"""One round of facts: what was read, when, and what could not be read.

A gate sees nothing but a round and the policy. What it asks for by topic is either there, or the gate is *blind*: a
fact that is missing, too old, or from a node that did not answer is never taken for "fine".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

MAX_AGE_SECONDS = 180.0  # of a fact, when its round is judged


class Moment(StrEnum):
    """When the gates are asked."""

    NIGHT = "night"  # before the cluster is claimed: may this night begin?
    PLACE = "place"  # in front of a control-plane slot or a worker wave: may it go on?


@dataclass(frozen=True)
class Topic(Generic[T_co]):
    """One kind of fact about the cluster as a whole.

    Args:
        name: unique, lower_snake.
        title: for people, as the object of "could not be read": "the PodDisruptionBudgets".
    """

    name: str
    title: str


@dataclass(frozen=True)
class NodeTopic(Generic[T_co]):
    """One kind of fact that every node (or every control-plane node) has; the fields are those of `Topic`."""

    name: str
    title: str
    only_control_planes: bool = False


AnyTopic = Topic[Any] | NodeTopic[Any]


@dataclass(frozen=True)
class Unread:
    """Why a fact could not be read; the fields are those of an error: code, what, why, what to do."""

    code: str
    message: str
    cause: str
    resolution: str


@dataclass(frozen=True)
class Reading:
    """One topic's answer.

    Args:
        taken: when it was read, seconds since the epoch on our clock.
        value: the fact; of a `NodeTopic` a mapping with the nodes that answered.
        problem: why there is no value at all.
        problems: by node, why that node has none.
    """

    taken: float
    value: Any = None
    problem: Unread | None = None
    problems: Mapping[str, Unread] = field(default_factory=dict)


class NotRead(Exception):
    """A gate asked for a fact that this round has not; `judge` makes the gate blind.

    Args:
        name: the topic's name.
        unread: why.
    """

    def __init__(self, name: str, unread: Unread) -> None:
        super().__init__(f"{name}: {unread.message}")
        self.name = name
        self.unread = unread


@dataclass(frozen=True)
class Round:
    """All facts of one round.

    Args:
        moment: where in the night it is asked.
        now: when it is judged, seconds since the epoch on our clock.
        readings: by the topic's name.
        nodes_ahead: in front of a slot or wave, the nodes behind it; empty before the night.
    """

    moment: Moment
    now: float
    readings: Mapping[str, Reading]
    nodes_ahead: tuple[str, ...] = ()

    def get(self, topic: Topic[T]) -> T:
        """The fact.

        Raises:
            NotRead: it is missing, could not be read or is too old.
        """
        value: T = self._reading(topic).value
        return value

    def by_node(self, topic: NodeTopic[T]) -> Mapping[str, T]:
        """The facts of the nodes that answered; who did not is in `silent`.

        Raises:
            NotRead: no node could be asked, or the answers are too old.
        """
        value: Mapping[str, T] = self._reading(topic).value
        return value

    def find(self, topic: Topic[T]) -> T | None:
        """The fact when it is there; for what a gate merely wants."""
        reading = self.readings.get(topic.name)
        return None if reading is None or self._why_not(topic, reading) else reading.value

    def silent(self, topic: NodeTopic[Any]) -> Mapping[str, Unread]:
        """The nodes that gave no answer on this topic, and why."""
        return self._reading(topic).problems

    def _reading(self, topic: AnyTopic) -> Reading:
        reading = self.readings.get(topic.name)
        if reading is None:
            raise NotRead(topic.name, _never_asked(topic))
        problem = self._why_not(topic, reading)
        if problem is not None:
            raise NotRead(topic.name, problem)
        return reading

    def _why_not(self, topic: AnyTopic, reading: Reading) -> Unread | None:
        if reading.problem is not None:
            return reading.problem
        age = self.now - reading.taken
        if not 0 <= age <= MAX_AGE_SECONDS:  # also when the clock ran backwards, or gave no number
            return _too_old(topic, age)
        return None


def _never_asked(topic: AnyTopic) -> Unread:
    return Unread(
        "FACT_NOT_ASKED",
        f"Nobody looked at {topic.title} in this round.",
        "The gate needs a fact that its round was not told to gather.",
        "This is a fault of Nightshift: report it with this message.",
    )


def _too_old(topic: AnyTopic, age: float) -> Unread:
    return Unread(
        "FACT_TOO_OLD",
        f"What is known about {topic.title} is {age:.0f} s old; at most {MAX_AGE_SECONDS:.0f} s count.",
        "The round took too long, or a clock was changed while it was asked.",
        "Ask again: clear the task.",
    )
