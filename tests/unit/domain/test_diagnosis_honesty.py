"""What a node says of other people's pods never becomes the cause; a hostile log costs seconds, not hours."""

from __future__ import annotations

import time

import pytest
from tests.unit.domain import diagnosis_bundles as b
from tests.unit.domain.test_diagnosis_causes import job, judge

from nightshift.domain.diagnosis.engine import Confidence, to_dict
from nightshift.domain.diagnosis.reading import read
from nightshift.domain.diagnosis.signs import QUOTE_LIMIT, State
from nightshift.domain.diagnosis.text import as_text

_PULL = (
    'E1128 23:19:30.1 99 pod_workers.go:1324] "Error syncing pod, skipping" err="failed to \\"StartContainer\\" for \\"etcd\\" with '
    'ErrImagePull: \\"failed to pull image \\\\\\"quay.io/tenant/etcd:3.5.9\\\\\\": %s\\"" pod="shop/etcd-0"'
)
# Lines of a tenant: name of the cause they look like -> file, line.
TENANTS = {
    "image_missing": (b.KUBELET, b.journal("kubelet", _PULL % "not found")),
    "image_unpullable": (
        b.KUBELET,
        b.journal("kubelet", _PULL % "dial tcp 10.0.0.1:443: connect: connection refused"),
    ),
    "image_architecture": (
        b.KUBELET,
        b.journal("kubelet", _PULL % "no match for platform in manifest: not found"),
    ),
    "dns": (
        b.RUNTIME,
        b.journal(
            "containerd",
            'failed to do request: Head "https://ghcr.io/v2/": dial tcp: lookup ghcr.io: no such host',
        ),
    ),
    "disk_full": (
        b.KUBELET,
        b.journal(
            "kubelet",
            "write /var/lib/kubelet/pods/7d8f/volumes/kubernetes.io~empty-dir/cache/x: no space left on device",
        ),
    ),
    "oom_kill": (
        b.KERNEL,
        b.journal("kernel", "Memory cgroup out of memory: Killed process 4711 (kube-apiserver) total-vm:1kB"),
    ),
    "webhook": (
        b.APISERVER,
        b.container(
            'W1128 23:19:30.1 1 dispatcher.go:210] Failed calling webhook, failing closed: failed calling webhook "shop.example.com"'
        ),
    ),
    "certificate_expired": (
        b.APISERVER,
        b.container(
            'E1128 23:19:30.1 1 authentication.go:75] "Unable to authenticate the request" err="x509: certificate has expired or is not '
            'yet valid: current time 2026-11-28T23:19:30Z is after 2026-11-01T00:00:00Z"'
        ),
    ),
    "port_taken": (
        b.KUBELET,
        b.journal("kubelet", "hostport: listen tcp4 :8080: bind: address already in use"),
    ),
    "api_starvation": (
        b.KUBELET,
        b.journal(
            "kubelet",
            "shop/app: the server has received too many requests and has asked us to try again later",
        ),
    ),
}


@pytest.mark.parametrize("name", TENANTS)
def test_a_tenants_trouble_is_not_the_cause_of_a_failed_upgrade(name: str) -> None:
    path, line = TENANTS[name]
    found = judge(b.with_lines(b.kubeadm_failed(), path, line))
    assert found.first is None, found.sentence
    assert found.confidence is Confidence.UNKNOWN
    for suspect in found.conditions:
        assert suspect.match is not None
        assert suspect.match.kept_down, "it says why it is not the cause"


def test_a_tenants_trouble_does_not_hide_the_cause() -> None:
    files = job("stage", 22, "E: GPG error: NO_PUBKEY 234654DA9A296436")
    for path, line in TENANTS.values():
        files = b.with_lines(files, path, line)
    found = judge(files)
    assert found.first is not None
    assert (found.first.cause.name, found.confidence) == ("repository_signature", Confidence.CONFIDENT)


def test_the_same_line_about_a_static_pod_is_the_cause() -> None:
    line = _PULL.replace("quay.io/tenant/etcd:3.5.9", "registry.k8s.io/etcd:3.6.6-0") % "not found"
    line = line.replace("shop/etcd-0", "kube-system/etcd-cp1")
    found = judge(b.with_lines(b.kubeadm_failed(), b.KUBELET, b.journal("kubelet", line)))
    assert found.first is not None
    assert (found.first.cause.name, found.confidence) == ("image_missing", Confidence.CONFIDENT)


