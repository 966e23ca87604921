"""Types the commands of a runbook's page where the page says, and tells what was wrong with any of them."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.lab.gate_world import CLUSTER_FILE
from tests.lab.runbook_scenes import MAY_FIND_NOTHING, NOT_RUN, PAGE_WORDS, SCENES, WORDS, Scene
from tests.lab.runbooks import Command, commands, filled, prelude, program, split
from tests.lab.world import LAB, Api, World

from nsdemo.lab import enrol_lab
from nsdemo.processes import start_airflow, stop_airflow
from nsdemo.settings import PROJECT, read_env_file, ui_url

NODE = "cp1"
LIMIT_SECONDS = 180  # of all lines of one command
SHOWN_CHARACTERS = 1500
_CUT_OFF = {141, 23}  # the reader behind it had enough: by signal, and in curl's own words
# A program that is not there, or does not know what it is given; also where its exit code is 0.
_MISUSED = re.compile(
    r"command not found|unknown (?:shorthand )?flag|flag provided but not defined|unknown command|no such option"
    r"|(?:unrecognized|invalid|unknown) option|No such file or directory|doesn't have a resource type"
    r"|could not be found|\(NotFound\)"
)
_MARK = re.compile(r"^@line (\d+) ended with ([\d ]+)$", re.MULTILINE)


@dataclass(frozen=True)
class Said:
    """What came of one command.

    Attributes:
        statuses: exit codes of every line's stages; a line that did not end has none.
    """

    typed: str
    statuses: Mapping[int, Sequence[int]]
    output: str
    errors: str


def script(command: Command, words: Mapping[str, str]) -> str:
    """The shell text that types a command line by line and tells the exit codes of each line's stages."""
    lines = (
        ['scratch=$(mktemp -d) && cd "$scratch" && trap \'rm -rf "$scratch"\' EXIT']
        if command.where == "node"
        else []
    )
    lines += ["shopt -s expand_aliases", "export KUBE_EDITOR=true"]
    lines += [filled(line, words) for line in prelude(command)]
    for number, line in enumerate(command.lines):
        lines += [
            filled(line, words),
            f'printf "\\n@line {number} ended with %s\\n" "${{PIPESTATUS[*]}}"',
        ]
    return "\n".join(lines) + "\n"


def said_by(done: subprocess.CompletedProcess[str], typed: str) -> Said:
    """What came of a script, its marks read and taken out."""
    statuses = {int(m[1]): [int(s) for s in m[2].split()] for m in _MARK.finditer(done.stdout)}
    return Said(typed, statuses, _MARK.sub("", done.stdout), done.stderr)


def problems(command: Command, said: Said) -> Iterator[str]:
    """What was wrong with a command, in whole sentences; nothing when it did what its page says."""
    for number, line in enumerate(command.lines):
        statuses = said.statuses.get(number)
        if statuses is None:
            yield f"`{line}` did not come to its end within {LIMIT_SECONDS} s, or ended the shell."
            continue
        stages = split(split(line, "&&")[-1], "|")
        for number_of_stage, (stage, status) in enumerate(zip(stages, statuses, strict=False), start=1):
            is_cut_off = status in _CUT_OFF and number_of_stage < len(stages)
            is_empty = (
                status == 1 and program(stage) == "grep" and (command.page, command.text) in MAY_FIND_NOTHING
            )
            if status and not is_cut_off and not is_empty:
                yield f"`{stage}` ended with {status}."
    for match in dict.fromkeys(_MISUSED.findall(said.errors)):
        yield f"It said: {match}."


def to_run(page: str) -> list[Command]:
    """Commands of a page, without those that are listed as not run."""
    return [command for command in commands(page) if command.text not in NOT_RUN]


def words_of(page: str) -> dict[str, str]:
    """What the words in capitals stand for on a page, facts of the lab not filled in yet."""
    return {**WORDS, **PAGE_WORDS.get(page, {})}


