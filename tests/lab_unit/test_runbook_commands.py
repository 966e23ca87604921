"""The runbooks' commands, without a lab: each is found, says whether it changes anything, and can be filled in."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from tests.lab import runbook_world
from tests.lab.runbook_scenes import MAY_FIND_NOTHING, NOT_RUN, PAGE_WORDS, SCENES, WORDS, Scene
from tests.lab.runbook_world import RunbookWorld, Said, problems, said_by, script, to_run, words_of
from tests.lab.runbooks import (
    Command,
    commands,
    commands_in,
    filled,
    pages,
    placeholders,
    prelude,
    reads,
    split,
    unknown_spans,
)

from nightshift.domain.diagnosis.causes import CATALOGUE
from nslab.faults.commands import FAULTS

ALL = [command for page in pages() for command in commands(page)]
PAGE = """\
# CODE

## Symptom

`kubectl get symptom`

## How to check

- On the node: `df -h MOUNT; crictl ps | grep x`, `NAME` and `spec.replicas`
- `curl -s URL/ready`
- On a node: `curl -s URL/ready`

```sh
export KUBECONFIG=/etc/kubernetes/admin.conf
etcdctl get x    # why
```

## Fix

`kubectl get nodes`, then `kubectl uncordon NODE` and `systemctl restart kubelet`:

```sh changes
kubectl delete pod POD
```
"""


def test_the_pages_have_commands() -> None:
    causes = {command.page for command in ALL if command.page.startswith("causes/")}
    assert causes == {page for page in pages() if page.startswith("causes/")}
    assert len(causes) == len(CATALOGUE)
    assert len(ALL) > 500
    assert len({command.page for command in ALL} - causes) > 130


@pytest.mark.parametrize("page", pages())
def test_every_command_is_classified_and_its_words_are_known(page: str) -> None:
    for command in commands(page):
        is_reading = all(reads(line) for line in command.lines)
        assert is_reading != command.changes, (
            f"{page}: `{command.text}` changes something, or is not known to only look"
        )
        assert command.words <= {*words_of(page)}, (
            f"{page}: `{command.text}` has a word that nothing stands for"
        )


def test_the_tables_name_only_what_the_pages_have() -> None:
    texts = {command.text for command in ALL}
    assert {*NOT_RUN} <= texts
    assert {(command.page, command.text) for command in ALL} >= MAY_FIND_NOTHING
    assert {*SCENES, *PAGE_WORDS} <= {page for page in pages() if to_run(page)}
    used = {page: {word for command in commands(page) for word in command.words} for page in pages()}
    assert all({*words} <= used[page] for page, words in PAGE_WORDS.items())
    assert {*WORDS} == {word for words in used.values() for word in words}


def test_scenes_plant_faults_that_the_lab_has() -> None:
    lines = [line for scene in SCENES.values() for line in (*scene.plant, *scene.undo)]
    named = {words[2] for line in lines if (words := line.split())[:2] in (["lab", "break"], ["lab", "heal"])}
    assert {"webhook-outside", "node-power-off"} <= named
    assert named <= {*FAULTS}


# Set off like commands, and quotations: of messages, and of parts of an object or a command.
QUOTED = {
    "'label' in n.labels",
    "<store>/<cluster>/snapshots/<run id>.json",
    "Could not resolve host",
    "[ERROR CreateJob]",
    "base64 -d",
    "cannot list …",
    "command failed",
    "did not change after",
    "endpoint status -w json",
    "invalid argument",
    "the kubelet would not start the pod",
    "unknown flag",
    "{key: admission, operator: NotIn, values: [exempt]}",
}


def test_what_is_set_off_is_a_command_a_setting_or_a_quotation() -> None:
    unknown = {span for page in pages() for span in unknown_spans(page)}
    slips = {span for span in unknown - QUOTED if not re.fullmatch(r"[\w./]+: \S+", span)}
    assert not slips, "no program of tests/lab/runbooks.py begins them"
    assert unknown >= QUOTED


def test_few_commands_are_not_run_and_each_says_why() -> None:
    assert len(NOT_RUN) <= 17
    assert all(NOT_RUN.values())


def test_a_page_is_read() -> None:
    found = list(commands_in("CODE", PAGE))
    assert [(c.lines, c.changes, c.where) for c in found] == [
        (("df -h MOUNT", "crictl ps | grep x"), False, "node"),
        (("curl -s URL/ready",), False, "driver"),
        (("curl -s URL/ready",), False, "node"),
        (("export KUBECONFIG=/etc/kubernetes/admin.conf", "etcdctl get x"), False, "node"),
        (("kubectl get nodes",), False, "driver"),
        (("kubectl uncordon NODE",), True, "driver"),
        (("systemctl restart kubelet",), True, "node"),
        (("kubectl delete pod POD",), True, "driver"),
    ]


PAGE_OF_A_CAUSE = """\
# cause

## What happened

