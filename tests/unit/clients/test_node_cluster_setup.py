"""Enrolment's objects in the API: applied again without harm, removed in reverse, a kubeconfig of one service account."""

from __future__ import annotations

import base64
from types import SimpleNamespace

import pytest
import yaml
from tests.scripts.conftest import REPOSITORY

from nightshift.clients import cluster_setup
from nightshift.clients.cluster_setup import ClusterSetup
from nightshift.clients.kube_transport import StatusError
from nightshift.clients.permissions import Permission
from nightshift.domain.errors import ConfigError, UnreachableError
from nightshift.domain.facts import WorkloadName
from nightshift.steps.look import permissions

MANIFEST = REPOSITORY / "include" / "manifests" / "nightshift.yaml"
DOCUMENTS = [d for d in yaml.safe_load_all(MANIFEST.read_text()) if d]


class FakeTransport:
    def __init__(self, tokens: list[dict]) -> None:
        self.calls: list[tuple[str, str]] = []
        self.tokens = tokens
        self.granted: dict[str, list[dict]] = {}  # what a list of all namespaces answers
        self.applied: dict[str, dict] = {}
        self.refused: str | None = None

    def call(self, method, path, body=None, **_):
        self.calls.append((method, path))
        if self.refused is not None and self.refused in path:
            raise StatusError(404, {}, "namespaces not found")
        if method == "PATCH":
            self.applied[path] = body
        if path.rsplit("/", 1)[-1] in self.granted:
            return {"items": self.granted[path.rsplit("/", 1)[-1]]}
        if path.endswith("/secrets/nightshift-token") and method == "GET":
            return {"data": self.tokens.pop(0)}
        if method == "GET" and path.endswith("/namespaces/nightshift"):
            raise StatusError(404, {}, "gone")
        return {}


def setup(monkeypatch, tokens=()):
    transport = FakeTransport(list(tokens))
    monkeypatch.setattr(cluster_setup, "KubeTransport", lambda _: transport)
    monkeypatch.setattr(cluster_setup, "KubeApi", lambda _: None)
    client = SimpleNamespace(configuration=SimpleNamespace(host="https://api.example:6443"))
    return ClusterSetup(client, sleep=lambda _: None), transport


def test_everything_is_applied_and_removed_in_reverse(monkeypatch):
    made, transport = setup(monkeypatch)
    applied = made.apply()
    assert {method for method, _ in transport.calls} == {"PATCH", "GET"}
    assert "Namespace/nightshift" in applied
    assert len(applied) == len(DOCUMENTS)
    made.remove()
    deleted = [path for method, path in transport.calls if method == "DELETE"]
    assert deleted[-1] == "/api/v1/namespaces/nightshift"


QUIESCE = (
    WorkloadName("Deployment", "shop", "web"),
    WorkloadName("CronJob", "shop", "backup"),
    WorkloadName("StatefulSet", "db", "pg"),
)
_RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/{}/nightshift-quiesce"


def test_quiesce_gives_the_right_to_exactly_what_it_names(monkeypatch):
    made, transport = setup(monkeypatch)
    applied = made.apply(QUIESCE)
    assert applied[-4:] == ("Role/nightshift-quiesce", "RoleBinding/nightshift-quiesce") * 2
    rules = [
        (r["apiGroups"], r["resources"], r["resourceNames"], r["verbs"])
        for r in transport.applied[_RBAC.format("shop", "roles")]["rules"]
    ]
    assert rules == [
        (["apps"], ["deployments/scale"], ["web"], ["get"]),
        (["apps"], ["deployments/scale"], ["web"], ["update"]),
        (["batch"], ["cronjobs"], ["backup"], ["get"]),
        (["batch"], ["cronjobs"], ["backup"], ["patch"]),
    ]
    binding = transport.applied[_RBAC.format("db", "rolebindings")]
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": "nightshift", "namespace": "nightshift"}
    ]


