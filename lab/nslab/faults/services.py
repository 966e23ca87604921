"""Faults of what runs on a node: its kubelet, its runtime, its ways to the registry; each is two scripts for the node.

Both scripts may be repeated. A file that is changed is put aside first, under its name and SUFFIX.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nslab.faults.model import Case, Fault, node_name, read_arguments
from nslab.nodes import machine

SUFFIX = ".nslab-true"
KUBELET_CONFIG = "/var/lib/kubelet/config.yaml"
KUBELET_CERTIFICATE = "/var/lib/kubelet/pki/kubelet-client-current.pem"
CONTAINERD_CONFIG = "/etc/containerd/config.toml"
HOSTS = "/etc/containerd/certs.d/registry.k8s.io/hosts.toml"
MANIFESTS = "/etc/kubernetes/manifests"
OTHER_MANIFESTS = "/etc/kubernetes/manifests-nslab"
SQUATTER = "nslab-port-taken"
FOREIGN = "nslab-foreign-kubeadm"
REJECT = "-p tcp --dport 5000 -m comment --comment nslab-registry-cut -j REJECT --reject-with tcp-reset"


@dataclass(frozen=True)
class Scripts:
    """One such fault.

    Args:
        name: of the fault.
        summary: what it does, for `break --list`.
        inflict: shell for the node; `$1` is the argument, when the fault takes one.
        undo: shell for the node.
        said: the sentence that is so afterwards, with `{node}`.
        argument: what the fault takes besides the node, in capitals; "" when nothing.
        role: of the node; None: any.
    """

    name: str
    summary: str
    inflict: str
    undo: str
    said: str
    argument: str = ""
    role: str | None = None


def keep(path: str) -> str:
    """Shell that puts a file aside once."""
    return f"[ -e {path}{SUFFIX} ] || cp -p {path} {path}{SUFFIX}"


def give_back(path: str) -> str:
    """Shell that puts it back, if it was put aside."""
    return f"[ ! -e {path}{SUFFIX} ] || mv {path}{SUFFIX} {path}"


# Waits for the port, so that it gets it when the kubelet lets go, and keeps it.
_SQUAT = """
import socket, time
while True:
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind(("0.0.0.0", 10250))
        server.listen(1)
        break
    except OSError:
        server.close()
        time.sleep(0.01)
time.sleep(10**9)
"""

# Of the kubelet's own name and group, but ended yesterday; its key stays the same.
_EXPIRE = f"""
{keep(KUBELET_CERTIFICATE)}
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
mkdir "$work/new"; : >"$work/index"; echo 01 >"$work/serial"
printf '[ca]\\ndefault_ca=h\\n[h]\\ndatabase=%s/index\\nserial=%s/serial\\nnew_certs_dir=%s/new\\ndefault_md=sha256\\npolicy=p\\n[p]\\norganizationName=optional\\ncommonName=supplied\\n' "$work" "$work" "$work" >"$work/config"
openssl pkey -in {KUBELET_CERTIFICATE}{SUFFIX} -out "$work/key"
openssl req -new -x509 -key "$work/key" -subj "/O=system:nodes/CN=system:node:$(hostname)" -days 1 -out "$work/authority"
openssl req -new -key "$work/key" -subj "/O=system:nodes/CN=system:node:$(hostname)" -out "$work/request"
openssl ca -batch -notext -config "$work/config" -in "$work/request" -cert "$work/authority" -keyfile "$work/key" \\
    -startdate 20250101000000Z -enddate 20260101000000Z -out "$work/made" 2>/dev/null
