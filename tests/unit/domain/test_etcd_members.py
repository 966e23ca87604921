from __future__ import annotations

import pytest
from tests.unit.domain.builders import node

from nightshift.domain.etcd_members import node_of
from nightshift.domain.facts.etcd import EtcdMember

NODES = (node("cp1", address="10.1.0.1"), node("cp2", address="fd00::2"))


@pytest.mark.parametrize(
    ("name", "url", "found"),
    [
        ("cp1", "https://10.9.9.9:2380", "cp1"),
        ("other", "https://10.1.0.1:2380", "cp1"),
        ("other", "https://10.1.0.1", "cp1"),
        ("other", "https://[fd00::2]:2380/", "cp2"),
        ("other", "https://10.1.0.11:2380", None),
        ("", "https://10.1.0.1:2380", "cp1"),
        ("", "", None),
    ],
)
def test_node_of_a_member(name: str, url: str, found: str | None) -> None:
    assert node_of(EtcdMember("1", name, (url,), is_learner=False), NODES) == found
