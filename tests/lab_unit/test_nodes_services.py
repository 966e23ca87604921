"""The lab's own services: what the resolver says, what HAProxy, Prometheus and the nodes are told."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import tomllib
from ipaddress import IPv4Address, ip_network
from pathlib import Path

import pytest

from nslab import settings
from nslab.nodes import dns, identity, infra, kubeadm_config, monitoring, state

KNOWN = {"cp1": IPv4Address("10.217.0.11")}
SMALL, HA = state.Lab("small"), state.Lab("ha")


def query(name: str, kind: int = 1) -> bytes:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".") if part)
    return struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)


def test_resolver_knows_nodes_whatever_the_case() -> None:
    reply = dns.answer(query("CP1"), KNOWN)
    identifier, flags, _, answers, _, _ = struct.unpack("!6H", reply[:12])
    assert (identifier, flags & 0xF, answers) == (7, 0, 1)
    assert reply.endswith(bytes([10, 217, 0, 11]))


def test_resolver_has_no_ipv6_for_a_node_but_does_not_deny_the_node() -> None:
    _, flags, _, answers, _, _ = struct.unpack("!6H", dns.answer(query("cp1", kind=28), KNOWN)[:12])
    assert (flags & 0xF, answers) == (0, 0)


@pytest.mark.parametrize("name", ["example.com", "cp1.example.com", ""])
def test_resolver_denies_every_other_name_at_once(name: str) -> None:
    _, flags, *_ = struct.unpack("!6H", dns.answer(query(name), KNOWN)[:12])
    assert flags & 0xF == 3


def test_haproxy_asks_every_control_plane_for_readyz() -> None:
    text = infra.haproxy_config(HA)
    assert "option httpchk GET /readyz" in text
    assert [line.split()[2] for line in text.splitlines() if line.startswith("    server cp")] == [
        f"{n.address}:6443" for n in HA.control_planes
    ]


def test_pushgateway_keeps_nothing_for_the_next_lab() -> None:
    assert "--persistence.file=" in infra.pushgateway_command()


@pytest.mark.skipif(not shutil.which("haproxy"), reason="haproxy is not installed")
def test_haproxy_accepts_its_configuration(tmp_path: Path) -> None:
    file = tmp_path / "haproxy.cfg"
    file.write_text(infra.haproxy_config(HA))
    checked = subprocess.run(["haproxy", "-c", "-f", str(file)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.skipif(not shutil.which("promtool"), reason="prometheus is not installed")
def test_prometheus_accepts_configuration_and_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tmp_path / "token"
    token.write_text("t")
    monkeypatch.setattr(monitoring, "TOKEN", token)
    for name, text in monitoring.config_files(HA).items():
        (tmp_path / name).write_text(text)
    argv = ["promtool", "check", "config", str(tmp_path / "prometheus.yml")]
    checked = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "2 rules found" in checked.stdout


def test_pushed_metrics_keep_their_own_labels() -> None:
    text = monitoring.config_files(SMALL)["prometheus.yml"]
    job = text[text.index("job_name: pushgateway") :]
    assert "honor_labels: true" in job


def test_node_files_route_to_all_other_nodes_and_never_out_of_the_lab() -> None:
    node = HA.profile.nodes[0]
    files = identity.files(node, HA.profile)
    routes = files["etc/nightshift-lab/node.env"]
    for other in HA.profile.nodes[1:]:
        assert f"{other.pod_network} {other.address}" in routes
    assert node.pod_network not in routes
    assert files["etc/resolv.conf"] == f"nameserver {settings.INFRA_ADDRESS}\n"
    for path in files:
        if path.endswith("hosts.toml"):
            hosts = tomllib.loads(files[path])["host"]
            assert list(hosts) == [f"http://{settings.INFRA_ADDRESS}:{settings.REGISTRY_PORT}"]


def test_pod_networks_do_not_overlap_and_start_where_the_controller_manager_starts() -> None:
    networks = [ip_network(n.pod_network) for n in HA.profile.nodes]
    assert networks[0].network_address == settings.POD_NETWORK.network_address
    assert len(set(networks)) == len(networks)
    subnets = [
        json.loads(identity.files(n, HA.profile)["etc/cni/net.d/10-nightshift-lab.conflist"])["plugins"][0][
            "ipam"
        ]
        for n in HA.profile.nodes
    ]
    assert [s["ranges"][0][0]["subnet"] for s in subnets] == [str(n) for n in networks]


def test_machine_ids_differ() -> None:
    ids = {identity.files(n, HA.profile)["etc/machine-id"] for n in HA.profile.nodes}
    assert len(ids) == len(HA.profile.nodes)
    assert all(len(i.strip()) == 32 for i in ids)


def test_only_a_cluster_behind_haproxy_has_a_shared_endpoint() -> None:
    secrets = kubeadm_config.Secrets("abcdef.0123456789abcdef", "00")
    assert "controlPlaneEndpoint" not in kubeadm_config.init(SMALL, secrets)
    assert "certificateKey" not in kubeadm_config.init(SMALL, secrets)
    ha = kubeadm_config.init(HA, secrets)
    assert f"controlPlaneEndpoint: {settings.INFRA_ADDRESS}:{settings.HAPROXY_PORT}" in ha
    assert "certificateKey: 00" in ha


def test_workers_join_without_control_plane_and_pin_the_authority() -> None:
    secrets = kubeadm_config.Secrets.make(lambda count: "ab" * count)
    worker = kubeadm_config.join(HA, HA.workers[0], secrets, "sha256:1")
    assert "controlPlane:" not in worker
    assert 'caCertHashes: ["sha256:1"]' in worker
    assert "token: ababab.abababababababab" in worker
    assert "controlPlane:" in kubeadm_config.join(HA, HA.control_planes[1], secrets, "sha256:1")


def test_crictl_is_told_the_socket_on_every_node(tmp_path: Path) -> None:
    identity.lay_files(tmp_path)
    lines = (tmp_path / "etc/crictl.yaml").read_text().splitlines()
    assert "runtime-endpoint: unix:///run/containerd/containerd.sock" in lines


def test_containerd_file_is_toml_and_confines_images_to_the_lab() -> None:
    config = tomllib.loads((identity.FILES / "etc/containerd/config.toml").read_text())
    cri = config["plugins"]["io.containerd.grpc.v1.cri"]
    assert cri["registry"]["config_path"] == "/etc/containerd/certs.d"
    assert cri["restrict_oom_score_adj"] is True
