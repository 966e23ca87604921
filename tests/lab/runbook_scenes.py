"""What the commands of the runbooks are tried on: which names their words get, and the trouble that a page is about.

Everything is told per page ("ETCD_SLOW", "causes/disk_full"). A scene's lines are shell lines of the driver, with the lab's `lab` and an administrator's
`kubectl`; they are played before the page's commands and taken back after them, whatever came of those.
"""

from __future__ import annotations

from dataclasses import dataclass
from shlex import quote

# Why a command is not run; the test's output tells it.
NOT_RUN = {
    "kubectl delete node NODE": "takes a node out of the lab",
    "kubectl delete node NAME": "takes a node out of the lab",
    "etcdctl member remove ID": "takes the lab's only member of etcd away",
    "etcdctl member promote ID": "needs a member that is a learner",
    "kubectl top node": "the lab has no metrics-server",
    "kubectl top nodes": "the lab has no metrics-server",
    "iostat -x 1 5": "the lab's nodes have no package sysstat",
    "pidstat -d 1 5": "the lab's nodes have no package sysstat",
    "docker compose ps triggerer": "the lab's Airflow is not that of Compose",
    "docker compose logs triggerer": "the lab's Airflow is not that of Compose",
    "python3 include/airflow/make_env.py .env": "writes the settings of Compose beside the code",
    "resolvectl status": "the lab's nodes have no systemd-resolved",
    "chronyc tracking": "the lab's nodes have the machine's clock, and no chrony",
    "chronyc makestep": "the lab's nodes have the machine's clock, and no chrony",
    "timedatectl timesync-status": "the lab's nodes have the machine's clock, and no timesyncd",
    "timedatectl set-ntp true": "the lab's nodes have the machine's clock, and no timesyncd",
    "sudo systemctl edit apt-daily-upgrade.timer": "the lab's nodes have that timer masked",
}

# Ends of pipelines that may find nothing on a cluster where nothing is the matter.
MAY_FIND_NOTHING = {
    ("CERTIFICATE_EXPIRING", "journalctl -u kubelet | grep -i rotat"),
    ("DRIFT_UNEVEN", "grep -n -- --oidc /etc/kubernetes/manifests/kube-apiserver.yaml"),
    (
        "ETCD_LEADER_CHANGED",
        "crictl logs $(crictl ps -q --name etcd) 2>&1 | grep -E 'lost leader|elected leader|heartbeat on time'",
    ),
    ("ETCD_MEMBER_DOWN", "journalctl -u kubelet --since -30min | grep etcd"),
    (
        "ETCD_PROPOSALS_FAILED",
        "crictl logs $(crictl ps -q --name etcd) 2>&1 | grep -E 'lost leader|elected leader|apply request took too long' | tail",
    ),
    ("SUPPLY_SILENT", "apt-config dump | grep -i proxy"),
    (
        "causes/authentication_config",
        "grep -nE 'oidc|authentication-config' /etc/kubernetes/manifests/kube-apiserver.yaml",
    ),
    ("causes/cgroup_v1", "grep -i failCgroupV1 /var/lib/kubelet/config.yaml"),
    ("causes/dns", "apt-config dump | grep -i proxy"),
    ("causes/kubelet_down", "journalctl --since -3h | grep -E 'systemctl|sudo'"),
    ("causes/kubelet_other_directory", "systemctl cat kubelet | grep -- --pod-manifest-path"),
    ("causes/kubelet_other_directory", "journalctl -u kubelet | grep -i manifest"),
    ("causes/oom_kill", "journalctl -k | grep -A 40 oom-kill"),
    ("causes/package_manager_busy", "lslocks | grep /var/lib/dpkg"),
    ("causes/runtime_too_old", "grep -n disabled_plugins /etc/containerd/config.toml"),
}

_ETCD = "$(crictl ps -q --name etcd)"
_IMAGE = "$(kubeadm config images list --kubernetes-version {NSLAB_VERSION} | grep coredns)"
_PACKAGE_VERSION = "$(dpkg-query -W -f '${Version}' kubeadm)"
_CONFIGURATION = "/root/runbook-cluster.yaml"

