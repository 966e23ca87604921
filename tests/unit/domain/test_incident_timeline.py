import json
from typing import Any

from tests.unit.domain import diagnosis_bundles as b
from tests.unit.domain.test_incident_samples import _read

from nightshift.domain.diagnosis.causes import CATALOGUE, SYMPTOMS
from nightshift.domain.diagnosis.engine import diagnose, to_dict
from nightshift.domain.diagnosis.reading import read
from nightshift.domain.incident.timeline import Moment, build_timeline

START = 1795907820.5  # of the bundles' job


def _timeline(files: dict[str, str], samples: Any = (), own: Any = ()) -> tuple[Moment, ...]:
    judged = to_dict(diagnose(read(files), CATALOGUE, SYMPTOMS))
    return build_timeline(files, judged, _read(*samples), own, START - 120)


def _event(time: str, message: str, reason: str = "Unhealthy") -> dict[str, Any]:
    return {
        "lastTimestamp": time,
        "reason": reason,
        "message": message,
        "involvedObject": {"name": "etcd-cp1"},
    }


def test_everything_with_a_time_is_merged_in_order() -> None:
    files = b.historic()
    files["cluster/events.json"] = json.dumps(
        {"items": [_event("2026-11-28T23:20:01Z", "probe failed"), "?"]}
    )
    files["recorder/processes.jsonl"] = json.dumps(
        {"t": START + 1, "pid": 7, "args": "kubeadm upgrade apply"}
    )
    pods = [{"t": START + i, "pods": {"etcd": {"hash": "aa" if i < 3 else "bb"}}} for i in range(6)]
    found = _timeline(files, pods, [Moment(START + 400, "nightshift", "it had failed", "own")])
    assert list(found) == sorted(found, key=lambda moment: moment.time)
    texts = [f"{moment.source}: {moment.text}" for moment in found]
    assert "job: job kubeadm-upgrade began" in texts
    assert "job: job kubeadm-upgrade ended: failed, exit code 26" in texts
    assert "recorder: process 7 began: kubeadm upgrade apply" in texts
    assert "recorder: etcd: hash aa became bb" in texts
    assert "event: Unhealthy etcd-cp1: probe failed" in texts
    assert texts[-1] == "nightshift: it had failed"
    assert any(m.weight == "bad" and m.text.startswith("kubeadm waited in vain") for m in found)


def test_what_is_older_than_the_work_is_left_out() -> None:
    files = {"cluster/events.json": json.dumps({"items": [_event("2026-11-28T20:00:00Z", "long ago")]})}
    assert _timeline(files) == ()


def test_it_stays_readable_and_keeps_the_failure_and_our_own_word() -> None:
    events = [_event(f"2026-11-28T23:{20 + i // 60:02d}:{i % 60:02d}Z", f"no {i}") for i in range(500)]
    files = {**b.historic(), "cluster/events.json": json.dumps({"items": events})}
    own = Moment(START, "nightshift", "it began", "own")
    found = _timeline(files, own=[own])
    assert len(found) <= 161
    assert own in found
    told = [m.text for m in found if m.source == "event"]
    assert told[0].endswith("no 0")
    assert told[-1].endswith("no 499")


def test_what_the_driver_heard_stands_in_for_a_node_that_is_off() -> None:
    line = "2026-11-28T23:18:00.000Z [upgrade/staticpods] Waiting for the kubelet"
    found = _timeline({"driver/job.txt": f"{line}\n2026-11-28T23:18:01.000Z chatter\n"})
    assert [moment.text for moment in found] == ["[upgrade/staticpods] Waiting for the kubelet"]


def test_strange_files_make_no_moment() -> None:
    files = {
        "cluster/events.json": "[" * 100_000,
        "recorder/processes.jsonl": '{"t": NaN}\nx\n[]',
        "jobs/x": "started=nan\nfinished=1e999\nstate",
    }
    assert build_timeline(files, None, _read({"t": 1.0, "pods": 5}), [], 0.0) == ()


def test_the_last_words_before_a_failure_stay_and_what_is_left_out_is_said() -> None:
    stamp = "2026-11-28T23:{:02d}:{:02d}"
    events = [_event(f"{stamp.format(16 + i // 60, i % 60)}Z", f"e{i}") for i in range(300)]
    processes = "".join(json.dumps({"t": START + i, "pid": i, "args": "kubectl"}) + "\n" for i in range(300))
    log = "".join(
        f"{stamp.format(16 + i // 60, i % 60)}+0000 cp1 n[1]: [upgrade/staticpods] step {i}\n"
        for i in range(300)
    )
    log += "2026-11-28T23:21:00+0000 cp1 n[1]: error execution phase control-plane: LAST WORDS\n"
    found = _timeline(
        {
            "cluster/events.json": json.dumps({"items": events}),
            "recorder/processes.jsonl": processes,
            "journal/nightshift-all.log": log,
        },
        own=[Moment(START + 400, "nightshift", "it had failed", "own")],
    )
    assert any("LAST WORDS" in moment.text for moment in found)
    assert any("e299" in moment.text for moment in found)
    shown = len(found) - 2
    assert found[0].text.startswith(f"{901 - shown} moments are left out here")
