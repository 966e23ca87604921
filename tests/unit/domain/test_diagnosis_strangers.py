"""Words that the node's components quote of others never become the cause; the same words said by a component itself do."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from tests.unit.domain import diagnosis_bundles as b
from tests.unit.domain.test_diagnosis_causes import apiserver, etcd, job, judge

from nightshift.domain.diagnosis.engine import Confidence
from nightshift.domain.diagnosis.reading import read

MANAGER = "pods/kube-system_kube-controller-manager-cp1_073bd3b383f1817b05a1a48a3a0824e0/kube-controller-manager/1.log"
CALICO = "pods/kube-system_etcd-calico-0_0d4a3b1e-7f0c-4c3a-9a55-6ad0f4f1a111/etcd/0.log"
BACKUP = "pods/kube-system_etcd-backup-29412345-x7zqk_5f0b7e0a-95c4-4a0e-8b0e-1f2f6c1d2e3f/backup/0.log"
FOLLOWED_CALICO = "recorder/pods/etcd-calico-0/etcd-0123456789ab.log"
_CRASH = b.crash_loop()


def probe(output: str) -> str:
    """As pkg/kubelet/prober/prober.go writes it."""
    return b.journal(
        "kubelet",
        f'I1128 23:19:30.1 110 prober.go:107] "Probe failed" probeType="Liveness" pod="shop/web-0" containerName="web" output="{output}"',
    )


def klog(at: str, rest: str) -> str:
    return b.container(f"W1128 23:19:30.1 1 {at}] {rest}")


X509 = "tls: failed to verify certificate: x509: certificate signed by unknown authority"
QUOTED = {
    "a tenant's probe: unknown flag": (b.KUBELET, probe("Error: unknown flag: --addr\\n")),
    "a tenant's probe: the kubelet's own last words": (
        b.KUBELET,
        probe('E1128 1:1 1 run.go:72] \\"command failed\\" err=\\"unknown flag: --addr\\"'),
    ),
    "a tenant's probe: port": (b.KUBELET, probe("listen tcp :10250: bind: address already in use")),
    "a tenant's probe: runtime": (b.KUBELET, probe("unknown service runtime.v1.RuntimeService")),
    "a tenant's probe: API's certificate": (b.KUBELET, probe(f"https://10.96.0.1:6443/ {X509}")),
    "a tenant's probe: etcd's disk": (
        b.KUBELET,
        probe("kube-system/etcd-cp1: write /var/lib/etcd/x: no space left on device"),
    ),
    "a tenant's probe of several lines: flag": (
        b.KUBELET,
        b.journal("kubelet", "        Error: unknown flag: --addr"),
    ),
    "a tenant's probe of several lines: certificate": (
        b.KUBELET,
        b.journal("kubelet", f"\tGet https://10.96.0.1:6443/: {X509}"),
    ),
    "a webhook's words of several lines": (
        b.APISERVER,
        b.container(f"\tGet https://10.96.0.1:6443/: {X509}"),
    ),
    "a webhook that names etcd's directory": (
        b.APISERVER,
        klog("dispatcher.go:225", 'rejected by webhook "x": write /var/lib/etcd/x: no space left on device'),
    ),
    "an event of a tenant's cluster": (
        MANAGER,
        klog(
            "event.go:389", f'"Event occurred" object="shop/x" message="Get https://10.9.9.9:6443/: {X509}"'
        ),
    ),
    "a tenant's volume": (
        MANAGER,
        klog(
            "event.go:389",
            '"Event occurred" object="shop/data" reason="ProvisioningFailed" message="mkdir /export/pvc-1: no space left on device"',
        ),
    ),
    "a volume of kube-system": (
        MANAGER,
        klog(
            "event.go:389",
            '"Event occurred" object="kube-system/etcd-backup" message="mkdir /export/pvc-1: no space left on device"',
        ),
    ),
    "a backup's target": (BACKUP, b.container("write /backup/snap.db: no space left on device")),
    "a webhook's disk": (
        b.APISERVER,
        klog("dispatcher.go:225", 'rejected by webhook "x": rpc error: no space left on device'),
    ),
    "a webhook's flag": (
        b.APISERVER,
        klog(
            "dispatcher.go:225",
            'rejected by webhook "v.shop": &errors.StatusError{... admission webhook "v.shop" denied the request: unknown flag: --nodes',
        ),
    ),
    "a webhook's port": (
        b.APISERVER,
        klog("dispatcher.go:225", 'webhook "v": listen tcp 0.0.0.0:6443: bind: address already in use'),
    ),
    "a webhook's etcd": (
        b.APISERVER,
        klog("dispatcher.go:225", 'webhook "v": etcdserver: mvcc: database space exceeded'),
    ),
    "a metrics API": (
        b.APISERVER,
        klog(
            "remote_available_controller.go:448",
            f'"Unhandled Error" err="v1.custom.metrics.k8s.io failed with: failing or missing response from https://10.96.1.1:443/apis: {X509}"',
        ),
    ),
    "an identity provider": (b.APISERVER, klog("oidc.go:1", f"Get https://id.example.com/: {X509}")),
    "kube-vip's mirror pod": (
        b.KUBELET,
        b.journal(
            "kubelet",
            'E1128 23:19:30.1 110 kubelet.go:1900] "Failed creating a mirror pod" err="admission webhook \\"v\\" denied the request: no" pod="kube-system/kube-vip-cp1"',
        ),
    ),
    "a CRD's conversion": (
        b.APISERVER,
        klog(
            "reflector.go:166",
            '"Unhandled Error" err="failed to list shop.io/v1, Resource=widgets: conversion webhook for shop.io/v1, Kind=Widget failed: no kind \\"Widget\\" is registered for version \\"shop.io/v1\\" in scheme"',
        ),
    ),
    "a tenant's etcd: flag": (CALICO, b.container("flag provided but not defined: -foo")),
    "a tenant's etcd: quota": (
        CALICO,
        b.container('{"level":"warn","msg":"message exceeded backend quota; raising alarm"}'),
    ),
    "a tenant's etcd: slow": (CALICO, b.slow_applies(20)),
    "a tenant's etcd, followed": (FOLLOWED_CALICO, b.container("flag provided but not defined: -foo")),
    "a learner that etcd lets wait": (
        b.ETCD,
        b.container(
            '{"level":"warn","msg":"rejected promote","error":"etcdserver: can only promote a learner member which is in sync with leader"}'
        ),
    ),
    "a note among the manifests": (
        b.KUBELET,
        b.journal(
            "kubelet",
            'E1128 23:19:30 110 file.go:187] "Could not process manifest file" err="/etc/kubernetes/manifests/notes.txt: couldn\'t parse" path="/etc/kubernetes/manifests/notes.txt"',
        ),
    ),
}


@pytest.mark.parametrize("name", QUOTED)
def test_what_is_only_quoted_is_no_cause(name: str) -> None:
    path, line = QUOTED[name]
    # An API server that crashes for another reason is what such a line would be tied to.
    for files in (b.kubeadm_failed(), apiserver(b.died("something new went wrong")), b.failed("kubelet", 24)):
        found = judge(b.with_lines(files, path, line))
        assert found.first is None, found.sentence
        assert found.sentence == "Unknown: no cause is shown that explains what failed."


@pytest.mark.parametrize("name", QUOTED)
def test_what_is_only_quoted_leaves_the_true_cause_sure(name: str) -> None:
    path, line = QUOTED[name]
    found = judge(b.with_lines(apiserver(b.container("Error: unknown flag: --true")), path, line))
    assert (found.sentence, found.confidence) == (
        "kube-apiserver refuses --true: the new version does not know it, or not this value.",
        Confidence.CONFIDENT,
    )


def test_a_tenants_etcd_that_crashes_is_no_crash_of_ours() -> None:
    line = _CRASH.replace("kube-apiserver-cp1_kube-system(1)", "etcd-calico-0_kube-system({})")
    for uid, count in (("0d4a3b1e-7f0c-4c3a-9a55-6ad0f4f1a111", 0), ("b889ac07bf48a4468a23025136ac1759", 1)):
        files = b.with_lines(b.failed(), b.KUBELET, line.format(uid))
        assert len(read(files).of("pod.crash_loop")) == count


OWN: dict[str, tuple[dict[str, str], str]] = {
    "apiserver_flag": (apiserver(b.died("unknown flag: --x")), "--x"),
    "certificate_wrong": (
        apiserver(klog("logging.go:55", f'[core] Addr: "127.0.0.1:2379". Err: {X509}') + b.died("timeout")),
        "signed by unknown authority",
    ),
    "webhook": (
        b.with_lines(
            b.kubeadm_failed(),
            b.KUBELET,
            b.journal(
                "kubelet",
                'E1128 23:19:30.1 110 kubelet.go:1900] "Failed creating a mirror pod" err="admission webhook \\"v\\" denied the request: no" pod="kube-system/kube-apiserver-cp1"',
            ),
        ),
        "webhook v ",
    ),
    "kubelet_other_directory": (
        b.with_lines(
            b.kubeadm_failed(),
            b.KUBELET,
            b.journal(
                "kubelet",
                'E1128 23:19:30 110 file.go:187] "Could not process manifest file" err="/etc/kubernetes/manifests/kube-apiserver.yaml: couldn\'t parse" path="x"',
            ),
        ),
        "kube-apiserver.yaml",
    ),
    "disk_full": (
        b.with_lines(
            b.kubeadm_failed(),
            b.APISERVER,
            klog(
                "metrics.go:1",
                "error in audit plugin: write /var/log/kubernetes/audit/a.log: no space left on device",
            ),
        ),
        "/var/log/kubernetes/audit/a.log",
    ),
    "etcd_flag": (
        b.without(
            b.with_lines(
                etcd(""), "recorder/pods/etcd-cp1/etcd-0123456789ab.log", QUOTED["a tenant's etcd: flag"][1]
            ),
            "pods/kube-system_etcd",
        ),
        "-foo",
    ),
}


@pytest.mark.parametrize("cause", OWN)
def test_the_same_words_of_a_component_are_the_cause(cause: str) -> None:
    files, named = OWN[cause]
    found = judge(files)
    assert found.first is not None, found.sentence
    assert found.first.cause.name == cause
    assert named in found.sentence


NO_SPACE = b.container(
    '{"level":"fatal","msg":"failed to write","error":"write /var/lib/etcd/member/wal/1.wal: no space left on device"}'
)


def test_a_full_disk_that_has_room_afterwards_is_only_likely_unless_the_recorder_saw_it_full() -> None:
    files = etcd(NO_SPACE)
    found = judge(files)
    assert found.first is not None
    assert (found.first.cause.name, found.confidence) == ("disk_full", Confidence.LIKELY)
    assert found.first.match is not None
    assert found.first.match.doubt == "/var/lib/etcd/member/wal/1.wal had room when the evidence was taken"
    recorded = "".join(
        f'{{"t":{1795907830.0 + n},"filesystems":{{"/":{{"free_bytes":0,"size_bytes":10000000000}}}}}}\n'
        for n in range(9)
    )
    assert judge({**files, "recorder/samples.jsonl": recorded}).confidence is Confidence.CONFIDENT
    full = {**files, b.DF: files[b.DF].replace("   8% -    /\n", " 100% -    /\n", 1)}
    assert judge(full).confidence is Confidence.CONFIDENT


def twice(files: Mapping[str, str], pod: str) -> dict[str, str]:
    """Two files of one pod that kubeadm does not know."""
    names = (f"{pod}.yaml", f"{pod}.yaml.old")
    text = f"apiVersion: v1\nkind: Pod\nmetadata:\n  name: {pod}\n  namespace: kube-system\n"
    entries = [f"-rw------- 1 root root 3949 2026-06-18 21:59:16.851277775 +0000 {n}\n" for n in names]
    return b.with_lines({**files, **{f"manifests/{name}": text for name in names}}, b.LISTING, *entries)


STOPPED = {
    "preflight": job("kubeadm-upgrade", 26, "[ERROR CoreDNSUnsupportedPlugins]: start version '1.9'"),
    "addon": job("kubeadm-upgrade", 26, "error execution phase addon/coredns: unable to migrate CoreDNS"),
    "timeout": b.failed(exit_code=124),
    "verify": {**b.healthy(), b.DRIVER: "[VERIFY_FAILED] w1: kubelet is v1.34.3, expected v1.35.1\n"},
}


@pytest.mark.parametrize("name", STOPPED)
def test_two_files_of_a_pod_that_kubeadm_does_not_upgrade_stop_nothing(name: str) -> None:
    found = judge(twice(STOPPED[name], "kube-vip"))
    assert found.first is None, found.sentence
    (kept,) = found.conditions
    assert kept.match is not None
    assert kept.match.kept_down == "kubeadm upgrades no such pod"


@pytest.mark.parametrize("name", ["addon", "timeout", "verify"])
def test_without_a_wait_in_vain_a_stray_copy_is_only_likely(name: str) -> None:
    found = judge(b.stray(STOPPED[name]))
    assert found.first is not None
    assert (found.first.cause.name, found.confidence) == ("stray_static_pod", Confidence.LIKELY)


OOM = "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=x,mems_allowed=0,global_oom,task_memcg=/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice/cri-containerd-0a.scope,task=etcd,pid=429,uid=0"


@pytest.mark.parametrize(
    ("uid", "confidence"),
    [
        ("b889ac07bf48a4468a23025136ac1759", Confidence.CONFIDENT),
        ("7d8f1c9e_11aa_4a35_9d5c_0a8f1c2d3e4f", Confidence.UNKNOWN),
        (None, Confidence.LIKELY),
    ],
)
def test_whose_etcd_was_killed_is_told_by_its_cgroup(uid: str | None, confidence: Confidence) -> None:
    files = b.with_lines(
        etcd(""), b.KERNEL, b.journal("kernel", "Out of memory: Killed process 429 (etcd) total-vm:1kB")
    )
    if uid is not None:
        files = b.with_lines(files, b.KERNEL, b.journal("kernel", OOM.format(uid)))
    assert judge(files).confidence is confidence


def test_a_recorded_shortage_keeps_a_cause_from_being_ruled_out() -> None:
    samples = "".join(
        f'{{"t":{1795907830.0 + n},"memory_available_bytes":1000000,"etcd":{{"has_leader":0}}}}\n'
        for n in range(60)
    )
    found = judge({**b.kubeadm_failed(), "recorder/samples.jsonl": samples})
    assert {"oom_kill", "etcd_quorum"}.isdisjoint(found.ruled_out)
    assert "oom_kill" in judge(b.kubeadm_failed()).ruled_out
    assert any(
        text.startswith("oom kill is not proved, and not ruled out: the node had hardly any memory left")
        for text in found.unknowns
    )


def test_a_disk_that_the_recorder_saw_full_is_likely() -> None:
    samples = "".join(
        f'{{"t":{1795907830.0 + n},"filesystems":{{"/var/lib/etcd":{{"free_bytes":0,"size_bytes":10000000000}}}}}}\n'
        for n in range(60)
    )
    found = judge({**b.kubeadm_failed(), "recorder/samples.jsonl": samples})
    assert found.sentence == "Most likely: The disk is full (/var/lib/etcd)."
