"""The section `clock`, asked as a whole look."""

from __future__ import annotations

import time

from tests.scripts.conftest import FakeNode

from nightshift.clients.node_probe import parse_sections
from nightshift.clients.questions.clock import parse_clock


def test_a_look_says_when_it_began_and_when_the_clock_was_read(node: FakeNode) -> None:
    before = time.time()
    done = node.run("look", "clock")
    assert done.returncode == 0, done.stderr
    first, last = parse_clock(parse_sections(done.stdout)["clock"][1])
    assert before <= first < last <= time.time()
