"""What `lab up`, `lab reset` and `lab down` do, in order."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from nslab import build, debian, probe, workload
from nslab.build import store
from nslab.nodes import (
    base,
    cgroups,
    cluster,
    doctor,
    identity,
    infra,
    machine,
    monitoring,
    network,
    pool,
    processes,
    saved,
    state,
    tunables,
)
from nslab.progress import Report, spell
from nslab.settings import CACHE_DIR, FROM_VERSION, STATE_DIR, TARGET_VERSION
from nslab.shell import LabError

# Exists while the nodes hold a cluster that has been healthy once.
_COMPLETE = STATE_DIR / "complete"
# Seconds on 2 cores, for the announcement when this machine has no times of its own yet.
_EXPECTED = {"up-cold": 35 * 60, "up-first": 5 * 60, "up-warm": 2 * 60}

_MACHINE_PACKAGES = {
    "debootstrap": "makes the nodes' Debian system",
    "xfsprogs": "makes the pool of disks, in which copies cost nothing",
    "systemd-container": "systemd-nspawn, which boots the nodes",
    "iproute2": "makes the lab's network",
    "openssh-client": "logs in on the nodes",
    "gnupg": "handles the package repository's key",
    **infra.PACKAGES,
}


def up(lab: state.Lab, report: Report, fresh: bool = False) -> None:
    """Bring the lab up; a lab that is up already is only checked and completed.

    `fresh` ends with the fresh cluster, whatever an earlier one was used for or an interruption has left of it.
    """
    _refuse_another(lab)
    if fresh and state.exists():
        # Before the doctor looks: the memory that the running nodes have is free for those that come.
        _end_cluster(lab)
    doctor.demand()
    kind = _announce(lab, report)
    started = time.monotonic()
    debian.ensure_debian_packages(_MACHINE_PACKAGES, report)
    artifacts = build.ensure_all([lab.version], report)
    pool.mount()
    base.ensure(report)
    _prepare(lab, artifacts)
    if _COMPLETE.exists():
        _boot_all(lab)
        _settle(lab, report, since=0)
        infra.start_monitoring(lab)
    elif saved.exist(lab):
        _start_saved(lab, report)
    else:
        _create(lab, artifacts, report)
    store.remember_duration(_duration_name(kind, lab), time.monotonic() - started)
    report(f"the cluster is up after {spell(time.monotonic() - started)}")
    # Last, so that whoever only wants a cluster can already use it.
    targets = sorted({lab.version, FROM_VERSION, TARGET_VERSION})
    build.ensure_all(targets, report)
    report(f"the lab is complete; packages and images are there for {', '.join(targets)}")


def reset(report: Report) -> None:
    """Bring the lab back to its fresh cluster: other disks, same addresses and keys."""
    lab = state.current()
    pool.mount()  # after a restart of this machine it is not, and holds the saved disks
    if not saved.exist(lab):
        raise LabError("no fresh cluster has been saved for this lab", "run `lab/lab up`, which makes one")
    started = time.monotonic()
    with report.step(_duration_name("reset", lab), "back to the fresh cluster"):
        _end_cluster(lab)
        infra.start(lab)
        _start_saved(lab, report)
    report(f"the lab is fresh after {spell(time.monotonic() - started)}")


def down(report: Report) -> None:
    """Take everything away that the lab has put on the machine; what is cached stays."""
    report("taking the lab down")
    try:
        _forget_faults()
    except LabError as error:
        report(f"faults could not be undone one by one ({error}); they end with the nodes")
    for name in processes.started_names():
        if not name.startswith("node-"):
            processes.stop(name, kill=True)
    disks = {path.stem for path in pool.LIVE.glob("*.img")}
    _in_parallel(
        machine.power_off, sorted(disks | cgroups.names() | {p.name for p in machine.NODES.glob("*")})
    )
    for name in disks:
        machine.drop_disk(name)
    network.down()
    pool.unmount()
    cgroups.remove_parent()
    tunables.restore()
    shutil.rmtree(STATE_DIR, ignore_errors=True)
    report(f"nothing of the lab is left, except what is cached in {CACHE_DIR}")


def _refuse_another(lab: state.Lab) -> None:
    """Raise when the lab that is up is not this one."""
    if state.exists() and (other := state.current()) != lab:
        raise LabError(
            f"a lab is up already: {other.profile_name} with {other.version}",
            "take it down first: `lab/lab down`",
        )


def _end_cluster(lab: state.Lab) -> None:
    """Undo faults, stop who watches the cluster, and cut its nodes' power: it is about to be replaced."""
    network.up(lab.profile)  # a restart of this machine has taken it away, and some faults are undone in it
    _forget_faults()
    for name in (*infra.MONITORING, probe.PROCESS):
        processes.stop(name, kill=True)
    _power_off_all(lab)