# What a word stands for; {…} is a fact of the lab (`lab env`) or of the driver, $(…) is asked where the command runs.
WORDS = {
    "ADDRESS": "{address}",
    "ALERTMANAGER": "{NSLAB_ALERTMANAGER_URL}",
    "BUNDLE": "{scratch}/bundle.tar.gz",
    "COMPONENT": "kube-apiserver",
    "CONFIGURATION": _CONFIGURATION,
    "FILE": "/etc/kubernetes/pki/apiserver.crt",
    "GROUP": "runbook.example.org",
    "HOST": "{airflow_host}",
    "ID": _ETCD,
    "IMAGE": _IMAGE,
    "KEY": "{node_key} -o UserKnownHostsFile={NSLAB_KNOWN_HOSTS}",
    "KEYRING": "/etc/apt/keyrings/kubernetes-apt-keyring.gpg",
    "KNOWN_HOSTS": "{NSLAB_KNOWN_HOSTS}",
    "MINOR": "1.35",
    "MOUNT": "/",
    "NAME": "web",
    "NAMESPACE": "shop",
    "NODE": "cp1",
    "PACKAGE": "jq",
    "PEER": "{address}",
    "PID": "$(pgrep -x kube-apiserver)",
    "PLURAL": "gauges",
    "POD": "cart-0",
    "PORT": "{airflow_port}",
    "PROMETHEUS": "{NSLAB_PROMETHEUS_URL}",
    "RESOURCE": "pods",
    "REVISION": "$(etcdctl endpoint status -w json | jq '.[0].Status.header.revision')",
    "SELECTOR": "app=web",
    "STEP": "kubeadm-upgrade",
    "TOKEN": "7",
    "UNIT": "runbook",
    "URL": "{NSLAB_PACKAGES_URL}",
    "VERB": "probe",
    "VERSION": "{NSLAB_VERSION}",
    "XX": "35",
    "…": "--cluster lab --kubeconfig {KUBECONFIG} --ssh-user root --ssh-key {NSLAB_SSH_KEY} --known-hosts {NSLAB_KNOWN_HOSTS}",
}

