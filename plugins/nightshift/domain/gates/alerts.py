"""Gate: is a critical alert firing?

It asks the Prometheus and the Alertmanager that the cluster's file names under `alerts`, and **blocks** while an alert with
one of `alerts.severities` (default: critical) fires. Silenced and inhibited alerts do not count when an Alertmanager is
named; neither do `alerts.ignore`, nor Nightshift's own. Without an address it passes and says that nobody was asked. An
address that does not answer **warns**, and makes the gate **blind** when `alerts.required` is true.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from nightshift.domain.facts.alerts import ALERTS, AlertFacts, AlertSource, AlertSources
from nightshift.domain.gates.findings import Finding, conclude
from nightshift.domain.policy import AlertPolicy, ClusterPolicy
from nightshift.domain.round import AnyTopic, Moment, Round
from nightshift.domain.verdicts import Outcome, Verdict

NAME = "alerts"
TITLE = "Critical alerts"
NEEDS: tuple[AnyTopic, ...] = (ALERTS,)
WANTS: tuple[AnyTopic, ...] = ()
MOMENTS = frozenset({Moment.NIGHT, Moment.PLACE})

_OFTEN = ("alertname", "severity")
_SHOWN_LABELS = 4


def check(round_: Round, policy: ClusterPolicy) -> Verdict:
    """Judge what fires and who did not answer."""
    sources, wanted = round_.get(ALERTS), policy.alerts
    firing = _firing(sources)
    counted = [alert for alert in firing if _counts(alert, wanted)]
    findings = [
        *(_unanswered(source, wanted) for source in sources.asked if source.problem),
        *_judge(counted, wanted),
    ]
    severities = " or ".join(wanted.severities)
    asked = " and ".join(source.address for source in sources.asked)
    passed = (
        f"No {severities} alert is firing ({asked})."
        if asked
        else "Nobody was asked: the policy names no Prometheus and no Alertmanager under alerts."
    )
    return conclude(
        NAME,
        findings,
        passed=passed,
        value=f"{len(counted)} firing" if asked else "not asked",
        threshold="0" if asked else "",
        evidence={"others_firing": sorted({a.name for a in firing} - {a.name for a in counted})},
    )


def _firing(sources: AlertSources) -> list[AlertFacts]:
    """All that fire and nobody has made quiet, each once: Alertmanager knows more of an alert, and of silences."""
    known = sources.alertmanager.alerts if sources.alertmanager else ()
    own = sources.prometheus.alerts if sources.prometheus else ()
    # Prometheus adds its external labels on the way to Alertmanager.
    new = [a for a in own if not any(_is_part(a.labels, k.labels) for k in known)]
    return [alert for alert in (*known, *new) if not alert.is_silenced]


def _is_part(some: Mapping[str, str], more: Mapping[str, str]) -> bool:
    return some.items() <= more.items()


def _counts(alert: AlertFacts, policy: AlertPolicy) -> bool:
    return (
        alert.labels.get(policy.severity_label) in policy.severities
        and alert.name not in policy.ignore
        and not (policy.own_prefixes and alert.name.startswith(policy.own_prefixes))
    )


def _judge(alerts: list[AlertFacts], policy: AlertPolicy) -> Iterator[Finding]:
    for alert in sorted(alerts, key=lambda a: (a.name, sorted(a.labels.items()))):
        severity = alert.labels[policy.severity_label]
        since = f" since {datetime.fromtimestamp(alert.since, UTC):%Y-%m-%d %H:%M} UTC" if alert.since else ""
        summary = f": {alert.summary.rstrip('.')}" if alert.summary else ""
        yield Finding(
            Outcome.BLOCK,
            "ALERT_FIRING",
            f"Alert {alert.name or 'without a name'}{_labels(alert, policy)} ({severity}) is firing{since}{summary}.",
            "Somebody decided that this state must wake people; an upgrade on top of it hides its cause.",
            "Solve what it is about; or silence it in Alertmanager, or name it under alerts.ignore when it does not matter.",
            value="firing",
            threshold=f"no {' or '.join(policy.severities)} alert",
        )


def _labels(alert: AlertFacts, policy: AlertPolicy) -> str:
    hidden = {*_OFTEN, policy.severity_label}
    shown = [f"{k}={v}" for k, v in sorted(alert.labels.items()) if k not in hidden][:_SHOWN_LABELS]
    return f" {{{', '.join(shown)}}}" if shown else ""


def _unanswered(source: AlertSource, policy: AlertPolicy) -> Finding:
    return Finding(
        Outcome.BLIND if policy.required else Outcome.WARN,
        "ALERTS_UNREADABLE",
        f"{source.address} did not tell which alerts fire: {source.problem.rstrip('.')}.",
        "It is down, cut off from this host, or not what the policy says it is.",
        "Bring it back, or correct its address under alerts. "
        + ("The policy requires its answer (alerts.required)." if policy.required else ""),
        value="no answer",
        threshold="an answer",
    )