def _announce(lab: state.Lab, report: Report) -> str:
    """Say before anything starts how long it will take, and return what kind of `up` it is."""
    kind = _kind_of_up(lab)
    known = store.durations().get(_duration_name(kind, lab))
    expected = (
        f"this took {spell(known)} last time"
        if known
        else f"expect up to {spell(_EXPECTED[kind])} on 2 cores"
    )
    report(f"bringing up {lab.profile_name} with Kubernetes {lab.version}; {expected}")
    return kind


def _kind_of_up(lab: state.Lab) -> str:
    """Return which of the keys of `_EXPECTED` describes what an `up` has to do now."""
    if not pool.IMAGE.exists() or not (CACHE_DIR / "registry").exists():
        return "up-cold"
    pool.mount()
    if saved.exist(lab):
        return "up-warm"
    return "up-first" if base.image().exists() else "up-cold"


def _duration_name(what: str, lab: state.Lab) -> str:
    return f"{what}-{lab.profile_name}-{lab.version}"


def _prepare(lab: state.Lab, artifacts: build.Artifacts) -> None:
    """Everything around the nodes: state, keys, network, services."""
    lab.save()
    tunables.remember()
    identity.make_keys(lab.profile)
    network.up(lab.profile)
    infra.Sources(artifacts.repo_root, artifacts.registry_root).save()
    state.KUBECTL.parent.mkdir(parents=True, exist_ok=True)
    state.KUBECTL.unlink(missing_ok=True)
    state.KUBECTL.symlink_to(Path(artifacts.bin_dir_by_version[lab.version]) / "kubectl")
    infra.start(lab)


def _create(lab: state.Lab, artifacts: build.Artifacts, report: Report) -> None:
    """Make the cluster from nothing, save its disks, and boot it from there."""
    _power_off_all(lab)
    with report.step(f"nodes-{lab.profile_name}", "booting the nodes and installing Kubernetes' packages"):
        for node in lab.profile.nodes:
            machine.create_disk(node, lab, base.image())
            minor = lab.version.rpartition(".")[0]
            identity.write_package_source(machine.root_of(node.name), artifacts.keyring, minor)
        _boot_all(lab)
        _in_parallel(
            partial(cluster.install_packages, version=lab.version), [n.name for n in lab.profile.nodes]
        )
    cluster.create(lab, report)
    with report.step(
        f"healthy-{lab.profile_name}", "waiting until the cluster and its sample workload are healthy"
    ):
        cluster.wait_healthy(300)
        cluster.spread_dns()
        monitoring.grant()
        workload.deploy(cluster.kubectl)
        cluster.wait_healthy(300)
    with report.step(f"save-{lab.profile_name}", "keeping the fresh disks for the next time"):
        _in_parallel(machine.shut_down, [n.name for n in lab.profile.nodes])
        saved.save(lab)
    _boot_fresh(lab, report)


def _start_saved(lab: state.Lab, report: Report) -> None:
    """Boot all nodes from the saved disks and wait until everything answers."""
    _power_off_all(lab)
    saved.restore(lab)
    cluster.fetch_kubeconfig(lab)
    _boot_fresh(lab, report)


def _boot_fresh(lab: state.Lab, report: Report) -> None:
    """Boot nodes whose disks hold a fresh cluster; the monitoring starts with empty data."""
    since = time.time()
    _boot_all(lab)
    _settle(lab, report, since)
    infra.clear_monitoring()
    monitoring.grant()
    infra.start_monitoring(lab)


def _settle(lab: state.Lab, report: Report, since: float) -> None:
    """Wait for a healthy cluster and count only what it says of the time after `since` (seconds since the epoch)."""
    with report.step(f"settle-{lab.profile_name}", "waiting until the cluster is healthy"):
        cluster.wait_healthy(180, since)
        probe.wait_web(lab.profile, 120)
    _COMPLETE.touch()


def _boot_all(lab: state.Lab) -> None:
    tunables.raise_limits()
    names = [n.name for n in lab.profile.nodes]
    for name in names:
        machine.power_on(name)
    for name in names:
        machine.wait_booted(name)


def _power_off_all(lab: state.Lab) -> None:
    _COMPLETE.unlink(missing_ok=True)
    _in_parallel(machine.power_off, [n.name for n in lab.profile.nodes])


def _in_parallel(act: Callable[[str], None], names: list[str]) -> None:
    with ThreadPoolExecutor(max_workers=8) as pool_of_threads:
        list(pool_of_threads.map(act, names))


def _forget_faults() -> None:
    from nslab import faults  # the faults build on this package, so not at the top

    faults.forget()
