"""What tells one node from another: names, addresses, keys. Written to a disk before its first boot."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from nslab.build.store import write_text
from nslab.settings import INFRA_ADDRESS, NETWORK, PACKAGES_PORT, REGISTRY_PORT, STATE_DIR, Node, Profile
from nslab.shell import output, run

FILES = Path(__file__).with_name("files")
KEYS = STATE_DIR / "keys"
PRIVATE_KEY = KEYS / "id_ed25519"
KNOWN_HOSTS = KEYS / "known_hosts"


def make_keys(profile: Profile) -> None:
    """Make the lab's log-in key and a host key per node, and pin the latter; existing ones are kept."""
    KEYS.mkdir(parents=True, exist_ok=True)
    KEYS.chmod(0o700)
    _ensure_key(PRIVATE_KEY, "nightshift-lab")
    lines = []
    for node in profile.nodes:
        _ensure_key(_host_key(node), node.name)
        kind, key, *_ = _public(_host_key(node)).read_text().split()
        lines.append(f"{node.address},{node.name} {kind} {key}\n")
    write_text(KNOWN_HOSTS, "".join(lines))


def write(root: Path, node: Node, profile: Profile) -> None:
    """Make the file system at `root` that of `node`, with the present form of the lab's files."""
    lay_files(root)
    for path, text in files(node, profile).items():
        _put(root / path, text)
    host_key = root / "etc/ssh/ssh_host_ed25519_key"
    _put(host_key, _host_key(node).read_text(), mode=0o600)
    _put(_public(host_key), _public(_host_key(node)).read_text())
    _put(root / "root/.ssh/authorized_keys", _public(PRIVATE_KEY).read_text(), mode=0o600)
    (root / "root/.ssh").chmod(0o700)


def lay_files(root: Path) -> None:
    """Put the files all nodes share into the file system at `root`."""
    for source in FILES.rglob("*"):
        if source.is_file():
            _put(root / source.relative_to(FILES), source.read_text(), source.stat().st_mode & 0o777)


def files(node: Node, profile: Profile) -> dict[str, str]:
    """Return path and text of every file in which nodes differ, keys excepted."""
    others = [n for n in profile.nodes if n != node]
    routes = "\n".join(f"{n.pod_network} {n.address}" for n in others)
    hosts = "".join(f"{n.address} {n.name}\n" for n in profile.nodes)
    registry = f'[host."http://{INFRA_ADDRESS}:{REGISTRY_PORT}"]\n  capabilities = ["pull", "resolve"]\n'
    return {
        "etc/hostname": f"{node.name}\n",
        "etc/machine-id": hashlib.sha256(f"nightshift-lab {node.name}".encode()).hexdigest()[:32] + "\n",
        "etc/hosts": f"127.0.0.1 localhost\n{hosts}",
        "etc/resolv.conf": f"nameserver {INFRA_ADDRESS}\n",
        "etc/nightshift-lab/node.env": f'ADDRESS="{node.address}/{NETWORK.prefixlen}"\nROUTES="{routes}"\n',
        "etc/cni/net.d/10-nightshift-lab.conflist": json.dumps(_cni(node), indent=2) + "\n",
        "etc/containerd/certs.d/registry.k8s.io/hosts.toml": f'server = "https://registry.k8s.io"\n\n{registry}',
        "etc/containerd/certs.d/_default/hosts.toml": registry,
    }


def write_package_source(root: Path, keyring: Path, minor: str) -> None:
    """Let apt on the node know the lab's repository of this minor, laid out as upstream documents it."""
    trusted = "etc/apt/keyrings/kubernetes-apt-keyring.gpg"
    source = f"http://{INFRA_ADDRESS}:{PACKAGES_PORT}/v{minor}/deb/"
    _put(root / "etc/apt/sources.list.d/kubernetes.list", f"deb [signed-by=/{trusted}] {source} /\n")
    (root / trusted).parent.mkdir(exist_ok=True)
    (root / trusted).unlink(missing_ok=True)
    if keyring.read_bytes().startswith(b"-----BEGIN"):
        run(["gpg", "--batch", "--dearmor", "--output", str(root / trusted), str(keyring)])
    else:
        (root / trusted).write_bytes(keyring.read_bytes())
    (root / trusted).chmod(0o644)


def _cni(node: Node) -> dict[str, object]:
    """The node's pod network: a bridge with its own /24; addresses stay as they are between nodes."""
    ipam = {
        "type": "host-local",
        "ranges": [[{"subnet": node.pod_network}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": "/run/cni-ipam",  # empty after a boot, as the pods are
    }
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "hairpinMode": True, "ipam": ipam}
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "nightshift-lab", "plugins": [bridge, portmap]}


def _host_key(node: Node) -> Path:
    return KEYS / f"host_{node.name}"


def _public(private: Path) -> Path:
    return private.with_name(private.name + ".pub")


def _ensure_key(path: Path, comment: str) -> None:
    if not _public(path).exists():
        path.unlink(missing_ok=True)
        output(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)])


def _put(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # never through a symbolic link of the image to a file of the machine
    path.write_text(text)
    path.chmod(mode)
