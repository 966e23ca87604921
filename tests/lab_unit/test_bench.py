"""The comparison: what is timed, which requests count, and that the page keeps what is not its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench import compare
from bench.cordons import Cordons
from nslab.probe import Request
from nslab.shell import LabError

RUN = compare.Run("bash", 1, 200.0, 210.0, 600, 3, 0.9, 600, 1, 0.6)


def seen(*observations: tuple[float, bool]) -> Cordons:
    cordons = Cordons()
    for at, cordoned in observations:
        cordons.see(at, cordoned)
    return cordons


@pytest.mark.parametrize(
    ("observations", "wall"),
    [
        ([(1, False), (2, True), (9, False)], 7),
        (
            [(2, True), (5, False), (6, True), (20, False), (21, False)],
            18,
        ),  # free for a moment between two nodes
    ],
)
def test_wall_is_first_cordon_to_last_uncordon(observations: list[tuple[float, bool]], wall: float) -> None:
    cordons = seen(*observations)
    assert cordons.complete
    assert cordons.last_uncordon - cordons.first_cordon == wall


@pytest.mark.parametrize("observations", [[(1, False)], [(1, True)], [(1, True), (2, False), (3, True)]])
def test_unfinished_watch_is_not_complete(observations: list[tuple[float, bool]]) -> None:
    assert not seen(*observations).complete


def request(at: float, ok: bool = True, target: str = "api") -> Request:
    return Request(at, target, "u", ok, 1.0)


def test_failures_outside_the_upgrade_do_not_count() -> None:
    asked = [request(50, ok=False), *(request(100 + n) for n in range(100)), request(300, ok=False)]
    web = [
        request(at=120, target="web"),
        request(at=121, ok=False, target="web"),
        request(at=122, target="web"),
    ]
    made = compare.assemble("dag", 2, seen((110, True), (160, False)), 90.0, [*asked, *web])
    assert (made.wall, made.api_failed, made.web_failed, made.web_gap) == (50.0, 0, 1, 2.0)


def test_a_run_that_cordoned_nothing_is_refused() -> None:
    with pytest.raises(LabError, match="no node was cordoned"):
        compare.assemble("dag", 1, seen((1, False)), 9.0, [])


def test_ratio_is_made_of_complete_pairs_only() -> None:
    runs = [RUN, replace(RUN, side="dag", wall=210.0), replace(RUN, pair=2, wall=100.0)]
    assert compare.pair_ratios(runs) == [1.05]
    assert "**1.05**" in compare.render(runs)


def test_table_with_one_side_has_no_ratio() -> None:
    assert "Ratio" not in compare.render([RUN])


def test_runs_survive_a_kill_in_the_middle_of_a_line(tmp_path: Path) -> None:
    results = tmp_path / "runs.jsonl"
    compare._keep(results, RUN)
    results.write_text(results.read_text() + '{"side": "da')
    assert compare.load(results) == [RUN]


def test_page_keeps_its_text_and_the_other_profile(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text("# Benchmarks\n\nWords.\n\n<!-- ha: begin -->\nold ha\n<!-- ha: end -->\n\nMore words.\n")
    compare.write_page(page, "small", "small table", "with: x")
    compare.write_page(page, "ha", "new ha", "with: y")
    compare.write_page(page, "ha", "newer ha", "with: y")
    text = page.read_text()
    for kept in ("Words.", "More words.", "small table", "newer ha"):
        assert kept in text
    for gone in ("old ha", "new ha\n"):
        assert gone not in text
