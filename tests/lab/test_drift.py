"""The drift of the post-mortem: OIDC flags that only the live manifest has are still running after the upgrade."""

from __future__ import annotations

import json

from tests.lab.gate_cases_drift import OIDC
from tests.lab.previews import UPLOAD, read_preview, until_foreseen
from tests.lab.test_night import assert_clean, assert_on_target
from tests.lab.world import World

CONFIG_MAP = ("-n", "kube-system", "get", "configmap", "kubeadm-config", "-o", "json")


def running_flags(world: World) -> list[str]:
    """Arguments of the API server's process, asked of the kernel."""
    return world.on_node("cp1", "tr '\\0' '\\n' </proc/$(pgrep -x kube-apiserver)/cmdline").split()


def configuration(world: World) -> str:
    """What kubeadm-config says."""
    return str(json.loads(world.kubectl(*CONFIG_MAP))["data"]["ClusterConfiguration"])


def test_flags_that_only_the_manifest_has_survive_the_upgrade(world: World) -> None:
    world.fresh()
    world.lab("break", "oidc-flags", "cp1")
    world.used = True
    assert set(OIDC) <= set(running_flags(world))
    assert "oidc" not in configuration(world)

    run = world.upgrade()

    assert run["state"] == "success", run["note"]
    assert_on_target(world)
    assert_clean(world)
    assert set(OIDC) <= set(running_flags(world))
    assert "oidc-issuer-url" in configuration(world)
    drift = next(gate for gate in run["ledger"]["gates"] if gate["gate"] == "drift")
    assert (drift["outcome"], drift["code"]) == ("warn", "DRIFT_RECOVERABLE")
    for flag in OIDC:
        assert flag in drift["message"]
    world.lab("heal", "oidc-flags")


def test_a_dry_run_says_what_would_be_uploaded_and_writes_nothing(world: World) -> None:
    world.fresh()
    world.lab("break", "oidc-flags", "cp1")
    before, files = configuration(world), world.fingerprint()
    try:
        run = until_foreseen(lambda: world.night(dry_run=True))
        assert configuration(world) == before
        assert world.fingerprint() == files
    finally:
        world.lab("heal", "oidc-flags")
    drift = next(gate for gate in run["ledger"]["gates"] if gate["gate"] == "drift")
    assert drift["outcome"] == "warn"
    said = read_preview(world.api.task_log(run["dag_run_id"], "decide"))
    for flag in OIDC:
        assert flag in drift["message"]
        upload = f"{UPLOAD}kube-apiserver: {flag}"
        assert f"{upload}." in said.uploads
        assert upload in run["note"]
