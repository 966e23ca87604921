"""The lab as the gates' cases use it: a healthy enrolled cluster, rounds against it, faults that come and go."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from tests.lab.gate_cases import GateCase
from tests.lab.world import World

from nsdemo.lab import enrol_lab
from nsdemo.settings import PROJECT, airflow_environment

HERE = Path(__file__).parent
CLUSTER_FILE = PROJECT / "lab" / "clusters" / "lab.yaml"
ROUND_SECONDS = 600
TURN_SECONDS = 120  # until what a fault does can be seen (a kubelet that is gone is noticed after 40 s)
WINDOW_SECONDS = 600  # until etcd's window is as before: what comes with a fault (an API server's start) may fill the first
HEAL_SECONDS = 180
READY_SECONDS = 420
_POLL_SECONDS = 5.0
_OPEN = ("pass", "warn")
ETCD_LATENCY = "etcd_latency"
# In the cases of other gates; the shipped window is asked by etcd's own cases and twenty times on the healthy lab.
BRISK_WINDOW = {ETCD_LATENCY: {"window_seconds": 20, "minimum_samples": 20}}
_GO = "go"  # what target detection says of a healthy lab, which is a minor behind


@dataclass(frozen=True)
class RoundSaid:
    """One round's answer."""

    verdicts: Mapping[str, Mapping[str, Any]]  # by gate
    seconds: float  # all of it, etcd's window included
    round_seconds: float  # without the settle window: everything that is work
    detected: str  # what target detection said, "go" or another answer
    target: str = ""  # the same in words

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> RoundSaid:
        """From the last line of gate_round.py."""
        verdicts = {verdict["gate"]: verdict for verdict in data["verdicts"]}
        detected = data["detected"]
        return RoundSaid(
            verdicts, data["seconds"], data["round_seconds"], detected["answer"], detected["sentence"]
        )

    @property
    def brief(self) -> dict[str, tuple[str, str]]:
        """Gate -> outcome and code."""
        return {name: (v["outcome"], v["code"]) for name, v in self.verdicts.items()}


def collect_cases(directory: Path = HERE) -> list[GateCase]:
    """The cases of all `gate_cases_*.py`; those of one profile together, because changing it takes a new lab."""
    modules = [
        importlib.import_module(f"tests.lab.{p.stem}") for p in sorted(directory.glob("gate_cases_*.py"))
    ]
    cases = [case for module in modules for case in module.CASES]
    return sorted(
        cases, key=lambda case: case.profile, reverse=True
    )  # small first; the sort keeps the files' order


def not_healthy(said: RoundSaid) -> list[str]:
    """What keeps the round from being a clean pass."""
    closed = [
        f"{name}: {v['outcome']} ({v['code']}): {v['message']}"
        for name, v in said.verdicts.items()
        if v["outcome"] != "pass"
    ]
    return [*_otherwise_detected(_GO, said), *closed]


def not_as_said(case: GateCase, healthy: Mapping[str, tuple[str, str]], said: RoundSaid) -> list[str]:
    """What the round says otherwise than the case has it: the target, its gate, its dependants, every other gate as before.

    Args:
        case: the case.
        healthy: gate -> outcome and code before the fault.
        said: the round while it is there.
    """
    problems = _otherwise_detected(case.detected, said)
    turned = said.verdicts.get(case.gate)
    if turned is None:
        return [*problems, f"{case.gate} was not asked"]
    if (turned["outcome"], turned["code"]) != (case.outcome, case.code):
        problems.append(f"{case.gate} says {turned['outcome']} ({turned['code']}): {turned['message']}")
    missing = [word for word in case.words if word not in turned["message"]]
    if missing:
        problems.append(f"{case.gate} does not name {missing}: {turned['message']}")
    for name, (outcome, code) in said.brief.items():
        if name == case.gate:
            continue
        expected = case.dependants.get(name)
        before = healthy.get(name)
        is_right = outcome == expected if expected else before in (None, (outcome, code))
        if not is_right:
            wanted = expected or (before and before[0])
            problems.append(
                f"{name} says {outcome} ({code}), expected {wanted}: {said.verdicts[name]['message']}"
            )
    return problems


def _otherwise_detected(expected: str, said: RoundSaid) -> list[str]:
    is_right = said.detected == expected
    return [] if is_right else [f"the target: {said.detected}, expected {expected}: {said.target}"]


def changed_policy(text: str, changes: Mapping[str, Any]) -> str:
    """A cluster's YAML with these changes: sections are merged, everything else is replaced."""
    return yaml.safe_dump(_merged(yaml.safe_load(text), changes), sort_keys=False)


