"""Which version tonight's hop goes to: patch first, then one minor; never skip, never down, never guess."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from nightshift.domain.errors import ConfigError
from nightshift.domain.facts import NodeFacts, PackageFacts
from nightshift.domain.policy import TargetPolicy
from nightshift.domain.versions import Version, newest_package, next_minor, parse_minor, releases_in

CONTROL_PLANE_COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")


class TargetKind(StrEnum):
    """What tonight's hop is."""

    NONE = "none"  # everything known, nothing to do
    PATCH = "patch"
    MINOR = "minor"
    BLIND = "blind"  # something that decides the answer could not be known


@dataclass(frozen=True)
class TargetChoice:
    """Tonight's target, or why there is none.

    Args:
        kind: see `TargetKind`.
        version: release to reach, "1.35.4"; None for NONE and BLIND.
        package_version: exact package, "1.35.4-1.1"; None for NONE and BLIND.
        minor: the minor whose repository is needed, "1.35"; None for NONE and BLIND.
        running: oldest release running anywhere; None when unknown.
        sentence: the choice in one plain sentence.
        nodes_behind: nodes on which something is older than the target.
    """

    kind: TargetKind
    sentence: str
    version: str | None = None
    package_version: str | None = None
    minor: str | None = None
    running: str | None = None
    nodes_behind: tuple[str, ...] = ()

    @property
    def is_hop(self) -> bool:
        """Tell whether there is something to upgrade to."""
        return self.kind in (TargetKind.PATCH, TargetKind.MINOR)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-serialisable data."""
        return {**asdict(self), "kind": self.kind.value, "nodes_behind": list(self.nodes_behind)}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> TargetChoice:
        """Rebuild a choice from `to_dict`'s output."""
        return TargetChoice(
            **{**data, "kind": TargetKind(data["kind"]), "nodes_behind": tuple(data["nodes_behind"])}
        )


def repository_url(base: str, minor: str) -> str:
    """Return the address of one minor's Debian repository: ".../v1.35/deb/"."""
    return f"{base.rstrip('/')}/v{minor}/deb/"


@dataclass(frozen=True)
class _Running:
    """Every version that runs, by node; complete or not built at all."""

    by_node: Mapping[str, tuple[Version, ...]]

    @property
    def oldest(self) -> Version:
        return min(v for versions in self.by_node.values() for v in versions)

    @property
    def newest(self) -> Version:
        return max(v for versions in self.by_node.values() for v in versions)

    def nodes_behind(self, target: Version) -> tuple[str, ...]:
        return tuple(node for node, versions in self.by_node.items() if min(versions) < target)


class _Unknown(Exception):
    """Something that decides the answer is not known; the text says what."""


def minors_to_ask(
    nodes: Sequence[NodeFacts], components: Mapping[str, Mapping[str, str]], policy: TargetPolicy
) -> tuple[str, ...]:
    """Return the minors whose offers `choose_target` needs; empty when the running versions are unknown.

    Raises:
        ConfigError: as `choose_target`.
    """
    try:
        running = _read_running(nodes, components)
    except _Unknown:
        return ()
    _refuse_impossible(running, policy)
    if policy.pinned_version is not None:
        return (Version.parse(policy.pinned_version).minor,)
    if running.oldest != running.newest:
        return (running.newest.minor,)
    following = _allowed_next_minor(running.newest.minor, policy)
    return (running.newest.minor,) if following is None else (running.newest.minor, following)


def choose_target(
    nodes: Sequence[NodeFacts],
    components: Mapping[str, Mapping[str, str]],
    offers: Sequence[PackageFacts],
    policy: TargetPolicy,
) -> TargetChoice:
    """Choose tonight's target.

    Args:
        nodes: all nodes of the cluster.
        components: control-plane node -> component -> version of the running image tag
            (`kube-apiserver`, `kube-controller-manager`, `kube-scheduler`; others are ignored).
        offers: what the repository offers for each minor of `minors_to_ask`. `versions=()` without an
            error means: the repository answered that it has no such minor.
        policy: what the owner allows.

    Raises:
        ConfigError: TARGET_SKIPS_MINOR, TARGET_IS_DOWNGRADE, TARGET_BEYOND_CEILING or TARGET_UNKNOWN when the policy asks for
            something that cannot be done.
    """
    running: _Running | None = None
    try:
        running = _read_running(nodes, components)
        _refuse_impossible(running, policy)
        by_minor = {offer.minor: offer for offer in offers}
        if policy.pinned_version is not None:
            return _pinned(running, by_minor, Version.parse(policy.pinned_version))
        if running.oldest != running.newest:
            return _continued(running, by_minor)
        return _next_hop(running, by_minor, policy)
    except _Unknown as unknown:
        oldest = str(running.oldest) if running else None
        return TargetChoice(TargetKind.BLIND, f"The target could not be chosen: {unknown}", running=oldest)