`kubectl delete pod x`

## How to check

`etcdctl before`

```sh
etcdctl() { crictl exec "$(crictl ps -q --name '^etcd$')" etcdctl --cacert a \\
  --cert b "$@"; }
etcdctl get x    # why
```

## What to do

1. `etcdctl defrag` and `date -u`; from the Airflow host `timeout 5 bash -c '</dev/tcp/PEER/22'`
2. `systemctl restart kubelet`
"""


def test_a_page_of_a_cause_is_read() -> None:
    found = list(commands_in("causes/cause", PAGE_OF_A_CAUSE))
    shorthand = (
        'etcdctl() { crictl exec "$(crictl ps -q --name \'^etcd$\')" etcdctl --cacert a --cert b "$@"; }'
    )
    assert [(c.lines, c.changes, c.where) for c in found] == [
        (("etcdctl before",), False, "node"),
        ((shorthand, "etcdctl get x"), False, "node"),
        (("etcdctl defrag",), True, "node"),
        (("date -u",), False, "node"),
        (("timeout 5 bash -c '</dev/tcp/PEER/22'",), False, "driver"),
        (("systemctl restart kubelet",), True, "node"),
    ]
    before, block, use, *others = found
    assert prelude(use) == (shorthand,)
    assert [prelude(command) for command in (block, *others)] == [(), (), (), ()]
    assert "kubectl -n kube-system exec etcd-NODE" in prelude(before)[-1], "as the pages of codes define it"


def test_a_block_that_does_not_say_what_it_does_is_refused() -> None:
    with pytest.raises(ValueError, match="CODE: a block must begin with"):
        list(commands_in("CODE", "## Fix\n\n```\nrm -r x\n```\n"))


@pytest.mark.parametrize(
    "line",
    [
        "kubectl -n kube-system get pods",
        "crictl logs $(crictl ps -q --name etcd) 2>&1 | tail",
        "grep -E 'a|b > c' file",
        "sudo /usr/local/lib/nightshift/nightshift-node look etcd | cut -f3 | base64 -d",
        "cd x && sha256sum -c SHA256SUMS",
        'etcdctl() { crictl exec "$(crictl ps -q --name \'^etcd$\')" etcdctl "$@"; }',
        "timeout 5 bash -c '</dev/tcp/PEER/2380'",
        "ls a/*.crt | xargs -tn1 openssl x509 -noout -in",
        "kubectl -n a run ask --image=pause --dry-run=server",
        "journalctl -u kubelet --since -3h",
    ],
)
def test_a_look_is_a_look(line: str) -> None:
    assert reads(line)


@pytest.mark.parametrize(
    "line",
    [
        "kubectl delete pod x",
        "kubectl get x -o json | kubectl replace -f -",
        "cat x > y",
        "kubectl -n a exec b -- rm c",
        "sudo apt-get install x",
        "timedatectl set-ntp true",
        "curl -X POST url",
        "etcdctl member remove ID",
        "cd x && rm y",
        "sudo /usr/local/lib/nightshift/nightshift-node fence 3",
        "lsblk-of-somebody x",
        'crictl logs "$(crictl rm x)"',
        'etcdctl() { rm "$@"; }',
        "timeout 5 bash -c 'rm x'",
        "ls a | xargs -tn1 rm",
        "kubectl -n a run ask --image=pause",
        "docker compose restart triggerer",
        "journalctl --vacuum-size=200M",
        "dpkg --configure -a",
        "find a -lname b -delete",
    ],
)
def test_a_change_is_a_change(line: str) -> None:
    assert not reads(line)


def test_separators_in_quotes_are_text() -> None:
    assert split("a 'x|y' | b \"|\" |c", "|") == ["a 'x|y'", 'b "|"', "c"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kubectl -n kube-system exec etcd-NODE -- df", {"NODE"}),
        ("curl -fsSIL URL/v1.XX/deb/InRelease", {"URL", "XX"}),
        ("apt-get install NAME=VERSION", {"NAME", "VERSION"}),
        ("kubectl get pdb -o custom-columns=NAME:.metadata.name,SELECTOR:.spec.selector", set()),
        ("journalctl _COMM=sudo", set()),
        ("./nightshift enrol … --write-env FILE", {"…", "FILE"}),
        ("cat /proc/PID/cgroup", {"PID"}),
        ("kubectl get PLURAL.VERSION.GROUP -A", {"PLURAL", "VERSION", "GROUP"}),
        ("timeout 5 bash -c '</dev/tcp/PEER/2380'", {"PEER"}),
        ("ss -ltnp 'sport = :PORT'", {"PORT"}),
    ],
)
def test_words_in_capitals(text: str, words: set[str]) -> None:
    assert placeholders(text) == words
    assert not placeholders(filled(text, dict.fromkeys(words, "x")))


def test_columns_keep_their_names() -> None:
    text = "kubectl get pod NAME -o custom-columns=NAME:.metadata.name NODE"
    assert (
        filled(text, {"NAME": "x", "NODE": "y"})
        == "kubectl get pod x -o custom-columns=NAME:.metadata.name y"
    )


# Typing, and judging what came of it


def command(*lines: str, page: str = "CODE", where: str = "driver") -> Command:
    return Command(page, "; ".join(lines), lines, False, where)


def typed(one: Command, tmp_path: Path) -> Said:
    done = subprocess.run(
        ["bash", "-c", script(one, {"FILE": "there"})],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    return said_by(done, "")


def test_every_stage_of_every_line_is_judged(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("yes\n")
    good = command("cat FILE | grep yes", "alias own='cat FILE'", "own", "yes | head -n 1")
    assert list(problems(good, typed(good, tmp_path))) == []
    bad = command("cat FILE | grep no", "cat nowhere | cat", "ls --colour-blind | cat", "exit 3")
    assert list(problems(bad, typed(bad, tmp_path))) == [
        "`grep no` ended with 1.",
        "`cat nowhere` ended with 1.",
        "`ls --colour-blind` ended with 2.",
        "`exit 3` did not come to its end within 180 s, or ended the shell.",
        "It said: No such file or directory.",
        "It said: unrecognized option.",
    ]


def test_what_a_page_defined_is_there_for_what_it_says_later(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("yes\n")
    one = replace(command("own FILE"), defined=('own() { cat "$@" | grep yes; }',))
    said = typed(one, tmp_path)
    assert (list(problems(one, said)), said.output.strip()) == ([], "yes")


def test_finding_nothing_is_no_fault_where_the_table_says_so(tmp_path: Path) -> None:
    page, text = "SUPPLY_SILENT", "apt-config dump | grep -i proxy"
    said = Said("", {0: [0, 1]}, "", "")
    assert list(problems(command(text, page=page), said)) == []
    for statuses in ([1, 0], [0, 2]):
        assert list(problems(command(text, page=page), Said("", {0: statuses}, "", ""))) != []
    assert list(problems(command(text), said)) != []


def test_misuse_is_seen_even_when_it_ended_well() -> None:
    said = Said("", {0: [0, 0]}, "", "Error: unknown flag: --vresion")
    assert list(problems(command("kubectl get x | cat"), said)) == ["It said: unknown flag."]


def test_etcdctl_is_what_the_pages_define() -> None:
    of_code, of_cause = (
        next(c for c in ALL if (c.page, c.text) == (page, "etcdctl defrag"))
        for page in ("ETCD_ALARM", "causes/etcd_quota")
    )
    assert "exec etcd-cp1 -- etcdctl --cacert" in script(of_code, words_of(of_code.page))
    assert "etcdctl() { crictl exec" in script(of_cause, words_of(of_cause.page))


class PaperWorld:
    """Stands for a lab that is up; the lines of scenes are really played, on this machine, below the test's directory."""

    def __init__(self, tmp_path: Path) -> None:
        self.used = False
        self.home = type("Home", (), {"connections": tmp_path / "none"})
        self.facts = {"KUBECONFIG": "none", "NSLAB_NODES": "cp1=10.0.0.1"}
        self.asked: list[str] = []

    def airflow_settings(self) -> dict[str, str]:
        return {}

    def kubectl(self, *words: str) -> None:
        self.asked.append(" ".join(words))


