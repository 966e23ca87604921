"""A node that did not answer, and a job that is gone on a node that did, by the failed step's own message."""

from __future__ import annotations

import pytest
from tests.unit.domain import diagnosis_bundles as b
from tests.unit.domain.test_diagnosis_causes import judge

from nightshift.domain.diagnosis.engine import Confidence
from nightshift.domain.diagnosis.reading import read
from nightshift.domain.diagnosis.signs import State

LOST = (
    "[JOB_LOST] Job kubeadm-upgrade on node cp1 is gone without an end. Cause: It died without a last word.\n"
)
AWAY = "[NODE_UNREACHABLE] nightshift@cp1 cannot be reached over SSH. Cause: timed out.\n"


@pytest.mark.parametrize("files", [b.healthy(), b.failed(state="running")], ids=["gone", "running"])
def test_a_job_that_is_gone_on_a_node_that_answered_is_no_cut_connection(files: dict[str, str]) -> None:
    found = judge({**files, b.DRIVER: LOST})
    assert "driver.unreachable" in {sign.name for sign in found.symptoms}
    assert found.first is None or found.first.cause.name == "node_rebooted", found.sentence
    assert found.ruled_out["ssh_cut"]


def test_a_node_that_did_not_answer_is_one() -> None:
    found = judge({**b.healthy(), b.DRIVER: f"Attempt 3:\n{AWAY}"})
    assert found.first is not None
    assert (found.first.cause.name, found.confidence) == ("ssh_cut", Confidence.CONFIDENT)
    (sign,) = read({b.DRIVER: f"Attempt 3:\n{AWAY}"}).of("driver.node_away")
    assert (sign.source, sign.quote) == ("driver/error.txt:2", AWAY.strip())


def test_without_the_steps_message_nobody_knows() -> None:
    assert read(b.healthy()).state("driver.node_away") is State.UNREAD
