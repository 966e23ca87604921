"""The message at 3 a.m. must lead somewhere: every code has its page, every page its code, every key it names exists."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = {page.stem: page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "runbooks").glob("*.md")}
SCHEMA = json.loads((ROOT / "include" / "clusters" / "schema.json").read_text(encoding="utf-8"))
CODE = re.compile(r"[A-Z]+(?:_[A-Z]+)+")
# spelled like a code, and none
ENVIRONMENT = {"KUBELET_KUBEADM_ARGS", "NIGHTSHIFT_CLUSTERS", "NIGHTSHIFT_INSTALLATION", "NIGHTSHIFT_STORE"}
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
