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


@dataclass(frozen=True)
class _Wish:
    """A release somebody asked for, and where: the error must name the field that person has to correct."""

    text: str
    field: str  # as it is called where it stands
    remedy: str  # how to do without it

    @staticmethod
    def of(policy: TargetPolicy, requested: str | None) -> _Wish | None:
        """The trigger form's wish, else the policy's, else None."""
        if requested:
            return _Wish(requested.strip(), "target_version", "leave the form's target_version empty")
        if policy.pinned_version is not None:
            return _Wish(policy.pinned_version, "pinned_version", "remove target.pinned_version")
        return None


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
    nodes: Sequence[NodeFacts],
    components: Mapping[str, Mapping[str, str]],
    policy: TargetPolicy,
    requested: str | None = None,
) -> tuple[str, ...]:
    """Return the minors whose offers `choose_target` needs; empty when the running versions are unknown.

    Raises:
        ConfigError: as `choose_target`.
    """
    try:
        running = _read_running(nodes, components)
    except _Unknown:
        return ()
    wanted = _refuse_impossible(running, policy, _Wish.of(policy, requested))
    if wanted is not None:
        return (wanted.minor,)
    if running.oldest != running.newest:
        return (running.newest.minor,)
    following = _allowed_next_minor(running.newest.minor, policy)
    return (running.newest.minor,) if following is None else (running.newest.minor, following)


def choose_target(
    nodes: Sequence[NodeFacts],
    components: Mapping[str, Mapping[str, str]],
    offers: Sequence[PackageFacts],
    policy: TargetPolicy,
    requested: str | None = None,
) -> TargetChoice:
    """Choose tonight's target.

    Args:
        nodes: all nodes of the cluster.
        components: control-plane node -> component -> version of the running image tag
            (`kube-apiserver`, `kube-controller-manager`, `kube-scheduler`; others are ignored).
        offers: what the repository offers for each minor of `minors_to_ask`. `versions=()` without an
            error means: the repository answered that it has no such minor.
        policy: what the owner allows.
        requested: exactly this release, for this run only; goes before the policy's pin.

    Raises:
        ConfigError: TARGET_SKIPS_MINOR, TARGET_IS_DOWNGRADE, TARGET_ABOVE_CEILING or TARGET_UNKNOWN when the
            policy or the form asks for something that cannot be done.
    """
    running: _Running | None = None
    wish = _Wish.of(policy, requested)
    try:
        running = _read_running(nodes, components)
        wanted = _refuse_impossible(running, policy, wish)
        by_minor = {offer.minor: offer for offer in offers}
        if wish is not None and wanted is not None:
            return _wished(running, by_minor, wish, wanted)
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


def _refuse_impossible(running: _Running, policy: TargetPolicy, wish: _Wish | None) -> Version | None:
    """Refuse what no offer could make possible; return the release that is wished for, if one is."""
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
    if wish is None:
        return None
    wanted = _read_wish(running, wish)
    if policy.newest_minor is not None:
        _refuse_above(wanted, _policy_minor(policy.newest_minor), wish)
    return wanted


def _policy_minor(text: str) -> tuple[int, int]:
    try:
        return parse_minor(text)
    except ValueError as error:
        raise _unknown_target(
            f"newest_minor {text!r} is not a minor.",
            "It is not written like 1.35.",
            "Write target.newest_minor like 1.35, or remove it.",
        ) from error


def _refuse_below(newest: Version, ceiling: tuple[int, int], said: str) -> None:
    if ceiling < (newest.major, newest.minor_number):
        raise ConfigError(
            "TARGET_IS_DOWNGRADE",
            f"newest_minor {said} is older than {newest}, which already runs.",
            cause="Kubernetes cannot go back a minor.",
            next_step=f"Set target.newest_minor to {newest.minor} or newer, or remove it.",
        )


def _refuse_above(wanted: Version, ceiling: tuple[int, int], wish: _Wish) -> None:
    if (wanted.major, wanted.minor_number) > ceiling:
        said = f"{ceiling[0]}.{ceiling[1]}"
        raise ConfigError(
            "TARGET_ABOVE_CEILING",
            f"{wish.field} {wanted} is beyond newest_minor {said}.",
            cause="The cluster's owner allows nothing newer.",
            next_step=f"Raise target.newest_minor in the cluster's YAML if the owner agrees, or {wish.remedy}.",
        )


def _read_wish(running: _Running, wish: _Wish) -> Version:
    try:
        wanted = Version.parse(wish.text)
    except ValueError as error:
        raise _unknown_target(
            f"{wish.field} {wish.text!r} is no release.",
            "It is not written like 1.35.4.",
            f"Write it like 1.35.4, or {wish.remedy}.",
        ) from error
    if wanted < running.newest:
        raise ConfigError(
            "TARGET_IS_DOWNGRADE",
            f"{wish.field} {wanted} is older than {running.newest}, which already runs.",
            cause="kubeadm does not downgrade.",
            next_step=f"Ask for {running.newest} or newer, or {wish.remedy}.",
        )
    if wanted.minors_ahead_of(running.oldest) > 1:
        step = f"{running.oldest.major}.{running.oldest.minor_number + 1}"
        raise ConfigError(
            "TARGET_SKIPS_MINOR",
            f"{wish.field} {wanted} is more than one minor ahead of {running.oldest}.",
            cause="kubeadm upgrades one minor at a time.",
            next_step=f"Ask for a {step} release first, or {wish.remedy}; one hop a night.",
        )
    return wanted


def _wished(
    running: _Running, offers: Mapping[str, PackageFacts], wish: _Wish, wanted: Version
) -> TargetChoice:
    if not running.nodes_behind(wanted):
        return _nothing(running, f"Everything runs {wanted}, the version of {wish.field}.")
    offer = _offer(offers, wanted.minor)
    package = newest_package(offer.versions, wanted)
    if package is None:
        offered = ", ".join(map(str, releases_in(offer.versions))) or "nothing"
        raise _unknown_target(
            f"{wish.field} {wanted} is not offered.",
            f"The repository offers {offered} of {wanted.minor}.",
            f"Ask for what is offered, or {wish.remedy}, or wait until it is published.",
        )
    return _hop(running, wanted, package, f"asked for by {wish.field}")


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


def _unknown_target(message: str, cause: str, next_step: str) -> ConfigError:
    return ConfigError("TARGET_UNKNOWN", message, cause=cause, next_step=next_step)
