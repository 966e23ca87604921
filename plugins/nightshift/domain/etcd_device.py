"""The device under etcd's data, and who else wrote to it, in words."""

from __future__ import annotations

from nightshift.domain.facts.etcd import EtcdDevice, Writer

_MIB = 1024**2


def describe_device(device: EtcdDevice) -> str:
    """Return e.g. "/dev/mapper/vg-etcd on sda (rotating)"."""
    disk = device.chain[-1] if len(device.chain) > 1 else ""
    kind = {True: " (rotating)", False: " (not rotating)", None: ""}[device.rotates]
    return f"{device.source}{f' on {disk}' if disk else ''}{kind}"


def describe_writers(device: EtcdDevice) -> str:
    """Return who wrote how fast, as one sentence; that nobody did is said, too."""
    here = [w for w in device.writers if w.on_device]
    elsewhere = [w for w in device.writers if not w.on_device]
    parts = []
    if here:
        parts.append(f"{_joined(here, device)} to the same file system")
    if elsewhere:
        parts.append(f"{_joined(elsewhere, device)} on this node, perhaps to another disk")
    if not parts:
        return f"In the {device.window_seconds:g} s of the look nothing else wrote much on this node."
    return f"Meanwhile {'; '.join(parts)}."


def _joined(writers: list[Writer], device: EtcdDevice) -> str:
    said = [_describe_writer(writer, device.window_seconds) for writer in writers]
    return ", ".join(said[:-1]) + (" and " if said[1:] else "") + said[-1]


def _describe_writer(writer: Writer, seconds: float) -> str:
    rate = writer.written_bytes / seconds / _MIB if seconds > 0 else 0.0
    unit = (
        f", {writer.unit if writer.unit.startswith('pod ') else f'unit {writer.unit}'}" if writer.unit else ""
    )
    return f"{writer.command} (pid {writer.pid}{unit}) wrote {rate:.1f} MiB/s"
