"""Faults that wait for the upgrade, and those of a node's services: the texts they write, and that every script is a script."""

from __future__ import annotations

import subprocess

import pytest

from nslab.faults.services import TABLE, Scripts
from nslab.faults.upgrade_traps import with_flag, without_flag

CONFIG = """\
apiServer: {}
apiVersion: kubeadm.k8s.io/v1beta4
etcd:
  local:
    dataDir: /var/lib/etcd
kind: ClusterConfiguration
kubernetesVersion: v1.34.4
scheduler: {}
"""
LISTED = CONFIG.replace(
    "apiServer: {}\n", 'apiServer:\n  extraArgs:\n  - name: profiling\n    value: "false"\n'
)


def test_the_api_server_gets_one_more_flag_and_loses_it() -> None:
    changed = with_flag(CONFIG, "apiServer", "no-such=1")
    assert changed.startswith('apiServer:\n  extraArgs:\n  - name: no-such\n    value: "1"\napiVersion:')
    assert without_flag(changed, "no-such=1") == CONFIG.replace("apiServer: {}", "apiServer:")


def test_a_list_that_is_there_is_kept() -> None:
    changed = with_flag(LISTED, "apiServer", "no-such=1")
    assert changed.count("extraArgs:") == 1
    assert 'name: no-such\n    value: "1"\n  - name: profiling' in changed
    assert without_flag(changed, "no-such") == LISTED


def test_etcds_flags_stand_below_local() -> None:
    changed = with_flag(CONFIG, "etcd", "experimental-x=1")
    assert (
        'etcd:\n  local:\n    extraArgs:\n    - name: experimental-x\n      value: "1"\n    dataDir:'
        in changed
    )
    assert with_flag(changed, "etcd", "experimental-x=1") == changed, "it may be repeated"
    assert without_flag(changed, "experimental-x") == CONFIG


@pytest.mark.parametrize("scripts", TABLE, ids=lambda scripts: scripts.name)
def test_every_script_can_be_read_by_the_nodes_shell(scripts: Scripts) -> None:
    for text in (scripts.inflict, scripts.undo):
        done = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
