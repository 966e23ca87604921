"""Gate: do the add-ons bear the minor tonight's hop goes to?

A table (include/tables/addons.yaml, extended or replaced by `compatibility.addons` in the cluster's file) says which
Kubernetes minors the releases of known add-ons support, with the source. Add-ons are found by their images. Of one
that does not support the target minor: when a newer release of it does, the hop blocks until somebody upgrades the
add-on (`compatibility.too_old: warn` lets it pass); when no release does, the hop holds and waits for the project;
when `compatibility.pinned` names it, the hop holds because you keep it where it is. Patches within the running minor are not asked:
what runs is proof. A release that the table does not list (between or beyond its lines, or an image without a version
tag) **warns**: nobody has looked whether it bears the minor. An image of no known add-on is not judged; the evidence names
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nightshift.domain.facts.addons import ADDONS, WORKLOAD_IMAGES, AddOn, AddOnRelease, WorkloadImage
from nightshift.domain.gates.findings import Finding, conclude
from nightshift.domain.gates.hop import unknown_target
from nightshift.domain.look_again import LookAgain
from nightshift.domain.policy import ClusterPolicy, CompatibilityPolicy
from nightshift.domain.round import Moment, Round
from nightshift.domain.target import TargetKind
from nightshift.domain.topics import TARGET
from nightshift.domain.verdicts import Outcome, Verdict
from nightshift.domain.versions import parse_minor

NAME = "compatibility"
TITLE = "Add-on compatibility"
NEEDS = (TARGET, ADDONS, WORKLOAD_IMAGES)
WANTS = ()
MOMENTS = frozenset({Moment.NIGHT})

_MOST_UNKNOWN = 50  # images named in the evidence


@dataclass(frozen=True)
class _Installed:
    """One version of an add-on that runs, and in which workload it was seen."""

    addon: AddOn
    version: str  # image tag without v
    workload: str


def check(round_: Round, policy: ClusterPolicy) -> Verdict:
    """Judge every known add-on against the target's minor."""
    target = round_.get(TARGET)
    if target.kind is not TargetKind.MINOR or target.minor is None:
        return conclude(NAME, unknown_target(target), passed="No new minor tonight: what runs is proof.")
    images, shipped = round_.get(WORKLOAD_IMAGES), round_.get(ADDONS)
    installed, unknown = _recognise(images, _merged(shipped, policy.compatibility))
    findings: list[Finding] = []
    evidence: dict[str, str] = {}
    for one in installed:
        line = release_of(one.addon, one.version)
        said = f"{one.version} in {one.workload}"
        if line is None:
            evidence[one.addon.name] = f"{said}: this release is not in the table"
            findings.append(_unknown(one, target.minor))
            continue
        evidence[one.addon.name] = f"{said}: supports {_range(line)}"
        if not supports(line, target.minor):
            findings.append(_finding(one, line, target.minor, policy.compatibility))
    return conclude(
        NAME,
        findings,
        passed=f"{len(installed)} known add-ons bear {target.minor} as far as their tables say; "
        f"{len(unknown)} images belong to none.",
        value=f"{len(installed)} add-ons",
        threshold=target.minor,
        evidence={"addons": evidence, "not_judged": sorted(unknown)[:_MOST_UNKNOWN]},
    )


def release_of(addon: AddOn, version: str) -> AddOnRelease | None:
    """The release line a version belongs to; one older than all known lines counts as the oldest of them.

    None: nothing is known about it (a line between, newer than all, or no version at all).
    """
    line = _line(version)
    if line is None or not addon.releases:
        return None
    by_line = {_line(release.release): release for release in addon.releases}
    if line in by_line:
        return by_line[line]
    oldest = min(by_line, key=lambda known: known or (0, 0))
    return by_line[oldest] if line < (oldest or (0, 0)) else None


def supports(release: AddOnRelease, minor: str) -> bool:
    """Tell whether a release line is said to support this minor."""
    wanted = parse_minor(minor)
    return (release.oldest is None or parse_minor(release.oldest) <= wanted) and (
        release.newest is None or wanted <= parse_minor(release.newest)
    )