PAGE_WORDS: dict[str, dict[str, str]] = {
    "ADDON_TOO_OLD": {"NAME": "coredns"},
    "ADDON_UNKNOWN": {"NAME": "coredns"},
    "ALERTS_UNREADABLE": {"URL": "{NSLAB_PROMETHEUS_URL}"},
    "API_SERVICE_UNAVAILABLE": {"NAME": "v1.away.nslab.example.org", "NAMESPACE": "default"},
    "CERTIFICATE_NOT_FOUND": {"FILE": _CONFIGURATION},
    "CLOCK_UNKNOWN": {"NODE": "-i {NSLAB_SSH_KEY} -o UserKnownHostsFile={NSLAB_KNOWN_HOSTS} root@{address}"},
    "CONNECTION_MISSING": {"FILE": "{connections}"},
    "CRD_CONVERSION_DEAD": {"NAME": "things.nslab.example.org", "NAMESPACE": "default"},
    "CRD_CONVERSION_OUTSIDE": {"NAME": "gauges.runbook.example.org", "VERSION": "v1"},
    "CRD_VERSION_UNSERVED": {"NAME": "gauges.runbook.example.org"},
    "DPKG_UNFINISHED": {"PACKAGE": "kubeadm", "VERSION": _PACKAGE_VERSION},
    "DRIFT_UNKNOWN": {"FILE": _CONFIGURATION},
    "VERSION_SKEW": {"IMAGE": "registry.k8s.io/kube-proxy:v{NSLAB_VERSION}"},
    "KUBEADM_TOO_NEW": {"VERSION": _PACKAGE_VERSION},
    "KUBEADM_UNREADABLE": {"VERSION": _PACKAGE_VERSION},
    "LOOK_INCOMPLETE": {"NAME": "certificates"},
    "MANIFEST_ACCESS": {"FILE": "/etc/kubernetes/manifests/kube-scheduler.yaml"},
    "MANIFEST_MISSING": {"FILE": _CONFIGURATION},
    "NODES_QUARANTINED": {"NODE": "w1"},
    "NODE_CORDONED": {"NODE": "w1"},
    "NODE_UNREACHABLE": {"NAME": "cp1"},
    "PACKAGE_HELD": {"VERSION": _PACKAGE_VERSION},
    "PACKAGE_REFUSED": {"NAME": "kubeadm", "VERSION": _PACKAGE_VERSION},
    "PDB_DEADLOCK": {"NAMESPACE": "shop", "NAME": "web"},
    "POD_LOCAL_DATA": {
        "NAMESPACE": "kube-system",
        "POD": "$(kubectl -n kube-system get pods -l k8s-app=kube-proxy -o jsonpath='{.items[0].metadata.name}')",
    },
    "SUPPLY_SILENT": {"ADDRESS": "http://{NSLAB_REGISTRY}/v2/"},
    "VOLUME_UNKNOWN": {"NAME": "runbook"},
    "WEBHOOK_DEAD": {"NAME": "nslab-dead", "NAMESPACE": "default"},
    "WEBHOOK_LOCKS_ITSELF": {"NAME": "nslab-alone"},
    "WEBHOOK_OUTSIDE": {"FILE": "/etc/kubernetes/pki/ca.crt", "URL": "https://{address}:6443/readyz"},
    "WEBHOOK_TIMEOUT_LONG": {"NAME": "nslab-narrow"},
    "causes/certificate_wrong": {"FILE": _CONFIGURATION, "NAME": "apiserver"},
    "causes/dns": {"NAME": "cp1"},
    "causes/image_unpullable": {"URL": "http://{NSLAB_REGISTRY}"},
    "causes/pod_stays": {"NAMESPACE": "shop", "POD": "cart-0"},
    "causes/port_taken": {"ID": "$(crictl ps -q --name '^kube-scheduler$')", "PORT": "6443"},
    "causes/ssh_cut": {"NAME": "cp1"},
    "causes/unservable_object": {"KEY": "/runbook/nothing", "RESOURCE": "gauges.runbook.example.org"},
    "causes/webhook": {"NAME": "nslab-dead", "NAMESPACE": "default"},
}


@dataclass(frozen=True)
class Scene:
    """The trouble a page is about.

    Attributes:
        plant: lines that make it.
        undo: lines that take it back, also when a command of the page already did.
        needs_airflow: the page asks Airflow something.
    """

    plant: tuple[str, ...] = ()
    undo: tuple[str, ...] = ()
    needs_airflow: bool = False


def _fault(name: str, *arguments: str) -> Scene:
    return Scene((" ".join(("lab break", name, *arguments)),), (f"lab heal {name}",))


def _objects(text: str) -> Scene:
    return Scene(
        (f"kubectl apply -f - <<'YAML'\n{text}YAML",),
        (f"kubectl delete --ignore-not-found -f - <<'YAML'\n{text}YAML",),
    )


def _on_node(plant: str, undo: str) -> Scene:
    return Scene((f"lab ssh cp1 {quote(plant)}",), (f"lab ssh cp1 {quote(undo)}",))


def _unit(*units: str) -> Scene:
    started = "; ".join(f"systemd-run --quiet --unit={unit} sleep 1200" for unit in units)
    return _on_node(started, f"systemctl stop {' '.join(units)}")


def _mark(name: str) -> Scene:
    """An annotation of ours on a worker."""
    return Scene(
        (f"kubectl annotate node w1 nightshift.io/{name}=runbook",),
        (f"kubectl annotate node w1 nightshift.io/{name}-",),
    )


def _both(first: Scene, second: Scene) -> Scene:
    return Scene((*first.plant, *second.plant), (*second.undo, *first.undo))


# Scenes of several pages

