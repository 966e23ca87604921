"""docs/gates.md from the gates themselves: `python -m nightshift.clients.gate_catalogue` writes it, a test compares it."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterable
from pathlib import Path

from nightshift.domain import gates
from nightshift.domain.gates import GATES, Gate
from nightshift.domain.look_again import BY_CODE, BY_OUTCOME
from nightshift.domain.round import AnyTopic, Moment, NodeTopic

PAGE = Path(__file__).resolve().parents[3] / "docs" / "gates.md"

_CODE = re.compile(r"[A-Z]+(?:_[A-Z]+)+")
_MOMENTS = {Moment.NIGHT: "before the night", Moment.PLACE: "in front of every slot and wave"}
_HEAD = """# Gates

<!-- Written by `python -m nightshift.clients.gate_catalogue` from the gates' own files; not by hand. -->

A gate looks at one thing and says *pass*, *warn*, *hold* (quiet: nobody here can change it), *block* (somebody can act) or
*blind* (what must be known is not). The worst answer of all gates is the night's. What a gate needs and nobody could read makes
it blind, in the words of whatever failed; that is never taken for "fine".

Whatever did not pass says when to look again:

"""


def catalogue() -> str:
    """The whole page."""
    rows = "".join(
        f"| [{gate.title}](#{gate.name}) | {_moments(gate)} | {_first_line(gate)} |\n"
        for gate in GATES.values()
    )
    overview = f"\n| Gate | Asked | Question |\n|---|---|---|\n{rows}"
    return _HEAD + _outcomes() + overview + "".join(map(_section, GATES.values()))


def _outcomes() -> str:
    """When to look again by outcome, worst first; a code with words of its own has them in its gate's section."""
    return "".join(f"- *{outcome}*: {when}\n" for outcome, when in reversed(list(BY_OUTCOME.items())))


def _section(gate: Gate) -> str:
    wants = f"- **Looks at, when it is there**: {_titles(gate.wants)}\n" if gate.wants else ""
    codes = ", ".join(f"[{code}](runbooks/{code}.md)" for code in _codes(gate))
    own = "".join(f"  - {code}: {BY_CODE[code]}\n" for code in _codes(gate) if code in BY_CODE)
    again = f"- **Look again**\n{own}" if own else ""
    return (
        f'\n## <a id="{gate.name}"></a>{gate.title} (`{gate.name}`)\n\n{gate.doc}\n\n'
        f"- **Asked**: {_moments(gate)}\n- **Needs**: {_titles(gate.needs)}\n{wants}- **Codes**: {codes}\n{again}"
    )


def _first_line(gate: Gate) -> str:
    return gate.doc.partition("\n")[0].removeprefix("Gate: ")


def _moments(gate: Gate) -> str:
    return ", ".join(text for moment, text in _MOMENTS.items() if moment in gate.moments)


def _titles(topics: Iterable[AnyTopic]) -> str:
    return "; ".join(f"{topic.title}{_of_whom(topic)}" for topic in topics)


def _of_whom(topic: AnyTopic) -> str:
    if not isinstance(topic, NodeTopic):
        return ""
    return " (of each control plane)" if topic.only_control_planes else " (of each node)"


def _codes(gate: Gate) -> list[str]:
    """Every string in the gate's file that is spelled like a code, as tests/unit/test_runbooks.py finds them.

    Also in the files beside it that it imports from: a part of a gate may have one of its own.
    """
    own = _tree(gate.check.__module__)
    imported = {part.module for part in ast.walk(own) if isinstance(part, ast.ImportFrom) and part.module}
    trees = [own, *(_tree(name) for name in imported if name.startswith(f"{gates.__name__}."))]
    constants = (part.value for tree in trees for part in ast.walk(tree) if isinstance(part, ast.Constant))
    return sorted({value for value in constants if isinstance(value, str) and _CODE.fullmatch(value)})


def _tree(module: str) -> ast.Module:
    return ast.parse(Path(str(importlib.import_module(module).__file__)).read_text(encoding="utf-8"))


if __name__ == "__main__":
    PAGE.write_text(catalogue(), encoding="utf-8")
