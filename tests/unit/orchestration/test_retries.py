import pytest
from airflow.sdk import RetryAction
from airflow.sdk.definitions.retry_policy import ExceptionRetryPolicy
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time.comms import ErrorResponse

from nightshift.domain import errors
from nightshift.orchestration.retries import RETRY_POLICY, retry_arguments


@pytest.mark.parametrize(
    ("kind", "action"),
    [
        (errors.TransientError, RetryAction.DEFAULT),
        (errors.UnreachableError, RetryAction.DEFAULT),
        (errors.GateClosedError, RetryAction.RETRY),
        (errors.ConfigError, RetryAction.FAIL),
        (errors.TrustError, RetryAction.FAIL),
        (errors.LeaseHeldError, RetryAction.FAIL),
        (errors.FencedError, RetryAction.FAIL),
        (errors.LateTryError, RetryAction.RETRY),
        (errors.DrainBlockedError, RetryAction.FAIL),
        (errors.RemoteJobError, RetryAction.FAIL),
        (errors.JobOutageError, RetryAction.DEFAULT),
        (errors.VerificationError, RetryAction.FAIL),
        (errors.BlindError, RetryAction.FAIL),
    ],
)
def test_what_is_tried_again(kind: type[errors.NightshiftError], action: RetryAction) -> None:
    error = kind("CODE", "message", cause="cause", next_step="next")
    assert RETRY_POLICY.evaluate(error, 1, 3).action is action


def test_an_api_server_of_airflow_that_is_away_is_asked_again() -> None:
    """Chaos, case `components`: it was killed while a task asked for the node it is about."""
    away = ErrorResponse(
        error=ErrorType.API_SERVER_ERROR, detail={"message": "[Errno 111] Connection refused"}
    )
    assert RETRY_POLICY.evaluate(AirflowRuntimeError(away), 1, 3).action is RetryAction.DEFAULT


def test_a_bug_is_not_repeated() -> None:
    assert RETRY_POLICY.evaluate(KeyError("x"), 1, 3).action is RetryAction.FAIL


def test_the_policy_survives_the_way_to_the_scheduler() -> None:
    again = ExceptionRetryPolicy.deserialize(RETRY_POLICY.serialize())
    error = errors.ConfigError("CODE", "message", cause="cause", next_step="next")
    assert again.evaluate(error, 1, 3).action is RetryAction.FAIL


def test_tries_are_spread_and_bounded() -> None:
    arguments = retry_arguments(2)
    assert (arguments["retries"], arguments["retry_exponential_backoff"]) == (2, True)
