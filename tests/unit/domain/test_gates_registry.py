from __future__ import annotations

import importlib
import pkgutil

from nightshift.domain import gates
from nightshift.domain.gates import GATES, etcd_latency
from nightshift.domain.round import Moment
from nightshift.domain.topics import ETCD_BEFORE, NODES, TARGET
from nightshift.steps.look import GATHERERS

GIVEN = {ETCD_BEFORE.name, TARGET.name}  # brought by the caller, see steps/gates.py


def test_every_gate_is_described_and_callable() -> None:
    for name, gate in GATES.items():
        assert gate.name == name
        assert gate.title
        assert gate.doc.startswith("Gate: ")
        assert gate.moments
        assert callable(gate.check)


def test_no_gate_in_the_folder_is_forgotten() -> None:
    names = (module.name for module in pkgutil.iter_modules(gates.__path__))
    modules = (importlib.import_module(f"{gates.__name__}.{name}") for name in names)
    assert {module.NAME for module in modules if hasattr(module, "MOMENTS")} == set(GATES)


def test_every_topic_a_gate_looks_at_is_gathered_or_given() -> None:
    wanted = {topic.name for gate in GATES.values() for topic in (*gate.needs, *gate.wants)}
    assert wanted <= {*GATHERERS, *GIVEN, NODES.name}


def test_names_of_topics_are_unique() -> None:
    topics = {topic for gate in GATES.values() for topic in (*gate.needs, *gate.wants)}
    assert len({topic.name for topic in topics}) == len(topics)


def test_what_is_asked_between_two_nodes_needs_no_window_but_etcds() -> None:
    place = [gate for gate in GATES.values() if Moment.PLACE in gate.moments]
    assert [gate.name for gate in place if ETCD_BEFORE in gate.needs] == [etcd_latency.NAME]
