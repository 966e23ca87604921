from __future__ import annotations

import pytest

from nightshift.domain.versions import (
    Version,
    component_skew_problem,
    kubelet_skew_problem,
    newest_package,
    next_minor,
    parse_minor,
    releases_in,
)

V = Version.parse


@pytest.mark.parametrize("text", ["1.34.4", "v1.34.4", "1.34.4-1.1", " v1.34.4 ", "1.34.4-00"])
def test_every_spelling_is_the_same_release(text: str) -> None:
    assert V(text) == Version(1, 34, 4)
    assert str(V(text)) == "1.34.4"
    assert V(text).minor == "1.34"


@pytest.mark.parametrize(
    "text", ["", "1.34", "latest", "1.35.0-rc.1", "1.34.4+k3s1", "1.34.4-alpha", "x1.34.4"]
)
def test_what_is_no_stable_release_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a Kubernetes release"):
        V(text)


def test_order_is_by_number_not_by_text() -> None:
    assert V("1.9.10") < V("1.10.0") < V("1.10.2") < V("1.10.10")


def test_minors_ahead_never_confuses_majors() -> None:
    assert V("1.36.0").minors_ahead_of(V("1.34.9")) == 2
    assert V("1.34.0").minors_ahead_of(V("1.35.0")) == -1
    assert V("2.0.0").minors_ahead_of(V("1.35.0")) > 1


def test_minor_arithmetic() -> None:
    assert parse_minor("v1.35") == (1, 35)
    assert next_minor("1.9") == "1.10"
    with pytest.raises(ValueError, match="not a Kubernetes minor"):
        parse_minor("1.35.4")


def test_packages_prefer_the_highest_revision_numerically() -> None:
    offered = ["1.35.4-1.2", "1.35.4-1.10", "1.35.3-9.9", "1.35.4", "nonsense", "1.36.0-beta.1"]
    assert newest_package(offered, V("1.35.4")) == "1.35.4-1.10"
    assert newest_package(offered, V("1.35.5")) is None
    assert releases_in(offered) == (V("1.35.3"), V("1.35.4"))


@pytest.mark.parametrize(
    ("kubelet", "problem"),
    [("1.36.1", None), ("1.33.0", None), ("1.32.9", "4 minors older"), ("1.37.0", "newer than API server")],
)
def test_kubelet_skew(kubelet: str, problem: str | None) -> None:
    said = kubelet_skew_problem(V(kubelet), V("1.36.1"))
    assert said is None if problem is None else problem in (said or "")


@pytest.mark.parametrize(
    ("version", "problem"),
    [("1.36.0", None), ("1.35.0", None), ("1.34.9", "2 minors older"), ("1.37.0", "newer")],
)
def test_component_skew(version: str, problem: str | None) -> None:
    said = component_skew_problem("kube-scheduler", V(version), V("1.36.1"))
    assert said is None if problem is None else problem in (said or "")
