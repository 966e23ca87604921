"""A mirror's "I do not have it" counts for the pull that was at work, when that pull failed because nobody else was reached."""

from __future__ import annotations

import time

import pytest
from tests.unit.domain import diagnosis_bundles as b

from nightshift.domain.diagnosis.pulls import NOT_MIRRORED, read_pulls
from nightshift.domain.diagnosis.reading import read
from nightshift.domain.diagnosis.signs import Signs, State

JOURNAL = "journal/containerd.log"
OURS, TENANTS = "registry.k8s.io/kube-proxy:v1.35.4", "example.org/shop/web:7"
ANSWER = 'level=info msg="trying next host - response was http.StatusNotFound" host="10.217.0.2:5000"'
NEWER = 'level=info msg="trying next host after status: 404 Not Found" host="10.217.0.2:5000"'
NO_NAME = "failed to do request: lookup registry.k8s.io on 10.217.0.2:53: no such host"
NEXT = f'level=info msg="trying next host" error="{NO_NAME}" host=registry.k8s.io'


def begins(image: str) -> str:
    """As containerd 1.6 of the lab wrote it on 2026-11-29."""
    return f'level=info msg="PullImage \\"{image}\\""'


def fails(image: str, why: str = f"failed to resolve reference: {NO_NAME}") -> str:
    return f'level=error msg="PullImage \\"{image}\\" failed" error="failed to pull and unpack image: {why}"'


def succeeds(image: str) -> str:
    return f'level=info msg="PullImage \\"{image}\\" returns image reference \\"sha256:9f1e\\""'


def bundle(*said: str, jobs: str = "") -> dict[str, str]:
    return {JOURNAL: "".join(b.journal("containerd", line) for line in said), b.JOBS: jobs}


def pulls(*said: str, since: float | None = None) -> Signs:
    return read_pulls(bundle(*said), since, None, lambda _: True)


@pytest.mark.parametrize("answer", [ANSWER, NEWER, ANSWER.replace('msg="', '"msg":"')])
def test_a_pull_that_failed_after_a_mirrors_answer_names_its_image(answer: str) -> None:
    (sign,) = pulls(begins(OURS), answer, NEXT, fails(OURS)).seen
    assert (sign.name, sign.subject, sign.source) == (NOT_MIRRORED, OURS, f"{JOURNAL}:2")
    assert "trying next host" in sign.quote


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
        pytest.param(
            (begins(OURS), ANSWER, fails(OURS), begins(OURS), succeeds(OURS)), id="another try succeeds"
        ),
        pytest.param(
            (begins(OURS), ANSWER, fails(OURS, "failed to copy: unexpected EOF")), id="another host had it"
        ),
        pytest.param(
            (begins(OURS), ANSWER, fails(OURS, "failed to resolve reference: 403 Forbidden")),
            id="another host was reached",
        ),
        pytest.param(
            (begins(OURS), ANSWER, fails(OURS, "failed to resolve reference: lookup x: server misbehaving")),
            id="the resolver is down",
        ),
    ],
)
def test_an_answer_that_is_not_why_the_pull_failed_counts_for_nothing(said: tuple[str, ...]) -> None:
    signs = pulls(*said)
    assert signs.seen == ()
    assert signs.state(NOT_MIRRORED) is State.ABSENT


def test_a_pull_that_a_restart_of_the_runtime_ended_is_not_at_work_any_more() -> None:
    restart = 'level=info msg="starting containerd" revision=x version=1.6.20'
    assert pulls(begins(TENANTS), restart, begins(OURS), ANSWER, fails(OURS)).seen


def test_a_pull_that_began_before_the_window_is_at_work_in_it() -> None:
    lines = (begins(TENANTS), begins(OURS), ANSWER, fails(OURS))
    journal = "".join(
        b.journal("containerd", line).replace(":30+", f":{20 + second}+") for second, line in enumerate(lines)
    )
    (sign,) = pulls(begins(OURS), ANSWER, fails(OURS)).seen
    assert sign.first is not None
    window = sign.first - 10 + 0.5  # after the first line's 20 s
    assert not read_pulls({JOURNAL: journal}, window, None, lambda _: True).seen
    assert read_pulls({JOURNAL: journal.replace(TENANTS, OURS)}, window, None, lambda _: True).seen


@pytest.mark.parametrize(
    ("jobs", "is_tied"),
    [("pulling example.org/shop/web:77", False), (f"pulling {TENANTS}", True), ("", False)],
)
def test_a_tenants_image_is_tied_only_when_the_job_needed_it(jobs: str, is_tied: bool) -> None:
    said = b.journal("nightshift-job", jobs) if jobs else ""
    (sign,) = read(bundle(begins(TENANTS), ANSWER, fails(TENANTS), jobs=said)).of(NOT_MIRRORED)
    assert sign.tied is is_tied


@pytest.mark.parametrize(
    ("said", "is_seen"),
    [
        ((f"pulling {OURS}", ANSWER, f'ctr: failed to resolve reference "{OURS}": {NO_NAME}'), True),
        ((ANSWER, f"pulling {OURS}", f'ctr: failed to resolve reference "{OURS}": {NO_NAME}'), False),
        ((f"pulling {OURS}", ANSWER, "ctr: failed to copy: unexpected EOF"), False),
    ],
)
def test_where_ctr_pulls_the_job_says_it_itself(said: tuple[str, ...], is_seen: bool) -> None:
    files = {JOURNAL: "", b.JOBS: "".join(b.journal("nightshift-job", line) for line in said)}
    signs = read_pulls(files, None, None, lambda _: False)
    assert [sign.subject for sign in signs.seen if sign.tied] == ([OURS] if is_seen else [])


def test_without_the_runtimes_journal_nobody_knows_and_a_quiet_one_was_read() -> None:
    assert read_pulls({b.JOBS: "x"}, None, None, lambda _: True).state(NOT_MIRRORED) is State.UNREAD
    assert read_pulls({JOURNAL: ""}, None, None, lambda _: True).state(NOT_MIRRORED) is State.ABSENT


def test_a_line_without_an_end_costs_no_more_than_its_beginning() -> None:
    """Of words that nearly match, as often as 8 MiB hold: looked at in full, that is the square of it."""
    began = time.process_time()
    assert not pulls(begins(OURS), ANSWER, fails(OURS, "failed to resolve " * 400_000)).seen
    assert time.process_time() - began < 5.0
