"""Gate: do the clocks agree?

Every node's clock is read over SSH between two readings of our own, again and again until an answer comes quickly; the true
difference is known up to half the time the question took. What is certainly above `nodes.clock_limit_milliseconds`
**blocks**: between two nodes, or between a node and this host. A node that may be off by more than that from this host,
and may be right, makes the gate **blind**: the way to it is too slow for this limit. Whether an NTP service runs is not asked: a clock that is right
is right.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from nightshift.domain.facts.clock import CLOCKS, ClockOffset
from nightshift.domain.gates.findings import Finding, conclude
from nightshift.domain.policy import ClusterPolicy
from nightshift.domain.round import AnyTopic, Moment, Round
from nightshift.domain.verdicts import Outcome, Verdict

NAME = "clock"
TITLE = "Clocks"
NEEDS: tuple[AnyTopic, ...] = (CLOCKS,)
WANTS: tuple[AnyTopic, ...] = ()
MOMENTS = frozenset({Moment.NIGHT})

_ROUNDING = 1e-9  # seconds


def check(round_: Round, policy: ClusterPolicy) -> Verdict:
    """Judge each node against this host, and the two that are furthest apart."""
    clocks = round_.by_node(CLOCKS)
    limit = policy.nodes.clock_limit_milliseconds / 1000
    known = {name: clock for name, clock in clocks.items() if math.isfinite(_most(clock))}
    findings = [
        *(
            _unmeasurable(name, clocks[name], limit)
            for name in sorted(clocks)
            if _is_vague(clocks[name], limit)
        ),
        *_judge(known, limit),
    ]
    worst = max((_certain(clock) for clock in known.values()), default=0.0)
    return conclude(
        NAME,
        findings,
        passed=f"The clocks of {len(clocks)} nodes agree with each other and with this host, as far as can be measured.",
        value=f"{1000 * worst:.0f} ms certain",
        threshold=f"{1000 * limit:.0f} ms",
        evidence={name: _said(clocks[name]) for name in sorted(clocks)},
    )


def _certain(clock: ClockOffset) -> float:
    """How far it is off at least, in seconds."""
    return max(0.0, abs(clock.seconds) - clock.uncertainty)


def _most(clock: ClockOffset) -> float:
    """How far it may be off, in seconds."""
    return abs(clock.seconds) + clock.uncertainty


def _is_vague(clock: ClockOffset, limit: float) -> bool:
    """Neither certainly above the limit nor certainly within it; NaN is neither."""
    return not _certain(clock) > limit and not _most(clock) <= limit + _ROUNDING


def _judge(clocks: Mapping[str, ClockOffset], limit: float) -> Iterator[Finding]:
    off = [name for name in sorted(clocks) if _certain(clocks[name]) > limit]
    apart = _furthest(clocks)
    if apart is not None:
        early, late, seconds = apart
        if seconds > limit:
            yield _skew(
                f"The clocks of {early} ({_said(clocks[early])}) and {late} ({_said(clocks[late])}) differ by at least "
                f"{1000 * seconds:.0f} ms; at most {1000 * limit:.0f} ms are allowed.",
                seconds,
                limit,
                f"Set the clock of the one that is wrong (against this host: {_said(clocks[early])}, "
                f"{_said(clocks[late])}) and let chrony or systemd-timesyncd keep it.",
            )
            return
    if off and len(off) == len(clocks):
        worst = max(_certain(clocks[name]) for name in off)
        yield _skew(
            f"This host's clock differs from all {len(off)} nodes by at least "
            f"{1000 * min(_certain(clocks[name]) for name in off):.0f} ms ({off[0]}: {_said(clocks[off[0]])}); at most "
            f"{1000 * limit:.0f} ms are allowed.",
            worst,
            limit,
            "The nodes agree with each other: look at the clock of the host that Airflow runs on first.",
        )
        return
    for name in off:
        yield _skew(
            f"The clock of {name} differs from this host's ({_said(clocks[name])}); at most {1000 * limit:.0f} ms are allowed.",
            _certain(clocks[name]),
            limit,
            f"Set the clock of {name} and let chrony or systemd-timesyncd keep it.",
        )


def _furthest(clocks: Mapping[str, ClockOffset]) -> tuple[str, str, float] | None:
    """The two nodes that are certainly furthest apart, and how many seconds."""
    if len(clocks) < 2:
        return None
    early = min(sorted(clocks), key=lambda n: clocks[n].seconds + clocks[n].uncertainty)
    late = max(sorted(clocks), key=lambda n: clocks[n].seconds - clocks[n].uncertainty)
    seconds = (clocks[late].seconds - clocks[late].uncertainty) - (
        clocks[early].seconds + clocks[early].uncertainty
    )
    return early, late, seconds


def _said(clock: ClockOffset) -> str:
    return f"{1000 * clock.seconds:+.0f} ms ± {1000 * clock.uncertainty:.0f} ms"


def _skew(message: str, seconds: float, limit: float, resolution: str) -> Finding:
    return Finding(
        Outcome.BLOCK,
        "CLOCK_SKEW",
        message,
        "A clock runs free: Leases, tokens and certificates are judged by each machine's own time.",
        resolution,
        value=f"{1000 * seconds:.0f} ms",
        threshold=f"{1000 * limit:.0f} ms",
    )


def _unmeasurable(name: str, clock: ClockOffset, limit: float) -> Finding:
    return Finding(
        Outcome.BLIND,
        "CLOCK_UNKNOWN",
        f"The clock of {name} may be off by up to {1000 * _most(clock):.0f} ms ({_said(clock)}); at most "
        f"{1000 * limit:.0f} ms are allowed.",
        "The node or the way to it is slow: how long the question took is how little is known.",
        f"Look at {name} (load, network), then check again; a higher nodes.clock_limit_milliseconds bears a slower way.",
        value=_said(clock),
        threshold=f"{1000 * limit:.0f} ms",
    )