def _merged(old: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    new = dict(old)
    for key, value in changes.items():
        before = new.get(key)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        new[key] = _merged(before, value) if both else value
    return new


def ask_until(
    ask: Callable[[], RoundSaid],
    problems: Callable[[RoundSaid], Sequence[str]],
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[RoundSaid, list[str]]:
    """Ask until there is no problem any more, or the time is over; returns the last answer and its problems."""
    deadline = clock() + seconds
    while True:
        said = ask()
        left = list(problems(said))
        if not left or clock() >= deadline:
            return said, left
        sleep(_POLL_SECONDS)


class GateWorld:
    """The lab and its rounds.

    Args:
        world: the lab.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._profile: str | None = None  # of the cluster that is known to be healthy
        self._healthy: dict[str, tuple[str, str]] = {}
        self._directory = Path(tempfile.mkdtemp(prefix="nightshift-gates-"))
        self._choice = self._directory / "choice.json"
        self._sample = self._directory / "sample.json"

    def ready(self, profile: str, *, with_window: bool = True) -> dict[str, tuple[str, str]]:
        """Have a healthy enrolled cluster; returns gate -> outcome and code of its round.

        Args:
            profile: of the lab.
            with_window: etcd's window too. A disk is busy for a while after a reset.
        """
        if self._profile != profile:
            self._world.up(profile)
            enrol_lab(self._world.home, self._world.facts)
            self._choice.unlink(missing_ok=True)
            self._healthy = {}
        if self._profile != profile or (with_window and ETCD_LATENCY not in self._healthy):
            said, problems = ask_until(lambda: self.ask(is_quick=not with_window), not_healthy, READY_SECONDS)
            assert not problems, "\n".join(problems)
            self._profile, self._healthy = profile, said.brief
        return self._healthy

    def ask(
        self, policy: Mapping[str, Any] | None = None, *, is_quick: bool = False, goes_on: bool = False
    ) -> RoundSaid:
        """One round.

        Args:
            policy: what is changed of the lab's policy.
            is_quick: etcd's window is only opened, and nobody waits for its end.
            goes_on: etcd's window began with the round before.
        """
        file = self._directory / "lab.yaml"
        file.write_text(
            changed_policy(CLUSTER_FILE.read_text(encoding="utf-8"), policy or {}), encoding="utf-8"
        )
        command = [sys.executable, str(HERE / "gate_round.py"), str(file), "--choice", str(self._choice)]
        command += ["--quick"] if is_quick else []
        command += ["--opened", str(self._sample)] if goes_on else []
        done = subprocess.run(
            command,
            env=airflow_environment(self._world.home, self._world.airflow_settings()),
            capture_output=True,
            text=True,
            timeout=ROUND_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        print(done.stderr, flush=True)
        data = json.loads(done.stdout.splitlines()[-1])
        said = RoundSaid.from_dict(data)
        if said.detected == _GO:
            self._choice.write_text(json.dumps(data["choice"]), encoding="utf-8")
        self._sample.write_text(json.dumps(data["sample"]), encoding="utf-8")
        return said

    def play(self, case: GateCase) -> None:
        """Break, ask, compare, heal, ask again; whatever happens the fault is healed, and all of it is logged."""
        healthy = self.ready(case.profile, with_window=not case.no_window)
        row: dict[str, Any] = {"case": case.name, "gate": case.gate}
        try:
            self._break(case.faults)
            said, problems = self._turned(case, healthy)
            row |= _row("broken", said, problems)
        finally:
            self._profile = None  # until the round says otherwise the cluster is not known to be healthy
            self._heal(case.faults)
        well, left = self._healed(case, healthy)
        row |= _row("healed", well, left)
        self._log(row)
        if not left:
            self._profile = case.profile
        assert not problems, "\n".join(problems)
        assert not left, "after healing: " + "\n".join(left)

    def _turned(self, case: GateCase, healthy: Mapping[str, tuple[str, str]]) -> tuple[RoundSaid, list[str]]:
        """Polled for until all gates say what the case wants, etcd's with a short window among them.

        The window begins with the quick round that is right, and all others are asked again while it is open: so it costs
        twenty seconds, and shows that nobody turns later. Like every gate, etcd's is asked until it is right: a disk that is
        busy with the fault's arrival is no answer to the fault.
        """

        def still_wrong(said: RoundSaid) -> list[str]:
            return not_as_said(case, healthy, said)

        if case.gate == ETCD_LATENCY:
            said = self.ask(case.policy)
            return said, still_wrong(said)
        said, problems = ask_until(lambda: self.ask(case.policy, is_quick=True), still_wrong, TURN_SECONDS)
        if problems or case.no_window:
            return said, problems
        opened = iter((True,))  # a second window is a fresh one
        brisk = case.policy if ETCD_LATENCY in case.dependants else _merged(case.policy, BRISK_WINDOW)
        return ask_until(lambda: self.ask(brisk, goes_on=next(opened, False)), still_wrong, WINDOW_SECONDS)

    def _healed(self, case: GateCase, healthy: Mapping[str, tuple[str, str]]) -> tuple[RoundSaid, list[str]]:
        """Rounds until all is as before; with etcd's window where the fault had turned it."""

        def left(said: RoundSaid) -> list[str]:
            return _differences(healthy, said)

        said, problems = ask_until(lambda: self.ask(is_quick=True), left, HEAL_SECONDS)
        if ETCD_LATENCY in (case.gate, *case.dependants):
            return ask_until(self.ask, left, HEAL_SECONDS)
        return said, problems

    def _break(self, faults: Iterable[Sequence[str]]) -> None:
        self._world.used = True
        for words in faults:
            self._world.lab("break", *words)

    def _heal(self, faults: Sequence[Sequence[str]]) -> None:
        for name in dict.fromkeys(words[0] for words in reversed(faults)):
            self._world.lab("heal", name)

    def _log(self, row: Mapping[str, Any]) -> None:
        line = json.dumps({"at": datetime.now(UTC).isoformat(timespec="seconds"), **row})
        print(line, flush=True)
        with (self._world.home.path / "gate-cases.jsonl").open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")


def _differences(healthy: Mapping[str, tuple[str, str]], said: RoundSaid) -> list[str]:
    turned = [
        f"{name}: {outcome} ({code}): {said.verdicts[name]['message']}"
        for name, (outcome, code) in said.brief.items()
        if healthy.get(name) != (outcome, code)
    ]
    return [*_otherwise_detected(_GO, said), *turned]


def _row(when: str, said: RoundSaid, problems: Sequence[str]) -> dict[str, Any]:
    return {
        f"{when}_ok": not problems,
        f"{when}_seconds": said.seconds,
        f"{when}_round_seconds": said.round_seconds,
        f"{when}_detected": said.detected,
        f"{when}_closed": sorted(name for name, (outcome, _) in said.brief.items() if outcome not in _OPEN),
        f"{when}_problems": list(problems),
    }
