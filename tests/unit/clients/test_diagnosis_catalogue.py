"""docs/diagnosis.md is what the causes themselves say."""

from __future__ import annotations

from nightshift.clients.diagnosis_catalogue import PAGE, catalogue
from nightshift.domain.diagnosis.causes import CATALOGUE


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == catalogue(), (
        "run: python -m nightshift.clients.diagnosis_catalogue"
    )


def test_every_cause_has_its_section_its_test_and_a_page_that_exists() -> None:
    text = catalogue()
    for cause in CATALOGUE:
        section = text.partition(f'<a id="{cause.name}"></a>')[2].partition("\n## ")[0]
        assert cause.test in section
        assert cause.remedy in section
        assert "`" in cause.test, "the test is a command"
        assert f"(runbooks/causes/{cause.name}.md)" in section
