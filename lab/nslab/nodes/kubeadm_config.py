"""The files given to `kubeadm init` and `kubeadm join`: stock, except where the lab's machines differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nslab.nodes.state import Lab
from nslab.settings import POD_NETWORK, Node

# The kernel's configuration cannot be read from inside a node, and 1.35 makes cgroup v1 an error there.
IGNORED_CHECKS = ("SystemVerification",)


@dataclass(frozen=True)
class Secrets:
    """What a joining node must know; lives for the time of the joins only."""

    token: str
    certificate_key: str

    @classmethod
    def make(cls, random_hex: Callable[[int], str]) -> Secrets:
        """Draw both from `random_hex(number of bytes)`."""
        return cls(f"{random_hex(3)}.{random_hex(8)}", random_hex(32))


def init(lab: Lab, secrets: Secrets) -> str:
    """Return the configuration of `kubeadm init` on the first control plane."""
    first = lab.control_planes[0]
    several = len(lab.control_planes) > 1
    endpoint = f"controlPlaneEndpoint: {lab.profile.api_endpoint}\n" if several else ""
    certificates = f"certificateKey: {secrets.certificate_key}\n" if several else ""
    return f"""\
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
bootstrapTokens:
  - token: {secrets.token}
    ttl: 1h
{certificates}localAPIEndpoint:
  advertiseAddress: {first.address}
{_registration(first)}---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v{lab.version}
{endpoint}networking:
  podSubnet: {POD_NETWORK}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
# A node has no systemd cgroups that the kubelet could use, and shares the machine's swap and cgroup version.
cgroupDriver: cgroupfs
failSwapOn: false
failCgroupV1: false
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
# These limits belong to the machine; a node cannot set them.
conntrack:
  maxPerCore: 0
  min: 0
  tcpEstablishedTimeout: 0s
  tcpCloseWaitTimeout: 0s
"""


def join(lab: Lab, node: Node, secrets: Secrets, authority_hash: str) -> str:
    """Return the configuration of `kubeadm join` on `node`."""
    control_plane = f"""\
controlPlane:
  certificateKey: {secrets.certificate_key}
  localAPIEndpoint:
    advertiseAddress: {node.address}
"""
    return f"""\
apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
discovery:
  bootstrapToken:
    apiServerEndpoint: {lab.profile.api_endpoint}
    token: {secrets.token}
    caCertHashes: ["{authority_hash}"]
{_registration(node)}{control_plane if node.role == "control-plane" else ""}"""


def _registration(node: Node) -> str:
    checks = ", ".join(IGNORED_CHECKS)
    return f"""\
nodeRegistration:
  name: {node.name}
  ignorePreflightErrors: [{checks}]
  kubeletExtraArgs:
    - name: node-ip
      value: {node.address}
"""
