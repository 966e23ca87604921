"""Names as parts of paths in the store."""

from __future__ import annotations

import re

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def path_safe(text: str) -> str:
    """A run id as part of a path: Airflow's contain colons and plus signs."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", text)


def is_safe(name: str) -> bool:
    """Tell whether a name can be a part of a path in the store, and is no way out of its folder."""
    return _SAFE.fullmatch(name) is not None and ".." not in name
