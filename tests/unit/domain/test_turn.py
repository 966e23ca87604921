import pytest
from tests.unit.domain.builders import etcd, node

from nightshift.domain.turn import members_missing, others_in_hand, others_set_aside


def test_only_other_control_planes_with_a_mark_are_in_the_way() -> None:
    marks = {"nightshift.io/owner": "a"}
    nodes = [
        node("cp1", is_control_plane=True, annotations=marks),
        node("cp2", is_control_plane=True),
        node("w1", is_control_plane=False, annotations=marks),
    ]
    assert others_in_hand(nodes[1], nodes) == ("cp1",)
    assert others_in_hand(nodes[0], nodes) == ()
    assert others_in_hand(nodes[2], nodes) == ()


def test_only_other_control_planes_that_somebody_else_cordoned_are_set_aside() -> None:
    nodes = [
        node("cp1", is_unschedulable=True),
        node("cp2", is_unschedulable=True, annotations={"nightshift.io/owner": "a"}),
        node("cp3"),
        node("w1", is_unschedulable=True),
    ]
    assert others_set_aside(nodes[2], nodes) == (nodes[0],)
    assert others_set_aside(nodes[0], nodes) == ()
    assert others_set_aside(nodes[3], nodes) == ()


@pytest.mark.parametrize(
    ("members", "well", "missing"),
    [
        (1, (), ()),
        (2, (), ()),
        (3, (2, 3), ()),
        (3, (2,), ("cp3",)),
        (3, (), ("cp2", "cp3")),
        (5, (2, 3, 4), ()),
        (5, (2, 3), ("cp4", "cp5")),
    ],
)
def test_quorum_without_the_node_that_is_next(
    members: int, well: tuple[int, ...], missing: tuple[str, ...]
) -> None:
    names = [f"cp{i + 1}" for i in range(members)]
    samples = {f"cp{i}": etcd(has_leader=True) for i in well}
    assert members_missing(names, "cp1", samples) == missing


@pytest.mark.parametrize("said", [False, None])
def test_a_member_that_names_no_leader_is_missing(said: bool | None) -> None:
    samples = {"cp2": etcd(has_leader=True), "cp3": etcd(has_leader=said)}
    assert members_missing(["cp1", "cp2", "cp3"], "cp1", samples) == ("cp3",)
