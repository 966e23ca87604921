"""The lab's results: what counts as the same code, what is run again, and that no moment leaves half a file."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.lab import results
from tests.lab.results import Tree

PROJECT = Path(__file__).parents[2]
MODULE = "tests/lab/test_one.py"
# Their own commits, not the developer's: no name, hook or signature of this machine is asked for.
GIT = {
    **{key: value for key, value in os.environ.items() if not key.startswith("GIT_")},
    **{f"GIT_{who}_{what}": "lab@example" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    "GIT_CONFIG_GLOBAL": os.devnull,
}


def git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=root, env=GIT, check=True, capture_output=True)


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def commit(root: Path, path: str, text: str) -> None:
    write(root, path, text)
    git(root, "add", path)
    git(root, "commit", "-m", path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout with a product, and a case's module that imports one helper, which imports another."""
    git(tmp_path, "init", "-q")
    commit(tmp_path, "plugins/product.py", "one")
    commit(tmp_path, "docs/page.md", "one")
    commit(tmp_path, "tests/lab/world.py", "import json")
    commit(tmp_path, "tests/lab/gate_world.py", "from tests.lab.world import World")
    commit(tmp_path, "tests/lab/other.py", "")
    commit(tmp_path, MODULE, "def test():\n    from tests.lab import gate_world")
    return tmp_path


@pytest.fixture
def tree(root: Path) -> Tree:
    return Tree(root, ("plugins", "requirements.txt"))


@pytest.mark.parametrize("path", ["plugins/product.py", "plugins/new.py", MODULE, "tests/lab/world.py"])
def test_what_a_case_is_played_on_changes_its_fingerprint(root: Path, tree: Tree, path: str) -> None:
    before = tree.fingerprint(MODULE)
    commit(root, path, "from tests.lab.gate_world import changed")
    assert before
    assert tree.fingerprint(MODULE) not in (before, None)


@pytest.mark.parametrize(
    "path", ["docs/page.md", "tests/lab/other.py", "tests/lab/results.json", "README.md"]
)
def test_documents_and_other_tests_do_not(root: Path, tree: Tree, path: str) -> None:
    before = tree.fingerprint(MODULE)
    commit(root, path, "two")
    assert before == tree.fingerprint(MODULE)


