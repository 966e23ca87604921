"""docs/safety.md is only worth something while the tests it names exist and no promise is left out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "safety.md").read_text(encoding="utf-8")
ROOTS = [TESTS / "unit", TESTS / "airflow", TESTS / "lab", TESTS]
NAMED = sorted(set(re.findall(r"`([\w/]+)::(\w+)`", PAGE)))


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_every_test_it_names_exists(file: str, test: str) -> None:
    found = [path for root in ROOTS if (path := root / f"{file}.py").is_file()]
    assert found, f"no such file: {file}.py"
    assert f"def {test}(" in found[0].read_text(encoding="utf-8")


def test_every_promise_is_there_and_was_seen_to_fail() -> None:
    assert re.findall(r"^## (\d+)\. ", PAGE, flags=re.MULTILINE) == [str(n) for n in range(1, 11)]
    seen = set(re.findall(r"^\| (\d+) \| .* \| `\w+[\w/]*::\w+` \|$", PAGE, flags=re.MULTILINE))
    assert seen == {str(n) for n in range(1, 11)}
