"""Every code the node clients and enrolment emit has its page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "plugins" / "nightshift"
SOURCES = [
    *(
        PACKAGE / "clients" / f"{name}.py"
        for name in (
            "node_ssh",
            "node_probe",
            "node_install",
            "ssh_connect",
            "script_bundle",
            "cluster_setup",
        )
    ),
    PACKAGE / "steps" / "enrol.py",
    PACKAGE / "cli.py",
]
CODE = re.compile(r'"([A-Z]+(?:_[A-Z]+)+)"')
CODES = sorted({code for source in SOURCES for code in CODE.findall(source.read_text(encoding="utf-8"))})


def test_codes_were_found() -> None:
    assert {"NODE_UNREACHABLE", "JOB_LOST", "IMAGE_MISSING", "HOST_KEY_UNKNOWN"} <= set(CODES)


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_a_complete_page(code: str) -> None:
    page = (ROOT / "docs" / "runbooks" / f"{code}.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", page, flags=re.MULTILINE)
    assert headings == [code, "Symptom", "What the system already did", "How to check", "Fix"]