def test_what_a_module_reads_belongs_to_it(root: Path, tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(results.READS, "tests/lab/world.py", ("docs",))
    before = tree.fingerprint(MODULE)
    commit(root, "docs/page.md", "two")
    assert before != tree.fingerprint(MODULE)


def test_a_tool_counts_for_the_module_that_uses_it_alone(
    root: Path, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = "tests/lab/other.py"
    monkeypatch.setattr(results, "APART", {"plugins/tool/*.py": (other,)})
    before = [tree.fingerprint(module) for module in (MODULE, other)]
    commit(root, "plugins/tool/use.py", "one")
    after = [tree.fingerprint(module) for module in (MODULE, other)]
    assert (before[0], before[1] == after[1]) == (after[0], False)
    write(root, "plugins/tool/use.py", "two")
    assert (tree.fingerprint(MODULE), tree.fingerprint(other)) == (before[0], None)
    commit(root, "plugins/tool/more/use.py", "of the product: the glob ends at the folder")
    assert tree.fingerprint(MODULE) not in (before[0], None)


def test_the_tools_that_stand_apart_are_there_and_somebodys() -> None:
    for glob, owners in results.APART.items():
        assert [*PROJECT.glob(glob)], glob
        assert all((PROJECT / owner).exists() for owner in owners)


def test_conftest_belongs_to_every_module(root: Path, tree: Tree) -> None:
    commit(root, "tests/lab/results.py", "one")
    commit(root, results.CONFTEST, "from tests.lab import other, results")
    before = tree.fingerprint(MODULE)
    commit(root, "tests/lab/results.py", "two")
    assert before == tree.fingerprint(MODULE)
    commit(root, "tests/lab/other.py", "two = 2")
    assert before != (between := tree.fingerprint(MODULE))
    commit(root, results.CONFTEST, "from tests.lab import other")
    assert between != tree.fingerprint(MODULE)


def test_what_lab_modules_name_of_this_checkout_is_product_or_known_as_read() -> None:
    named = re.compile(r'(?:PROJECT|parents\[2\])((?: / "[^"]+")+)')
    unknown = set()
    for module in sorted((PROJECT / "tests" / "lab").glob("*.py")):
        path = str(module.relative_to(PROJECT))
        known = (*results.PRODUCT, *results.READS.get(path, ()))
        for found in named.finditer(module.read_text(encoding="utf-8")):
            target = "/".join(re.findall(r'"([^"]+)"', found[1]))
            if not any(f"{target}/".startswith(f"{one}/") for one in known):
                unknown.add((path, target))
    assert unknown == set()


def test_the_gates_cases_count_for_them_and_for_nobody_who_shares_their_world() -> None:
    tree, cases = (
        Tree(),
        {f"tests/lab/{path.name}" for path in (PROJECT / "tests" / "lab").glob("gate_cases_*.py")},
    )
    assert len(cases) > 5
    assert cases <= tree._sources("tests/lab/test_gates.py")
    assert not cases & tree._sources("tests/lab/test_owner.py")


@pytest.mark.parametrize("path", ["plugins/product.py", "plugins/new.py", "tests/lab/world.py"])
def test_what_is_not_committed_has_none(root: Path, tree: Tree, path: str) -> None:
    write(root, path, "from tests.lab.gate_world import changed")
    assert tree.fingerprint(MODULE) is None


def test_what_does_not_belong_to_it_may_be_open(root: Path, tree: Tree) -> None:
    before = tree.fingerprint(MODULE)
    write(root, "docs/page.md", "two")
    write(root, "tests/lab/other.py", "two")
    write(root, "tests/lab/results.json", "{}")
    assert before == tree.fingerprint(MODULE)


def test_the_product_of_this_checkout_is_known_to_git() -> None:
    known = subprocess.run(
        ["git", "ls-tree", "--name-only", "HEAD", *results.PRODUCT, *sum(results.READS.values(), ())],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert {*results.PRODUCT} <= {*known}
    assert all((PROJECT / path).exists() for reads in results.READS.items() for path in (reads[0], *reads[1]))


def test_what_lab_cases_import_of_this_checkout_is_product_or_theirs() -> None:
    named: set[str] = set()
    for module in (PROJECT / "tests" / "lab").glob("*.py"):
        for part in ast.walk(ast.parse(module.read_text())):
            if isinstance(part, ast.ImportFrom):
                named.add((part.module or "").split(".")[0])
            elif isinstance(part, ast.Import):
                named |= {alias.name.split(".")[0] for alias in part.names}
    ours = {
        f"{root}/{name}"
        for root in ("plugins", "lab", "tools")
        for name in named
        if name and (PROJECT / root / name).is_dir()
    }
    assert {"plugins/nightshift", "lab/nslab"} <= ours
    outside = {path for path in ours if not {path, path.split("/")[0]} & {*results.PRODUCT}}
    assert outside == set()


def test_one_case_a_line_in_order(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    for case in ("b", "a", "c", "b"):
        results.keep(file, case, results.row("passed", 1.25, "abc", case * 2))
    lines = file.read_text().splitlines()
    assert [line[:5] for line in lines] == ["{", '"a": ', '"b": ', '"c": ', "}"]
    assert list(results.load(file)) == ["a", "b", "c"]
    assert results.load(file)["b"]["on"] == "bb"


def test_a_kill_while_writing_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "results.json"
    results.keep(file, "a", results.row("passed", 1, "abc", "x"))

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        results.keep(file, "b", results.row("passed", 1, "abc", "x"))
    assert list(results.load(file)) == ["a"]


def test_the_marks_of_a_merge_are_told(tmp_path: Path) -> None:
    write(tmp_path, "results.json", "<<<<<<< HEAD\n{}\n")
    with pytest.raises(ValueError, match="marks of a merge"):
        results.load(tmp_path / "results.json")


def test_only_a_pass_on_the_same_code_is_done() -> None:
    passed = results.row("passed", 1, "abc", "today")
    assert results.is_done(passed, "today")
    assert not results.is_done(passed, "tomorrow")
    assert not results.is_done(passed, None)
    assert not results.is_done({**passed, "outcome": "failed"}, "today")
    assert not results.is_done(None, "today")


def test_the_table_tells_done_older_failed_and_never(tree: Tree) -> None:
    cases = [f"{MODULE}::{name}" for name in ("done", "older", "failed", "never")]
    now = tree.fingerprint(MODULE)
    assert now
    rows = {
        cases[0]: results.row("passed", 1, "new", now),
        cases[1]: {**results.row("passed", 1, "old", "other"), "day": "2026-01-02"},
        cases[2]: results.row("failed", 1, "new", now),
    }
    line = results.table(cases, rows, tree).splitlines()[1]
    assert line.split() == ["test_one", "4", "1", "1", "1", "1", "2026-01-02", "old"]


@pytest.fixture
def checkout(root: Path) -> Path:
    """A checkout that has this project's own conftest of the lab, and cases that need no lab."""
    for name in ("conftest.py", "results.py"):
        write(root, f"tests/lab/{name}", (PROJECT / "tests/lab" / name).read_text())
    write(root, "tests/lab/world.py", "class World: ...")
    write(root, MODULE, "def test_good(): ...\ndef test_bad(): assert not 'good'\n")
    write(
        root,
        "pytest.ini",
        "[pytest]\naddopts = --import-mode=importlib\nmarkers =\n lab:\n timeout(s):\n ci:\n",
    )
    write(root, ".gitignore", "__pycache__/\n")
    git(root, "add", ".")
    git(root, "commit", "-m", "a checkout of its own")
    return root


def play(root: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    environment = {
        **GIT,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": f"{root}:{PROJECT / 'lab'}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def outcomes(root: Path) -> dict[str, str]:
    rows = results.load(root / "tests/lab/results.json")
    return {case.rsplit("::", 1)[1]: row["outcome"] for case, row in rows.items()}


def test_a_round_resumes_with_what_failed(checkout: Path) -> None:
    first = play(checkout, "tests/lab", "--record", "--resume")
    assert "1 failed, 1 passed" in first, first
    assert outcomes(checkout) == {"test_good": "passed", "test_bad": "failed"}
    assert "1 failed, 1 deselected" in play(checkout, "tests/lab", "--record", "--resume")
    commit(checkout, "plugins/product.py", "changed")
    assert "1 failed, 1 passed" in play(checkout, "tests/lab", "--resume")
    said = play(checkout, "-q", "tests/lab", "--lab-status")
    assert "2     0     1      1     0" in said, said


def test_a_case_asked_for_is_recorded_and_never_left_out(checkout: Path) -> None:
    for _ in range(2):
        assert "1 passed" in play(checkout, f"{MODULE}::test_good", "--record")
    assert outcomes(checkout) == {"test_good": "passed"}
    assert "1 passed" in play(checkout, f"{MODULE}::test_good", "--results", "elsewhere.json")
    assert (checkout / "elsewhere.json").exists()


def test_without_being_asked_nothing_is_recorded(checkout: Path) -> None:
    play(checkout, "tests/lab")
    assert outcomes(checkout) == {}


def test_on_open_changes_nothing_is_recorded_and_that_is_said(checkout: Path) -> None:
    write(checkout, "plugins/product.py", "open")
    said = play(checkout, "tests/lab", "--record")
    assert "not recorded" in said
    assert f"{MODULE}::test_good" in said
    assert outcomes(checkout) == {}


def test_a_change_while_a_case_runs_is_no_result(checkout: Path) -> None:
    change = "echo meanwhile >plugins/product.py; git commit -qam meanwhile"
    commit(checkout, MODULE, f"import os\ndef test_good():\n    assert os.system({change!r}) == 0\n")
    said = play(checkout, "tests/lab", "--record")
    assert "1 passed" in said, said
    assert "not recorded" in said
    assert outcomes(checkout) == {}


def test_a_teardown_that_fails_is_a_failure(checkout: Path) -> None:
    fixture = "import pytest\n@pytest.fixture\ndef left():\n    yield\n    assert not 'clean'\n"
    commit(checkout, MODULE, f"{fixture}def test_good(left): ...\n")
    play(checkout, "tests/lab", "--record")
    assert outcomes(checkout) == {"test_good": "failed"}
