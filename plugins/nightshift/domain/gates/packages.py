"""Gate: can packages be installed on every node?

Read on each node: who holds dpkg's lock, packages that dpkg left half way, a running unattended upgrade, a wanted
reboot. It blocks on a held lock, on half-installed packages and on an unattended upgrade at work: an installation
in the middle of the night would wait for them, fail on them, or find the container runtime restarted under it. It only
warns when all that is left are packages that an upgrade installs, unpacked and not configured yet, or dpkg's journal:
that is what a node leaves that went down inside Nightshift's own job, and the next job brings it to its end before it does
anything else. Nothing but a new installation mends what is half installed or wants to be reinstalled: that blocks, unless
it is what tonight's own jobs install from the staged files (kubeadm; or kubelet and kubectl, where kubeadm is the target's
already). A wanted reboot warns only: nothing of the upgrade needs it, and a reboot is nothing Nightshift does. Held packages
are no finding here: an upgrade takes the holds off what it installs (kubeadm, kubelet, kubectl, kubernetes-cni, cri-tools) and
sets the same ones again, and of all others it changes only what these depend on, which the gate "Packages and images" judges.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from nightshift.domain.facts import NodeProbe
from nightshift.domain.facts.packages import LIFTED_HOLDS, PACKAGES, BrokenPackage, PackageHealth
from nightshift.domain.gates.findings import Finding, conclude
from nightshift.domain.policy import ClusterPolicy
from nightshift.domain.round import AnyTopic, Moment, NotRead, Round
from nightshift.domain.target import TargetChoice
from nightshift.domain.topics import PROBES, TARGET
from nightshift.domain.verdicts import Outcome, Verdict

NAME = "packages"
TITLE = "apt and dpkg"
NEEDS: tuple[AnyTopic, ...] = (PACKAGES,)
WANTS: tuple[AnyTopic, ...] = (TARGET, PROBES)
MOMENTS = frozenset({Moment.NIGHT, Moment.PLACE})

_MOST_NAMED = 5  # packages in one sentence
# What `dpkg --configure -a` brings to its end, which a job runs before it does anything else (include/scripts/node/lib/apt.sh).
_CONFIGURABLE = ("unpacked", "half-configured", "triggers-awaited", "triggers-pending")
_KUBEADM, _KUBELET = "kubeadm", frozenset({"kubelet", "kubectl"})  # as jobs install them, one after the other


def check(round_: Round, policy: ClusterPolicy) -> Verdict:
    """Judge apt and dpkg of every node that is still to be touched."""
    target = round_.find(TARGET)
    due = round_.nodes_ahead or (target.nodes_behind if target else ())
    asked = {n: h for n, h in round_.by_node(PACKAGES).items() if not due or n in due}
    kubeadms = _kubeadms(round_)
    findings = [
        finding
        for node, health in asked.items()
        for finding in _judge(node, health, is_mended=_is_mended(health.broken, target, kubeadms.get(node)))
    ]
    return conclude(
        NAME,
        findings,
        passed=f"Packages can be installed on all {len(asked)} nodes: no lock is held, nothing is half installed.",
        value=f"{len(asked)} nodes",
        evidence={node: {"held": list(health.held)} for node, health in asked.items()},
    )


def _kubeadms(round_: Round) -> Mapping[str, str | None]:
    """Node -> version of its kubeadm; empty where it is not known."""
    try:
        probes: Mapping[str, NodeProbe] = round_.by_node(PROBES)
    except NotRead:
        return {}
    return {node: probe.kubeadm_version for node, probe in probes.items()}


def _is_mended(broken: Sequence[BrokenPackage], target: TargetChoice | None, kubeadm: str | None) -> bool:
    """Tell whether tonight's jobs on a node mend all of it: they configure, and install anew what they have a file of.

    kubeadm is installed alone and first. Beside a kubelet that has to be reinstalled apt may remove it or bring along
    another one, so that one is ours to mend only where kubeadm is the target's already.
    """
    anew = {package.name for package in broken if package.state not in _CONFIGURABLE}
    if not {package.name for package in broken} <= LIFTED_HOLDS:
        return False
    if not anew:
        return True
    if target is None or not target.is_hop:
        return False
    return anew == {_KUBEADM} or (anew <= _KUBELET and kubeadm == target.version)


def _judge(node: str, health: PackageHealth, *, is_mended: bool) -> Iterator[Finding]:
    busy = _busy(node, health)
    if busy is not None:
        yield busy
    if busy is None and (health.broken or health.has_journal):  # who is at work leaves such states on the way
        yield _half_installed(node, health, is_mended=is_mended)
    if health.needs_reboot:
        asked = ", ".join(health.reboot_packages[:_MOST_NAMED])
        yield Finding(
            Outcome.WARN,
            "REBOOT_PENDING",
            f"Node {node} wants a reboot{' because of ' + asked if asked else ''} (/run/reboot-required).",
            "A package was upgraded that takes effect with the next boot only, often a kernel.",
            f"Reboot {node} when it suits you; the upgrade goes on without it.",
        )


def _busy(node: str, health: PackageHealth) -> Finding | None:
    if health.locks:
        lock = health.locks[0]
        said = f"dpkg's lock on {node} is held by pid {lock.pid} ({lock.command}), which runs for {lock.seconds:.0f} s"
    elif health.unattended:
        said = f"An unattended upgrade is at work on {node} (pid {health.unattended[0]})"
    else:
        return None
    return Finding(
        Outcome.BLOCK,
        "DPKG_BUSY",
        f"{said}.",
        "Somebody or something else installs packages there now.",
        f"Let it come to its end, or move unattended upgrades out of the window, then ask again; `ps -fp PID` on {node} "
        "shows what it is.",
        value=said,
        threshold="nobody",
    )


def _half_installed(node: str, health: PackageHealth, *, is_mended: bool) -> Finding:
    named = ", ".join(f"{p.name} ({p.state})" for p in health.broken[:_MOST_NAMED])
    more = len(health.broken) - _MOST_NAMED
    what = f"{named}{f' and {more} more' if more > 0 else ''}" if named else "an unfinished journal of dpkg"
    if is_mended:
        return Finding(
            Outcome.WARN,
            "DPKG_UNFINISHED",
            f"An installation on node {node} was interrupted: {what}.",
            "The node went down, or a job was ended, in the middle of it.",
            "Nothing: tonight's jobs on that node bring it to its end, or install it anew, and fail when they cannot.",
            value=f"{max(len(health.broken), 1)} packages",
            threshold="0",
        )
    return Finding(
        Outcome.BLOCK,
        "DPKG_UNFINISHED",
        f"Node {node} has half-installed packages: {what}.",
        "An installation was interrupted, or a package's own script fails.",
        f"Run `sudo dpkg --configure -a` on {node}, then `sudo apt-get -f install`; what is half-installed or reinst-required "
        "still, install anew: `sudo apt-get install --reinstall PACKAGE=VERSION`, until `dpkg --audit` prints nothing.",
        value=f"{max(len(health.broken), 1)} packages",
        threshold="0",
    )