def test_what_is_quiesced_no_more_loses_its_right_and_unenrolment_takes_all(monkeypatch):
    made, transport = setup(monkeypatch)
    items = [{"metadata": {"name": "nightshift-quiesce", "namespace": n}} for n in ("shop", "old")]
    transport.granted = {"roles": items, "rolebindings": items}
    made.apply(QUIESCE)
    deleted = [path for method, path in transport.calls if method == "DELETE"]
    assert deleted == [_RBAC.format("old", "rolebindings"), _RBAC.format("old", "roles")]
    made.remove()
    deleted = {path for method, path in transport.calls if method == "DELETE"}
    assert {_RBAC.format("shop", "roles"), _RBAC.format("shop", "rolebindings")} <= deleted


READS = (
    Permission("list", "", "persistentvolumes"),
    Permission("get", "", "configmaps", "kube-system", "coredns"),
)


def test_the_gates_may_read_exactly_what_their_questions_need(monkeypatch):
    made, transport = setup(monkeypatch)
    applied = made.apply(reads=READS)
    roles = ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
    assert applied[-4:] == tuple(f"{kind}/nightshift-gates" for kind in roles)
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    assert transport.applied[f"{rbac}/clusterroles/nightshift-gates"]["rules"] == [
        {"apiGroups": [""], "resources": ["persistentvolumes"], "verbs": ["list"]},
    ]
    in_kube_system = transport.applied[f"{rbac}/namespaces/kube-system/roles/nightshift-gates"]
    assert in_kube_system["rules"] == [
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["coredns"], "verbs": ["get"]}
    ]
    binding = transport.applied[f"{rbac}/clusterrolebindings/nightshift-gates"]
    assert binding["roleRef"]["kind"] == "ClusterRole"


def test_what_the_gates_read_no_more_is_taken_back(monkeypatch):
    made, transport = setup(monkeypatch)
    transport.granted = {"clusterroles": [{"metadata": {"name": "nightshift-gates"}}]}
    made.apply()
    deleted = [path for method, path in transport.calls if method == "DELETE"]
    assert deleted == ["/apis/rbac.authorization.k8s.io/v1/clusterroles/nightshift-gates"]


def test_the_shipped_gates_only_look():
    """Whatever a question asks for, it never writes and never reads Secrets."""
    for permission in permissions():
        assert permission.verb in ("get", "list"), str(permission)
        assert permission.resource.partition("/")[0] != "secrets", str(permission)
        assert permission.resource not in ("nodes/proxy", "pods/exec"), str(permission)


def test_a_namespace_that_does_not_exist_is_said(monkeypatch):
    made, transport = setup(monkeypatch)
    transport.refused = "/namespaces/db/"
    with pytest.raises(ConfigError, match=r"WORKLOAD_MISSING.*namespace db.*not found"):
        made.apply(QUIESCE)


def test_kubeconfig_waits_for_the_token(monkeypatch):
    filled = {"token": base64.b64encode(b"t0ken").decode(), "ca.crt": "Q0E="}
    made, _ = setup(monkeypatch, [{}, {}, filled])
    config = made.kube_config()
    assert config["users"][0]["user"] == {"token": "t0ken"}
    assert config["clusters"][0]["cluster"] == {
        "server": "https://api.example:6443",
        "certificate-authority-data": "Q0E=",
    }


def test_token_that_never_comes(monkeypatch):
    made, _ = setup(monkeypatch, [{}] * 50)
    with pytest.raises(UnreachableError, match="TOKEN_NOT_ISSUED"):
        made.kube_config()


def test_unusable_kubeconfig(tmp_path):
    with pytest.raises(ConfigError, match="CONFIG_INVALID"):
        ClusterSetup.from_kubeconfig(tmp_path / "none")


def rules():
    for document in DOCUMENTS:
        for rule in document.get("rules", ()):
            yield document, rule


def test_least_privilege():
    """No root on nodes, no Secrets, no wildcard; outside our namespace pods are only read and evicted."""
    for document, rule in rules():
        resources, verbs = rule.get("resources", []), set(rule["verbs"])
        assert "*" not in (*resources, *verbs, *rule.get("apiGroups", []))
        assert not {"nodes/proxy", "secrets", "pods/exec"} & set(resources)
        assert not {"escalate", "bind", "impersonate"} & verbs
        if document["kind"] == "ClusterRole" and "pods" in resources:
            assert verbs <= {"get", "list", "watch"}
