"""What an incident asks the API: bounded, without secrets, never a Secret, and nothing that was not granted."""

import json

from tests.unit.clients.test_questions_api import Api

from nightshift.clients.permissions import Permission
from nightshift.clients.questions.incident import CLUSTER_FILES, evidence_permissions
from nightshift.steps.enrol import granted_reads
from nightshift.steps.look import permissions
from nightshift.steps.open_night import PERMISSIONS


def _event(number: int) -> dict[str, object]:
    stamp = f"2026-11-28T23:{number // 60:02d}:{number % 60:02d}Z"
    return {"lastTimestamp": stamp, "message": f"no {number}", "metadata": {"managedFields": [1]}}


def test_the_newest_events_of_both_namespaces() -> None:
    api = Api(
        {
            "/api/v1/namespaces/kube-system/events": [_event(n) for n in range(500)],
            "/api/v1/namespaces/default/events": [_event(501)],
        }
    )
    found = json.loads(CLUSTER_FILES["cluster/events.json"].ask(api))["items"]
    assert len(found) == 400
    assert found[-1]["message"] == "no 501"
    assert found[-1]["metadata"] == {}


def test_lists_are_bounded_and_nodes_come_without_their_images() -> None:
    node = {"metadata": {"name": "cp1"}, "status": {"images": [1], "conditions": [2]}}
    found = json.loads(CLUSTER_FILES["cluster/nodes.json"].ask(Api({"/api/v1/nodes": [node] * 600})))["items"]
    assert len(found) == 500
    assert found[0]["status"] == {"conditions": [2]}


def test_secrets_in_pods_and_configurations_are_taken_out() -> None:
    pod = {"spec": {"containers": [{"env": [{"name": "API_TOKEN", "value": "hunter2hunter"}]}]}}
    config = {
        "data": {
            "ClusterConfiguration": "extraArgs:\n- name: x\n  value: y\ncertificateKey: hunter2hunter\n"
            "env:\n- {name: DB_PASS, value: hunter2}\nargs: [\n  --token,\n  hunter2]\n? token\n: >-\n  hunter2\n"
        }
    }
    api = Api(
        {
            "/api/v1/namespaces/kube-system/pods": [pod],
            "/api/v1/namespaces/kube-system/configmaps/kubeadm-config": config,
        }
    )
    texts = [
        CLUSTER_FILES[f"cluster/{name}"].ask(api) for name in ("kube-system-pods.json", "kubeadm-config.yaml")
    ]
    assert "hunter2" not in "".join(texts)
    assert "REDACTED" in texts[0]
    assert texts[1].startswith("extraArgs:\n- name: x\n  value: y\n")


def test_enrolment_grants_it_beside_what_gates_read_and_no_night_waits_for_it() -> None:
    assert set(granted_reads()) == {*permissions(), *evidence_permissions()}
    assert Permission("list", "", "events", "kube-system") not in (*permissions(), *PERMISSIONS)


def test_only_reading_and_never_a_secret() -> None:
    wanted = evidence_permissions()
    assert {p.verb for p in wanted} <= {"get", "list"}
    assert "secrets" not in {p.resource for p in wanted}
    assert Permission("list", "", "events", "kube-system") in wanted
    assert not [p for p in wanted if p.resource == "events" and not p.namespace]  # never those of workloads
    assert {p.name for p in wanted if p.resource == "configmaps"} == {
        "kubeadm-config",
        "kubelet-config",
        "kube-proxy",
    }
