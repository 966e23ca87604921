from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nightshift.domain.drift import (
    Effect,
    Grade,
    KubeletChanges,
    Setting,
    addon_repositories,
    compare,
    flags_unread,
    is_stock_corefile,
    kubelet_changes,
    kubelet_edits,
    kubelet_unread,
    lost_flags,
    merged,
    own_flags,
    repository_of,
    split_words,
    uploads,
)
from nightshift.domain.facts.drift import ControlPlaneConfig, HostVolume, KubeletFiles, StaticPod

PKI = HostVolume("/etc/kubernetes/pki", "/etc/kubernetes/pki", "DirectoryOrCreate", True)
AUTH = HostVolume("/etc/kubernetes/auth", "/etc/kubernetes/auth", "Directory", True)
OIDC = {"oidc-issuer-url": ("https://id.example.org",), "oidc-client-id": ("kubernetes",)}
CONFIGURATION = {
    "apiVersion": "kubeadm.k8s.io/v1beta4",
    "kind": "ClusterConfiguration",
    "apiServer": {},
    "etcd": {"local": {"dataDir": "/var/lib/etcd"}},
    "imageRepository": "registry.k8s.io",
    "kubernetesVersion": "v1.34.4",
}


def pod(component: str = "kube-apiserver", **changes: Any) -> StaticPod:
    flags = {
        "kube-apiserver": {
            "advertise-address": ("10.0.0.1",),
            "authorization-mode": ("Node,RBAC",),
            "secure-port": ("6443",),
        },
        "etcd": {"name": ("cp1",), "initial-cluster": ("cp1=https://10.0.0.1:2380",)},
    }[component]
    plain = StaticPod(
        program=(component,),
        flags=flags,
        order=tuple(flags),
        image=f"registry.k8s.io/{component}:v1.34.4",
        volumes={"k8s-certs": PKI},
        rest={"spec.hostNetwork": "true"},
    )
    return replace(plain, **changes)


def with_flags(**flags: tuple[str, ...]) -> StaticPod:
    plain = pod()
    more = {name.replace("_", "-"): values for name, values in flags.items()}
    return replace(plain, flags={**plain.flags, **more}, order=(*plain.order, *more))


def without(*names: str) -> StaticPod:
    plain = pod()
    return replace(
        plain,
        flags={n: v for n, v in plain.flags.items() if n not in names},
        order=tuple(n for n in plain.order if n not in names),
    )


def config(live: StaticPod, rendered: StaticPod | None = None, **changes: Any) -> ControlPlaneConfig:
    plain = ControlPlaneConfig(
        CONFIGURATION, "f00", {"kube-apiserver": live}, {"kube-apiserver": rendered or pod()}
    )
    return replace(plain, **changes)


def test_what_kubeadm_wrote_does_not_differ() -> None:
    assert compare("kube-apiserver", pod(), pod()) == ()


