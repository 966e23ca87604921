"""Faults that wait for the upgrade: settings the new version refuses, a flooded API, objects nobody can read, members nobody needs.

The settings stand in kubeadm-config, where nothing runs with them until `kubeadm upgrade` writes the manifests anew.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

from nslab.faults.configuration import read_config_map, write_config_map
from nslab.faults.model import Case, Fault, node_name, read_arguments
from nslab.nodes import cluster, machine, state
from nslab.nodes.infra import Sources
from nslab.shell import LabError

FLAG_USAGE = "upgrade-flag COMPONENT NAME=VALUE"
AUTH_USAGE = "authentication-config-bad NODE"
REJECTED_USAGE = "api-requests-rejected NODE"
OBJECT_USAGE = "object-unreadable NODE"
GHOST_USAGE = "etcd-ghost-member NODE"
ARCHITECTURE_USAGE = "image-wrong-architecture IMAGE:TAG"
CONFIG_USAGE = "kubeadm-config-missing"
RIGHTS_USAGE = "kubeadm-rights-missing"

SECTIONS = {"apiserver": "apiServer", "etcd": "etcd"}
AUTH_FILE = "/etc/kubernetes/pki/nslab-authentication.yaml"
AUTH_FLAG = f"authentication-config={AUTH_FILE}"
AUTH_TEXT = """\
apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer:
    url: http://id.nightshift-lab.invalid
    audiences: [kubernetes]
  claimMappings:
    username: {claim: email, prefix: ""}
"""
LEVEL = "nslab-nothing"
# Everybody but the components themselves: their own users keep their levels.
FLOW = {
    "apiVersion": "v1",
    "kind": "List",
    "items": [
        {
            "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
            "kind": "PriorityLevelConfiguration",
            "metadata": {"name": LEVEL},
            "spec": {
                "type": "Limited",
                "limited": {
                    "nominalConcurrencyShares": 0,
                    "lendablePercent": 0,
                    "borrowingLimitPercent": 0,
                    "limitResponse": {"type": "Reject"},
                },
            },
        },
        {
            "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
            "kind": "FlowSchema",
            "metadata": {"name": LEVEL},
            "spec": {
                "priorityLevelConfiguration": {"name": LEVEL},
                "matchingPrecedence": 2,
                "rules": [
                    {
                        "subjects": [{"kind": "Group", "group": {"name": "kubeadm:cluster-admins"}}],
                        "resourceRules": [
                            {
                                "verbs": ["*"],
                                "apiGroups": ["batch"],
                                "resources": ["*"],
                                "namespaces": ["*"],
                                "clusterScope": True,
                            }
                        ],
                    }
                ],
            },
        },
    ],
}
# Runs on the node: two connections in turn, each with a request whose body never comes; the server ends it after a minute.
SLOW_CLIENT = """
import base64, re, socket, ssl, tempfile, time
text = open("/etc/kubernetes/admin.conf").read()
def secret(name):
    file = tempfile.NamedTemporaryFile(delete=False)
    file.write(base64.b64decode(re.search(name + ": (\\\\S+)", text)[1]))
    file.close()
    return file.name
context = ssl.create_default_context(cafile="/etc/kubernetes/pki/ca.crt")
context.check_hostname = False
context.load_cert_chain(secret("client-certificate-data"), secret("client-key-data"))
host = re.search("server: https://([^:]+):", text)[1]
head = "POST /apis/batch/v1/namespaces/kube-system/jobs HTTP/1.1\\r\\nHost: x\\r\\nContent-Type: application/json\\r\\nContent-Length: 999\\r\\n\\r\\n"
kept = []
while True:
    try:
        one = context.wrap_socket(socket.create_connection((host, 6443), 5))
        one.sendall(head.encode())
        kept.append(one)
    except OSError:
        pass
    time.sleep(0.3 if len(kept) < 9 else 5)
    kept = kept[-9:]
"""
# Runs on the node, with etcd's own program out of its image; the arguments are etcdctl's.
ETCDCTL = """
set -eu
pid=$(pgrep -x etcd | head -n 1)
pki=/etc/kubernetes/pki/etcd
exec "/proc/$pid/root/usr/local/bin/etcdctl" --endpoints https://127.0.0.1:2379 --cacert $pki/ca.crt \
    --cert $pki/healthcheck-client.crt --key $pki/healthcheck-client.key "$@"