_BRAKE = _objects(
    """\
apiVersion: v1
kind: ConfigMap
metadata: {name: nightshift-brake, namespace: nightshift}
"""
)
_LEASE = _objects(
    """\
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: nightshift, namespace: nightshift, annotations: {nightshift.io/token: "1"}}
"""
)
_OWNED = _mark("owner")
_UPGRADE = _unit("nightshift-kubeadm-upgrade")
_REQUESTED = _fault("deprecated-api-in-use", "cp1")
_NARROW = _fault("webhook-narrow")
_BACKUP = "/etc/kubernetes/tmp/kubeadm-backup-manifests-runbook"
_SCRATCH = _on_node(f"mkdir -p {_BACKUP}", f"rmdir {_BACKUP}")
# Cut off and booted again: its journal has an earlier boot.
_REBOOTED = Scene(
    (
        "lab break node-power-off cp1",
        "lab heal node-power-off",
        "timeout 180 sh -c 'until kubectl get --raw /readyz; do sleep 2; done'",
    ),
    ("lab heal node-power-off",),
)
_SERVICE = "/etc/systemd/system/runbook.service"
_STARTED_BY_HAND = _on_node(
    f"printf '[Service]\\nExecStart=/bin/sleep 1200\\n[Install]\\nWantedBy=multi-user.target\\n' >{_SERVICE}"
    " && systemctl daemon-reload && systemctl enable --now runbook",
    f"systemctl disable --now runbook; rm -f {_SERVICE}; systemctl daemon-reload",
)
# What somebody with the cluster in front of him would save as kubeadm's configuration.
_SAVE = f"""\
cluster=$(kubectl -n kube-system get configmap kubeadm-config -o jsonpath='{{.data.ClusterConfiguration}}')
kubelet=$(kubectl -n kube-system get configmap kubelet-config -o jsonpath='{{.data.kubelet}}')
api=$(printf '%s\\n' "$cluster" | sed -n 's/^apiVersion: //p')
lab ssh cp1 'cat >{_CONFIGURATION}' <<YAML
$cluster
---
$kubelet
---
apiVersion: $api
kind: InitConfiguration
localAPIEndpoint: {{advertiseAddress: {{address}}}}
nodeRegistration: {{name: cp1}}
YAML"""
_SAVED = Scene((_SAVE,), (f"lab ssh cp1 'rm -f {_CONFIGURATION}'",))
_KEPT, _MANIFEST = "/root/runbook-apiserver.yaml", "/etc/kubernetes/manifests/kube-apiserver.yaml"
_KEEP_MANIFEST = _both(
    _SCRATCH,
    _on_node(
        f"cp -p {_MANIFEST} {_KEPT}",
        f"cmp -s {_KEPT} {_MANIFEST} || cp -p {_KEPT} {_MANIFEST}; rm {_KEPT}",
    ),
)
# 0 is below every token: it keeps no command of a later run out.
_TOKEN = _on_node("[ -e /var/lib/nightshift/token ] || echo 0 >/var/lib/nightshift/token", "true")
_SNAPSHOTS = _on_node(
    "mkdir -p /var/lib/nightshift/snapshots && touch /var/lib/nightshift/snapshots/runbook",
    "rm -f /var/lib/nightshift/snapshots/runbook",
)
_GAUGES = _objects(
    """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gauges.runbook.example.org}
spec:
  group: runbook.example.org
  scope: Namespaced
  names: {plural: gauges, singular: gauge, kind: Gauge, listKind: GaugeList}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""
)
_GAUGE = """\
kubectl wait --for=condition=Established crd/gauges.runbook.example.org
kubectl apply -f - <<'YAML'
apiVersion: runbook.example.org/v1
kind: Gauge
metadata: {name: one, namespace: shop}
YAML"""
_ONE_GAUGE = _both(_GAUGES, Scene((_GAUGE,)))
_CLAIM = _objects(
    """\
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: runbook, namespace: shop}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: none
  resources: {requests: {storage: 1Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: runbook, namespace: shop, annotations: {nightshift.io/evict: "true"}}
spec:
  volumes: [{name: data, persistentVolumeClaim: {claimName: runbook}}]
  containers: [{name: one, image: registry.k8s.io/nightshift-lab/web:1, volumeMounts: [{name: data, mountPath: /data}]}]
"""
)

SCENES = {
    "AIRFLOW_API_REFUSED": Scene(needs_airflow=True),
    "API_DEPRECATED_IN_USE": _REQUESTED,
    "API_REMOVED_IN_USE": _REQUESTED,
    "API_SERVICE_UNAVAILABLE": _fault("apiservice-unavailable"),
    "BRAKE_INVALID": _BRAKE,
    "BRAKE_ON": _BRAKE,
    "BUNDLE_UNREADABLE": Scene(("tar -czf {scratch}/bundle.tar.gz -C /etc hostname",)),
    "CERTIFICATE_EXPIRED": _SAVED,
    "CERTIFICATE_NOT_FOUND": _SAVED,
    "CONTROL_PLANE_BUSY": _both(_OWNED, _unit("nightshift-kubeadm-upgrade", "nightshift-kubelet-upgrade")),
    "CRD_CONVERSION_DEAD": _fault("crd-dead-conversion"),
    "CRD_CONVERSION_OUTSIDE": _ONE_GAUGE,
    "CRD_VERSION_UNSERVED": _ONE_GAUGE,
    "DPKG_BUSY": _fault("apt-lock-held", "cp1"),
    "DRIFT_UNKNOWN": _SAVED,
    "FILE_ABSENT": _SNAPSHOTS,
    "JOB_BUSY": _both(_fault("foreign-kubeadm", "cp1"), _UPGRADE),
    "JOB_FAILED": _UPGRADE,
    "JOB_LOST": _UPGRADE,
    "LEASE_HELD": _LEASE,
    "LEFTOVERS_RUNNING": _UPGRADE,
    "MANIFEST_ACCESS": _fault("manifest-wrong-mode", "cp1"),
    "MANIFEST_MISSING": _both(_SAVED, _KEEP_MANIFEST),
    "NODES_QUARANTINED": _mark("quarantined"),
    "NODE_CORDONED": _fault("cordoned-by-human", "w1"),
    "NODE_FENCED": _both(_LEASE, _TOKEN),
    "PACKAGE_HELD": _on_node("apt-mark hold jq", "apt-mark unhold jq"),
    "POD_UNREPLICATED": Scene(undo=("kubectl -n shop annotate pod cart-0 nightshift.io/evict-",)),
    "REBOOT_PENDING": _fault("reboot-required", "cp1"),
    "RECOVERY_INCOMPLETE": _both(_LEASE, _OWNED),
    "RUN_FENCED": _LEASE,
    "SNAPSHOT_MISMATCH": _SNAPSHOTS,
    "STOPPED_HALF_WAY": _BRAKE,
    "TASK_TIMED_OUT": _UPGRADE,
    "TRIGGERER_FAILED": Scene(needs_airflow=True),
    "VOLUME_UNKNOWN": _CLAIM,
    "WEBHOOK_DEAD": _fault("webhook-without-endpoints"),
    "WEBHOOK_LOCKS_ITSELF": _both(
        _fault("webhook-on-one-node"), Scene(undo=("kubectl label namespace shop admission-",))
    ),
    "WEBHOOK_OUTSIDE": _fault("webhook-outside"),
    "WEBHOOK_TIMEOUT_LONG": _NARROW,
    "causes/certificate_expired": _SAVED,
    "causes/certificate_wrong": _SAVED,
    # The page takes the image away; every other one finds it there.
    "causes/disk_full": _both(_SCRATCH, _on_node(f"crictl pull {_IMAGE}", f"crictl pull {_IMAGE}")),
    "causes/etcd_quota": Scene(undo=("lab ssh cp1 'rm -f /var/lib/etcd/before-compaction.db*'",)),
    "causes/foreign_kubeadm": _both(_fault("foreign-kubeadm", "cp1"), _SCRATCH),
    # The page takes the image away; every other one finds it there.
    "causes/image_architecture": _on_node(f"crictl pull {_IMAGE}", f"crictl pull {_IMAGE}"),
    "causes/node_rebooted": _REBOOTED,
    "causes/port_taken": _STARTED_BY_HAND,
    "causes/scratch_pile": _SCRATCH,
    "causes/ssh_cut": _UPGRADE,
    "causes/unservable_object": _both(
        _ONE_GAUGE, Scene(undo=("lab ssh cp1 'rm -f /var/lib/etcd/before-deletion.db*'",))
    ),
    "causes/webhook": _fault("webhook-without-endpoints"),
}
