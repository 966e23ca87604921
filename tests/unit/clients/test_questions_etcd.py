"""The look's sections about etcd; the JSON is what an etcd 3.6.5 answered on its gateway."""

from __future__ import annotations

import json

import pytest

from nightshift.clients.questions.etcd import parse_device, parse_etcd
from nightshift.domain.facts.etcd import EtcdState, Writer

GIB = 1024**3
HEADER = '{"cluster_id":"18231534128738837284", "member_id":"8543087242056840113", "revision":"2", "raft_term":"2"}'
STATUS = (
    '{"header":'
    + HEADER
    + ', "version":"3.6.5", "dbSize":"20480", "leader":"8543087242056840113", "raftIndex":"11", '
    '"raftTerm":"2", "raftAppliedIndex":"10", "dbSizeInUse":"16384", "storageVersion":"3.6.0", "downgradeInfo":{}}'
)
MEMBERS = (
    '{"header":'
    + HEADER
    + ', "members":[{"ID":"1732461301305439710", "peerURLs":["https://127.0.0.1:32380"], '
    '"isLearner":true}, {"ID":"8543087242056840113", "name":"cp1", "peerURLs":["https://127.0.0.1:22380"], '
    '"clientURLs":["https://127.0.0.1:22379"]}]}'
)


def section(status: str = STATUS, members: str = MEMBERS, quota: str = "-") -> str:
    return f"condition\tanswers\nstatus\t{status}\nmembers\t{members}\nquota\t{quota}\n"


def changed(**changes: object) -> str:
    return json.dumps({**json.loads(STATUS), **changes})


def without(name: str) -> str:
    return json.dumps({key: value for key, value in json.loads(STATUS).items() if key != name})


def test_a_member_that_answers() -> None:
    status = parse_etcd(section()).status
    assert status is not None
    assert (status.version, status.member_id, status.leader_id) == ("3.6.5", *["8543087242056840113"] * 2)
    assert (status.database_bytes, status.in_use_bytes) == (20480, 16384)
    assert (status.raft_index, status.applied_index) == (11, 10)
    assert status.errors == ()
    assert [(m.name, m.is_learner) for m in status.members] == [("", True), ("cp1", False)]


def test_an_alarm_stands_among_the_errors() -> None:
    words = ["memberID:8543087242056840113 alarm:NOSPACE "]
    status = parse_etcd(section(changed(errors=words))).status
    assert status is not None
    assert status.errors == ("memberID:8543087242056840113 alarm:NOSPACE",)


@pytest.mark.parametrize("status", [changed(leader="0"), without("leader")])
def test_no_leader(status: str) -> None:
    found = parse_etcd(section(status)).status
    assert found is not None
    assert found.leader_id is None


@pytest.mark.parametrize(
    ("status", "given", "quota"),
    [
        pytest.param(STATUS, "-", 2 * GIB, id="3.6 without a flag says nothing"),
        pytest.param(changed(dbSizeQuota="0"), "0", 2 * GIB, id="zero means the default"),
        pytest.param(changed(dbSizeQuota=str(8 * GIB)), "-", 8 * GIB, id="its own word"),
        pytest.param(STATUS, str(4 * GIB), 4 * GIB, id="3.5: the process's argument"),
        pytest.param(STATUS, "-1", -1, id="unlimited"),
    ],
)
def test_quota(status: str, given: str, quota: int) -> None:
    found = parse_etcd(section(status, quota=given)).status
    assert found is not None
    assert found.quota_bytes == quota


@pytest.mark.parametrize("condition", ["absent", "stopped", "silent"])
def test_one_that_does_not_answer(condition: str) -> None:
    assert parse_etcd(f"condition\t{condition}\n") == EtcdState(condition)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("condition\tfine\n", id="a word nobody knows"),
        pytest.param("condition\tanswers\n", id="half"),
        pytest.param(section("<html>"), id="no JSON"),
        pytest.param(section("[]"), id="no object"),
        pytest.param(section(without("dbSize")), id="no size"),
        pytest.param(section(without("header")), id="no member id"),
        pytest.param(section(changed(version="unknown")), id="no version"),
        pytest.param(section(members="{}"), id="no members"),
        pytest.param(section(quota="2Gi"), id="a quota that is no number"),
    ],
)
def test_what_is_not_understood_is_an_error(text: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        parse_etcd(text)


DEVICE = """device\t/dev/mapper/vg-etcd\t1\tdm-0 sda3 sda
pressure\t7.80
window\t0.7
writer\t31575\t14336000\tdevice\tdd\tbackup.service
writer\t27517\t3170304\tnode\tpython3\tpod shop/importer-7f9
writer\t9\t70000\tnode\tcat\t-
"""


def test_device_and_writers() -> None:
    device = parse_device(DEVICE)
    assert device is not None
    assert (device.source, device.chain, device.rotates) == (
        "/dev/mapper/vg-etcd",
        ("dm-0", "sda3", "sda"),
        True,
    )
    assert (device.pressure_percent, device.window_seconds) == (7.8, 0.7)
    assert device.writers == (
        Writer(31575, "dd", "backup.service", 14336000, True),
        Writer(27517, "python3", "pod shop/importer-7f9", 3170304, False),
        Writer(9, "cat", "", 70000, False),
    )


def test_device_of_which_little_is_known() -> None:
    device = parse_device("device\ttmpfs\t-\t\nwindow\t0.7\n")
    assert device is not None
    assert (device.source, device.chain, device.rotates, device.pressure_percent) == ("tmpfs", (), None, None)
    assert device.writers == ()


def test_a_node_without_etcd_has_no_device() -> None:
    assert parse_device("") is None


@pytest.mark.parametrize(
    "text",
    [
        "device\t/dev/sda\t1\n",
        DEVICE.replace("\t1\t", "\tyes\t"),
        DEVICE.replace("14336000", "much"),
        DEVICE.replace("window\t0.7", "window\tnan"),
        "noise",
    ],
)
def test_a_device_that_is_not_understood_is_an_error(text: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        parse_device(text)