"""
UNREADABLE = "/registry/priorityclasses/nslab-unreadable"
GHOST = "https://10.217.0.250:2380"  # nobody has this address
INDEX = "application/vnd.oci.image.index.v1+json"


def parse_flag(arguments: Sequence[str]) -> list[Case]:
    """Read `COMPONENT NAME=VALUE`, the flag without its dashes."""
    component, flag = read_arguments(arguments, FLAG_USAGE, 2)
    if component not in SECTIONS or not re.fullmatch(r"[a-z][a-z-]*=[A-Za-z0-9./:,=-]+", flag):
        raise LabError(f"{component} {flag} is no flag", f"components are {', '.join(SECTIONS)}")
    return [
        Case("upgrade-flag", f"{component}-{flag.partition('=')[0]}", {"component": component, "flag": flag})
    ]


def add_flag(case: Case) -> str:
    """Let kubeadm-config give a component one more flag; the manifest gets it by the next upgrade."""
    component, flag = case.text("component"), case.text("flag")
    _set_flag(component, flag)
    return f"the next upgrade starts {component} with --{flag}"


def drop_flag(case: Case) -> str:
    """Take it out of kubeadm-config again."""
    text = read_config_map("kubeadm-config", "ClusterConfiguration")
    write_config_map("kubeadm-config", "ClusterConfiguration", without_flag(text, case.text("flag")))
    return f"kubeadm-config says nothing of --{case.text('flag')}"


def with_flag(text: str, section: str, flag: str) -> str:
    """Return a ClusterConfiguration, as kubeadm writes it, whose `apiServer` or `etcd.local` has one more flag."""
    name, _, value = flag.partition("=")
    depth = "    " if section == "etcd" else "  "
    entry = f'{depth}- name: {name}\n{depth}  value: "{value}"\n'
    head = rf"^({section}:\n(?:  local:\n)?)" if section == "etcd" else rf"^({section}:) ?(?:\{{\}})?\n"
    plain = without_flag(text, flag)
    listed = re.compile(rf"^({section}:\n(?:  local:\n)?(?:(?!\S).*\n)*?{depth}extraArgs:\n)", re.MULTILINE)
    if listed.search(plain):
        return listed.sub(lambda found: found[1] + entry, plain, count=1)
    opened = r"\1" if section == "etcd" else r"\1\n"
    changed, count = re.subn(head, f"{opened}{depth}extraArgs:\n{entry}", plain, count=1, flags=re.MULTILINE)
    if count == 0:
        raise LabError(f"kubeadm-config has no {section}", "`lab/lab reset` makes a fresh cluster")
    return changed


def without_flag(text: str, flag: str) -> str:
    """Return a ClusterConfiguration without it; a list that has nothing left goes, too."""
    name = re.escape(flag.partition("=")[0])
    text = re.sub(rf"^( *)- name: {name}\n\1  value: [^\n]*\n", "", text, flags=re.MULTILINE)
    return re.sub(r"^( *)extraArgs:\n(?!\1- )", "", text, flags=re.MULTILINE)


def _set_flag(component: str, flag: str) -> None:
    text = read_config_map("kubeadm-config", "ClusterConfiguration")
    write_config_map("kubeadm-config", "ClusterConfiguration", with_flag(text, SECTIONS[component], flag))


def parse_auth(arguments: Sequence[str]) -> list[Case]:
    """Read `NODE`."""
    (name,) = read_arguments(arguments, AUTH_USAGE, 1)
    return [Case("authentication-config-bad", node_name(name, "control-plane"), {"flag": AUTH_FLAG})]


def plant_auth(case: Case) -> str:
    """Write a file that no API server accepts, and let the next upgrade use it."""
    machine.enter(case.subject, ["sh", "-c", f"cat >{AUTH_FILE}"], stdin=AUTH_TEXT)
    _set_flag("apiserver", AUTH_FLAG)
    return f"the next upgrade starts the API server with {AUTH_FILE}, whose issuer has no https"


def drop_auth(case: Case) -> str:
    """Take both away."""
    drop_flag(case)
    machine.enter(case.subject, ["rm", "-f", AUTH_FILE])
    return f"{AUTH_FILE} is gone"


def parse_nothing(usage: str, arguments: Sequence[str]) -> list[Case]:
    """Read no arguments."""
    read_arguments(arguments, usage, 0)
    return [Case(usage, "cluster")]


def reject(case: Case) -> str:
    """Give kubeadm's requests for Jobs a priority level without room, and keep its one place taken.

    A level without shares still serves one request while it serves no other: a client that never ends its own request has that place.
    """
    cluster.kubectl(["apply", "-f", "-"], stdin=json.dumps(FLOW))
    admit_unit(case)
    command = ["systemd-run", "--quiet", "--collect", f"--unit={LEVEL}", "python3", "-c", SLOW_CLIENT]
    machine.enter(case.subject, command)
    return "the API server turns away every request of kubeadm's administrators for a Job"


def admit_unit(case: Case) -> None:
    """Stop the slow client, if it runs."""
    machine.enter(
        case.subject, ["sh", "-c", f"! systemctl is-active --quiet {LEVEL} || systemctl stop {LEVEL}"]
    )


def admit(case: Case) -> str:
    """Take the level away."""
    admit_unit(case)
    for kind in ("flowschema", "prioritylevelconfiguration"):
        cluster.kubectl(["delete", kind, LEVEL, "--ignore-not-found"])
    return "requests are admitted as ever"


def parse_on_control_plane(usage: str, arguments: Sequence[str]) -> list[Case]:
    """Read `NODE`."""
    (name,) = read_arguments(arguments, usage, 1)
    return [Case(usage.split()[0], node_name(name, "control-plane"))]


def plant_unreadable(case: Case) -> str:
    """Store a PriorityClass, which every API server reads before it is ready, of a version that nobody knows."""
    text = '{"kind":"PriorityClass","apiVersion":"scheduling.k8s.io/v9","metadata":{"name":"nslab-unreadable"},"value":1}'
    machine.enter(case.subject, ["sh", "-c", ETCDCTL, "etcdctl", "put", UNREADABLE, text])
    return f"etcd has {UNREADABLE}, of a version that no API server knows"


def drop_unreadable(case: Case) -> str:
    """Delete it."""
    machine.enter(case.subject, ["sh", "-c", ETCDCTL, "etcdctl", "del", UNREADABLE])
    return f"{UNREADABLE} is gone"


def add_ghost(case: Case) -> str:
    """Make etcd wait for a member that does not exist. Of one member that is the end of its quorum: only `reset` heals."""
    machine.enter(
        case.subject, ["sh", "-c", ETCDCTL, "etcdctl", "member", "add", "ghost", f"--peer-urls={GHOST}"]
    )
    return f"etcd counts a voting member at {GHOST}, where nobody is"


def no_way_back(case: Case) -> str:
    """Say what is needed: without its quorum etcd takes no removal either."""
    if len(state.current().control_planes) == 1:
        return f"etcd on {case.subject} has no quorum; `lab/lab reset` makes a fresh cluster"
    script = f'id=$(sh -c "$0" etcdctl member list | sed -n "/ghost\\|unstarted/s/,.*//p"); [ -z "$id" ] || sh -c "$0" etcdctl member remove "$id" # {GHOST}'
    machine.enter(case.subject, ["sh", "-c", script, ETCDCTL])
    return "the ghost is no member any more"


def parse_architecture(arguments: Sequence[str]) -> list[Case]:
    """Read `IMAGE:TAG`."""
    (image,) = read_arguments(arguments, ARCHITECTURE_USAGE, 1)
    name, _, tag = image.removeprefix("registry.k8s.io/").rpartition(":")
    path = Sources.load().registry / "docker/registry/v2/repositories" / name / "_manifests"
    if not (path / "tags" / tag).exists():
        raise LabError(f"the lab's registry has no image {name}:{tag}", "name it like kube-proxy:v1.35.4")
    return [Case("image-wrong-architecture", f"{name}:{tag}", {"manifests": str(path), "tag": tag})]


def mislabel(case: Case) -> str:
    """Let the tag name an index whose only entry is for another processor."""
    restore_label(case)
    manifests, tag = Path(case.text("manifests")), case.text("tag")
    current = manifests / "tags" / tag / "current" / "link"
    digest = current.read_text().strip()
    blobs = Sources.load().registry / "docker/registry/v2/blobs"
    blob = blobs / "sha256" / digest[7:9] / digest[7:] / "data"
    entry = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": digest,
        "size": blob.stat().st_size,
        "platform": {"architecture": "s390x", "os": "linux"},
    }
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).encode()
    name = hashlib.sha256(index).hexdigest()
    _write(blobs / "sha256" / name[:2] / name / "data", index)
    _write(manifests / "revisions" / "sha256" / name / "link", f"sha256:{name}".encode())
    current.rename(current.with_name("link.nslab-true"))
    _write(current, f"sha256:{name}".encode())
    return f"{case.subject} exists for s390x only (nodes that have it already keep it)"


def restore_label(case: Case) -> str:
    """Let the tag name the image again."""
    current = Path(case.text("manifests")) / "tags" / case.text("tag") / "current" / "link"
    kept = current.with_name("link.nslab-true")
    if kept.exists():
        kept.replace(current)
    return f"{case.subject} is for this machine's processor again"


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def take_config(case: Case) -> str:
    """Delete kubeadm's ConfigMap; what it said is kept in another one."""
    text = read_config_map("kubeadm-config", "ClusterConfiguration")
    kept = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "nslab-kubeadm-config", "namespace": "kube-system"}, "data": {"ClusterConfiguration": text}}  # fmt: skip
    cluster.kubectl(["apply", "-f", "-"], stdin=json.dumps(kept))
    cluster.kubectl(["-n", "kube-system", "delete", "configmap", "kubeadm-config"])
    return f"there is no ConfigMap kube-system/kubeadm-config ({case.fault})"