@pytest.mark.parametrize(
    ("live", "rendered", "grade", "effect", "what"),
    [
        pytest.param(
            with_flags(oidc_issuer_url=("https://id.example.org",)),
            pod(),
            Grade.RECOVERABLE,
            Effect.LOSE,
            "--oidc-issuer-url=https://id.example.org",
            id="the post-mortem: a flag only in the manifest",
        ),
        pytest.param(
            pod(),
            with_flags(profiling=("false",)),
            Grade.RECOVERABLE,
            Effect.BRING,
            "--profiling=false",
            id="a flag only in kubeadm-config",
        ),
        pytest.param(
            pod(),
            with_flags(authentication_config=("/etc/kubernetes/auth/config.yaml",)),
            Grade.FATAL,
            Effect.BRING,
            "names a path that no volume brings",
            id="kubeadm-config names a file that the container would not see",
        ),
        pytest.param(
            pod(),
            with_flags(audit_log_path=("/var/log/audit.log",)),
            Grade.RECOVERABLE,
            Effect.BRING,
            "--audit-log-path=/var/log/audit.log",
            id="a path that it writes itself",
        ),
        pytest.param(
            with_flags(advertise_address=("10.0.0.9",)),
            pod(),
            Grade.FATAL,
            Effect.NOTHING,
            "--advertise-address=10.0.0.9 in the manifest, kubeadm would write --advertise-address=10.0.0.1",
            id="an address differs",
        ),
        pytest.param(
            without("secure-port"),
            pod(),
            Grade.FATAL,
            Effect.NOTHING,
            "no --secure-port in the manifest",
            id="an identity flag is missing",
        ),
        pytest.param(
            pod(order=("secure-port", "advertise-address", "authorization-mode")),
            pod(),
            Grade.COSMETIC,
            Effect.NOTHING,
            "another order",
            id="another order",
        ),
        pytest.param(
            pod(volumes={"k8s-certs": PKI, "auth": AUTH}),
            pod(),
            Grade.RECOVERABLE,
            Effect.LOSE,
            "volume auth (/etc/kubernetes/auth at /etc/kubernetes/auth)",
            id="a volume only in the manifest",
        ),
        pytest.param(
            pod(volumes={"k8s-certs": PKI, "scratch": None}),
            pod(),
            Grade.RECOVERABLE,
            Effect.LOSE,
            "volume scratch",
            id="a volume kubeadm has no place for",
        ),
        pytest.param(
            pod(volumes={"k8s-certs": PKI, "usr-share-ca-certificates": PKI}),
            pod(),
            Grade.COSMETIC,
            Effect.NOTHING,
            "usr-share-ca-certificates",
            id="a CA directory the node no longer has",
        ),
        pytest.param(
            pod(env={"HTTPS_PROXY": "http://u:secret@proxy:3128"}),
            pod(),
            Grade.RECOVERABLE,
            Effect.LOSE,
            "environment variable HTTPS_PROXY",
            id="an environment variable, its value not shown",
        ),
        pytest.param(
            pod(image="mirror.example.org:5000/kube-apiserver:v1.34.4"),
            pod(),
            Grade.RECOVERABLE,
            Effect.LOSE,
            "mirror.example.org:5000/kube-apiserver",
            id="an image from elsewhere",
        ),
        pytest.param(
            pod(rest={"spec.hostNetwork": "true", "spec.hostAliases": "[]"}),
            pod(),
            Grade.RECOVERABLE,
            Effect.LOSE,
            "spec.hostAliases",
            id="a field kubeadm has no place for",
        ),
        pytest.param(
            pod(program=("/bin/sh", "-c")),
            pod(),
            Grade.FATAL,
            Effect.LOSE,
            "does not start it, but /bin/sh -c",
            id="started through something else",
        ),
    ],
)
def test_one_difference(
    live: StaticPod, rendered: StaticPod, grade: Grade, effect: Effect, what: str
) -> None:
    (found,) = compare("kube-apiserver", live, rendered)
    assert (found.grade, found.effect) == (grade, effect)
    assert what in found.what
    assert "secret" not in found.what


def test_an_image_tag_is_no_drift() -> None:
    assert compare("kube-apiserver", pod(image="registry.k8s.io/kube-apiserver:v1.35.4"), pod()) == ()


def test_what_etcd_reads_once_is_no_drift() -> None:
    joined = pod(
        "etcd",
        flags={
            "name": ("cp1",),
            "initial-cluster": ("cp0=https://10.0.0.9:2380,cp1=https://10.0.0.1:2380",),
            "initial-cluster-state": ("existing",),
        },
        order=("name", "initial-cluster", "initial-cluster-state"),
    )
    assert compare("etcd", joined, pod("etcd")) == ()


def test_what_the_api_server_refuses_together_is_fatal() -> None:
    rendered = with_flags(**{"oidc-issuer-url": ("https://id.example.org",)})
    live = replace(
        with_flags(authentication_config=("/etc/kubernetes/pki/auth.yaml",)), volumes={"k8s-certs": PKI}
    )
    fatal = [d.what for d in compare("kube-apiserver", live, rendered) if d.grade is Grade.FATAL]
    assert fatal == ["--authentication-config and --oidc-issuer-url together would keep it from starting"]


def test_structured_authorization_takes_kubeadms_default_away() -> None:
    live = replace(
        without("authorization-mode"),
        flags={
            **without("authorization-mode").flags,
            "authorization-config": ("/etc/kubernetes/pki/a.yaml",),
        },
    )
    found = compare("kube-apiserver", replace(live, order=tuple(live.flags)), pod())
    assert [(d.what, d.grade) for d in found] == [
        ("--authorization-config=/etc/kubernetes/pki/a.yaml", Grade.RECOVERABLE)
    ]


def test_upload_is_what_every_control_plane_has() -> None:
    both = with_flags(**{name.replace("-", "_"): v for name, v in OIDC.items()})
    one = with_flags(oidc_issuer_url=OIDC["oidc-issuer-url"])
    found = uploads({"cp1": config(both), "cp2": config(one)})
    assert [str(s) for s in found.settings] == ["--oidc-issuer-url=https://id.example.org"]
    assert [(str(s), nodes) for s, nodes in found.uneven] == [("--oidc-client-id=kubernetes", ("cp1",))]


