"""What the lab's gate cases name must exist: faults, gates, codes, keys of the policy. The lab itself is asked elsewhere."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.lab.gate_cases import GateCase

from nightshift.clients.cluster_config import load_cluster
from nightshift.domain.gates import GATES
from nightshift.domain.verdicts import Outcome
from nslab.faults.commands import FAULTS

ROOT = Path(__file__).parents[2]


def _cases() -> list[Any]:
    modules = sorted(path.stem for path in (ROOT / "tests" / "lab").glob("gate_cases_*.py"))
    return [
        pytest.param(case, id=f"{name}: {case.name}")
        for name in modules
        for case in importlib.import_module(f"tests.lab.{name}").CASES
    ]


@pytest.mark.parametrize("case", _cases())
def test_a_case_names_only_what_exists(case: GateCase, tmp_path: Path) -> None:
    assert [fault[0] for fault in case.faults if fault[0] not in FAULTS] == []
    assert case.gate in GATES
    outcomes = {outcome.value for outcome in Outcome}
    assert {case.outcome, *case.dependants.values()} <= outcomes
    assert case.code == "OK" or (ROOT / "docs" / "runbooks" / f"{case.code}.md").exists()
    assert case.gate not in case.dependants
    policy = yaml.safe_load((ROOT / "lab" / "clusters" / "lab.yaml").read_text(encoding="utf-8"))
    changed = tmp_path / "lab.yaml"
    changed.write_text(yaml.safe_dump({**policy, **case.policy}), encoding="utf-8")
    load_cluster(changed)
