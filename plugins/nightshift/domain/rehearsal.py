"""The rehearsal: whether a night has one, and what came of it.

Rehearsed is the start of the target's kube-apiserver on tonight's data, in isolation, before anything is changed
(docs/adr/0023). What cannot be rehearsed on a node is said and keeps no night from going on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nightshift.domain.policy import RehearseWhen
from nightshift.domain.target import TargetKind

_NO_RESULT = "its job did not say what it did"


def reason_against(when: RehearseWhen, kind: str, *, has_control_plane: bool) -> str | None:
    """Return why a night has no rehearsal; None: it has one.

    Args:
        when: the policy's word.
        kind: of tonight's hop, a `TargetKind`.
        has_control_plane: a control-plane node is upgraded tonight.
    """
    if when == "never":
        return "the policy says rehearse: never"
    if not has_control_plane:
        return "no control-plane node is upgraded tonight"
    if when == "minors" and kind != TargetKind.MINOR:
        return "the policy says rehearse: minors, and the target is a patch release"
    return None


@dataclass(frozen=True)
class Rehearsal:
    """What came of it.

    Args:
        rehearsed: the target's API server became ready and listed everything.
        reason: why nothing was rehearsed; "" when it was.
        ready_seconds: until it was ready.
        seconds: all of it.
        resources: how many kinds of resources were listed, counted per group version.
        left_out: "group/version: why" of those that cannot be listed in isolation.
    """

    rehearsed: bool
    reason: str = ""
    ready_seconds: float = 0.0
    seconds: float = 0.0
    resources: int = 0
    left_out: tuple[str, ...] = ()

    @staticmethod
    def from_result(result: Mapping[str, Any] | None) -> Rehearsal:
        """Read the job's RESULT; one that says nothing has rehearsed nothing."""
        said = result or {}
        if said.get("rehearsed") is not True:
            return Rehearsal(False, str(said.get("reason") or _NO_RESULT))
        return Rehearsal(
            True,
            ready_seconds=float(said.get("ready_seconds") or 0),
            seconds=float(said.get("seconds") or 0),
            resources=int(said.get("resources") or 0),
            left_out=_texts(said.get("left_out")),
        )

    def sentence(self, version: str, node: str) -> str:
        """In plain words.

        Args:
            version: the target.
            node: where it was tried; "" when it was not.
        """
        if not self.rehearsed:
            return f"Not rehearsed{f' on {node}' if node else ''}: {self.reason}."
        left_out = f" Left out: {'; '.join(self.left_out)}." if self.left_out else ""
        return (
            f"kube-apiserver {version} was rehearsed on {node} with tonight's data: ready after {self.ready_seconds:.0f} s, "
            f"all {self.resources} resources listed.{left_out}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-serialisable data."""
        return {**asdict(self), "left_out": list(self.left_out)}


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else ()
