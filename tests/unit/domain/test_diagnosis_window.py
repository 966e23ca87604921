"""Whose failure it is: an older one, of an earlier night or of the try before, is not blamed for tonight's."""

from __future__ import annotations

import pytest
from tests.unit.domain import diagnosis_bundles as b

from nightshift.domain.diagnosis.causes import CATALOGUE, SYMPTOMS
from nightshift.domain.diagnosis.engine import Diagnosis, diagnose
from nightshift.domain.diagnosis.reading import read
from nightshift.domain.diagnosis.signs import State

STARTED = 1795907820.5  # 2026-11-28T23:17:00.5Z, see `diagnosis_bundles.failed`
OLD_FLAG = "2026-11-20T01:00:00.1Z stderr F Error: unknown flag: --old\n"
LOCK = "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 77 (unattended-upgr)"


def tell(files: dict[str, str], since: float | None = None) -> Diagnosis:
    return diagnose(read(files, since=since), CATALOGUE, SYMPTOMS)


def test_a_line_from_before_the_job_that_the_driver_names_does_not_count() -> None:
    files = b.without(b.with_lines(b.healthy(), b.APISERVER, OLD_FLAG), "jobs/")
    files[b.DRIVER] = "[VERIFY_FAILED] cp1 is not what it should be: taint lost.\n"
    found = tell(files, STARTED)
    assert found.first is None
    assert "apiserver_flag" in found.ruled_out
    assert read(files).of("apiserver.unknown_flag"), "without the driver's word nobody knows the time"


def test_yesterdays_job_is_not_tonights() -> None:
    files = b.with_lines(
        b.failed(started=STARTED - 86_400),
        b.APISERVER,
        "2026-11-27T23:20:00.1Z stderr F Error: unknown flag: --old\n",
    )
    files[b.DRIVER] = "[JOB_FAILED] Job snapshot on node cp1 could not be started: read-only file system\n"
    found = tell(files, STARTED)
    assert [sign.name for sign in found.symptoms] == ["driver.failed"]
    assert found.first is None
    assert read(files, STARTED).state("job.kubeadm_failed") is State.UNREAD


@pytest.mark.parametrize("since", [None, 0.0, STARTED, STARTED + 4])
def test_the_job_of_the_window_counts(since: float | None) -> None:
    assert read(b.failed(), since).of("job.kubeadm_failed"), "a node's clock may be some seconds behind"


def test_what_a_component_says_shortly_before_the_job_counts_only_while_nobody_knows_better() -> None:
    line = "2026-11-28T23:16:00.1Z stderr F Error: unknown flag: --early\n"
    files = b.with_lines(b.failed(), b.APISERVER, line)
    assert read(files).of("apiserver.unknown_flag")
    assert not read(files, STARTED).of("apiserver.unknown_flag")


@pytest.mark.parametrize(("time", "count"), [("23:15:40", 0), ("23:17:00", 1)])
def test_what_an_earlier_job_said_is_about_that_one(time: str, count: int) -> None:
    line = f"2026-11-28T{time}+0000 cp1 nightshift-job[99]: {LOCK}\n"
    files = b.with_lines(b.failed("kubeadm-install", 30), b.JOBS, line)
    assert len(read(files).of("dpkg.locked")) == count


BOOT = "-- Boot 0123456789abcdef0123456789abcdef --\n"


@pytest.mark.parametrize(("time", "cause"), [("23:16:30", None), ("23:18:30", "node_rebooted")])
def test_a_boot_just_before_the_job_did_not_end_it(time: str, cause: str | None) -> None:
    lines = BOOT, f"2026-11-28T{time}+0000 cp1 kubelet[99]: I1128 server.go:1] Starting\n"
    found = tell(b.with_lines(b.failed(exit_code=124), b.KUBELET, *lines))
    assert (found.first and found.first.cause.name) == cause


def test_a_lock_that_was_only_waited_for_stopped_nothing() -> None:
    line = b.journal("nightshift-job", LOCK.replace("E: Could", "Waiting for cache lock: Could"))
    assert not read(b.with_lines(b.failed("kubeadm-install", 30), b.JOBS, line)).of("dpkg.locked")


@pytest.mark.parametrize("code", ["JOB_FAILED", "JOB_TIMED_OUT", "SNAPSHOT_ABSENT", "JOB_REFUSED"])
def test_a_steps_bare_code_is_a_failure_of_which_nothing_is_known(code: str) -> None:
    found = tell({b.DRIVER: f"[{code}] Job x on node cp1 ended.\n"})
    assert [(sign.name, sign.subject) for sign in found.symptoms] == [("driver.failed", code)]
    assert found.sentence == (
        f"Unknown: no cause is shown that explains what failed. Could not be checked: {len(found.unknowns)} causes."
    )
    assert len(found.unknowns) > 30


def test_a_bare_code_counts_only_while_nothing_says_more() -> None:
    files = {
        **b.failed(),
        b.DRIVER: "[JOB_FAILED] Job kubeadm-upgrade on node cp1 ended with exit code 26.\n",
    }
    assert [sign.name for sign in tell(files).symptoms] == ["job.kubeadm_failed"]


def test_an_unread_cause_is_said_in_plain_words() -> None:
    found = tell(b.without(b.failed(), "manifests/"))
    assert "Could not be checked, and would explain it: " in found.sentence