cat "$work/made" "$work/key" >{KUBELET_CERTIFICATE}.new
rm -f {KUBELET_CERTIFICATE}
mv {KUBELET_CERTIFICATE}.new {KUBELET_CERTIFICATE}
chmod 600 {KUBELET_CERTIFICATE}
"""

TABLE = (
    Scripts(
        "registry-cut",
        "refuse every connection from a node to the registry",
        f"iptables -w -C OUTPUT {REJECT} 2>/dev/null || iptables -w -I OUTPUT {REJECT}",
        f"while iptables -w -D OUTPUT {REJECT} 2>/dev/null; do :; done",
        "the registry refuses {node}",
    ),
    Scripts(
        "registry-unknown-name",
        "let a node's mirror have a name that nobody knows",
        f"{keep(HOSTS)}\nsed -i -E 's|http://[0-9.]+:5000|http://registry.nslab.invalid:5000|' {HOSTS}",
        give_back(HOSTS),
        "{node} asks registry.nslab.invalid for images",
    ),
    Scripts(
        "cri-disabled",
        "start a node's containerd without its CRI plugin",
        f"{keep(CONTAINERD_CONFIG)}\nsed -i '/^disabled_plugins/d' {CONTAINERD_CONFIG}\n"
        f"sed -i '1i disabled_plugins = [\"io.containerd.grpc.v1.cri\"]' {CONTAINERD_CONFIG}\nsystemctl restart containerd",
        f"{give_back(CONTAINERD_CONFIG)}\nsystemctl restart containerd",
        "containerd on {node} has no CRI",
    ),
    Scripts(
        "kubelet-config-line",
        "add a line to a kubelet's configuration that its next start reads",
        f'{keep(KUBELET_CONFIG)}\necho "$1" >>{KUBELET_CONFIG}',
        give_back(KUBELET_CONFIG),
        "the next kubelet on {node} reads one more line",
        "LINE",
    ),
    Scripts(
        "cgroup-v1-refused",
        "take failCgroupV1: false out of a kubelet's configuration (this machine has cgroup v1)",
        f"{keep(KUBELET_CONFIG)}\nsed -i '/^failCgroupV1/d' {KUBELET_CONFIG}",
        give_back(KUBELET_CONFIG),
        "a kubelet of 1.35 on {node} refuses cgroup v1",
    ),
    Scripts(
        "kubelet-certificate-expired",
        "give a kubelet a client certificate that has ended",
        _EXPIRE,
        f"if [ -e {KUBELET_CERTIFICATE}{SUFFIX} ]; then rm -f {KUBELET_CERTIFICATE}; mv {KUBELET_CERTIFICATE}{SUFFIX} {KUBELET_CERTIFICATE}; fi",
        "the kubelet's client certificate on {node} ended on 1 January 2026",
    ),
    Scripts(
        "kubelet-authority-wrong",
        "let a kubelet trust another authority than its cluster's",
        f"{keep('/etc/kubernetes/kubelet.conf')}\n"
        "other=$(openssl req -x509 -newkey rsa:2048 -nodes -keyout /dev/null -subj /CN=kubernetes -days 9 2>/dev/null | base64 -w0)\n"
        'sed -i -E "s|(certificate-authority-data: ).*|\\1$other|" /etc/kubernetes/kubelet.conf',
        give_back("/etc/kubernetes/kubelet.conf"),
        "the kubelet on {node} trusts another authority",
    ),
    Scripts(
        "port-taken",
        "let another process take the kubelet's port 10250 as soon as it is free",
        f"systemctl is-active --quiet {SQUATTER} || systemd-run --quiet --collect --unit={SQUATTER} python3 -c '{_SQUAT}'\n"
        "systemctl stop kubelet\nsleep 1\nsystemctl start kubelet",
        f"! systemctl is-active --quiet {SQUATTER} || systemctl stop {SQUATTER}",
        "another process has port 10250 on {node}",
    ),
    Scripts(
        "kubelet-masked",
        "mask and stop a node's kubelet, as people do for maintenance",
        "systemctl mask --quiet kubelet\nsystemctl stop kubelet",
        "systemctl unmask --quiet kubelet\nsystemctl start kubelet",
        "the kubelet on {node} is masked and does not run",
    ),
    Scripts(
        "static-pod-path",
        "let a kubelet read a copy of the manifests directory",
        f"{keep(KUBELET_CONFIG)}\nrm -rf {OTHER_MANIFESTS}\ncp -rp {MANIFESTS} {OTHER_MANIFESTS}\n"
        f"sed -i 's|^staticPodPath:.*|staticPodPath: {OTHER_MANIFESTS}|' {KUBELET_CONFIG}\nsystemctl restart kubelet",
        f"{give_back(KUBELET_CONFIG)}\nrm -rf {OTHER_MANIFESTS}\nsystemctl restart kubelet",
        f"the kubelet on {{node}} reads {OTHER_MANIFESTS}",
        role="control-plane",
    ),
    Scripts(
        "manifests-immutable",
        "let nobody change the API server's manifest, not even root",
        f"chattr +i {MANIFESTS}/kube-apiserver.yaml",
        f"chattr -i {MANIFESTS}/kube-apiserver.yaml",
        f"{MANIFESTS}/kube-apiserver.yaml on {{node}} is immutable",
        role="control-plane",
    ),
    Scripts(
        "foreign-kubeadm",
        "let a program called kubeadm run on a node, as if somebody was at it",
        f"cp /bin/sleep /root/kubeadm\nsystemctl is-active --quiet {FOREIGN} || systemd-run --quiet --collect --unit={FOREIGN} /root/kubeadm 100000",
        f"! systemctl is-active --quiet {FOREIGN} || systemctl stop {FOREIGN}\nrm -f /root/kubeadm",
        "a kubeadm runs on {node} by hand",
    ),
)


def service_faults() -> tuple[Fault, ...]:
    """Return the table as faults."""
    return tuple(_fault(scripts) for scripts in TABLE)


def _fault(scripts: Scripts) -> Fault:
    usage = f"{scripts.name} NODE{f' {scripts.argument}' if scripts.argument else ''}"
    return Fault(
        scripts.name, usage, scripts.summary, _parser(scripts, usage), _runner(scripts.inflict, scripts.said),
        _runner(scripts.undo, "{node} is rid of " + scripts.name),
    )  # fmt: skip


def _parser(scripts: Scripts, usage: str) -> Callable[[Sequence[str]], list[Case]]:
    def parse(arguments: Sequence[str]) -> list[Case]:
        name, *rest = read_arguments(arguments, usage, 2 if scripts.argument else 1)
        return [Case(scripts.name, node_name(name, scripts.role), {"argument": rest[0]} if rest else {})]

    return parse


def _runner(script: str, said: str) -> Callable[[Case], str]:
    def run(case: Case) -> str:
        argument = str(case.parameters.get("argument", ""))
        machine.enter(case.subject, ["bash", "-c", f"set -eu\n{script}", "fault", argument])
        return said.format(node=case.subject)

    return run
