from __future__ import annotations

from dataclasses import replace

import pytest

from nightshift.domain.etcd_device import describe_device, describe_writers
from nightshift.domain.facts.etcd import EtcdDevice, Writer

MIB = 1024**2
DD = Writer(4711, "dd", "x.service", 84 * MIB, on_device=True)
POD = Writer(12, "python3", "pod shop/web-1", 7 * MIB, on_device=False)


def device(
    *writers: Writer, source: str = "/dev/loop3", chain: str = "loop3", rotates: bool | None = True
) -> EtcdDevice:
    return EtcdDevice(source, tuple(chain.split()), rotates, None, 0.7, writers)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (device(), "/dev/loop3 (rotating)"),
        (device(rotates=False), "/dev/loop3 (not rotating)"),
        (device(rotates=None), "/dev/loop3"),
        (
            device(source="/dev/mapper/vg-etcd", chain="dm-0 sda3 sda"),
            "/dev/mapper/vg-etcd on sda (rotating)",
        ),
        (device(source="tank/etcd", chain="", rotates=None), "tank/etcd"),
    ],
)
def test_device(found: EtcdDevice, said: str) -> None:
    assert describe_device(found) == said


TWO_PLACES = (
    "Meanwhile dd (pid 4711) wrote 120.0 MiB/s to the same file system; "
    "python3 (pid 12, pod shop/web-1) wrote 10.0 MiB/s on this node, perhaps to another disk."
)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (device(DD), "Meanwhile dd (pid 4711, unit x.service) wrote 120.0 MiB/s to the same file system."),
        (device(replace(DD, unit=""), POD), TWO_PLACES),
        (
            device(DD, Writer(5, "tar", "", 7 * MIB, on_device=True)),
            "Meanwhile dd (pid 4711, unit x.service) wrote 120.0 MiB/s and tar (pid 5) wrote 10.0 MiB/s to the same file system.",
        ),
        (device(), "In the 0.7 s of the look nothing else wrote much on this node."),
    ],
)
def test_writers(found: EtcdDevice, said: str) -> None:
    assert describe_writers(found) == said
