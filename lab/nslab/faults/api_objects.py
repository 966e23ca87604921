"""Objects in the API that stand in an upgrade's way: a dead webhook, a dead conversion, an API that is away.

Each is applied and deleted by name; none of them touches anything but the shop, or kinds of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from nslab.faults.model import Case, Fault, read_arguments
from nslab.nodes import cluster
from nslab.shell import wait_until

APPEAR = 60  # seconds the API server gets to notice

# Without a selector nobody makes endpoints for it.
EMPTY_SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: nslab-nobody, namespace: default}
spec:
  ports: [{port: 443, targetPort: 8443}]
"""

WEBHOOK = """\
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: nslab-dead}
webhooks:
  - name: dead.nslab.example.org
    admissionReviewVersions: [v1]
    sideEffects: None
    failurePolicy: Fail
    timeoutSeconds: 5
    clientConfig: {service: {namespace: default, name: nslab-nobody, port: 443}}
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}
    rules:
      - {apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods/eviction], scope: Namespaced}
"""

# The name is reserved for documentation (RFC 2606): nobody answers there.
OUTSIDE = """\
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: nslab-outside}
webhooks:
  - name: outside.nslab.example.org
    admissionReviewVersions: [v1]
    sideEffects: None
    failurePolicy: Fail
    timeoutSeconds: 5
    clientConfig: {url: "https://guard.nslab.example.org/validate"}
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}
    rules:
      - {apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods/eviction], scope: Namespaced}
"""

# Fails closed, and somebody is behind it; it is asked about a kind that does not exist.
NARROW = """\
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: nslab-narrow}
webhooks:
  - name: narrow.nslab.example.org
    admissionReviewVersions: [v1]
    sideEffects: None
    failurePolicy: Fail
    timeoutSeconds: 5
    clientConfig: {service: {namespace: shop, name: web, port: 80}}
    rules:
      - {apiGroups: [nslab.example.org], apiVersions: [v1], operations: ["*"], resources: [things], scope: "*"}
"""

# One pod of the shop's StatefulSet is alone behind it. It is asked about what nobody but kubeadm writes.
ALONE_SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: nslab-alone, namespace: shop}
spec:
  selector: {statefulset.kubernetes.io/pod-name: cart-0}
  ports: [{port: 443, targetPort: 8080}]
"""

ALONE = """\
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: nslab-alone}
webhooks:
  - name: alone.nslab.example.org
    admissionReviewVersions: [v1]
    sideEffects: None
    failurePolicy: Fail
    timeoutSeconds: 5
    clientConfig: {service: {namespace: shop, name: nslab-alone, port: 443}}
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-public}}
    rules:
      - {apiGroups: [""], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [configmaps], scope: Namespaced}
"""

CRD = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.nslab.example.org}
spec:
  group: nslab.example.org
  scope: Namespaced
  names: {plural: things, singular: thing, kind: Thing, listKind: ThingList}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
    - name: v1beta1
      served: true
      storage: false
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
  conversion:
    strategy: Webhook
    webhook:
      conversionReviewVersions: [v1]
      clientConfig: {service: {namespace: default, name: nslab-nobody, port: 443}}
"""

API_SERVICE = """\
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.away.nslab.example.org}
spec:
  group: away.nslab.example.org
  version: v1
  groupPriorityMinimum: 100
  versionPriority: 100
  insecureSkipTLSVerify: true
  service: {namespace: default, name: nslab-nobody, port: 443}
"""


def _fault(
    name: str, summary: str, manifests: tuple[str, ...], noticed: Callable[[], bool], made: str
) -> Fault:
    """A fault that consists of objects; later ones are deleted first."""

    def parse(arguments: Sequence[str]) -> list[Case]:
        read_arguments(arguments, name, 0)
        return [Case(name, "cluster")]

    def inflict(case: Case) -> str:
        cluster.kubectl(["apply", "-f", "-"], stdin="---\n".join(manifests))
        wait_until(noticed, f"the API server has noticed {name}", APPEAR)
        return made

    def undo(case: Case) -> str:
        for manifest in reversed(manifests):
            cluster.kubectl(["delete", "--ignore-not-found", "--wait", "-f", "-"], stdin=manifest)
        return f"the objects of {name} are gone"

    return Fault(name, name, summary, parse, inflict, undo)


def _at_once() -> bool:
    return True


def _has_condition(what: Sequence[str], kind: str, status: str) -> bool:
    answer = cluster.kubectl(["get", *what, "-o", "json"], check=False)
    if answer.returncode != 0:
        return False
    conditions = json.loads(answer.stdout).get("status", {}).get("conditions", [])
    return any(c["type"] == kind and c["status"] == status for c in conditions)


def _has_ready_endpoint(namespace: str, service: str) -> bool:
    label = f"kubernetes.io/service-name={service}"
    answer = cluster.kubectl(
        ["-n", namespace, "get", "endpointslices", "-l", label, "-o", "json"], check=False
    )
    if answer.returncode != 0:
        return False
    endpoints = [e for item in json.loads(answer.stdout)["items"] for e in item.get("endpoints") or ()]
    return any(endpoint["conditions"].get("ready") for endpoint in endpoints)


WEBHOOK_WITHOUT_ENDPOINTS = _fault(
    "webhook-without-endpoints",
    "let a webhook with nobody behind it stand before evictions in the shop",
    (EMPTY_SERVICE, WEBHOOK),
    _at_once,
    "evictions in namespace shop are refused: their webhook nslab-dead has no endpoints",
)
WEBHOOK_NARROW = _fault(
    "webhook-narrow",
    "add a healthy webhook that is asked about a kind of its own only",
    (NARROW,),
    _at_once,
    "webhook nslab-narrow is there, and stands before nothing that exists",
)
WEBHOOK_ON_ONE_NODE = _fault(
    "webhook-on-one-node",
    "let one pod be all there is behind a webhook that fails closed",
    (ALONE_SERVICE, ALONE),
    lambda: _has_ready_endpoint("shop", "nslab-alone"),
    "webhook nslab-alone has one endpoint, on one node",
)
WEBHOOK_OUTSIDE = _fault(
    "webhook-outside",
    "let a webhook outside the cluster stand before evictions in the shop",
    (OUTSIDE,),
    _at_once,
    "webhook nslab-outside stands before evictions in namespace shop, and nobody answers at its address",
)
CRD_DEAD_CONVERSION = _fault(
    "crd-dead-conversion",
    "add a CustomResourceDefinition whose conversion webhook has nobody behind it",
    (EMPTY_SERVICE, CRD),
    lambda: _has_condition(("crd", "things.nslab.example.org"), "Established", "True"),
    "things.nslab.example.org cannot be converted: its webhook has no endpoints",
)
APISERVICE_UNAVAILABLE = _fault(
    "apiservice-unavailable",
    "register an aggregated API that nobody serves",
    (EMPTY_SERVICE, API_SERVICE),
    lambda: _has_condition(("apiservice", "v1.away.nslab.example.org"), "Available", "False"),
    "APIService v1.away.nslab.example.org is not available",
)
