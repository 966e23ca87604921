"""Faults of manifests and configuration: the texts they write, and that their undo gives back what was there."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from nslab.faults import configuration, manifests
from nslab.nodes import state
from nslab.shell import LabError


@pytest.fixture(autouse=True)
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "FILE", tmp_path / "lab.json")
    state.Lab("ha").save()


MANIFEST = """\
apiVersion: v1
kind: Pod
spec:
  containers:
  - command:
    - kube-apiserver
    - --advertise-address=10.0.0.1
    - --secure-port=6443
    image: registry.k8s.io/kube-apiserver:v1.34.4
"""
# As kubeadm 1.34.4 writes it.
CONFIG = """\
apiServer: {}
apiVersion: kubeadm.k8s.io/v1beta4
controllerManager: {}
etcd:
  local:
    dataDir: /var/lib/etcd
kind: ClusterConfiguration
scheduler: {}
"""


def test_oidc_flags_stand_once_and_go_whoever_wrote_them() -> None:
    added = manifests.with_flags(MANIFEST, "kube-apiserver", manifests.OIDC_FLAGS)
    assert manifests.command_of(added) == [
        "kube-apiserver",
        *manifests.OIDC_FLAGS,
        "--advertise-address=10.0.0.1",
        "--secure-port=6443",
    ]
    assert manifests.without_flags(added, manifests.OIDC_FLAGS) == MANIFEST
    by_kubeadm = MANIFEST.replace(
        "    image:", "".join(f"    - {flag}\n" for flag in manifests.OIDC_FLAGS) + "    image:"
    )
    assert manifests.without_flags(by_kubeadm, manifests.OIDC_FLAGS) == MANIFEST
    with pytest.raises(LabError, match="starts no kube-scheduler"):
        manifests.with_flags(MANIFEST, "kube-scheduler", ["--x=1"])


def test_kubeadm_config_loses_exactly_the_flags() -> None:
    written = CONFIG.replace(
        "apiServer: {}\n",
        "apiServer:\n  extraArgs:\n"
        + "".join(
            f"  - name: {flag[2:].partition('=')[0]}\n    value: {flag.partition('=')[2]}\n"
            for flag in manifests.OIDC_FLAGS
        ),
    )
    assert configuration.without_extra_args(written, manifests.OIDC_FLAGS) == CONFIG
    assert configuration.without_extra_args(CONFIG, manifests.OIDC_FLAGS) == CONFIG
    others = written.replace("  extraArgs:\n", '  extraArgs:\n  - name: v\n    value: "2"\n')
    left = configuration.without_extra_args(others, manifests.OIDC_FLAGS)
    assert left == CONFIG.replace("apiServer: {}", 'apiServer:\n  extraArgs:\n  - name: v\n    value: "2"')


def test_a_flag_that_only_kubeadm_config_has(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = _config_map(monkeypatch, CONFIG)
    (case,) = configuration.parse_drift(["profiling", "false"])
    for _ in range(2):
        configuration.add_to_config(case)
        assert 'scheduler:\n  extraArgs:\n  - name: profiling\n    value: "false"\n' in kept["text"]
    with pytest.raises(LabError, match="already"):
        configuration.add_to_config(configuration.parse_drift(["v", "2"])[0])
    for _ in range(2):
        configuration.drop_from_config(case)
        assert kept["text"] == CONFIG


def test_the_corefile_gets_one_line_and_loses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stock = ".:53 {\n    errors\n    ready\n}\n"
    kept = _config_map(monkeypatch, stock)
    (case,) = configuration.parse_corefile([])
    for _ in range(2):
        configuration.change_corefile(case)
        assert kept["text"] == ".:53 {\n    errors\n    log . # nslab\n    ready\n}\n"
    for _ in range(2):
        configuration.restore_corefile(case)
        assert kept["text"] == stock
    with pytest.raises(LabError, match="no line"):
        configuration.corefile_with_line(".:53 {\n}\n")


def _config_map(monkeypatch: pytest.MonkeyPatch, text: str) -> dict[str, Any]:
    kept = {"text": text}
    monkeypatch.setattr(configuration, "read_config_map", lambda name, key: kept["text"])
    monkeypatch.setattr(configuration, "write_config_map", lambda name, key, value: kept.update(text=value))
    return kept


def test_twins_are_one_pod() -> None:
    assert manifests.twin_text().count(f"name: {manifests.TWIN_POD}\n") == 1
    assert len(set(manifests.TWINS)) == 2
    assert all(path.endswith(".yaml") for path in manifests.TWINS)


def test_a_stopped_process_is_known_from_one_that_runs() -> None:
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        try:
            assert not manifests.is_stopped(sleeper.pid)
            os.kill(sleeper.pid, signal.SIGSTOP)
            os.waitpid(sleeper.pid, os.WUNTRACED)
            assert manifests.is_stopped(sleeper.pid)
        finally:
            sleeper.kill()
    assert not manifests.is_stopped(sleeper.pid)


@pytest.mark.parametrize(
    ("parse", "words", "cause"),
    [
        (manifests.parse_twin, [], "usage: lab/lab break duplicate-pod-name NODE"),
        (manifests.parse_twin, ["w9"], "no node w9"),
        (manifests.parse_edit, ["w1"], "w1 is no control-plane node"),
        (manifests.parse_mode, ["w1"], "w1 is no control-plane node"),
        (manifests.parse_oidc, ["w1"], "w1 is no control-plane node"),
        (configuration.parse_kubelet, ["w9"], "no node w9"),
        (configuration.parse_corefile, ["x"], "1 arguments given"),
        (configuration.parse_drift, ["profiling"], "usage: lab/lab break kubeadm-config-drifted FLAG VALUE"),
        (configuration.parse_drift, ["Profiling", "a b"], "is no flag"),
    ],
)
def test_arguments_are_refused_in_words(parse: Any, words: list[str], cause: str) -> None:
    with pytest.raises(LabError) as caught:
        parse(words)
    assert cause in f"{caught.value} {getattr(caught.value, 'next_step', '')}"