class RunbookWorld:
    """The lab, enrolled, and a driver's shell beside it; Airflow rests, so that no sweeper mends what a scene plants.

    Args:
        world: the lab.
        scratch: a directory of the driver's own.
    """

    def __init__(self, world: World, scratch: Path) -> None:
        self._world = world
        self._scratch = scratch
        self._is_fit = False

    def play(self, page: str) -> list[str]:
        """Plant what a page is about, type its commands, take everything back.

        Returns:
            What was wrong, one text a command: what was typed where, why that is wrong, and what was said.
        """
        if not self._is_fit:
            self._ready()
        self._world.used = True
        self._is_fit = False  # until it was seen to be whole again
        scene = SCENES.get(page, Scene())
        found: list[str] = []
        try:
            if scene.needs_airflow:
                start_airflow(self._world.home, self._world.airflow_settings(), print)
                Api(self._world.home).wait_until_healthy(240)
            self._all(scene.plant)
            found = [text for command in to_run(page) if (text := self._type(command))]
        finally:
            if scene.needs_airflow:
                stop_airflow(self._world.home, print)
            self._all(scene.undo, check=False)
        self._settle()
        self._is_fit = True
        return found

    def _ready(self) -> None:
        """The fresh cluster, enrolled, with the programs of a driver."""
        self._world.up("small")
        enrol_lab(self._world.home, self._world.facts)
        (self._scratch / "bin").mkdir(exist_ok=True)
        for name, path in (("kubectl", self._world.facts["NSLAB_KUBECTL"]), ("lab", LAB)):
            link = self._scratch / "bin" / name
            link.unlink(missing_ok=True)
            link.symlink_to(path)
        key = self._scratch / "node-key"
        key.touch(0o600)
        key.write_text(self._node_key())

    def _settle(self) -> None:
        """Wait until nodes and control plane are as they were; restarts of a kubelet take a moment."""
        self._world.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=180s")
        self._world.kubectl(
            *(
                "-n",
                "kube-system",
                "wait",
                "--for=condition=Ready",
                "pods",
                "-l",
                "tier=control-plane",
                "--timeout=180s",
            )
        )

    def _type(self, command: Command) -> str:
        """Type one command; returns what was wrong, "" when nothing was."""
        said = self._said(command)
        wrong = list(problems(command, said))
        place = f"{NODE}, as root" if command.where == "node" else "the driver"
        print(f"{'WRONG' if wrong else 'ok':6}{command.text.splitlines()[-1]}   ({place})")
        if not wrong:
            return ""
        told = (
            f"on {place}, typed as:",
            said.typed,
            *wrong,
            f"it wrote:\n{_shown(said.output)}",
            f"errors:\n{_shown(said.errors)}",
        )
        return "\n".join((f"docs/runbooks/{command.page}.md: {command.text}", *told))

    def _said(self, command: Command) -> Said:
        words = {word: self._with_facts(text) for word, text in words_of(command.page).items()}
        text = script(command, words)
        limit = ["timeout", "--kill-after=5", str(LIMIT_SECONDS)]
        if command.where == "node":
            argv = [LAB, "ssh", NODE, shlex.join([*limit, "bash", "-lc", text])]
        else:
            argv = [*limit, "bash", "-c", text]
        done = self._run(argv, PROJECT if command.text.startswith("./") else self._scratch)
        return said_by(done, "\n".join(filled(line, words) for line in command.lines))

    def _all(self, lines: Sequence[str], check: bool = True) -> None:
        """Play lines of a scene on the driver."""
        for line in lines:
            done = self._run(["bash", "-c", self._with_facts(line)], self._scratch)
            told = f"the scene's own line failed ({done.returncode}):\n{line}\n{done.stdout}{done.stderr}"
            assert not check or done.returncode == 0, told

    def _run(self, argv: Sequence[str], directory: Path) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            **read_env_file(self._world.home.connections),
            **self._world.airflow_settings(),
            "NIGHTSHIFT_CLUSTERS": str(CLUSTER_FILE.parent),
            "KUBECONFIG": self._world.facts["KUBECONFIG"],
            "PATH": f"{self._scratch / 'bin'}:{os.environ['PATH']}",
        }
        return subprocess.run(
            argv,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )

    def _with_facts(self, text: str) -> str:
        """A text with the facts of the lab and of the driver in the place of their names in braces."""
        airflow = urlsplit(ui_url())
        addresses = dict(pair.split("=", 1) for pair in self._world.facts["NSLAB_NODES"].split())
        facts = {
            **self._world.facts,
            "address": addresses[NODE],
            "airflow_host": airflow.hostname or "",
            "airflow_port": str(airflow.port or ""),
            "connections": str(self._world.home.connections),
            "node_key": str(self._scratch / "node-key"),
            "scratch": str(self._scratch),
        }
        return re.sub(r"\{([A-Za-z_]+)\}", lambda match: facts.get(match[1], match[0]), text)

    def _node_key(self) -> str:
        """The key of the enrolled user, out of Airflow's connection."""
        for value in read_env_file(self._world.home.connections).values():
            extra = json.loads(value).get("extra") or {}
            found = (json.loads(extra) if isinstance(extra, str) else extra).get("private_key")
            if found:
                return str(found).rstrip("\n") + "\n"
        raise AssertionError("no connection in Airflow's environment has a private key")


def _shown(text: str) -> str:
    """The end of what a command wrote."""
    kept = text.strip()
    return kept if len(kept) <= SHOWN_CHARACTERS else f"…{kept[-SHOWN_CHARACTERS:]}"
