"""The table of pins."""

from __future__ import annotations

import pytest

from nslab import settings
from nslab.build import versions


def test_every_version_the_lab_uses_has_pins() -> None:
    for version in (settings.FROM_VERSION, settings.TARGET_VERSION, settings.PATCH_FROM_VERSION):
        assert versions.release(version).version == version


def test_pins_of_the_releases_the_lab_was_made_with() -> None:
    old, new = versions.release("v1.34.4"), versions.release("1.35.4")
    assert (old.etcd_tag, old.coredns_tag, old.pause_tag) == ("3.6.5-0", "v1.12.1", "3.10.1")
    assert (new.etcd_tag, new.coredns_tag, new.pause_tag) == ("3.6.6-0", "v1.13.1", "3.10.1")
    assert versions.release("1.34.2").etcd_tag == old.etcd_tag


def test_names_derived_from_a_version() -> None:
    rel = versions.release("1.34.4")
    assert (rel.minor, rel.tag, rel.staging_version) == ("1.34", "v1.34.4", "v0.34.4")
    assert (rel.package_version, rel.cri_tools_package_version) == ("1.34.4-1.1", "1.34.0-1.1")
    assert (rel.etcd_version, rel.coredns_version) == ("3.6.5", "1.12.1")


@pytest.mark.parametrize("rel", versions.RELEASES.values(), ids=lambda r: r.version)
def test_the_table_does_not_contradict_itself(rel: versions.Release) -> None:
    assert rel.godebug == f"go{rel.go}"
    assert rel.coredns_tag.startswith("v")
    assert rel.etcd_tag.count("-") == 1


def test_a_version_without_pins_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"1\.33\.0; known are 1\.34\.2, 1\.34\.4, 1\.35\.4"):
        versions.release("1.33.0")