def test_a_line_of_the_runtime_counts_when_the_job_names_the_same_image() -> None:
    line = b.journal(
        "containerd",
        'level=error msg="PullImage \\"registry.k8s.io/pause:3.10.1\\" failed" error="rpc error: dial tcp: connection refused"',
    )
    alone = judge(b.with_lines(b.failed("stage", 21), b.RUNTIME, line))
    named = judge(
        b.with_lines(
            job("stage", 21, "image registry.k8s.io/pause:3.10.1 could not be pulled"), b.RUNTIME, line
        )
    )
    assert alone.first is None
    assert named.first is not None
    assert named.first.cause.name == "image_unpullable"


def test_a_full_mount_is_only_likely_while_nothing_says_that_it_found_no_room() -> None:
    files = b.kubeadm_failed()
    files = {**files, b.DF: files[b.DF].replace("   8% -    /\n", " 100% -    /\n", 1)}
    assert judge(files).confidence is Confidence.LIKELY
    said = b.with_lines(
        files, b.JOBS, b.journal("nightshift-job", "cp: /etc/kubernetes/tmp/x: no space left on device")
    )
    assert judge(said).confidence is Confidence.CONFIDENT


def test_the_diagnosis_says_which_file_answers_its_test() -> None:
    found = judge(b.stray(b.kubeadm_failed()))
    assert found.first is not None
    assert {"manifests/kube-apiserver.yaml.bak", "state/processes.txt"} <= set(found.first.answered_by)
    assert "As it was then: " in as_text(found)
    assert to_dict(found)["first"]["answered_by"] == list(found.first.answered_by)


def test_a_subject_is_not_longer_than_a_quote() -> None:
    line = b.journal("nightshift-job", f'failed calling webhook "{"x" * 1500}"')
    (sign,) = read(b.with_lines(b.failed(), b.JOBS, line)).of("webhook.failed")
    assert len(sign.subject) == QUOTE_LIMIT


_HOSTILE = {
    "slashes": "PullImage failed to pull " + "a/" * 20_000,
    "components": "PullImage " + "etcd:1 " * 6_000,
    "crash": "CrashLoopBackOff " + "etcd-" * 8_000,
    "lookups": "lookup " * 6_000,
    "listens": "address already in use " + "listen tcp :6443" * 3_000,
    "space": "no space left on device " + "/a" * 20_000,
    "learner": "x509: certificate is valid for " * 1_500,
}


@pytest.mark.no_cover  # the limit of time is the program's own
@pytest.mark.parametrize("name", _HOSTILE)
def test_a_hostile_log_is_read_in_seconds(name: str) -> None:
    """16 MiB, the largest file that is taken, in the longest lines that hurt."""
    line = b.journal("kubelet", _HOSTILE[name])
    files = {**b.failed(), b.KUBELET: line * (16 * 1024 * 1024 // len(line))}
    began = time.process_time()
    read(files)
    assert time.process_time() - began < 10


@pytest.mark.no_cover  # the limit of time is the program's own
def test_a_hostile_log_of_short_lines_is_read_in_seconds() -> None:
    line = b.journal("kubelet", "PullImage failed to pull a/b/c/d/etcd:1 no space lookup unknown")
    files = {**b.failed(), b.KUBELET: line * (16 * 1024 * 1024 // len(line))}
    began = time.process_time()
    read(files)
    assert time.process_time() - began < 30


def test_what_the_rehearsed_api_server_says_is_read_like_the_live_ones() -> None:
    files = b.failed("rehearse", 33)
    files["rehearsal/kube-apiserver.log"] = "Error: unknown flag: --no-such-flag\n"
    files[b.DRIVER] = "[REHEARSAL_FAILED] Job rehearse on node cp1 ended with exit code 33."
    found = judge(files)
    assert found.first is not None
    assert (found.first.cause.name, found.confidence) == ("apiserver_flag", Confidence.CONFIDENT)


def test_a_kubelet_that_goes_on_without_runtime_config_has_no_old_runtime() -> None:
    line = 'E1129 07:41:12.1 4421 log.go:32] "RuntimeConfig from runtime service failed" err="rpc error: code = Unimplemented desc = unknown method RuntimeConfig for service runtime.v1.RuntimeService"'
    files = b.with_lines(b.failed("kubelet-upgrade", 24), b.KUBELET, b.journal("kubelet", line))
    assert not read(files).of("runtime.too_old")


def test_a_quiet_kubelet_that_runs_for_long_was_read() -> None:
    files = {**b.failed("stage", 21), b.KUBELET: "", b.RUNTIME: ""}
    assert read(files).state("image.missing") is State.ABSENT
    assert read({**files, b.PROCESSES: ""}).state("image.missing") is State.UNREAD
