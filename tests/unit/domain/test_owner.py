import pytest

from nightshift.domain.errors import ConfigError
from nightshift.domain.owner import (
    is_recovery,
    meant_owner,
    owner_name,
    recovery_of,
    require_installation,
    run_behind,
)

RUN = "scheduled__2026-11-22T23:00:00+00:00"


def test_an_owner_says_which_airflow_which_cluster_and_which_run() -> None:
    assert owner_name("airflow-3fa9c1", "prod", RUN) == f"airflow-3fa9c1/prod/{RUN}"


def test_the_same_run_of_another_airflow_or_another_cluster_file_is_somebody_else() -> None:
    assert len({owner_name(i, c, RUN) for i in ("a", "b") for c in ("prod", "prod-copy")}) == 4


@pytest.mark.parametrize(
    ("text", "owner"),
    [
        (RUN, f"here/lab/{RUN}"),
        (f" {RUN}\n", f"here/lab/{RUN}"),
        (f"there/prod/{RUN}", f"there/prod/{RUN}"),
        (f" there/prod/{RUN} ", f"there/prod/{RUN}"),
    ],
)
def test_a_person_may_name_a_run_of_ours_or_any_owner(text: str, owner: str) -> None:
    assert meant_owner(text, "here", "lab") == owner


@pytest.mark.parametrize("name", ["airflow", "airflow-3fa9c1", "Team_A.2"])
def test_an_installation_has_a_plain_name(name: str) -> None:
    assert require_installation(name) == name


@pytest.mark.parametrize("name", ["a/b", "a b", "-a", "ä", "a" * 64, "a\n"])
def test_what_would_not_be_told_apart_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"CONFIG_INVALID.*NIGHTSHIFT_INSTALLATION"):
        require_installation(name)


def test_a_recovery_works_under_a_name_of_its_own() -> None:
    holder = recovery_of("here/lab/run-1")
    assert holder == "here/lab/run-1 (recovery)"
    assert (is_recovery(holder), run_behind(holder)) == (True, "here/lab/run-1")
    assert recovery_of(holder) == holder
    assert (is_recovery("here/lab/run-1"), run_behind("here/lab/run-1")) == (False, "here/lab/run-1")
    assert (is_recovery(""), run_behind("")) == (False, "")


def test_a_person_may_copy_the_holder_while_a_recovery_has_the_lease() -> None:
    assert meant_owner("there/prod/run-1 (recovery)", "here", "lab") == "there/prod/run-1"
