"""docs/gates.md is what the gates themselves say."""

from __future__ import annotations

import re

from nightshift.clients.gate_catalogue import PAGE, catalogue
from nightshift.domain.gates import GATES


def test_the_page_is_current() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == catalogue(), "run: python -m nightshift.clients.gate_catalogue"


def test_every_gate_has_its_section_and_its_codes_lead_to_pages() -> None:
    text = catalogue()
    for name, gate in GATES.items():
        section = text.partition(f'<a id="{name}"></a>')[2].partition("\n## ")[0]
        assert gate.doc in section
        assert "- **Asked**: before the night" in section or "- **Asked**: in front of" in section
        linked = re.findall(r"\(runbooks/([A-Z_]+)\.md\)", section)
        assert linked, name
        assert all((PAGE.parent / "runbooks" / f"{code}.md").is_file() for code in linked)
    assert "[ETCD_SLOW](runbooks/ETCD_SLOW.md)" in text
    assert "[ETCD_LEADER_CHANGED](runbooks/ETCD_LEADER_CHANGED.md)" in text, "of a file beside the gate's own"
