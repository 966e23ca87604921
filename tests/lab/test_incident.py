"""A night that a stray file breaks ends in a report that names it: soon, in the UI, for nobody without a login."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from tests.lab.owner_world import OwnersWorld, linger, owned
from tests.lab.test_night import SLOT
from tests.lab.world import DAG, World, wait_until

from nsdemo.settings import ui_url

DRAIN = "control_plane.slot_01.drain_node"
LINGERS_SECONDS = 90  # of the drain: the API server comes back with the stray copy's arguments meanwhile
REPORT_SECONDS = 60  # from the end of the job on the node


@pytest.fixture
def short_world(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OwnersWorld]:
    """A fresh lab whose kubeadm waits for a static pod's hash for two minutes only."""
    with owned(world, tmp_path, monkeypatch) as mine:
        mine.say({"limits": {"upgrade_manifests_seconds": 120}})
        yield mine


def job_end(world: OwnersWorld) -> float | None:
    """When cp1's kubeadm job ended, by the node's own status file; None while it works."""
    text = world.on_node("cp1", "cat /var/lib/nightshift/jobs/kubeadm-upgrade", check=False)
    status = dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)
    return float(status["finished"]) if status.get("finished", "-") not in ("-", "") else None


def report_since(store: Path, moment: float) -> Path | None:
    """cp1's report of a job that ended then; those of earlier nights stay in the store."""
    found = store.glob("*/cp1-kubeadm-upgrade-*/report.html")
    return next((path for path in found if path.stat().st_mtime >= moment), None)


def test_a_stray_file_ends_in_a_report_that_names_it(short_world: OwnersWorld) -> None:
    world = short_world
    world.fresh()
    linger(world, "cp1", LINGERS_SECONDS)
    # Behind the gates and in front of kubeadm: the stray copy runs by then, so kubeadm waits for its own one in vain. Under
    # kubeadm's hands it would take any change of the pod for the one that it waits for.
    run_id = world.upgrade_until_running(DRAIN)
    world.lab("break", "stray-manifest", "cp1")
    ended = wait_until(lambda: job_end(world), "the end of kubeadm's job", 900)
    store = Path(world.home.store) / "lab" / "evidence"
    report = wait_until(lambda: report_since(store, ended), "the report", 120)
    print(f"report after {report.stat().st_mtime - ended:.1f} s", flush=True)

    assert report.stat().st_mtime - ended <= REPORT_SECONDS
    diagnosis = json.loads((report.parent / "diagnosis.json").read_text(encoding="utf-8"))
    assert (diagnosis["first"]["cause"], diagnosis["confidence"]) == ("stray_static_pod", "confident")
    manifest = json.loads((report.parent / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["inside"]["node.tar.gz"]  # the API may be away, the node is not
    run = world.finish(run_id)
    at = f"/nightshift/reports/{DAG}/{report.parents[1].name}/"  # it is tried again while the API is away: several reports
    assert f"]({at}" in run["note"]
    links = f"/api/v2/dags/{DAG}/dagRuns/{quote(run_id, safe='')}/taskInstances/{SLOT}/links"
    link = world.api._get(links)["extra_links"]["Incident report"]
    assert link.startswith(at)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{ui_url()}{link}", timeout=10)
    assert refused.value.code == 401
