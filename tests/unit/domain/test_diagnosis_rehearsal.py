"""A rehearsal that failed: what the target's API server wrote in isolation decides, and nothing but that."""

from __future__ import annotations

import json

import pytest
from tests.unit.domain import diagnosis_bundles as b

from nightshift.domain.diagnosis.causes import CATALOGUE, SYMPTOMS
from nightshift.domain.diagnosis.engine import Confidence, diagnose, to_dict
from nightshift.domain.diagnosis.reading import read
from nightshift.domain.diagnosis.text import as_text

LOG = "rehearsal/kube-apiserver.log"
WORDS = {
    # Both as kube-apiserver 1.34.4 wrote them in a rehearsal (the second with a file whose issuer is http://x).
    "apiserver_flag": "Error: unknown flag: --no-such-flag\n",
    "authentication_config": 'E1129 07:23:34.795379   11404 run.go:72] "command failed" err="invalid authentication configuration: '
    'jwt[0].issuer.url: Invalid value: \\"http://x\\": URL scheme must be https"\n',
}


@pytest.mark.parametrize("cause", WORDS)
def test_the_targets_own_words_are_enough(cause: str) -> None:
    found = diagnose(read({**b.failed("rehearse", 33), LOG: WORDS[cause]}), CATALOGUE, SYMPTOMS)
    assert found.first is not None
    assert (found.first.cause.name, found.confidence) == (cause, Confidence.CONFIDENT)
    assert "job.rehearsal_failed" in {sign.name for sign in found.symptoms}
    assert LOG in found.first.match.decisive[0].source  # type: ignore[union-attr]


def test_without_its_words_nobody_knows() -> None:
    found = diagnose(read(b.failed("rehearse", 33)), CATALOGUE, SYMPTOMS)
    assert found.first is None


WORKED = {
    "rehearsed": True,
    "node": "cp1",
    "sentence": "Rehearsed: kube-apiserver 1.35.4 on cp1, ready after 5 s.",
}


def with_rehearsal(files: dict[str, str], said: object = WORKED) -> dict[str, str]:
    return {**files, "driver/rehearsal.json": json.dumps(said)}


def test_works_in_isolation_and_fails_in_place_is_a_point_and_no_cause() -> None:
    files = b.kubeadm_failed()
    before = to_dict(diagnose(read(files), CATALOGUE, SYMPTOMS))
    found = diagnose(read(with_rehearsal(files)), CATALOGUE, SYMPTOMS)
    (point,) = found.points
    assert point.startswith("Look at the place: ")
    assert "ready after 5 s" in point
    assert point in as_text(found)
    after = to_dict(found)
    assert before.pop("points") == []
    assert after.pop("points") == [point]
    assert before == after, "it weighs nothing"


def test_beside_a_sure_cause_it_changes_nothing_either() -> None:
    found = diagnose(read(with_rehearsal(b.stray(b.kubeadm_failed()))), CATALOGUE, SYMPTOMS)
    assert found.first is not None
    assert (found.first.cause.name, found.confidence) == ("stray_static_pod", Confidence.CONFIDENT)


@pytest.mark.parametrize(
    "files",
    [
        with_rehearsal(b.kubeadm_failed(), {**WORKED, "rehearsed": False}),
        with_rehearsal(b.kubeadm_failed(), {**WORKED, "rehearsed": "true"}),
        with_rehearsal(b.kubeadm_failed(), []),
        {**b.kubeadm_failed(), "driver/rehearsal.json": "{"},
        with_rehearsal(b.failed("kubelet-upgrade", 24)),
        with_rehearsal(b.failed("rehearse", 33)),
        with_rehearsal({**b.failed("rehearse", 33), LOG: "Error: unknown flag: --x\n"}),
        with_rehearsal(b.healthy()),
    ],
)
def test_no_rehearsal_another_failure_or_a_later_rehearsal_that_failed_makes_no_point(
    files: dict[str, str],
) -> None:
    assert diagnose(read(files), CATALOGUE, SYMPTOMS).points == ()
