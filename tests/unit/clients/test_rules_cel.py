from __future__ import annotations

import pytest

from nightshift.clients.rules_cel import check_syntax, evaluate

FACTS = {
    "cluster": "prod",
    "target": {"version": "1.35.4", "minor": "1.35"},
    "nodes": [
        {"name": "cp1", "is_control_plane": True, "kubelet": "1.34.4", "ready": True, "labels": {}},
        {
            "name": "w1",
            "is_control_plane": False,
            "kubelet": "1.33.9",
            "ready": True,
            "labels": {"frozen": "yes"},
        },
    ],
}


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("true", True),
        ("nodes.exists(n, 'frozen' in n.labels)", True),
        ("nodes.all(n, n.ready)", True),
        ("nodes.filter(n, n.is_control_plane).size() > 1", False),
        ("target.minor == '1.35' && nodes.exists(n, n.kubelet.startsWith('1.33.'))", True),
        ("cluster == 'lab'", False),
    ],
)
def test_expressions(expression: str, result: bool) -> None:
    assert evaluate(expression, FACTS) is result


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("nodes.exists(n,", "no CEL expression: stopped in line 1"),
        ("node.size() > 1", "undeclared reference to 'node'"),
        ("target.patch == 4", "no such member"),
        ("nodes[7].ready", "invalid_argument"),
        ("nodes.size()", "is a IntType, not true or false"),
        ("1 / 0 > 1", "divide by zero"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(expression: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        evaluate(expression, FACTS)


def test_only_the_syntax_is_checked_beforehand() -> None:
    check_syntax("node.size() > 1")
    with pytest.raises(ValueError, match="stopped in line 2, column"):
        check_syntax("true &&\n  )")
