from __future__ import annotations

import pytest

from nightshift.domain.facts import ScratchEntry
from nightshift.domain.scratch import choose_reapable

NOW = 1_800_000_000.0
DAY = 86_400.0


def entry(name: str, age_days: float = 10.0) -> ScratchEntry:
    return ScratchEntry(name, NOW - age_days * DAY, 100, True)


def backup(kind: str, day: int, age_days: float = 10.0) -> ScratchEntry:
    return entry(f"kubeadm-backup-{kind}-2026-10-{day:02}-01-02-03", age_days)


@pytest.mark.parametrize(
    "name",
    [
        "kubeadm-upgraded-manifests123456789",
        "kubeadm-upgraded-manifests-2026-10-01-01-02-03",
        "kubeadm-kubelet-config3141592653",
        "kubeadm-kubelet-config-2026-10-01-01-02-03",
        "kubeadm-kubelet-env-2026-10-01-01-02-03",
        "kubeadm-upgrade-dryrun42",
        "kubeadm-upgrade-dryrun-2026-10-01-01-02-03",
    ],
)
def test_every_kubeadm_leftover_goes_when_old(name: str) -> None:
    assert choose_reapable([entry(name)], NOW, 3).reap == (name,)


@pytest.mark.parametrize(
    "name",
    [
        "kubeadm-backup-etcd-2026-10-01-01-02-03.tar",
        "kubeadm-backup-etcd-by-ops",
        "my-kubeadm-backup-etcd-2026-10-01-01-02-03",
        "kubeadm-upgraded-manifests",
        "kubeadm-kubelet-config-old",
        "kubeadm-kubelet-config-42",
        "kubeadm-upgrade-dryrun../../etc",
        "notes.txt",
        "kubeadm-backup-etcd-2026-10-01-01-02-03\n",
    ],
)
def test_what_is_not_exactly_kubeadms_stays_however_old(name: str) -> None:
    plan = choose_reapable([entry(name, 1000)], NOW, 3)
    assert plan.reap == ()
    assert plan.keep == {name: "not a name kubeadm gives"}


@pytest.mark.parametrize(("age", "reaped"), [(2.9, False), (3.0, False), (3.1, True), (-1.0, False)])
def test_retention(age: float, reaped: bool) -> None:
    plan = choose_reapable([entry("kubeadm-upgraded-manifests1", age)], NOW, 3)
    assert bool(plan.reap) is reaped


def test_the_newest_backup_of_each_kind_stays_however_old() -> None:
    old = [backup("etcd", day, 100 - day) for day in range(1, 31)]
    old += [backup("manifests", day, 100 - day) for day in range(1, 31)]
    plan = choose_reapable(old, NOW, 3)
    assert len(plan.reap) == 58
    assert plan.reap_bytes == 5800
    assert set(plan.keep) == {
        "kubeadm-backup-etcd-2026-10-30-01-02-03",
        "kubeadm-backup-manifests-2026-10-30-01-02-03",
    }


def test_name_and_time_disagreeing_keeps_both() -> None:
    jumped = [backup("etcd", 1, 10), backup("etcd", 2, 20), backup("etcd", 3, 30)]
    plan = choose_reapable(jumped, NOW, 3)
    assert plan.reap == ("kubeadm-backup-etcd-2026-10-02-01-02-03",)


def test_oldest_first_and_empty_is_fine() -> None:
    names = [entry("kubeadm-upgraded-manifests1", 5), entry("kubeadm-upgraded-manifests2", 9)]
    assert choose_reapable(names, NOW, 3).reap == (
        "kubeadm-upgraded-manifests2",
        "kubeadm-upgraded-manifests1",
    )
    assert choose_reapable([], NOW, 3).reap == ()
