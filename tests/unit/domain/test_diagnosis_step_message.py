"""A node that did not answer, and a job that is gone on a node that did, by the failed step's own message."""

from __future__ import annotations

import pytest
from tests.unit.domain import diagnosis_bundles as b
from tests.unit.domain.builders import budget, pod
from tests.unit.domain.test_diagnosis_causes import judge

from nightshift.domain.diagnosis.engine import Confidence
from nightshift.domain.diagnosis.reading import read
from nightshift.domain.diagnosis.signs import State
from nightshift.domain.drain import plan_drain, require_drainable
from nightshift.domain.errors import DrainBlockedError
from nightshift.domain.facts import BudgetFacts, PodFacts
from nightshift.domain.policy import DrainPolicy

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


def _refused(pods: list[PodFacts], budgets: list[BudgetFacts], policy: DrainPolicy) -> str:
    """A drain's own words, as the failed step's message has them."""
    with pytest.raises(DrainBlockedError) as caught:
        require_drainable("w1", plan_drain(pods, budgets, policy))
    return f"Attempt 1:\n{caught.value}\n"


NEVER = budget(disruptions_allowed=0, current_healthy=3, desired_healthy=3, expected_pods=3)
BARE = pod("alone", controller=None, controller_kind=None)


@pytest.mark.parametrize(
    ("pods", "budgets", "policy", "cause", "subject"),
    [
        ([pod("web-1")], [NEVER], DrainPolicy(), "pdb_deadlock", "default/web"),
        ([pod("web-1")], [budget(), budget("second")], DrainPolicy(), "pdb_deadlock", "PodDisruptionBudget"),
        ([BARE], [], DrainPolicy(), "pod_stays", "default/alone"),
        ([pod("db-0", has_emptydir=True)], [], DrainPolicy(delete_emptydir_data=False), "pod_stays", "default/db-0"),
    ],
    ids=["never", "two budgets", "no controller", "emptyDir"],
)  # fmt: skip
def test_a_drain_that_was_refused_names_what_refused_it(
    pods: list[PodFacts], budgets: list[BudgetFacts], policy: DrainPolicy, cause: str, subject: str
) -> None:
    found = judge({**b.healthy(), b.DRIVER: _refused(pods, budgets, policy)})
    assert found.first is not None, found.sentence
    assert (found.first.cause.name, found.confidence) == (cause, Confidence.CONFIDENT)
    assert subject in found.sentence


@pytest.mark.parametrize(
    "said",
    [
        # kubernetes/kubernetes pkg/registry/core/pod/storage/eviction.go: the causes' messages, and the answer's own.
        "The disruption budget guard needs 1 healthy pods and has 1 currently",
        "The disruption budget guard is still being processed by the server.",
        "Cannot evict pod as it would violate the pod's disruption budget.",
        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
    ],
)
def test_each_of_the_apis_words_for_a_budget_is_known(said: str) -> None:
    message = f"[DRAIN_BLOCKED] w1 could not be drained within 120 s: shop/web-1 ({said}). Cause: These pods were not allowed to go.\n"
    found = judge({**b.healthy(), b.DRIVER: message})
    assert found.first is not None, found.sentence
    assert (found.first.cause.name, found.confidence) == ("pdb_deadlock", Confidence.CONFIDENT)
