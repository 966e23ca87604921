"""What enrolment does in the API with an administrator's kubeconfig: our objects in, our objects out."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from kubernetes import config
from kubernetes.client import ApiClient

from nightshift.clients.kube_api import NAMESPACE, KubeApi, workload_permissions
from nightshift.clients.kube_transport import KubeTransport, StatusError
from nightshift.clients.permissions import Permission
from nightshift.domain.errors import ConfigError, UnreachableError
from nightshift.domain.facts import WorkloadName

_MANIFESTS = Path(__file__).resolve().parents[3] / "include" / "manifests"
_FIELD_MANAGER = "nightshift"
_TOKEN_SECRET = "nightshift-token"
_QUIESCE = "nightshift-quiesce"  # Role and RoleBinding in every namespace whose workloads the policy quiesces
_GATES = "nightshift-gates"  # ClusterRole and Roles of what the gates read
_COMPONENT_LABEL = "app.kubernetes.io/component"
_ANYWHERE = "/apis/rbac.authorization.k8s.io/v1/{}"
_GRANTS = {  # bindings first: a right ends with its binding
    "RoleBinding": "rolebindings",
    "Role": "roles",
    "ClusterRoleBinding": "clusterrolebindings",
    "ClusterRole": "clusterroles",
}
_TOKEN_SECONDS = 30
_NAMESPACE_GONE_SECONDS = 120
# Kind -> path of its collection; {} takes the namespace.
_COLLECTIONS = {
    "Namespace": "/api/v1/namespaces",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Secret": "/api/v1/namespaces/{}/secrets",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
}


class ClusterSetup:
    """One cluster, seen by its administrator.

    Args:
        api_client: a client with the administrator's credentials.
        manifests: directory of YAML files to apply.
        sleep: waits that many seconds (tests make it instant).
    """

    def __init__(
        self,
        api_client: ApiClient,
        manifests: Path = _MANIFESTS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = api_client
        self._http = KubeTransport(api_client)
        self._documents = _read_manifests(manifests)
        self._sleep = sleep
        self.api = KubeApi(api_client)

    @staticmethod
    def from_kubeconfig(path: Path) -> ClusterSetup:
        """Open a cluster by an administrator's kubeconfig.

        Raises:
            ConfigError: CONFIG_INVALID, the file cannot be used.
        """
        try:
            return ClusterSetup(config.new_client_from_config(config_file=str(path)))
        except (config.ConfigException, OSError, yaml.YAMLError, ValueError) as error:
            raise ConfigError(
                "CONFIG_INVALID",
                f"The kubeconfig {path} cannot be used.",
                cause=f"{error}.",
                next_step="Give a kubeconfig of a cluster administrator, e.g. /etc/kubernetes/admin.conf.",
            ) from error

    def apply(
        self, quiesce: Sequence[WorkloadName] = (), reads: Sequence[Permission] = ()
    ) -> tuple[str, ...]:
        """Apply all manifests (server-side apply: the same again changes nothing); return what was applied.

        Args:
            quiesce: workloads that may be made quiet; rights to any other one are taken back.
            reads: what the gates read; rights to read anything else are taken back.

        Raises:
            ConfigError: WORKLOAD_MISSING, a namespace they name does not exist.
        """
        roles = [*_quiesce_roles(quiesce), *_gate_roles(reads)]
        for document in (*self._documents, *roles):
            self._apply(document)
        wanted = set(map(_object_path, roles))
        for document in self._granted():
            if _object_path(document) not in wanted:
                self._delete(document)
        return tuple(_label(document) for document in (*self._documents, *roles))

    def _apply(self, document: dict[str, Any]) -> None:
        try:
            self._http.call(
                "PATCH",
                _object_path(document),
                query={"fieldManager": _FIELD_MANAGER, "force": "true"},
                body=document,
                content_type="application/apply-patch+yaml",
                judged=(404,),
            )
        except StatusError as answer:
            raise ConfigError(
                "WORKLOAD_MISSING",
                f"{_label(document)} cannot be put into namespace {document['metadata'].get('namespace')}.",
                cause=f"{answer.text}.",
                next_step="Correct namespace and name under quiesce in the cluster's YAML, then enrol again.",
            ) from answer

    def _granted(self) -> list[dict[str, Any]]:
        """The rights that an enrolment gave beside the manifests, in all namespaces."""
        query = {"labelSelector": f"{_COMPONENT_LABEL} in ({_QUIESCE},{_GATES})"}
        return [
            {"kind": kind, "metadata": item["metadata"]}
            for kind, plural in _GRANTS.items()
            for item in self._http.call("GET", _ANYWHERE.format(plural), query=query).get("items") or ()
        ]

    def remove(self) -> tuple[str, ...]:
        """Delete all our objects, the namespace with what is in it last; return what was there."""
        removed = [_label(document) for document in self._granted() if self._delete(document)]
        removed += [_label(document) for document in reversed(self._documents) if self._delete(document)]
        self._wait_until_namespace_gone()
        return tuple(removed)

    def kube_config(self) -> dict[str, Any]:
        """A kubeconfig, as data, that is our service account and nobody else.

        Raises:
            UnreachableError: TOKEN_NOT_ISSUED, the controller manager did not fill the Secret.
        """
        data = self._token_data()
        name = "nightshift"
        cluster = {"server": self._client.configuration.host, "certificate-authority-data": data["ca.crt"]}
        user = {"token": base64.b64decode(data["token"]).decode()}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": [{"name": name, "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": NAMESPACE}}],
        }

    def _token_data(self) -> dict[str, str]:
        """The Secret's data once the controller manager has put a token into it."""
        path = f"{_COLLECTIONS['Secret'].format(NAMESPACE)}/{_TOKEN_SECRET}"
        for _ in range(_TOKEN_SECONDS):
            data: dict[str, str] = self._http.call("GET", path).get("data") or {}
            if data.get("token"):
                return data
            self._sleep(1.0)
        raise UnreachableError(
            "TOKEN_NOT_ISSUED",
            f"Secret {NAMESPACE}/{_TOKEN_SECRET} got no token within {_TOKEN_SECONDS} s.",
            cause="The controller manager, which writes it, does not work.",
            next_step="Check `kubectl -n kube-system get pods -l component=kube-controller-manager`.",
        )

    def _delete(self, document: dict[str, Any]) -> bool:
        try:
            self._http.call("DELETE", _object_path(document), judged=(404,))
        except StatusError:
            return False
        return True

    def _wait_until_namespace_gone(self) -> None:
        path = f"{_COLLECTIONS['Namespace']}/{NAMESPACE}"
        for _ in range(_NAMESPACE_GONE_SECONDS):
            try:
                self._http.call("GET", path, judged=(404,))
            except StatusError:
                return
            self._sleep(1.0)
        raise UnreachableError(
            "API_UNREACHABLE",
            f"Namespace {NAMESPACE} is still being deleted after {_NAMESPACE_GONE_SECONDS} s.",
            cause="Something in it has a finalizer, or an aggregated API does not answer.",
            next_step=f"Read `kubectl get namespace {NAMESPACE} -o yaml`, conditions.",
        )


