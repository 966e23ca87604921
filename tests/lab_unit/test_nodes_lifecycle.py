"""What up, reset and down do, in which order, with every part of the machine replaced by a note of its call."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from nslab.nodes import base, cgroups, lifecycle, machine, pool, saved, state
from nslab.progress import Report
from nslab.shell import LabError

QUIET = Report(quiet=True)
NODES = ["cp1", "w1", "w2"]


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A machine on paper; returns the list in which calls are noted."""
    noted: list[str] = []

    def note(name: str, result: object = None) -> object:
        return lambda *_, **__: noted.append(name) or result

    monkeypatch.setattr(state, "FILE", tmp_path / "lab.json")
    monkeypatch.setattr(lifecycle, "STATE_DIR", tmp_path)
    monkeypatch.setattr(lifecycle, "CACHE_DIR", tmp_path)
    monkeypatch.setattr(lifecycle, "_COMPLETE", tmp_path / "complete")
    monkeypatch.setattr(pool, "IMAGE", tmp_path / "pool.xfs")
    for name in ("BASE", "LIVE", "SAVED"):
        monkeypatch.setattr(pool, name, tmp_path / name.lower())
        (tmp_path / name.lower()).mkdir()
    monkeypatch.setattr(pool, "clone", lambda source, target: target.write_text(source.read_text()))
    monkeypatch.setattr(pool, "mount", note("pool.mount"))
    monkeypatch.setattr(pool, "unmount", note("pool.unmount"))
    monkeypatch.setattr(lifecycle.store, "durations", dict)
    monkeypatch.setattr(lifecycle.store, "remember_duration", note("remember"))
    for module in (
        "doctor",
        "debian",
        "network",
        "tunables",
        "infra",
        "monitoring",
        "identity",
        "cluster",
        "workload",
    ):
        original = getattr(lifecycle, module)
        replaced = {name: note(f"{module}.{name}") for name in dir(original) if not name.startswith("_")}
        replaced |= {"MONITORING": (), "PACKAGES": {}} if module == "infra" else {}
        monkeypatch.setattr(lifecycle, module, SimpleNamespace(**replaced))
    artifacts = SimpleNamespace(
        repo_root=tmp_path, registry_root=tmp_path, keyring=tmp_path, bin_dir_by_version={}
    )
    monkeypatch.setattr(lifecycle.build, "ensure_all", note("build", artifacts))
    monkeypatch.setattr(lifecycle.base, "ensure", note("base"))
    monkeypatch.setattr(lifecycle, "_prepare", lambda lab, _: lab.save())
    for name in ("power_on", "power_off", "wait_booted", "create_disk", "drop_disk", "shut_down"):
        monkeypatch.setattr(
            machine,
            name,
            lambda subject, *_, act=name: noted.append(f"{act} {getattr(subject, 'name', subject)}"),
        )
    monkeypatch.setattr(machine, "NODES", tmp_path / "nodes")
    monkeypatch.setattr(cgroups, "names", lambda: {"services"})
    monkeypatch.setattr(cgroups, "remove_parent", note("cgroups.remove_parent"))
    monkeypatch.setattr(lifecycle.processes, "started_names", lambda: ["registry", "node-cp1"])
    monkeypatch.setattr(lifecycle.processes, "stop", lambda name, **_: noted.append(f"stop {name}"))
    monkeypatch.setattr(lifecycle.probe, "wait_web", note("wait_web"))
    monkeypatch.setattr(lifecycle, "_forget_faults", note("forget_faults"))
    return noted


def keep_disks(lab: state.Lab) -> Path:
    directory = saved.directory_of(lab)
    directory.mkdir()
    return directory


