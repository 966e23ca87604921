"""The message at 3 a.m. must lead somewhere: every code has its page, every page its code, every key it names exists."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from nightshift.clients.runbooks import runbook_text
from nightshift.domain.codes import CODES as KNOWN
from nightshift.domain.diagnosis.cause import RUNBOOKS
from nightshift.domain.diagnosis.causes import CATALOGUE

ROOT = Path(__file__).parents[2]
PAGES = {page.stem: page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "runbooks").glob("*.md")}
SCHEMA = json.loads((ROOT / "include" / "clusters" / "schema.json").read_text(encoding="utf-8"))
CODE = re.compile(r"[A-Z]+(?:_[A-Z]+)+")
# spelled like a code, and none
ENVIRONMENT = {"KUBELET_KUBEADM_ARGS", "NIGHTSHIFT_CLUSTERS", "NIGHTSHIFT_INSTALLATION", "NIGHTSHIFT_STORE"}
CAUSES = [cause.name for cause in CATALOGUE]
QUOTED = {cause.name: runbook_text(cause.runbook) for cause in CATALOGUE}
HEADINGS = ["Symptom", "What the system already did", "How to check", "Fix"]


def _codes() -> Iterator[str]:
    """Every string in the package that is spelled like a code, docstrings and messages left out."""
    for source in (ROOT / "plugins" / "nightshift").rglob("*.py"):
        for part in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(part, ast.Constant) and isinstance(part.value, str) and CODE.fullmatch(part.value):
                yield part.value


CODES = set(_codes()) - ENVIRONMENT


def test_codes_of_every_layer_were_found() -> None:
    assert {"ETCD_SLOW", "CONFIG_INVALID", "JOB_LOST", "LEASE_HELD", "BRAKE_ON", "PROBE_FAILED"} <= CODES


def test_overrides_may_name_every_code_and_no_other() -> None:
    assert sorted(KNOWN) == sorted(CODES)


def test_every_code_has_a_page_and_every_page_a_code() -> None:
    assert sorted(CODES) == sorted(PAGES)


@pytest.mark.parametrize("code", sorted(PAGES))
def test_a_page_is_complete(code: str) -> None:
    assert re.findall(r"^#+ (.+)$", PAGES[code], flags=re.MULTILINE) == [code, *HEADINGS]


def _keys() -> set[str]:
    """All keys a cluster's file may have: "store", "drain.timeout_seconds"."""
    keys = set(SCHEMA["properties"])
    for name, section in SCHEMA["properties"].items():
        if "$ref" in section:
            definition = SCHEMA["$defs"][section["$ref"].rsplit("/", 1)[1]]
            keys |= {f"{name}.{key}" for key in definition["properties"]}
    return keys


@pytest.mark.parametrize("code", sorted(PAGES))
def test_a_page_names_only_keys_and_pages_that_exist(code: str) -> None:
    sections = "|".join(sorted({key.split(".")[0] for key in _keys() if "." in key}))
    known = _keys()
    assert "drain.timeout_seconds" in known, "the schema is read wrongly"
    named = re.findall(rf"`((?:{sections})\.[a-z_]+)`", PAGES[code])
    assert [key for key in named if key not in known] == []
    placeholders = {"KNOWN_HOSTS", *ENVIRONMENT}
    others = set(re.findall(rf"\b{CODE.pattern}\b", PAGES[code]))
    assert others - set(PAGES) - placeholders == set()


def test_every_cause_has_a_page_of_its_own_and_every_such_page_a_cause() -> None:
    pages = (ROOT / "docs" / "runbooks" / RUNBOOKS).iterdir()
    assert sorted(page.name for page in pages) == sorted(f"{name}.md" for name in CAUSES)


@pytest.mark.parametrize("name", CAUSES)
def test_a_causes_page_is_complete(name: str) -> None:
    headings = ["What happened", "How to check", "What to do"]
    without_code = re.sub(r"^```.*?^```$", "", QUOTED[name], flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"^#+ (.+)$", without_code, flags=re.MULTILINE) == [name, *headings]
    assert "`" in QUOTED[name].partition("## How to check")[2].partition("## What to do")[0], "a command"


# What is true when a gate refused, and not of a step that failed half-way.
OF_GATES = re.compile(
    r"(?<!feature )\bgates?\b|check_etcd|\b(?:nothing|no node) was (?:touched|changed|installed)|\bnight (?:goes|went) on\b|did not (?:start|begin)\b"
    r"|\bbefore the night\b|\bin front of a slot\b|\basks? again\b|\bnext run (?:goes|passes)\b",
    re.IGNORECASE,
)


def _sentences(text: str) -> set[str]:
    found = re.split(r"(?<=[.:;])\s+|\n\s*\n|\n- ", text)
    return {" ".join(one.split()).strip("-. ") for one in found if len(one.split()) >= 3}


def _told_by_gates() -> set[str]:
    """What the pages of codes say of how they came about and of what was done; not how to check and to repair it."""
    told = (
        re.split(r"^## How to check$", page, maxsplit=1, flags=re.MULTILINE)[0] for page in PAGES.values()
    )
    return {sentence for text in told for sentence in _sentences(text.partition("\n## Symptom\n")[2])}


@pytest.mark.parametrize("name", CAUSES)
def test_a_causes_page_says_nothing_that_is_true_of_a_gate_only(name: str) -> None:
    assert OF_GATES.findall(QUOTED[name]) == []
    assert _sentences(QUOTED[name]) & _told_by_gates() == set()


def test_what_gates_say_would_be_found() -> None:
    assert "Nothing was touched" in _told_by_gates()
    for code in ("ETCD_SLOW", "DISK_WOULD_FILL", "CERTIFICATE_EXPIRED", "DRIFT_PENDING", "VERSION_KILLER"):
        assert OF_GATES.search(PAGES[code]), code
        assert _sentences(PAGES[code]) & _told_by_gates(), code


@pytest.mark.parametrize("name", CAUSES)
def test_a_causes_page_names_only_documents_that_exist(name: str) -> None:
    named = re.findall(r"`(docs/[\w./-]+)`", QUOTED[name])
    assert [path for path in named if not (ROOT / path).is_file()] == []