def test_a_setting_that_a_patch_brings_on_the_other_node_is_even() -> None:
    live = with_flags(profiling=("false",))
    found = uploads({"cp1": config(live), "cp2": config(live, rendered=live)})
    assert [str(s) for s in found.settings] == ["--profiling=false"]


def test_nothing_fatal_and_nothing_of_an_old_form_is_uploaded() -> None:
    assert uploads({"cp1": config(with_flags(advertise_address=("10.0.0.9",)))}).settings == ()
    old = {**CONFIGURATION, "apiVersion": "kubeadm.k8s.io/v1beta3"}
    found = uploads({"cp1": config(with_flags(profiling=("false",)), configuration=old)})
    assert found.settings == ()
    assert "v1beta4" in found.refusal


def test_merging_adds_and_replaces_and_leaves_its_input_alone() -> None:
    before = {
        **CONFIGURATION,
        "apiServer": {"extraArgs": [{"name": "profiling", "value": "true"}, {"name": "v", "value": "2"}]},
    }
    after = merged(
        before,
        [
            Setting("kube-apiserver", "flag", "profiling", ("false",)),
            Setting("kube-apiserver", "flag", "service-account-issuer", ("a", "b")),
            Setting("kube-apiserver", "volume", "auth", volume=AUTH),
            Setting("kube-scheduler", "env", "TZ", ("UTC",)),
            Setting("etcd", "flag", "quota-backend-bytes", ("8589934592",)),
        ],
    )
    assert after["apiServer"]["extraArgs"] == [
        {"name": "v", "value": "2"},
        {"name": "profiling", "value": "false"},
        {"name": "service-account-issuer", "value": "a"},
        {"name": "service-account-issuer", "value": "b"},
    ]
    assert after["apiServer"]["extraVolumes"] == [
        {
            "name": "auth",
            "hostPath": "/etc/kubernetes/auth",
            "mountPath": "/etc/kubernetes/auth",
            "readOnly": True,
            "pathType": "Directory",
        }
    ]
    assert after["scheduler"]["extraEnvs"] == [{"name": "TZ", "value": "UTC"}]
    assert after["etcd"]["local"] == {
        "dataDir": "/var/lib/etcd",
        "extraArgs": [{"name": "quota-backend-bytes", "value": "8589934592"}],
    }
    assert before["apiServer"]["extraArgs"][0] == {"name": "profiling", "value": "true"}
    assert "scheduler" not in before


def test_own_flags_are_those_that_kubeadm_config_says_or_will_say() -> None:
    live = with_flags(oidc_issuer_url=OIDC["oidc-issuer-url"], v=("2",))
    configuration = {**CONFIGURATION, "apiServer": {"extraArgs": [{"name": "v", "value": "2"}]}}
    found = config(live, configuration=configuration)
    assert own_flags(found, [Setting("kube-apiserver", "flag", "oidc-issuer-url", ("x",))]) == {
        "kube-apiserver": {"v": ("2",), "oidc-issuer-url": OIDC["oidc-issuer-url"]}
    }


def test_lost_flags_are_looked_for_in_the_running_process() -> None:
    wanted = {"kube-apiserver": {"oidc-client-id": ["kubernetes"], "v": ["2"]}}
    assert (
        lost_flags(wanted, {"kube-apiserver": ["kube-apiserver", "--v=2", "--oidc-client-id=kubernetes"]})
        == []
    )
    assert lost_flags(wanted, {"kube-apiserver": ["kube-apiserver", "--v=3"]}) == [
        "kube-apiserver runs without --oidc-client-id=kubernetes",
        "kube-apiserver runs without --v=2",
    ]
    assert len(lost_flags(wanted, {})) == 2


def test_words_are_split_as_the_programs_do() -> None:
    assert split_words(["etcd", "--a=b=c", "--d", "e", "--f", "--g="]) == (
        ("etcd",),
        [("a", "b=c"), ("d", "e"), ("f", "true"), ("g", "")],
    )
    with pytest.raises(ValueError, match="no flag"):
        split_words(["etcd", "--a=b", "stray"])


def files(**changes: Any) -> KubeletFiles:
    plain = KubeletFiles(
        config={
            "kind": "KubeletConfiguration",
            "maxPods": 110,
            "syncFrequency": "0s",
            "authentication": {"anonymous": {"enabled": False}},
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "streamingConnectionIdleTimeout": "4h",
        },
        config_modified=1000.0,
        instance={"containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock"},
        flags=("--node-ip=10.0.0.1",),
        flags_modified=1000.0,
        arguments=("/usr/bin/kubelet", "--config=/var/lib/kubelet/config.yaml", "--node-ip=10.0.0.1"),
        started=1010.0,
    )
    return replace(plain, **changes)


