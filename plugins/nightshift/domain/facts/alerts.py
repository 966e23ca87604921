"""Alerts that are firing, as Prometheus and Alertmanager tell them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nightshift.domain.round import Topic


@dataclass(frozen=True)
class AlertFacts:
    """One firing alert. `since`: seconds since the epoch, None when it is not told."""

    labels: Mapping[str, str]
    since: float | None = None
    summary: str = ""
    is_silenced: bool = False  # or inhibited: somebody, or another alert, made it quiet

    @property
    def name(self) -> str:
        """Its alertname, "" when it has none."""
        return self.labels.get("alertname", "")


@dataclass(frozen=True)
class AlertSource:
    """One place that was asked. `problem`: why it gave no answer, "" when it did."""

    address: str
    alerts: tuple[AlertFacts, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class AlertSources:
    """Everybody who was asked; None: the policy names no such address."""

    prometheus: AlertSource | None = None
    alertmanager: AlertSource | None = None

    @property
    def asked(self) -> tuple[AlertSource, ...]:
        """Those that the policy names."""
        return tuple(source for source in (self.prometheus, self.alertmanager) if source is not None)


@dataclass(frozen=True)
class RuleResult:
    """What came of one rule. `fired` None: it could not be evaluated, `problem` says why."""

    fired: bool | None
    details: tuple[str, ...] = ()  # what PromQL returned, for people
    problem: str = ""


@dataclass(frozen=True)
class RuleResults:
    """The results of the owner's rules, by name."""

    by_name: Mapping[str, RuleResult] = field(default_factory=dict)


ALERTS = Topic[AlertSources]("alerts", "the alerts that are firing")
RULES = Topic[RuleResults]("rules", "the results of the owner's rules")
