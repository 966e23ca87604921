"""Every code the domain and the cluster file emit has its page: the message at 3 a.m. must lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SOURCES = [
    *(ROOT / "plugins" / "nightshift" / "domain").rglob("*.py"),
    ROOT / "plugins" / "nightshift" / "clients" / "cluster_config.py",
]
CODE = re.compile(r'"((?!NIGHTSHIFT_)[A-Z]+(?:_[A-Z]+)+)"')
# (what begins with NIGHTSHIFT_ is an environment variable)
CODES = sorted({code for source in SOURCES for code in CODE.findall(source.read_text(encoding="utf-8"))})


def test_codes_were_found() -> None:
    assert {"ETCD_SLOW", "CONFIG_INVALID", "GATE_SILENT"} <= set(CODES)


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_a_complete_page(code: str) -> None:
    page = (ROOT / "docs" / "runbooks" / f"{code}.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", page, flags=re.MULTILINE)
    assert headings == [code, "Symptom", "What the system already did", "How to check", "Fix"]
