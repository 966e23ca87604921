"""The results as Markdown: every combination with its outcome for docs/safety.md, the times for docs/benchmarks.md. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from chaos.catalogue import Case, Expect
from chaos.results import Row

BEGIN, END = "<!-- chaos: begin -->", "<!-- chaos: end -->"
_EXPECTED = {
    "ATTACH": "same run goes on",
    "RECOVER": "safe, next run ends on target",
    "REFUSE": "refused politely",
}
_MEASURED = {
    Expect.ATTACH.name: "from the death (a clear: or the return of the API that `claim` waits for) to the retry that attaches",
    Expect.RECOVER.name: "from the end of what outlived the run (a killed job: or from its task's raise) to safe",
    Expect.REFUSE.name: "from the trigger to the polite end of the second run",
}


class NoMarkersError(ValueError):
    """The page does not say where the table belongs."""


def outcomes(played: Sequence[tuple[Case, Row]]) -> str:
    """One line per combination."""
    header = ["Case", "Fault", "Moment", "Expected", "Outcome", "After", "Bound"]
    lines = [_line(case, row, strike) for case, row in played for strike in row["strikes"]]
    strikes = [strike for _, row in played for strike in row["strikes"]]
    good = sum(not s["problems"] for s in strikes)
    broken = sum(len(row["breaches"]) for _, row in played)
    head = (
        f"{_origin(played)} {good} of {len(strikes)} combinations ended as expected; "
        f"promises broken at any time: {broken}."
    )
    broken_lines = [f"- **{case.name}**: {text}" for case, row in played for text in row["breaches"]]
    return "\n\n".join(part for part in (head, "\n".join(broken_lines), _table(header, lines)) if part)


def times(played: Sequence[tuple[Case, Row]]) -> str:
    """Seconds by what is measured and by fault."""
    found: dict[tuple[str, str, str], list[float]] = {}
    for _, row in played:
        for strike in row["strikes"]:
            if strike["seconds"] is not None:
                bound = "" if strike["bound"] is None else f"{strike['bound']} s"
                found.setdefault((strike["expect"], strike["fault"], bound), []).append(strike["seconds"])
    header = ["Measured", "Fault", "Times", "Median", "Longest", "Bound"]
    lines = [
        [_MEASURED[expect], fault, str(len(seconds)), f"{statistics.median(seconds):.1f} s",
         f"{max(seconds):.1f} s", bound]
        for (expect, fault, bound), seconds in sorted(found.items())
    ]  # fmt: skip
    return f"{_origin(played)}\n\n{_table(header, lines)}"


def put(page: str, shown: str) -> str:
    """Return the page with `shown` between its markers; everything else there stays.

    Raises:
        NoMarkersError: it has none.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise NoMarkersError(f"the page has no {BEGIN} … {END}")
    return f"{before}{BEGIN}\n{shown}\n{END}{after}"


def _line(case: Case, row: Row, strike: Mapping[str, Any]) -> list[str]:
    problems = strike["problems"]
    outcome = f"**{'; '.join(problems)}**" if problems else str(strike["how"])
    where = "" if strike["place"] == "control_plane.slot_01" else f" ({strike['place']})"
    return [
        f"{case.name}{' (ha)' if row['profile'] == 'ha' else ''}",
        str(strike["fault"]),
        f"{strike['moment']}{where}",
        _EXPECTED[str(strike["expect"])],
        outcome,
        "" if strike["seconds"] is None else f"{strike['seconds']:.1f} s",
        "" if strike["bound"] is None else f"{strike['bound']} s",
    ]


def _origin(played: Sequence[tuple[Case, Row]]) -> str:
    """Which commits, when, how long."""
    commits = sorted({row["commit"] for _, row in played})
    days = sorted({row["day"] for _, row in played})
    minutes = sum(row["seconds"] for _, row in played) / 60
    return (
        f"{len(played)} {'case' if len(played) == 1 else 'cases'}, played {' to '.join(dict.fromkeys((days[0], days[-1])))} at commit "
        f"{', '.join(f'`{c}`' for c in commits)}, {minutes:.0f} minutes together."
        if played
        else "Nothing was played yet."
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [header, ["---"] * len(header), *[[c.replace("|", "\\|") for c in row] for row in rows]]
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)