def _read_running(nodes: Sequence[NodeFacts], components: Mapping[str, Mapping[str, str]]) -> _Running:
    """Read every running version; one that cannot be read makes the whole answer unknown."""
    by_node: dict[str, tuple[Version, ...]] = {}
    for node in nodes:
        texts = {"kubelet": node.kubelet_version}
        if node.is_control_plane:
            found = components.get(node.name, {})
            texts.update({name: found.get(name, "") for name in CONTROL_PLANE_COMPONENTS})
        try:
            by_node[node.name] = tuple(Version.parse(text) for text in texts.values())
        except ValueError as error:
            raise _Unknown(f"the versions running on {node.name} are not all known ({error}).") from error
    if not any(node.is_control_plane for node in nodes):
        raise _Unknown("no control-plane node is known.")
    return _Running(by_node)


def _refuse_impossible(running: _Running, policy: TargetPolicy) -> None:
    """Refuse what no offer could make possible."""
    oldest, newest = running.oldest, running.newest
    if newest.minors_ahead_of(oldest) > 1:
        behind = ", ".join(node for node, versions in running.by_node.items() if min(versions) == oldest)
        raise ConfigError(
            "TARGET_SKIPS_MINOR",
            f"{behind} runs {oldest} while {newest} runs elsewhere: more than one minor apart.",
            cause="Nodes were left behind for more than one upgrade.",
            next_step=f"Bring {behind} to {newest.major}.{newest.minor_number - 1} by hand first.",
        )
    if policy.newest_minor is not None:
        _refuse_below(newest, _policy_minor(policy.newest_minor), policy.newest_minor)
    if policy.pinned_version is not None:
        _refuse_pin(running, policy.pinned_version, policy.newest_minor)


def _policy_minor(text: str) -> tuple[int, int]:
    try:
        return parse_minor(text)
    except ValueError as error:
        raise _unknown_target(
            f"newest_minor {text!r} is not a minor.", "It is not written like 1.35."
        ) from error


def _refuse_below(newest: Version, ceiling: tuple[int, int], said: str) -> None:
    if ceiling < (newest.major, newest.minor_number):
        raise ConfigError(
            "TARGET_IS_DOWNGRADE",
            f"newest_minor {said} is older than {newest}, which already runs.",
            cause="Kubernetes cannot go back a minor.",
            next_step=f"Set target.newest_minor to {newest.minor} or newer, or remove it.",
        )


def _refuse_pin(running: _Running, text: str, ceiling: str | None) -> None:
    try:
        pin = Version.parse(text)
    except ValueError as error:
        raise _unknown_target(
            f"pinned_version {text!r} is no release.", "It is not written like 1.35.4."
        ) from error
    if ceiling is not None and parse_minor(pin.minor) > _policy_minor(ceiling):
        raise ConfigError(
            "TARGET_BEYOND_CEILING",
            f"{pin} is asked for, and newest_minor is {ceiling}.",
            cause="The run's form, or pinned_version, asks for a minor that this cluster's owner has ruled out.",
            next_step=f"Ask for a {ceiling} release or an older one, or raise target.newest_minor in the cluster's YAML.",
        )
    if pin < running.newest:
        raise ConfigError(
            "TARGET_IS_DOWNGRADE",
            f"pinned_version {pin} is older than {running.newest}, which already runs.",
            cause="kubeadm does not downgrade.",
            next_step=f"Pin {running.newest} or newer, or remove target.pinned_version.",
        )
    if pin.minors_ahead_of(running.oldest) > 1:
        step = f"{running.oldest.major}.{running.oldest.minor_number + 1}"
        raise ConfigError(
            "TARGET_SKIPS_MINOR",
            f"pinned_version {pin} is more than one minor ahead of {running.oldest}.",
            cause="kubeadm upgrades one minor at a time.",
            next_step=f"Pin a {step} release first, or remove target.pinned_version; one hop a night.",
        )


