"""The bars of the diagnosis, on incidents that nobody looked at while its rules were written, and on all others."""

from __future__ import annotations

import functools
from collections import Counter

import pytest

from nightshift.domain.diagnosis.causes import CATALOGUE
from nscorpus.incidents import HEALTHY, ORIGINS, SIDES, UNCATALOGUED, Incident, corpus
from nscorpus.score import Answer, Judged, ask, judge_all, score

INCIDENTS = {side: corpus(side) for side in SIDES}
EVERY = [one for side in SIDES for one in INCIDENTS[side]]
PACKED_BYTES = 80_000
NAMES = {cause.name for cause in CATALOGUE}


@functools.cache
def judged(side: str) -> tuple[Judged, ...]:
    return tuple(judge_all(INCIDENTS[side]))


def test_of_the_catalogued_causes_nine_in_ten_are_named_first() -> None:
    assert score(judged("heldout")).top_1 >= 0.9
    assert score(judged("train")).top_1 >= 0.9


@pytest.mark.parametrize("side", SIDES)
def test_nothing_wrong_is_said_with_confidence(side: str) -> None:
    assert [one.incident.name for one in judged(side) if one.answer is Answer.CONFIDENT_WRONG] == []


@pytest.mark.parametrize("side", SIDES)
def test_what_is_in_no_catalogue_is_unknown_and_what_is_healthy_has_no_cause(side: str) -> None:
    for one in judged(side):
        if one.incident.label.cause in (UNCATALOGUED, HEALTHY):
            assert one.diagnosis.first is None, f"{one.incident.name}: {one.diagnosis.sentence}"
            assert bool(one.diagnosis.symptoms) is (one.incident.label.cause == UNCATALOGUED), (
                one.incident.name
            )


@pytest.mark.parametrize(
    "incident", [i for i in EVERY if i.label.decisive], ids=lambda incident: incident.name
)
def test_without_its_decisive_files_no_other_cause_is_named(incident: Incident) -> None:
    files = {p: text for p, text in incident.files().items() if not p.startswith(incident.label.decisive)}
    found = ask(files)
    named = found.first.cause.name if found.first else None
    assert named in (None, incident.label.cause), found.sentence


def _decisive_files(incident: Incident) -> list[str]:
    return [p for p in incident.files() if p.startswith(incident.label.decisive)]


SINGLE = [(i, path) for i in EVERY if i.label.decisive for path in _decisive_files(i)]


@pytest.mark.parametrize(
    ("incident", "path"), SINGLE, ids=[f"{incident.name}/{path}" for incident, path in SINGLE]
)
@pytest.mark.parametrize("is_listed", [True, False], ids=["empty", "missing"])
def test_without_a_single_decisive_file_no_other_cause_is_named(
    incident: Incident, path: str, *, is_listed: bool
) -> None:
    """A directory's listing may be there while a file of it was too large, held a secret, or came too late."""
    files = incident.files()
    files.pop(path)
    found = ask({**files, path: ""} if is_listed else files)
    named = found.first.cause.name if found.first else None
    assert named in (None, incident.label.cause), found.sentence


STRAYS = [i for i in EVERY if i.label.cause == "stray_static_pod"]


@pytest.mark.parametrize("incident", STRAYS, ids=lambda incident: incident.name)
def test_a_stray_file_whose_name_says_nothing_is_found_by_its_content_alone(incident: Incident) -> None:
    files = incident.files()
    (stray,) = [p for p in files if p.startswith("manifests/") and p.endswith(".bak")]
    name, content = stray.removeprefix("manifests/"), files.pop(stray)
    files["manifests/listing.txt"] = files["manifests/listing.txt"].replace(name, "zz-old.yaml")
    found = ask({**files, "manifests/zz-old.yaml": content})
    assert found.first is not None
    assert (found.first.cause.name, "zz-old.yaml" in found.sentence) == ("stray_static_pod", True)
    alone = ask(files)
    assert alone.first is None, alone.sentence
    assert "stray_static_pod" in alone.shadows
    assert "stray_static_pod" not in alone.ruled_out


def test_a_recorder_beside_a_disk_that_hangs_does_not_speak_for_the_disk() -> None:
    """A sync of 10.7 s was logged after the last sample, others while the counters stood still: none of that is a fast sync."""
    (contended,) = (i for i in INCIDENTS["train"] if i.name == "live-h-contended")
    found = ask(contended.files())
    assert found.first is not None
    assert found.first.match is not None
    assert (found.first.cause.name, found.first.match.doubt) == ("etcd_io_starvation", "")


def test_conditions_are_listed_as_such() -> None:
    named = {name for incident in EVERY for name in incident.label.conditions}
    assert {"etcd_io_starvation", "scratch_pile", "drift", "stray_static_pod"} <= named, (
        "else it says nothing"
    )
    for incident in EVERY:
        listed = {suspect.cause.name for suspect in ask(incident.files()).conditions}
        assert set(incident.label.conditions) <= listed, incident.name


@pytest.mark.parametrize("incident", EVERY, ids=lambda incident: f"{incident.side}/{incident.name}")
def test_a_label_is_complete(incident: Incident) -> None:
    label = incident.label
    assert label.cause in {*NAMES, HEALTHY, UNCATALOGUED}
    assert set(label.conditions) <= NAMES
    assert label.origin in ORIGINS
    assert label.truth
    assert label.made_by
    assert label.recorded
    assert bool(label.source) or label.origin != "thread", "a thread is cited"
    assert bool(label.base) or label.origin != "derived", "what is derived has a base"
    assert (incident.path / "bundle.tar.gz").exists() or label.origin != "live", "what is live was recorded"
    assert label.base or (incident.path / "bundle.tar.gz").exists(), "it has evidence"
    assert sum(f.stat().st_size for f in incident.path.rglob("*") if f.is_file()) <= PACKED_BYTES + 8_000


def test_families_and_threads_lie_on_one_side() -> None:
    families = {side: {i.family() for i in INCIDENTS[side]} for side in SIDES}
    threads = {side: {url for i in INCIDENTS[side] for url in i.label.source} for side in SIDES}
    assert not families["train"] & families["heldout"]
    assert not threads["train"] & threads["heldout"]


def test_the_corpus_is_as_large_as_it_was_asked_for() -> None:
    held = INCIDENTS["heldout"]
    live = {i.label.cause for i in EVERY if i.label.origin == "live"} - {HEALTHY, UNCATALOGUED}
    assert len(EVERY) >= 60
    assert len(live) >= 20, sorted(live)
    assert len(held) >= 20
    assert 2 * sum(i.label.origin == "live" for i in held) >= len(held)
    assert Counter(i.label.cause for i in held)[UNCATALOGUED] >= 8
