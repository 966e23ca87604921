"""What came of every lab case, and on what: kept in the repository, since machines do not last as long as a round does.

A case is done when it passed on what stands here. That is asked by fingerprint and not by commit: a hash of git's own
objects of the product (but for tools that other cases do not use), of the case's module, of conftest and of the modules of
tests/lab that these import. Documents and other tests may change as they like. What is not committed has no fingerprint: nobody could say later what passed.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nslab.build.store import write_text

Row = dict[str, Any]
Rows = dict[str, Row]

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "tests" / "lab" / "results.json"
PRODUCT = (
    *("plugins", "dags", "include", "lab", "nightshift"),
    "tools/nsdemo",  # brings up what the cases are played on
    *("requirements.txt", "pyproject.toml", "Dockerfile", ".dockerignore", "docker-compose.yaml"),
)
# Tools of the product that no other case uses, as git's glob, and whose they are.
APART = {
    "lab/bench/**": (),
    "lab/chaos/*.py": ("tests/lab/test_chaos.py",),
    "include/scripts/restore-etcd*": ("tests/lab/test_way_back.py",),
}
CONFTEST = "tests/lab/conftest.py"  # pytest loads it for every module; none imports it
_BOOKS = "tests/lab/results.py"  # what conftest writes down with: no case is played on it
# Files that a module of tests/lab reads, beside the modules it imports.
READS = {
    "tests/lab/docker_world.py": ("tests/lab/docker",),
    "tests/lab/runbooks.py": ("docs/runbooks",),
    "tests/lab/test_compose.py": ("docs/runbooks",),  # its reports quote the pages
    "tests/lab/test_gates.py": tuple(  # by name, when it is collected
        sorted(f"tests/lab/{path.name}" for path in FILE.parent.glob("gate_cases_*.py"))
    ),
    "tests/lab/test_incident.py": ("docs/runbooks",),
    "tests/lab/test_way_back.py": ("docs/restore.md",),
}


class Tree:
    """A checkout, as git sees it.

    Args:
        root: the checkout's top.
        product: what every lab case is played on, relative to `root`.
    """

    def __init__(self, root: Path = ROOT, product: Sequence[str] = PRODUCT) -> None:
        self._root = root
        self._product = tuple(product)

    def commit(self) -> str:
        """The commit that stands here, 12 digits; "unknown" outside of git."""
        return self._git("rev-parse", "--short=12", "HEAD").strip() or "unknown"

    def fingerprint(self, module: str) -> str | None:
        """What a case of this module is played on; None while something of it is not committed.

        Args:
            module: path of the case's module, relative to the checkout's top.
        """
        sources = self._sources(module)
        parts = [*self._product, *sorted(sources)]
        parts += [f":(exclude,glob){glob}" for glob, owners in APART.items() if not sources & {*owners}]
        if self._git("status", "--porcelain", "--untracked-files=all", "--", *parts):
            return None
        objects = self._git("ls-files", "--stage", "--", *parts)  # nothing is open, so the index is HEAD
        return hashlib.sha256(objects.encode()).hexdigest()[:16] if objects else None

    def _sources(self, module: str) -> set[str]:
        """The module, conftest, what they import of tests/lab, directly or not, and what those read."""
        found: set[str] = set()
        due = [module, *([CONFTEST] if (self._root / CONFTEST).exists() else [])]
        while due:
            path = due.pop()
            if path not in {*found, _BOOKS}:
                found.add(path)
                due += _imports(self._root / path)
        return found | {read for path in found for read in READS.get(path, ())}

    def _git(self, *arguments: str) -> str:
        command = ["git", *arguments]
        return subprocess.run(command, cwd=self._root, capture_output=True, text=True, check=False).stdout


def _imports(path: Path) -> Iterator[str]:
    """Paths of the modules of tests/lab that a module imports, wherever in it."""
    for part in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(part, ast.Import):
            names = [alias.name for alias in part.names]
        elif isinstance(part, ast.ImportFrom) and part.module == "tests.lab":
            names = [f"tests.lab.{alias.name}" for alias in part.names]
        elif isinstance(part, ast.ImportFrom):
            names = [part.module or ""]
        yield from (f"{name.replace('.', '/')}.py" for name in names if name.startswith("tests.lab."))


def load(file: Path) -> Rows:
    """Rows by case; {} while there is no file.

    Raises:
        ValueError: the file is none of ours, e.g. with the marks of a merge in it.
    """
    if not file.exists():
        return {}
    try:
        found: Rows = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{file} is not JSON ({error}). Next step: mend it, e.g. the marks of a merge in it."
        ) from error
    return found


def keep(file: Path, case: str, row: Row) -> None:
    """Write down what came of one case, in one step; one case a line, so that a difference is short."""
    rows = {**load(file), case: row}
    lines = (f"{json.dumps(name)}: {json.dumps(rows[name])}" for name in sorted(rows))
    write_text(file, "{\n" + ",\n".join(lines) + "\n}\n")


def row(outcome: str, seconds: float, commit: str, fingerprint: str | None) -> Row:
    """What is remembered of a case: "passed" or "failed", how long it took, and on what."""
    return {
        "outcome": outcome,
        "seconds": round(seconds, 1),
        "day": datetime.now(UTC).date().isoformat(),
        "commit": commit,
        "on": fingerprint,
    }


def is_done(known: Row | None, fingerprint: str | None) -> bool:
    """Tell whether a case passed on what stands here."""
    return bool(known and fingerprint and known["outcome"] == "passed" and known["on"] == fingerprint)


def table(cases: Sequence[str], rows: Rows, tree: Tree) -> str:
    """How far a round is, a line per module: done on what stands here, passed on older code, failed, never played."""
    fingerprint = functools.cache(tree.fingerprint)
    lines = [
        f"{'module':24} {'cases':>5} {'done':>5} {'older':>5} {'failed':>6} {'never':>5}  passed on older code"
    ]
    total = [0, 0, 0, 0, 0]
    for module in dict.fromkeys(_module(case) for case in cases):
        mine = [case for case in cases if _module(case) == module]
        now = fingerprint(module)
        done = [case for case in mine if is_done(rows.get(case), now)]
        failed = [case for case in mine if case in rows and rows[case]["outcome"] != "passed"]
        older = [case for case in mine if case in rows and case not in {*done, *failed}]
        never = [case for case in mine if case not in rows]
        counts = [len(group) for group in (mine, done, older, failed, never)]
        total = [a + b for a, b in zip(total, counts, strict=True)]
        marks = sorted({f"{rows[case]['day']} {rows[case]['commit']}" for case in older})
        notes = [*(["not committed: counts as never passed"] if now is None else []), *marks]
        lines.append(_line(Path(module).stem, counts, ", ".join(notes)))
    return "\n".join([*lines, _line("all", total, "")])


def _module(case: str) -> str:
    return case.split("::", 1)[0]


def _line(name: str, counts: Sequence[int], note: str) -> str:
    cases, done, older, failed, never = counts
    return f"{name:24} {cases:5} {done:5} {older:5} {failed:6} {never:5}  {note}".rstrip()