def restore_config(_: Case) -> str:
    """Make it anew."""
    _put_back("configmap", "kubeadm-config", "nslab-kubeadm-config")
    return "kubeadm-config is back"


def _put_back(kind: str, name: str, kept: str) -> None:
    found = cluster.kubectl(["-n", "kube-system", "get", kind, kept, "-o", "json"], check=False)
    if found.returncode != 0:
        return
    thing = json.loads(found.stdout)
    thing["metadata"] = {"name": name, "namespace": "kube-system"}
    cluster.kubectl(["apply", "-f", "-"], stdin=json.dumps(thing))
    cluster.kubectl(["-n", "kube-system", "delete", kind, kept])


ROLE = "kubeadm:nodes-kubeadm-config"


def take_rights(case: Case) -> str:
    """Delete the binding by which nodes may read kubeadm's configuration; what it said is kept under another name, bound to nobody."""
    thing = json.loads(
        cluster.kubectl(["-n", "kube-system", "get", "rolebinding", ROLE, "-o", "json"]).stdout
    )
    thing["metadata"] = {"name": f"nslab:{ROLE}", "namespace": "kube-system"}
    group = thing["subjects"]
    thing["subjects"] = []
    thing["metadata"]["annotations"] = {"nslab/subjects": json.dumps(group)}
    cluster.kubectl(["apply", "-f", "-"], stdin=json.dumps(thing))
    cluster.kubectl(["-n", "kube-system", "delete", "rolebinding", ROLE])
    return f"nodes may not read kubeadm-config ({case.fault})"