def _pinned(running: _Running, offers: Mapping[str, PackageFacts], pin: Version) -> TargetChoice:
    if not running.nodes_behind(pin):
        return _nothing(running, f"Everything runs {pin}, the pinned version.")
    offer = _offer(offers, pin.minor)
    package = newest_package(offer.versions, pin)
    if package is None:
        offered = ", ".join(map(str, releases_in(offer.versions))) or "nothing"
        raise _unknown_target(f"pinned_version {pin} is not offered.", f"The repository offers {offered}.")
    return _hop(running, pin, package, "pinned")


def _continued(running: _Running, offers: Mapping[str, PackageFacts]) -> TargetChoice:
    """Go on to the version some nodes already run, so that an interrupted hop ends where it was going."""
    offer = _offer(offers, running.newest.minor)
    package = newest_package(offer.versions, running.newest)
    if package is not None:
        return _hop(running, running.newest, package, "continues an unfinished upgrade")
    newer = [release for release in releases_in(offer.versions) if release > running.newest]
    if not newer:
        raise _Unknown(f"{running.newest} runs already but the repository offers no package of it.")
    return _hop(
        running, newer[0], newest_package(offer.versions, newer[0]), "nearest to an unfinished upgrade"
    )


def _next_hop(running: _Running, offers: Mapping[str, PackageFacts], policy: TargetPolicy) -> TargetChoice:
    """Choose among the newest patch of the running minor and the newest release of the next minor."""
    current = running.newest
    following = _allowed_next_minor(current.minor, policy)
    order = [current.minor] if following is None else [current.minor, following]
    if not policy.patch_first:
        order.reverse()
    for minor in order:
        offer = _offer(offers, minor)
        releases = releases_in(offer.versions)
        if minor == current.minor and not releases:
            raise _Unknown(f"the repository has no package of {minor}, which runs; is its address right?")
        if releases and releases[-1] > current:
            return _hop(running, releases[-1], newest_package(offer.versions, releases[-1]), "newest offered")
    limit = f" newest_minor is {policy.newest_minor}." if following is None else ""
    return _nothing(running, f"Everything runs {current}, and nothing newer is offered.{limit}")


def _allowed_next_minor(minor: str, policy: TargetPolicy) -> str | None:
    following = next_minor(minor)
    if policy.newest_minor is not None and parse_minor(following) > parse_minor(policy.newest_minor):
        return None
    return following


def _offer(offers: Mapping[str, PackageFacts], minor: str) -> PackageFacts:
    offer = offers.get(minor)
    if offer is None:
        raise _Unknown(f"nobody asked what is offered for {minor}.")
    if offer.error is not None:
        raise _Unknown(f"what is offered for {minor} is not known ({offer.error}).")
    return offer


def _hop(running: _Running, version: Version, package: str | None, why: str) -> TargetChoice:
    behind = running.nodes_behind(version)
    is_minor = version.minors_ahead_of(running.oldest) > 0
    kind = TargetKind.MINOR if is_minor else TargetKind.PATCH
    return TargetChoice(
        kind,
        f"{running.oldest} to {version} ({kind.value}, {why}): "
        f"{len(behind)} of {len(running.by_node)} nodes are behind.",
        version=str(version),
        package_version=package,
        minor=version.minor,
        running=str(running.oldest),
        nodes_behind=behind,
    )


def _nothing(running: _Running, sentence: str) -> TargetChoice:
    return TargetChoice(TargetKind.NONE, sentence, running=str(running.oldest))


def _unknown_target(message: str, cause: str) -> ConfigError:
    return ConfigError(
        "TARGET_UNKNOWN",
        message,
        cause=cause,
        next_step="Correct target in the cluster's YAML, or wait until the repository offers it.",
    )