def test_first_up_makes_the_cluster_and_keeps_its_disks_before_the_lab_is_used(
    calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in NODES:
        (pool.LIVE / f"{name}.img").write_text(name)
    lifecycle.up(state.Lab(), QUIET)
    assert calls.index("cluster.create") < calls.index("workload.deploy") < calls.index("shut_down cp1")
    assert sorted(p.name for p in saved.directory_of(state.Lab()).iterdir()) == [f"{n}.img" for n in NODES]
    assert calls[-1] == "build", "targets of an upgrade come last"
    assert lifecycle._COMPLETE.exists()


def test_later_up_boots_the_saved_disks(calls: list[str]) -> None:
    keep_disks(state.Lab())
    lifecycle.up(state.Lab(), QUIET)
    assert "cluster.create" not in calls
    assert [c for c in calls if c.startswith("create_disk")] == [f"create_disk {n}" for n in NODES]


def test_up_of_a_running_lab_replaces_nothing_and_forgets_no_metrics(calls: list[str]) -> None:
    keep_disks(state.Lab())
    lifecycle._COMPLETE.touch()
    lifecycle.up(state.Lab(), QUIET)
    assert not [c for c in calls if c.startswith(("create_disk", "power_off"))]
    assert "infra.clear_monitoring" not in calls
    assert "infra.start_monitoring" in calls


def test_up_after_an_interrupted_reset_starts_from_the_saved_disks(
    calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    state.Lab().save()
    lifecycle._COMPLETE.touch()
    keep_disks(state.Lab())

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(saved, "restore", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lifecycle.reset(QUIET)
    calls.clear()
    lifecycle.up(state.Lab(), QUIET)
    assert "create_disk cp1" in calls


def test_another_lab_is_refused_before_anything_happens(calls: list[str]) -> None:
    state.Lab("small").save()
    with pytest.raises(LabError, match=r"a lab is up already: small.*\n  next: take it down first"):
        lifecycle.up(state.Lab("ha"), QUIET, fresh=True)
    assert calls == []


def test_reset_needs_a_lab_and_saved_disks(calls: list[str]) -> None:
    with pytest.raises(LabError, match="there is no lab"):
        lifecycle.reset(QUIET)
    state.Lab().save()
    with pytest.raises(LabError, match="no fresh cluster has been saved"):
        lifecycle.reset(QUIET)
    assert calls == ["pool.mount"]


def test_reset_after_a_restart_of_the_machine_finds_the_saved_disks(
    calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The restart has unmounted the pool and taken the network away; what is written down about the lab is still there."""
    state.Lab().save()
    monkeypatch.setattr(pool, "mount", lambda: keep_disks(state.Lab()))
    lifecycle.reset(QUIET)
    assert calls.index("network.up") < calls.index("forget_faults") < calls.index("infra.start")


@pytest.mark.parametrize("is_saved", [True, False])
def test_fresh_up_replaces_a_used_cluster_and_completes_what_is_missing(
    calls: list[str], is_saved: bool
) -> None:
    state.Lab().save()
    lifecycle._COMPLETE.touch()
    for name in NODES:
        (pool.LIVE / f"{name}.img").write_text(name)
    if is_saved:
        keep_disks(state.Lab())
    lifecycle.up(state.Lab(), QUIET, fresh=True)
    assert calls[:2] == ["network.up", "forget_faults"]
    off = max(i for i, c in enumerate(calls[: calls.index("doctor.demand")]) if c == "power_off w2")
    assert off < calls.index("create_disk cp1") < calls.index("power_on cp1")
    assert ("cluster.create" in calls) is not is_saved
    assert calls[-1] == "build"


def test_fresh_up_of_a_lab_that_is_down_is_a_plain_up(calls: list[str]) -> None:
    keep_disks(state.Lab())
    lifecycle.up(state.Lab(), QUIET, fresh=True)
    assert calls[0] == "doctor.demand"
    assert "forget_faults" not in calls


def test_reset_cuts_the_power_before_disks_are_changed_and_empties_the_monitoring(calls: list[str]) -> None:
    state.Lab().save()
    keep_disks(state.Lab())
    lifecycle.reset(QUIET)
    assert calls[:3] == ["pool.mount", "network.up", "forget_faults"]
    off = max(i for i, c in enumerate(calls) if c.startswith("power_off"))
    assert off < calls.index("create_disk cp1") < calls.index("power_on cp1")
    assert (
        calls.index("wait_web")
        < calls.index("infra.clear_monitoring")
        < calls.index("infra.start_monitoring")
    )


def test_down_goes_on_when_a_fault_cannot_be_undone(
    calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stuck() -> None:
        raise LabError("node cp1 is off")

    monkeypatch.setattr(lifecycle, "_forget_faults", stuck)
    (pool.LIVE / "cp1.img").touch()
    lifecycle.down(QUIET)
    for expected in ("stop registry", "power_off cp1", "power_off services", "drop_disk cp1"):
        assert expected in calls
    order = [
        calls.index(c) for c in ("network.down", "pool.unmount", "cgroups.remove_parent", "tunables.restore")
    ]
    assert order == sorted(order)
    assert not lifecycle.STATE_DIR.exists()


def test_estimate_depends_on_what_is_cached(calls: list[str]) -> None:
    lab = state.Lab()
    assert lifecycle._kind_of_up(lab) == "up-cold"
    pool.IMAGE.touch()
    (lifecycle.CACHE_DIR / "registry").mkdir()
    assert lifecycle._kind_of_up(lab) == "up-cold"
    base.image().touch()
    assert lifecycle._kind_of_up(lab) == "up-first"
    keep_disks(lab)
    assert lifecycle._kind_of_up(lab) == "up-warm"


def test_saved_disks_with_certificates_near_their_end_are_not_used(calls: list[str]) -> None:
    directory = keep_disks(state.Lab())
    assert saved.exist(state.Lab())
    long_ago = time.time() - 301 * 24 * 3600
    os.utime(directory, (long_ago, long_ago))
    assert not saved.exist(state.Lab())


def test_saving_drops_disks_of_earlier_recipes_and_keeps_other_labs(calls: list[str]) -> None:
    (pool.SAVED / "small-1.34.4-base1-r0").mkdir()
    other = keep_disks(state.Lab("ha"))
    for name in NODES:
        (pool.LIVE / f"{name}.img").touch()
    saved.save(state.Lab())
    assert {p.name for p in pool.SAVED.iterdir()} == {other.name, saved.directory_of(state.Lab()).name}