def play(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scene: Scene, line: str
) -> tuple[list[str], PaperWorld]:
    world = PaperWorld(tmp_path)
    monkeypatch.setitem(SCENES, "CODE", scene)
    monkeypatch.setattr(runbook_world, "commands", lambda _page: [command(line)])
    paper = RunbookWorld(world, tmp_path)  # type: ignore[arg-type]  # on paper
    monkeypatch.setattr(paper, "_ready", lambda: None)
    return paper.play("CODE"), world


def test_a_scene_is_planted_and_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(("echo {address} >planted",), ("mv planted undone",))
    wrong, world = play(tmp_path, monkeypatch, scene, "cat planted")
    assert wrong == []
    assert (tmp_path / "undone").read_text() == "10.0.0.1\n"
    assert world.used
    assert any("wait --for=condition=Ready nodes" in asked for asked in world.asked)


def test_a_failure_tells_page_place_line_and_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (wrong,), _ = play(tmp_path, monkeypatch, Scene(undo=("touch undone",)), "cat FILE")
    for part in (
        "docs/runbooks/CODE.md: cat FILE",
        "on the driver",
        "cat /etc/kubernetes/pki",
        "ended with 1",
        "No such file",
    ):
        assert part in wrong
    assert (tmp_path / "undone").exists()


def test_a_scene_that_cannot_be_planted_is_taken_back_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AssertionError, match="the scene's own line failed"):
        play(tmp_path, monkeypatch, Scene(("false",), ("touch undone",)), "true x")
    assert (tmp_path / "undone").exists()
