"""Pages of docs/runbooks, where the documentation lies beside the code."""

from __future__ import annotations

import re
from pathlib import Path

_PAGES = Path(__file__).parents[3] / "docs" / "runbooks"
_LIMIT_BYTES = 64 * 1024
_NAME = re.compile(r"[A-Z][A-Z0-9_]*|causes/[a-z][a-z0-9_]*")


def runbook_text(name: str) -> str:
    """The text of a page ("ETCD_SLOW", "causes/disk_full"); "" when the documentation is not installed, or has no such page."""
    if _NAME.fullmatch(name) is None:
        return ""
    try:
        return (_PAGES / f"{name}.md").read_bytes()[:_LIMIT_BYTES].decode("utf-8", errors="replace")
    except OSError:
        return ""
