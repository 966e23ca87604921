"""The shipped tables are whole, and a broken one is refused by name."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest

from nightshift.clients.tables import load_addons, load_killers, load_pins
from nightshift.domain.errors import ConfigError
from nightshift.domain.facts.versions import KillerKind
from nightshift.domain.gates.compatibility import release_of, supports
from nightshift.domain.versions import Version, parse_minor

SHIPPED = Path(__file__).parents[3] / "include" / "tables"


def test_every_kind_of_killer_is_used_and_names_are_unique() -> None:
    killers = load_killers()
    assert {killer.kind for killer in killers} == set(KillerKind)
    assert len({killer.name for killer in killers}) == len(killers)


def test_what_a_kind_needs_is_there() -> None:
    for killer in load_killers():
        needs_below = killer.kind in (KillerKind.KERNEL, KillerKind.RUNTIME, KillerKind.ETCD)
        assert bool(killer.below) is needs_below, killer.name
        bare = needs_below or killer.kind is KillerKind.CGROUP_V1
        assert killer.names or bare, killer.name
        if killer.until is not None:
            assert parse_minor(killer.since) <= parse_minor(killer.until), killer.name


def test_release_lines_go_from_old_to_new() -> None:
    for addon in load_addons():
        lines = [tuple(map(int, release.release.split("."))) for release in addon.releases]
        assert lines == sorted(set(lines)), addon.name
        for release in addon.releases:
            assert release_of(addon, f"{release.release}.0") == release
            assert release.oldest is None or release.newest is None or supports(release, release.oldest)


def test_pins_do_not_overlap() -> None:
    ranges = sorted((Version.parse(p.first), Version.parse(p.last)) for p in load_pins())
    assert all(first <= last for first, last in ranges)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(ranges))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("outcome: block", "outcome: perhaps", "outcome"),
        ('since: "1.35"', "since: 1.35", "since"),
        ("message:", "massage:", "massage"),
        ("- name: kernel", "  name: kernel", "version_killers.yaml"),
    ],
)
def test_a_broken_table_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = (SHIPPED / "version_killers.yaml").read_text()
    (tmp_path / "version_killers.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError, match=said):
        load_killers(tmp_path)


def test_an_absent_table_is_refused(tmp_path: Path) -> None:
    shutil.copy(SHIPPED / "addons.yaml", tmp_path)
    assert load_addons(tmp_path) == load_addons()
    with pytest.raises(ConfigError, match=r"releases\.yaml"):
        load_pins(tmp_path)