MAP = {
    "kind": "KubeletConfiguration",
    "maxPods": 110,
    "syncFrequency": "0s",
    "authentication": {"anonymous": {"enabled": False}},
    "containerRuntimeEndpoint": "",
    "streamingConnectionIdleTimeout": "4h",
}
CONFIGZ = {
    "maxPods": 110,
    "syncFrequency": "1m0s",
    "authentication": {"anonymous": {"enabled": False}},
    "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
    "streamingConnectionIdleTimeout": "4h0m0s",
}


def test_a_kubelet_as_kubeadm_left_it_has_no_edits() -> None:
    assert kubelet_edits(files(), MAP) == ()
    assert kubelet_edits(files(config={**files().config, "resolvConf": "/run/x"}), MAP) == ()  # type: ignore[dict-item]


def test_edits_name_the_setting_and_both_values() -> None:
    edited = {**MAP, "maxPods": 200, "authentication": {"anonymous": {"enabled": True}}}
    assert kubelet_edits(files(config=edited, instance={}), {**MAP, "serializeImagePulls": True}) == (
        "authentication.anonymous.enabled: True (kubelet-config: False)",
        "maxPods: 200 (kubelet-config: 110)",
    )


def test_a_kubelet_older_than_its_file_is_compared_with_what_it_runs_with() -> None:
    late = files(config_modified=2000.0)
    assert kubelet_unread(late, CONFIGZ) == ()  # touched, not changed
    edited = replace(late, config={**(late.config or {}), "maxPods": 200})
    assert kubelet_unread(edited, CONFIGZ) == ("maxPods: 200 (running: 110)",)
    assert kubelet_unread(replace(edited, config_modified=1000.0), CONFIGZ) == ()  # restarted since
    given = replace(edited, arguments=("kubelet", "--max-pods=110"))
    assert kubelet_unread(given, CONFIGZ) == ()  # a flag goes before the file


def test_flags_written_after_the_start_are_not_running() -> None:
    flags = ("--node-ip=10.0.0.1", "--v=4")
    assert flags_unread(files(flags=flags, flags_modified=2000.0)) == ("--v=4",)
    assert flags_unread(files(flags=flags)) == ()


def test_changes_of_a_kubelet_are_its_owners_or_the_versions() -> None:
    before = {**CONFIGZ, "maxPods": 111, "newDefault": 1}
    after = {"kind": "KubeletConfiguration", **CONFIGZ, "maxPods": 110, "newDefault": 2, "added": True}
    found = kubelet_changes(before, after, {**MAP, "maxPods": 111})
    assert found.lost == ("maxPods: 111 (now 110)",)
    assert found.others == ("added: 'absent' (now True)", "newDefault: 1 (now 2)")
    assert kubelet_changes(before, before, MAP) == KubeletChanges((), ())


COREFILE = """.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30 {
       disable success cluster.local
       disable denial cluster.local
    }
    loop
    reload
    loadbalance
}
"""


def test_corefiles() -> None:
    assert is_stock_corefile(COREFILE, "cluster.local")
    older = COREFILE.replace(
        COREFILE[COREFILE.index(" {\n       disable") : COREFILE.index("    loop")], "\n"
    )
    assert "disable" not in older
    assert is_stock_corefile(older, "cluster.local")
    assert is_stock_corefile(COREFILE.replace("    ", "\t") + "# a comment\n", "cluster.local")
    assert not is_stock_corefile(COREFILE, "example.org")
    assert not is_stock_corefile(COREFILE.replace("    loop\n", "    loop\n    log\n"), "cluster.local")


def test_where_kubeadm_takes_the_addons_from() -> None:
    assert addon_repositories({}) == {
        "coredns": "registry.k8s.io/coredns/coredns",
        "kube-proxy": "registry.k8s.io/kube-proxy",
    }
    own = {"imageRepository": "mirror:5000/k8s", "dns": {"imageRepository": "mirror:5000/dns"}}
    assert addon_repositories(own) == {
        "coredns": "mirror:5000/dns/coredns",
        "kube-proxy": "mirror:5000/k8s/kube-proxy",
    }
    assert repository_of("mirror:5000/k8s/kube-proxy:v1.34.4@sha256:0") == "mirror:5000/k8s/kube-proxy"
    assert repository_of("mirror:5000/k8s/kube-proxy") == "mirror:5000/k8s/kube-proxy"
