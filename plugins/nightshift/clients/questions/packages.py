"""What the section `packages` of the verb `look` says: dpkg's locks and states, unattended upgrades, a wanted reboot."""

from __future__ import annotations

from collections.abc import Sequence

from nightshift.clients.questions import NodeQuestion
from nightshift.domain.facts.packages import BrokenPackage, LockHolder, PackageHealth

_WIDTH = 120  # characters of a command line in a sentence


def parse_packages(text: str) -> PackageHealth:
    """Read the section's lines, `kind TAB fields…`; the last one is `end`, so that half an answer is seen.

    Raises:
        ValueError: a line is not understood, or the end is missing.
    """
    lines = [line.split("\t") for line in text.splitlines()]
    if not lines or lines.pop() != ["end"]:
        raise ValueError("the list of packages has no end")
    kinds: dict[str, list[list[str]]] = {}
    for kind, *fields in lines:
        kinds.setdefault(kind, []).append(fields)
    unknown = set(kinds) - {"lock", "broken", "journal", "unattended", "held", "reboot", "reboot-package"}
    if unknown:
        raise ValueError(f"unknown lines: {', '.join(sorted(unknown))}")
    return PackageHealth(
        locks=tuple(_lock(fields) for fields in kinds.get("lock", ())),
        broken=tuple(BrokenPackage(name, state) for name, state in kinds.get("broken", ())),
        has_journal="journal" in kinds,
        unattended=_first(kinds.get("unattended", ())),
        held=_first(kinds.get("held", ())),
        needs_reboot="reboot" in kinds,
        reboot_packages=_first(kinds.get("reboot-package", ())),
    )


def _lock(fields: Sequence[str]) -> LockHolder:
    pid, seconds, file, command = fields
    return LockHolder(int(pid), command.strip()[:_WIDTH], file, float(seconds))


def _first(lines: Sequence[Sequence[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(fields[0].strip()[:_WIDTH] for fields in lines))


PACKAGES_QUESTION = NodeQuestion("packages", parse_packages)
