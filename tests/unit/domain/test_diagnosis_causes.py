"""Each cause is found in a bundle that has it, and another one is never sure when the file that shows it is gone."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from tests.unit.domain import diagnosis_bundles as b

from nightshift.domain.diagnosis.cause import Cause
from nightshift.domain.diagnosis.causes import CATALOGUE, SYMPTOMS
from nightshift.domain.diagnosis.engine import Confidence, Diagnosis, diagnose
from nightshift.domain.diagnosis.reading import read


def judge(files: Mapping[str, str]) -> Diagnosis:
    return diagnose(read(files), CATALOGUE, SYMPTOMS)


def apiserver(text: str) -> dict[str, str]:
    """An API server that ends with these words, again and again; kubeadm waits in vain."""
    return b.with_lines(b.with_lines(b.kubeadm_failed(), b.APISERVER, text), b.KUBELET, b.crash_loop())


def etcd(text: str) -> dict[str, str]:
    return b.with_lines(b.with_lines(b.kubeadm_failed(), b.ETCD, text), b.KUBELET, b.crash_loop("etcd"))


def kubelet(*texts: str) -> dict[str, str]:
    """A kubelet that ends again and again (systemd's own words)."""
    files = b.with_lines(
        b.failed("kubelet-upgrade", 24), b.KUBELET, *(b.journal("kubelet", t) for t in texts)
    )
    restarts = "kubelet.service: Scheduled restart job, restart counter is at 5."
    return b.with_lines(files, b.KUBELET, b.journal("systemd", restarts))


def job(step: str, code: int, text: str) -> dict[str, str]:
    return b.with_lines(b.failed(step, code), b.JOBS, b.journal("nightshift-job", text))


def no_kubelet() -> dict[str, str]:
    files = b.failed("kubelet-upgrade", 24)
    rows = [row for row in files[b.PROCESSES].splitlines(keepends=True) if "/usr/bin/kubelet" not in row]
    return {**files, b.PROCESSES: "".join(rows)}


def other_directory() -> dict[str, str]:
    files = b.kubeadm_failed()
    path = "state/kubelet-config.yaml"
    return {**files, path: files[path].replace("/etc/kubernetes/manifests", "/srv/manifests")}


def full_disk() -> dict[str, str]:
    files = b.kubeadm_failed()
    return {**files, b.DF: files[b.DF].replace("   8% -    /\n", " 100% -    /\n", 1)}


NO_LEADER = b.container(
    '{"level":"warn","ts":"2026-11-28T23:19:30.1Z","caller":"etcdhttp/health.go:1","msg":"serving /health false; no leader"}'
)

# cause -> what shows it: the bundle, the files without which it cannot be seen, what the sentence names.
CASES: dict[str, tuple[dict[str, str], tuple[str, ...], str]] = {
    "stray_static_pod": (b.stray(b.kubeadm_failed()), ("manifests/",), "kube-apiserver.yaml.bak"),
    "etcd_io_starvation": (b.starved(b.kubeadm_failed()), (b.ETCD,), "slowest 4.3 s"),
    "disk_full": (full_disk(), (b.DF,), "(/)"),
    # containerd's words as in kubernetes-sigs/kind and others: "failed to pull and unpack image … not found"
    "image_missing": (
        job(
            "stage",
            21,
            'E1128 23:19:30 "Failed to pull image" err="rpc error: code = NotFound desc = failed to pull and unpack image '
            '\\"registry.k8s.io/kube-apiserver:v1.35.4\\": registry.k8s.io/kube-apiserver:v1.35.4: not found"',
        ),
        (b.JOBS,),
        "registry.k8s.io/kube-apiserver:v1.35.4",
    ),
    "image_unpullable": (
        job(
            "stage",
            21,
            'failed to pull image "registry.k8s.io/pause:3.10.1": dial tcp 10.0.0.1:443: connect: connection refused',
        ),
        (b.JOBS,),
        "registry.k8s.io/pause:3.10.1",
    ),
    "image_architecture": (
        job(
            "stage",
            21,
            'failed to pull and unpack image "registry.k8s.io/etcd:3.6.6-0": no match for platform in manifest: not found',
        ),
        (b.JOBS,),
        "registry.k8s.io/etcd:3.6.6-0",
    ),
    # component-base cli.run prints flag errors without klog's head
    "apiserver_flag": (
        apiserver(b.container("Error: unknown flag: --cloud-provider")),
        (b.APISERVER,),
        "--cloud-provider",
    ),
    "etcd_flag": (
        etcd(b.container("flag provided but not defined: -experimental-warning-apply-duration")),
        (b.ETCD,),
        "-experimental-warning-apply-duration",
    ),
    # kubernetes-sigs/kubespray#13125, and seen in the lab
    "kubelet_flag": (
        kubelet(
            'E1128 23:19:30.1 99 run.go:72] "command failed" err="failed to parse kubelet flag: unknown flag: --pod-infra-container-image"'
        ),
        (b.KUBELET,),
        "--pod-infra-container-image",
    ),
    "authentication_config": (
        apiserver(
            b.died('jwt[0].issuer.url: Invalid value: \\"http://id.example\\": URL scheme must be https')
        ),
        (b.APISERVER,),
        "jwt[0].issuer.url",
    ),
    "certificate_expired": (
        apiserver(
            b.died(
                "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: "
                "current time 2026-11-28T23:19:30Z is after 2026-11-01T00:00:00Z"
            )
        ),
        (b.APISERVER,),
        "2026-11-01T00:00:00Z",
    ),
    "certificate_wrong": (
        apiserver(b.died("tls: failed to verify certificate: x509: certificate signed by unknown authority")),
        (b.APISERVER,),
        "signed by unknown authority",
    ),
    # rancher/rke2#3480
    "port_taken": (
        apiserver(
            b.died(
                "failed to create listener: failed to listen on 0.0.0.0:6443: listen tcp 0.0.0.0:6443: bind: address already in use"
            )
        ),
        (b.APISERVER,),
        "0.0.0.0:6443",
    ),
    # kubernetes/node-problem-detector#1169
    "cgroup_v1": (
        kubelet(
            'E1128 23:19:30.1 99 run.go:72] "command failed" err="failed to validate kubelet configuration, error: '
            'kubelet is configured to not run on a host using cgroup v1. cgroup v1 support is unsupported"'
        ),
        (b.KUBELET,),
        "cgroup v1",
    ),
    "etcd_quota": (
        etcd(
            b.container(
                '{"level":"warn","ts":"2026-11-28T23:19:30.1Z","caller":"etcdserver/server.go:1","msg":"message exceeded backend quota; '
                'raising alarm","quota-size-bytes":2147483648,"quota-size":"2.1 GB"}'
            )
        ),
        (b.ETCD,),
        "NOSPACE",
    ),
    "etcd_quorum": (
        b.with_lines(
            b.kubeadm_failed(), b.ETCD, *(NO_LEADER.replace(":19:30", f":19:{s}") for s in range(10, 51, 10))
        ),
        (b.ETCD,),
        "no leader",
    ),
    "etcd_version": (
        etcd(
            b.container(
                '{"level":"fatal","ts":"2026-11-28T23:19:30.1Z","caller":"version/errors.go:1","msg":"invalid downgrade; server version '
                'is lower than determined cluster version","current-server-version":"3.5.24","determined-cluster-version":"3.6"}'
            )
        ),
        (b.ETCD,),
        "does not fit its data",
    ),
    "kubelet_down": (no_kubelet(), (b.PROCESSES,), "does not run"),
    "kubelet_other_directory": (other_directory(), ("state/kubelet-config.yaml",), "/srv/manifests"),
    "webhook": (
        job(
            "kubeadm-upgrade",
            26,
            '[ERROR CreateJob]: could not create Job: Internal error occurred: failed calling webhook "policy.example.com": '
            "failed to call webhook: context deadline exceeded",
        ),
        (b.JOBS,),
        "policy.example.com",
    ),
    "pdb_deadlock": (
        {
            **b.healthy(),
            b.DRIVER: "[DRAIN_BLOCKED] w1 could not be drained within 120 s: shop/keeper-0 (The disruption budget keeper needs 1 healthy pods "
            "and has 1 currently). Cause: These pods were not allowed to go, or do not end. Nothing was forced.",
        },
        (b.DRIVER,),
        "(keeper)",
    ),
    "pod_stays": (
        {
            **b.healthy(),
            b.DRIVER: "[DRAIN_BLOCKED] w1 could not be drained within 120 s: shop/cart-0 (is terminating). "
            "Cause: These pods were not allowed to go, or do not end. Nothing was forced.",
        },
        (b.DRIVER,),
        "shop/cart-0",
    ),
    "dns": (job("stage", 22, "W: Temporary failure resolving 'pkgs.k8s.io'"), (b.JOBS,), "pkgs.k8s.io"),
    "clock": (
        apiserver(
            b.died(
                "x509: certificate has expired or is not yet valid: current time 2020-01-01T00:00:00Z is before 2026-11-28T00:00:00Z"
            )
        ),
        (b.APISERVER,),
        "clock",
    ),
    "package_manager_busy": (
        job(
            "kubeadm-upgrade",
            30,
            "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 4711 (apt-get)",
        ),
        (b.JOBS,),
        "/var/lib/dpkg/lock-frontend",
    ),
    "repository_signature": (
        job(
            "stage",
            22,
            "E: The following signatures couldn't be verified because the public key is not available: NO_PUBKEY 234654DA9A296436",
        ),
        (b.JOBS,),
        "not signed",
    ),
    "oom_kill": (
        b.with_lines(
            etcd(""),
            b.KERNEL,
            b.journal("kernel", "Out of memory: Killed process 429 (etcd) total-vm:1kB, anon-rss:1kB"),
        ),
        (b.KERNEL,),
        "killed etcd",
    ),
    "node_rebooted": (b.failed(state="running", started=1795907000.5), (b.PROCESSES,), "rebooted"),
    "ssh_cut": (
        {**b.healthy(), b.DRIVER: "[NODE_UNREACHABLE] cp1 did not answer over SSH."},
        (b.DRIVER,),
        "over SSH",
    ),
    # include/scripts/node/lib/common.sh, foreign_kubeadm
    "foreign_kubeadm": (
        job(
            "kubeadm-upgrade",
            76,
            "somebody else is at it: kubeadm is run by root (logged in as anna), pid 4711",
        ),
        (b.JOBS,),
        "root (logged in as anna)",
    ),
    # kubernetes/kubernetes#131164
    "runtime_too_old": (
        kubelet(
            'E1128 23:19:30.1 99 run.go:72] "command failed" err="failed to run Kubelet: validate service connection: validate CRI v1 '
            'runtime API for endpoint \\"unix:///run/containerd/containerd.sock\\": rpc error: code = Unimplemented desc = '
            'unknown service runtime.v1.RuntimeService"'
        ),
        (b.KUBELET,),
        "runtime.v1.RuntimeService",
    ),
    # k8s.io/apimachinery/pkg/api/errors/errors.go
    "api_starvation": (
        job(
            "kubeadm-upgrade",
            26,
            "[ERROR CreateJob]: could not create Job: the server has received too many requests and has asked us to try again later",
        ),
        (b.JOBS,),
        "turns requests away",
    ),
    # kubernetes/kubeadm#2997
    "etcd_member": (
        job(
            "kubeadm-upgrade",
            26,
            "error execution phase control-plane: etcdserver: can only promote a learner member which is in sync with leader",
        ),
        (b.JOBS,),
        "learner",
    ),
    "kubeadm_bug": (
        job(
            "kubeadm-upgrade",
            26,
            "kubeadm upgrade apply to 1.35.0: error execution phase post-upgrade: error reading kubelet env file: no flags found in "
            'file "/var/lib/kubelet/kubeadm-flags.env"',
        ),
        (b.JOBS,),
        "kubernetes/kubeadm#3279 in 1.35.0, fixed in 1.35.1",
    ),
    # staging/src/k8s.io/apiserver/pkg/storage/value/transformer.go
    "unservable_object": (
        apiserver(
            b.container(
                'E1128 23:19:30.1 1 cacher.go:478] "Unhandled Error" err="cacher (secrets): unexpected ListAndWatch error: failed to list '
                '*core.Secret: unable to transform key \\"/registry/secrets/shop/db\\": no matching prefix found"'
            )
        ),
        (b.APISERVER,),
        "/registry/secrets/shop/db",
    ),
}
CONDITIONS_ONLY = {"drift", "scratch_pile"}


def test_every_cause_has_a_case() -> None:
    assert {cause.name for cause in CATALOGUE} == CASES.keys() | CONDITIONS_ONLY


@pytest.mark.parametrize("name", CASES)
def test_the_cause_is_found_and_named(name: str) -> None:
    files, _, subject = CASES[name]
    found = judge(files)
    assert found.first is not None, found.sentence
    assert found.first.cause.name == name, found.sentence
    assert subject in found.sentence
    assert found.first.match is not None
    assert all(sign.quote and sign.source in _sources(files) for sign in found.first.match.decisive)


def _sources(files: Mapping[str, str]) -> set[str]:
    lines = {f"{path}:{n}" for path, text in files.items() for n in range(1, len(text.splitlines()) + 1)}
    return lines | files.keys()


@pytest.mark.parametrize("name", CASES)
def test_a_starved_etcd_beside_it_is_not_blamed(name: str) -> None:
    if name == "etcd_io_starvation":
        return
    files = b.with_lines(CASES[name][0], b.ETCD, b.slow_applies(20))
    found = judge(files)
    assert found.first is not None, found.sentence
    assert found.first.cause.name == name
    assert "etcd_io_starvation" in {s.cause.name for s in found.conditions}


@pytest.mark.parametrize("name", CASES)
def test_without_its_file_no_other_cause_is_sure(name: str) -> None:
    files, decisive, _ = CASES[name]
    noisy = b.with_lines(files, b.ETCD, b.slow_applies(20))
    for bundle in (b.without(files, *decisive), b.without(noisy, *decisive)):
        found = judge(bundle)
        assert found.confidence is not Confidence.CONFIDENT, found.sentence


@pytest.mark.no_cover  # many examples of what other tests cover
@pytest.mark.parametrize("name", CASES)
def test_no_file_that_is_lost_makes_another_cause_sure(name: str) -> None:
    files = b.with_lines(CASES[name][0], b.ETCD, b.slow_applies(20))
    for path in files:
        found = judge(b.without(files, path))
        is_sure = found.confidence is Confidence.CONFIDENT
        assert not is_sure or (found.first and found.first.cause.name == name), f"{path}: {found.sentence}"


@pytest.mark.parametrize("cause", CATALOGUE, ids=lambda cause: cause.name)
def test_a_cause_names_only_what_is_known(cause: Cause) -> None:
    known = read({}).unread.keys()
    assert set(cause.decisive) <= known
    assert set(cause.explains) <= set(SYMPTOMS)
    assert set(SYMPTOMS) <= known
    assert {*cause.forbids, *cause.links, *cause.hints} <= known
    assert set(cause.leads_to) <= {other.name for other in CATALOGUE}