def _read_manifests(directory: Path) -> list[dict[str, Any]]:
    files = sorted(directory.glob("*.yaml"))
    documents = [d for file in files for d in yaml.safe_load_all(file.read_text(encoding="utf-8")) if d]
    if not documents:
        raise ConfigError(
            "CONFIG_INVALID",
            f"There are no manifests in {directory}.",
            cause="The checkout or the image misses include/manifests.",
            next_step="Deploy plugins/ and include/ of the same version side by side.",
        )
    return documents


def _quiesce_roles(names: Iterable[WorkloadName]) -> list[dict[str, Any]]:
    """A Role and its binding for each namespace, with the right to exactly these workloads."""
    found: dict[str, list[WorkloadName]] = {}
    for name in names:
        found.setdefault(name.namespace, []).append(name)
    return [document for namespace, here in found.items() for document in _quiesce_role(namespace, here)]


def _quiesce_role(namespace: str, names: Iterable[WorkloadName]) -> tuple[dict[str, Any], dict[str, Any]]:
    rules = [_rule(permission) for name in names for permission in workload_permissions(name)]
    return _role(_QUIESCE, namespace, rules)


def _gate_roles(reads: Iterable[Permission]) -> list[dict[str, Any]]:
    """A ClusterRole for what is read everywhere, a Role per namespace for the rest, and their bindings."""
    found: dict[str, list[dict[str, Any]]] = {}
    for permission in reads:
        found.setdefault(permission.namespace, []).append(_rule(permission))
    return [document for namespace, rules in found.items() for document in _role(_GATES, namespace, rules)]


def _rule(permission: Permission) -> dict[str, Any]:
    rule: dict[str, Any] = {
        "apiGroups": [permission.group],
        "resources": [permission.resource],
        "verbs": [permission.verb],
    }
    return {**rule, "resourceNames": [permission.name]} if permission.name else rule


def _role(name: str, namespace: str, rules: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A Role and its binding to our service account; without a namespace for the whole cluster."""
    api_version = "rbac.authorization.k8s.io/v1"
    kind = "Role" if namespace else "ClusterRole"
    labels = {"app.kubernetes.io/name": "nightshift", _COMPONENT_LABEL: name}
    metadata = {"name": name, "labels": labels, **({"namespace": namespace} if namespace else {})}
    role = {"apiVersion": api_version, "kind": kind, "metadata": metadata, "rules": rules}
    binding = {
        "apiVersion": api_version,
        "kind": f"{kind}Binding",
        "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": "nightshift", "namespace": NAMESPACE}],
    }
    return role, binding


def _object_path(document: dict[str, Any]) -> str:
    metadata = document["metadata"]
    return f"{_COLLECTIONS[document['kind']].format(metadata.get('namespace', ''))}/{metadata['name']}"


def _label(document: dict[str, Any]) -> str:
    return f"{document['kind']}/{document['metadata']['name']}"
