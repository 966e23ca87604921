"""domain/ is pure: it imports Python's own modules and itself. import-linter knows only what is forbidden by name."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

DOMAIN = Path(__file__).parents[2] / "plugins" / "nightshift" / "domain"
FILES = sorted(DOMAIN.rglob("*.py"))


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported anywhere in a file, also inside a function; a relative one with its dots."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def is_allowed(module: str) -> bool:
    """Tell whether the domain may import it; a relative import may lead out of it, and nothing needs one."""
    return module.partition(".")[0] in sys.stdlib_module_names or f"{module}.".startswith(
        "nightshift.domain."
    )


def test_the_domain_is_looked_at() -> None:
    assert len(FILES) > 100
    assert DOMAIN / "owner.py" in FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(DOMAIN)))
def test_the_domain_imports_nothing_but_python_and_itself(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    assert [module for module in imported(tree) if not is_allowed(module)] == []


@pytest.mark.parametrize(
    "line",
    [
        "import jinja2",
        "import json, packaging.version",
        "from fastapi import FastAPI",
        "def f():\n    import jinja2",
        "from nightshift.steps import hold",
        "from nightshift import steps",
        "import nightshift.domains",
        "from ..steps import hold",
    ],
)
def test_any_other_import_is_found(line: str) -> None:
    assert not all(is_allowed(module) for module in imported(ast.parse(line)))
