"""A mirror's "I do not have it" counts for the pull that was at work, and only when that pull failed."""

from __future__ import annotations

import pytest
from tests.unit.domain import diagnosis_bundles as b

from nightshift.domain.diagnosis.pulls import REFUSED, read_pulls
from nightshift.domain.diagnosis.signs import State

JOURNAL = "journal/containerd.log"
OURS, TENANTS = "registry.k8s.io/kube-proxy:v1.35.4", "example.org/shop/web:7"
ANSWER = 'level=info msg="trying next host - response was http.StatusNotFound" host="10.217.0.2:5000"'
NEXT = 'level=info msg="trying next host" error="lookup registry.k8s.io: no such host" host=registry.k8s.io'


def begins(image: str) -> str:
    """As containerd 1.6 of the lab wrote it on 2026-11-29."""
    return f'level=info msg="PullImage \\"{image}\\""'


def fails(image: str) -> str:
    return (
        f'level=error msg="PullImage \\"{image}\\" failed" error="failed to resolve reference: no such host"'
    )


def succeeds(image: str) -> str:
    return f'level=info msg="PullImage \\"{image}\\" returns image reference \\"sha256:9f1e\\""'


def bundle(*said: str, jobs: str = "") -> dict[str, str]:
    lines = "".join(b.journal("containerd", line) for line in said)
    return {JOURNAL: lines, b.JOBS: jobs}


def test_a_pull_that_failed_after_a_mirrors_answer_names_its_image() -> None:
    (sign,) = read_pulls(bundle(begins(OURS), ANSWER, NEXT, fails(OURS)), None).seen
    assert (sign.name, sign.subject, sign.source, sign.tied) == (REFUSED, OURS, f"{JOURNAL}:2", True)
    assert "StatusNotFound" in sign.quote


@pytest.mark.parametrize(
    "said",
    [
        pytest.param((begins(OURS), ANSWER, succeeds(OURS)), id="the next host has it"),
        pytest.param((begins(OURS), NEXT, fails(OURS)), id="no mirror answered"),
        pytest.param((begins(OURS), ANSWER), id="it did not end"),
        pytest.param((ANSWER, begins(OURS), fails(OURS)), id="another one's, before"),
        pytest.param(
            (begins(TENANTS), begins(OURS), ANSWER, succeeds(TENANTS), fails(OURS)), id="two at work"
        ),
    ],
)
def test_an_answer_that_may_be_another_pulls_counts_for_none(said: tuple[str, ...]) -> None:
    signs = read_pulls(bundle(*said), None)
    assert signs.seen == ()
    assert signs.state(REFUSED) is State.ABSENT


def test_a_tenants_image_is_tied_only_when_the_job_needed_it() -> None:
    said = (begins(TENANTS), ANSWER, fails(TENANTS))
    assert not read_pulls(bundle(*said), None).seen[0].tied
    assert read_pulls(bundle(*said, jobs=f"pulling {TENANTS}\n"), None).seen[0].tied


def test_without_the_runtimes_journal_nobody_knows() -> None:
    assert read_pulls({b.JOBS: "x"}, None).state(REFUSED) is State.UNREAD
