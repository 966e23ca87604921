"""What the verb `supply` says: one line per repository, package and image."""

from __future__ import annotations

from nightshift.domain.facts.supply import Supplied, SupplyItem

_KINDS = ("repository", "package", "image")


def parse_supply(text: str) -> tuple[SupplyItem, ...]:
    """Read `kind TAB name TAB state TAB detail` lines; the last one is `end`.

    Raises:
        ValueError: a line is not understood, or the end is missing.
    """
    lines = text.splitlines()
    if not lines or lines.pop() != "end":
        raise ValueError("the answer about packages and images has no end")
    items = []
    for line in lines:
        kind, name, state, detail = line.split("\t", 3)
        if kind not in _KINDS:
            raise ValueError(f"unknown line: {line!r}")
        items.append(SupplyItem(kind, name, Supplied(state), detail))
    return tuple(items)