def restore_rights(_: Case) -> str:
    """Bind them again."""
    found = cluster.kubectl(
        ["-n", "kube-system", "get", "rolebinding", f"nslab:{ROLE}", "-o", "json"], check=False
    )
    if found.returncode == 0:
        thing = json.loads(found.stdout)
        thing["subjects"] = json.loads(thing["metadata"]["annotations"]["nslab/subjects"])
        thing["metadata"] = {"name": ROLE, "namespace": "kube-system"}
        cluster.kubectl(["apply", "-f", "-"], stdin=json.dumps(thing))
        cluster.kubectl(["-n", "kube-system", "delete", "rolebinding", f"nslab:{ROLE}"])
    return "nodes may read kubeadm-config"


def trap_faults() -> tuple[Fault, ...]:
    """Return all of them."""
    return (
        Fault("upgrade-flag", FLAG_USAGE, "let the next upgrade start apiserver or etcd with one more flag", parse_flag, add_flag, drop_flag),
        Fault("authentication-config-bad", AUTH_USAGE, "let the next upgrade use an AuthenticationConfiguration that is not valid", parse_auth, plant_auth, drop_auth),
        Fault("api-requests-rejected", REJECTED_USAGE, "let the API server turn away kubeadm's Jobs (priority level without room)", lambda a: parse_on_control_plane(REJECTED_USAGE, a), reject, admit),
        Fault("object-unreadable", OBJECT_USAGE, "store an object of a version that no API server knows", lambda a: parse_on_control_plane(OBJECT_USAGE, a), plant_unreadable, drop_unreadable),
        Fault("etcd-ghost-member", GHOST_USAGE, "add a member to etcd that does not exist; a single member loses its quorum", lambda a: parse_on_control_plane(GHOST_USAGE, a), add_ghost, no_way_back),
        Fault("image-wrong-architecture", ARCHITECTURE_USAGE, "let an image exist for another processor only", parse_architecture, mislabel, restore_label, outlives_reset=True),
        Fault("kubeadm-config-missing", CONFIG_USAGE, "delete kubeadm's ConfigMap", lambda a: parse_nothing(CONFIG_USAGE, a), take_config, restore_config),
        Fault("kubeadm-rights-missing", RIGHTS_USAGE, "let nodes not read kubeadm's ConfigMap", lambda a: parse_nothing(RIGHTS_USAGE, a), take_rights, restore_rights),
    )  # fmt: skip
