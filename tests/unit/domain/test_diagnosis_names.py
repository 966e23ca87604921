"""Every sign has a plain clause, and no report shows a sign's name in its place."""

from __future__ import annotations

import re

import pytest
from tests.unit.domain import diagnosis_bundles as b
from tests.unit.domain.test_diagnosis_causes import CASES, judge

from nightshift.domain.diagnosis.causes import CATALOGUE, SYMPTOMS
from nightshift.domain.diagnosis.names import CLAUSES, cause_name, either, said_of
from nightshift.domain.diagnosis.reading import read
from nightshift.domain.diagnosis.text import as_text


def _used() -> set[str]:
    of_causes = {
        name
        for cause in CATALOGUE
        for names in (cause.decisive, cause.explains, cause.forbids, cause.hints, cause.links)
        for name in names
    }
    found = read(b.historic())
    return of_causes | set(SYMPTOMS) | found.looked | set(found.unread)


def test_every_sign_has_a_clause() -> None:
    assert _used() - CLAUSES.keys() == set()


@pytest.mark.parametrize("name", CLAUSES)
def test_a_clause_is_plain(name: str) -> None:
    clause = CLAUSES[name]
    assert " " in clause
    assert "_" not in clause
    assert not clause.endswith(".")
    assert len(clause) <= 80


def test_what_has_no_clause_keeps_its_name() -> None:
    assert said_of("a.b", "it") == "a.b it"
    assert said_of("job.api_lost", "kubeadm-upgrade") == (
        "the job lost the API while it waited for it: kubeadm-upgrade"
    )
    assert said_of("job.failed", "") == "the job failed"
    assert either(("dns.failed", "a.b")) == "a name cannot be resolved, or a.b"
    assert cause_name("stray_static_pod") == "stray static pod"


@pytest.mark.parametrize("name", CASES)
def test_a_diagnosis_in_words_names_no_sign(name: str) -> None:
    text = as_text(judge(CASES[name][0]))
    shown = [sign for sign in CLAUSES if re.search(rf"(?<![\w./-]){re.escape(sign)}(?![\w.])", text)]
    assert shown == []
