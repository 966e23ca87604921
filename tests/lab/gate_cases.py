"""What a lab fault must make of the gates: one line per fault, a file per family (`gate_cases_<family>.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class GateCase:
    """One fault, and what the round of gates must say while it is there.

    Args:
        name: of the case.
        faults: arguments of `lab break`, in order; `lab heal` is given the same fault names in reverse.
        gate: the gate that must turn.
        outcome: to what ("warn", "hold", "block", "blind").
        code: with which code.
        words: what its message must contain: a node, a number, a file.
        dependants: gates that turn along with it, and to what; every other gate must say what it said before.
        policy: changes of the cluster's policy for this case, as in its YAML.
        profile: the lab it needs.
        detected: what target detection says meanwhile ("go", "blind"). Where it is not "go", a night ends before any gate
            is asked; the round then asks about the target that was found before, to see that the gate names the fault.
        no_window: why etcd's window is not asked for; "": it is.
    """

    name: str
    faults: tuple[tuple[str, ...], ...]
    gate: str
    outcome: str
    code: str
    words: tuple[str, ...]
    dependants: Mapping[str, str] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)
    profile: str = "small"
    detected: str = "go"
    no_window: str = ""
