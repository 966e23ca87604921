"""The tables in include/tables: what changes with the world around and not with the code. YAML to domain values."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from nightshift.domain.errors import ConfigError
from nightshift.domain.facts.addons import AddOn, AddOnRelease
from nightshift.domain.facts.supply import ReleasePins
from nightshift.domain.facts.versions import Killer, KillerKind
from nightshift.domain.versions import Version, parse_minor

Fact = TypeVar("Fact", covariant=True)

_SHIPPED = Path(__file__).resolve().parents[3] / "include" / "tables"


def _is_minor(text: str) -> str:
    parse_minor(text)
    return text


def _is_release(text: str) -> str:
    Version.parse(text)
    return text


Minor = Annotated[str, AfterValidator(_is_minor)]
Release = Annotated[str, AfterValidator(_is_release)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Address = Annotated[str, Field(pattern=r"^https://\S+$")]


class _Entry(BaseModel):
    """Base of all entries: unknown keys are errors, and 1.35 without quotes is no text."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _Known(Protocol[Fact]):
    """An entry of a table, and what the domain makes of it."""

    def to_fact(self) -> Fact:
        """Return the domain's form."""


class KillerEntry(_Entry):
    """One thing a minor no longer bears; see `domain.facts.versions.Killer`."""

    name: Name
    kind: KillerKind
    since: Minor
    until: Minor | None = None
    outcome: Literal["block", "warn"]
    components: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    value: str | None = None
    below: str | None = None
    except_files: tuple[str, ...] = ()
    preflight: str | None = None
    message: str = Field(min_length=1)
    remedy: str = Field(min_length=1)
    source: Address

    def to_fact(self) -> Killer:
        """Return the domain's form."""
        return Killer(**dict(self))


class AddOnReleaseEntry(_Entry):
    """One release line of an add-on."""

    release: str = Field(pattern=r"^\d+\.\d+$")
    oldest: Minor | None = None
    newest: Minor | None = None

    def to_fact(self) -> AddOnRelease:
        """Return the domain's form."""
        return AddOnRelease(**dict(self))


class AddOnEntry(_Entry):
    """One add-on, in the shipped table and in a cluster's file alike."""

    name: Name
    images: tuple[str, ...] = Field(
        min_length=1, description='Ends of image names without tag: "calico/node".'
    )
    releases: tuple[AddOnReleaseEntry, ...] = Field(
        description='Release lines ("3.31") and the Kubernetes minors they support, oldest to newest.'
    )
    source: Address = Field(description="The project's own statement.")
    strict: bool = Field(
        AddOn.strict, description="False: the project says that other minors may work; outside only warns."
    )

    def to_fact(self) -> AddOn:
        """Return the domain's form."""
        releases = tuple(release.to_fact() for release in self.releases)
        return AddOn(self.name, self.images, releases, self.source, self.strict)


class PinsEntry(_Entry):
    """Images kubeadm of some releases asks for beside Kubernetes' own."""

    first: Release
    last: Release
    etcd: str
    coredns: str
    pause: str
    source: Address

    def to_fact(self) -> ReleasePins:
        """Return the domain's form."""
        return ReleasePins(**dict(self))


class _Loader(yaml.SafeLoader):
    """Refuses a key given twice: a lost dash would make one entry out of two, and YAML silently takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """As the base does, after a look at the keys."""
        keys = [key.value for key, _ in node.value]
        twice = {str(key) for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"{', '.join(sorted(twice))} given twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


def load_killers(directory: Path = _SHIPPED) -> tuple[Killer, ...]:
    """What new minors no longer bear.

    Raises:
        ConfigError: CONFIG_INVALID, the table cannot be read.
    """
    return _load(directory / "version_killers.yaml", KillerEntry)


def load_addons(directory: Path = _SHIPPED) -> tuple[AddOn, ...]:
    """Known add-ons; raises as `load_killers`."""
    return _load(directory / "addons.yaml", AddOnEntry)


def load_pins(directory: Path = _SHIPPED) -> tuple[ReleasePins, ...]:
    """Images beside Kubernetes' own, by release; raises as `load_killers`."""
    return _load(directory / "releases.yaml", PinsEntry)


def _load(path: Path, entry: type[_Known[Fact]]) -> tuple[Fact, ...]:
    try:
        return _parse(path, path.stat().st_mtime_ns, entry)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as error:
        raise ConfigError(
            "CONFIG_INVALID",
            f"The table {path.name} cannot be read: {error}",
            cause="It was edited, or the checkout or image misses include/tables.",
            next_step=f"Correct {path.name}, or deploy plugins/ and include/ of the same version side by side.",
        ) from error


@lru_cache(maxsize=16)
def _parse(path: Path, modified: int, entry: type[_Known[Fact]]) -> tuple[Fact, ...]:
    """Parsed once for each state of the file: `modified` tells an edited one from what is kept."""
    content: Any = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506
    entries: tuple[_Known[Fact], ...] = TypeAdapter(tuple[entry, ...]).validate_python(content)  # type: ignore[valid-type]
    return tuple(known.to_fact() for known in entries)