def _line(version: str) -> tuple[int, int] | None:
    parts = version.removeprefix("v").split(".")
    try:
        return int(parts[0]), int(parts[1])
    except (ValueError, IndexError):
        return None


def _merged(shipped: Sequence[AddOn], policy: CompatibilityPolicy) -> tuple[AddOn, ...]:
    own = {addon.name: addon for addon in policy.addons}
    return (*own.values(), *(addon for addon in shipped if addon.name not in own))


def _recognise(images: Sequence[WorkloadImage], addons: Sequence[AddOn]) -> tuple[list[_Installed], set[str]]:
    """Tell known add-ons from all other images; of several workloads with one version the first is named."""
    found: dict[tuple[str, str], _Installed] = {}
    unknown: set[str] = set()
    for image in images:
        name, tag = split_image(image.image)
        addon = next((a for a in addons if any(_is_image(name, known) for known in a.images)), None)
        if addon is None:
            unknown.add(image.image)
        else:
            found.setdefault((addon.name, tag), _Installed(addon, tag.removeprefix("v"), image.workload))
    return list(found.values()), unknown


def _is_image(name: str, known: str) -> bool:
    """Mirrors put their own host and path in front; the end of the name stays."""
    return name == known or name.endswith(f"/{known}")


def split_image(image: str) -> tuple[str, str]:
    """Name and tag of an image; the tag is "" when there is only a digest, or nothing."""
    name, _, _ = image.partition("@")
    host, slash, rest = name.rpartition("/")
    short, _, tag = rest.partition(":")
    return f"{host}{slash}{short}", tag


def _range(release: AddOnRelease) -> str:
    return f"{release.oldest or 'any'} to {release.newest or 'any'}"


def _unknown(one: _Installed, minor: str) -> Finding:
    name, known = one.addon.name, ", ".join(release.release for release in one.addon.releases)
    what = (
        f"of release {one.version} of {name}"
        if one.version
        else f"of {name}, an image without a version tag,"
    )
    return Finding(
        Outcome.WARN,
        "ADDON_UNKNOWN",
        f"Whether it bears {minor} is not known {what} ({one.workload}); known are {known or 'no releases'}.",
        "include/tables/addons.yaml and compatibility.addons say nothing about this release.",
        f"Look it up at {one.addon.source}, then write it into compatibility.addons in the cluster's file.",
        value=one.version or "no version",
        threshold="a release in the table",
    )


def _finding(one: _Installed, line: AddOnRelease, minor: str, policy: CompatibilityPolicy) -> Finding:
    message = (
        f"{one.addon.name} {one.version} ({one.workload}) supports Kubernetes {_range(line)}, not {minor}"
    )
    if one.addon.name in policy.pinned:
        return Finding(
            Outcome.HOLD,
            "ADDON_PINNED",
            f"{message}; you pinned it.",
            "compatibility.pinned in the cluster's file keeps it at its version.",
            f"Take {one.addon.name} out of compatibility.pinned and upgrade it when you are ready.",
            value=_range(line),
            threshold=minor,
        )
    newer = [r.release for r in one.addon.releases if supports(r, minor)]
    if not newer and one.addon.strict:
        return Finding(
            Outcome.HOLD,
            "ADDON_UPSTREAM",
            f"{message}, and no known release does.",
            f"The project has not declared a release for {minor}: {one.addon.source}",
            "Wait for one, then add it to compatibility.addons in the cluster's file if Nightshift does not know it yet.",
            look_again=LookAgain(f"when {one.addon.name} has a release for {minor}"),
            value=_range(line),
            threshold=minor,
        )
    cure = f"release {newer[0]} does" if newer else "no known release was tested with it"
    soft = not one.addon.strict or policy.too_old == "warn"
    return Finding(
        Outcome.WARN if soft else Outcome.BLOCK,
        "ADDON_TOO_OLD",
        f"{message}; {cure}.",
        f"The project says so: {one.addon.source}",
        f"Upgrade {one.addon.name} first." if newer else "Try it on a test cluster first.",
        value=_range(line),
        threshold=minor,
    )
