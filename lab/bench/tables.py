"""The comparison as Markdown: what was measured, the ratio, and where the time went."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from bench.runs import KINDS, PHASES, SIDES, Run

_NAMES = {"bash": "bash script", "dag": "Nightshift DAG"}
_BETWEEN_STEPS, _NODES, _BETWEEN_NODES, _NET = (
    "between steps",
    "nodes together",
    "between nodes",
    "wall without gates",
)


def render(runs: Sequence[Run]) -> str:
    """Return everything the page shows of these runs."""
    if not runs:
        return "Nothing has been measured yet."
    parts = [_sides_table(runs), _verdict(runs), _discarded(runs), "Where the time goes:", _times_table(runs)]
    return "\n\n".join(part for part in parts if part)


def _discarded(runs: Sequence[Run]) -> str:
    """Say how many attempts the table leaves out; "" when none."""
    counts = {side: sum(run.discarded for run in _of(runs, side)) for side in SIDES}
    told = [f"{count} of the {_NAMES[side]}" for side, count in counts.items() if count]
    return f"Left out, because they did not end on the target: {', '.join(told)}." if told else ""


def pair_ratios(runs: Sequence[Run], seconds: Callable[[Run], float]) -> list[float]:
    """Return DAG / script of every pair that is complete."""
    found = {(r.side, r.pair): seconds(r) for r in runs}
    pairs = sorted({r.pair for r in runs})
    return [found["dag", p] / found["bash", p] for p in pairs if ("dag", p) in found and ("bash", p) in found]


def _sides_table(runs: Sequence[Run]) -> str:
    """One row per side: medians of the clock, sums of the requests, the worst gaps."""
    header = ["", "runs", "wall without gates, median (min–max)", "wall with gates", "API: failed of requests",
              "API: longest gap", "web: failed of requests", "web: longest gap"]  # fmt: skip
    return _table(header, [_side_row(side, own) for side in SIDES if (own := _of(runs, side))])


def _side_row(side: str, runs: Sequence[Run]) -> list[str]:
    return [
        _NAMES[side],
        str(len(runs)),
        _spread([r.net for r in runs]),
        _spread([r.wall for r in runs]),
        f"{sum(r.api_failed for r in runs)} of {sum(r.api_requests for r in runs)}",
        f"{max(r.api_gap for r in runs):.1f} s",
        f"{sum(r.web_failed for r in runs)} of {sum(r.web_requests for r in runs)}",
        f"{max(r.web_gap for r in runs):.1f} s",
    ]


def _spread(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.0f} s ({min(seconds):.0f}–{max(seconds):.0f})"


def _verdict(runs: Sequence[Run]) -> str:
    """The headline: the ratio without the gates, and with them; empty while no pair is complete."""
    net, raw = pair_ratios(runs, lambda r: r.net), pair_ratios(runs, lambda r: r.wall)
    if not net:
        return ""
    waited = statistics.median([r.gates for r in _of(runs, "dag")])
    return (
        f"Ratio DAG / script, median of {len(net)} pair{'s' if len(net) > 1 else ''}: "
        f"**{statistics.median(net):.2f}** ({min(net):.2f}–{max(net):.2f}) without gates; "
        f"{statistics.median(raw):.2f} ({min(raw):.2f}–{max(raw):.2f}) with the {waited:.0f} s (median) "
        "for which the DAG waited at gates between its first cordon and its last uncordon."
    )


def _times_table(runs: Sequence[Run]) -> str:
    """Medians over the runs of the seconds spent, by kind of node and by side; a kind's nodes are added up."""
    columns = [
        (f"{title}: {_NAMES[side]}", [_spent(run, kind) for run in own])
        for kind, title in _titles(runs)
        for side in SIDES
        if (own := _of(runs, side))
    ]
    rows = [*PHASES, _BETWEEN_STEPS, _NODES, _BETWEEN_NODES, _NET]
    body = [[row, *(_median([s[row] for s in spent if row in s]) for _, spent in columns)] for row in rows]
    return _table(["seconds, medians", *(title for title, _ in columns)], body)


def _titles(runs: Sequence[Run]) -> list[tuple[str | None, str]]:
    """The kinds of nodes there are, with how many; None stands for the whole upgrade."""
    counts = {kind: sum(node.kind == kind for node in runs[0].nodes) for kind in KINDS}
    named = [(kind, kind if count == 1 else f"{count} {kind}") for kind, count in counts.items() if count]
    return [*named, (None, "all nodes")]


def _spent(run: Run, kind: str | None) -> dict[str, float]:
    """Row of the table -> seconds of one run."""
    nodes = [node for node in run.nodes if kind in (None, node.kind)]
    spent = {phase: sum(node.phases[phase] for node in nodes) for phase in PHASES}
    spent[_BETWEEN_STEPS] = sum(node.between for node in nodes)
    spent[_NODES] = sum(node.seconds for node in nodes)
    return {**spent, _BETWEEN_NODES: run.between_nodes, _NET: run.net} if kind is None else spent


def _median(seconds: Sequence[float]) -> str:
    """Empty for a row that a column does not have; never "-0.0"."""
    return f"{round(statistics.median(seconds), 1) or 0.0:.1f}" if seconds else ""


def _of(runs: Sequence[Run], side: str) -> list[Run]:
    return [run for run in runs if run.side == side]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
