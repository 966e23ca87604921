"""The report of an incident as one HTML file: everything inline, no script, no request to anywhere.

What is quoted comes from logs that anybody may have written into: the template engine escapes all of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from nightshift.domain.diagnosis.names import cause_name, said_of
from nightshift.domain.incident.plots import Plot
from nightshift.domain.incident.record import PERSON, Incident
from nightshift.domain.incident.timeline import Moment

_TEMPLATES = Path(__file__).parent / "templates"
# Region of a page -> do its notices stand before the verdict?
_REGIONS = {"corrections": True, "others": False}
_HAPPENED_LIMIT = 420  # characters above the fold of a phone; the whole text is further down
_CODE = re.compile(r"\A\[[A-Z][A-Z0-9_]+\] ")
_BADGES = {
    "confident": "Confident",
    "likely": "Likely, not proven",
    "unknown": "Unknown",
    "": "No diagnosis",
    PERSON: "Found by a person",
}


@dataclass(frozen=True)
class Notice:
    """Something that the reader must know before the verdict: a correction, another failure of the node.

    Args:
        title: in bold.
        text: one sentence or two.
        link: relative to the page; "" for none.
        label: of the link.
        leads: it stands before the verdict, because the verdict cannot be read without it.
    """

    title: str
    text: str
    link: str = ""
    label: str = ""
    leads: bool = False


@dataclass(frozen=True)
class Runbook:
    """A page of docs/runbooks; without its text where the docs are not at hand."""

    name: str
    text: str = ""


@dataclass(frozen=True)
class Page:
    """Everything a report shows.

    Args:
        incident: its record.
        cluster: name of the cluster.
        run_id: Airflow's run id.
        failure: the failed step's message.
        next_step: of the step's error, for the case that no cause is known.
        diagnosis: `engine.to_dict`; None: there is none.
        undiagnosed: why there is none.
        finding: what a person found; it leads, and what the diagnosis said stays further down, folded ("" for none).
        remedy: what helps, by that person.
        timeline: oldest first.
        plots: in the order in which they are shown.
        marks: what the dashed lines of the plots are.
        files: of the manifest.
        missing: one sentence each.
        runbook: of the first cause, or of the step's error.
        notices: see `Notice`.
        version: of the product.
    """

    incident: Incident
    cluster: str
    run_id: str
    failure: str = ""
    next_step: str = ""
    diagnosis: Mapping[str, Any] | None = None
    undiagnosed: str = ""
    finding: str = ""
    remedy: str = ""
    timeline: Sequence[Moment] = ()
    plots: Sequence[Plot] = ()
    marks: str = ""
    files: Sequence[Mapping[str, Any]] = ()
    missing: Sequence[str] = ()
    runbook: Runbook | None = None
    notices: Sequence[Notice] = field(default_factory=tuple)
    version: str = ""


def render(page: Page) -> str:
    """Return the whole document."""
    diagnosis = page.diagnosis
    confidence = str(diagnosis["confidence"]) if diagnosis else ""
    headline = page.finding or (str(diagnosis["sentence"]) if diagnosis else "")
    return _fill(
        "incident.html",
        page=page,
        diagnosis=diagnosis,
        first=diagnosis["first"] if diagnosis else None,
        confidence=confidence or "unknown",
        verdict=PERSON if page.finding else confidence or "unknown",
        badge=_badge(PERSON if page.finding else confidence),
        headline=headline or f"{page.incident.step} failed on {page.incident.node}.",
        happened=_shortened(_happened(page), _HAPPENED_LIMIT),
        corrections=_notices("corrections", page.notices),
        others=_notices("others", page.notices),
        style=_style(),
    )


def with_notices(document: str, notices: Iterable[Notice]) -> str:
    """Return a document with other notices than it has; unchanged when it has no place for them."""
    given = list(notices)
    for region in _REGIONS:
        before, opened, rest = document.partition(f"<!-- {region} -->")
        _, closed, after = rest.partition(f"<!-- /{region} -->")
        if opened and closed:
            document = f"{before}{_notices(region, given)}{after}"
    return document


def render_index(title: str, incidents: Sequence[Incident]) -> str:
    """Return the page that lists a run's incidents."""
    return _fill("incidents.html", title=title, incidents=incidents, style=_style())


def _notices(region: str, notices: Iterable[Notice]) -> Markup:
    shown = [notice for notice in notices if notice.leads is _REGIONS[region]]
    text = _fill("notices.html", region=region, notices=shown).strip()
    return Markup(text)  # noqa: S704 - the engine has escaped it


def _fill(template: str, **values: Any) -> str:
    return str(_ENGINE.get_template(template).render(**values))


def _style() -> Markup:
    return Markup((_TEMPLATES / "incident.css").read_text(encoding="utf-8"))  # noqa: S704 - shipped with this file


def _happened(page: Page) -> str:
    """What failed in plain words, then the step's own message; its code is further down, with the whole of it."""
    symptoms = (page.diagnosis or {}).get("symptoms", ())
    plain = "; ".join(dict.fromkeys(said_of(s["name"], s["subject"]) for s in symptoms))
    message = _CODE.sub("", page.failure, count=1) or ("" if plain else "It failed while nobody followed it.")
    return " ".join(part for part in (f"{plain[:1].upper()}{plain[1:]}." if plain else "", message) if part)


def _shortened(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit].rstrip()} …"


def _moment(seconds: float) -> str:
    return f"{_utc(seconds):%Y-%m-%d %H:%M:%S}"


def _clock(seconds: float) -> str:
    return f"{_utc(seconds):%H:%M:%S}"


def _utc(seconds: float) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):  # a node's log may say anything
        return datetime.fromtimestamp(0, UTC)


def _code(text: str) -> Markup:
    """What stands between backticks as code."""
    parts = [
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part)
        for number, part in enumerate(text.split("`"))
    ]
    return Markup("").join(parts)


def _badge(confidence: str) -> str:
    return _BADGES.get(confidence, confidence)


def _drawn(svg: str) -> Markup:
    return Markup(svg)  # noqa: S704 - domain/incident/plots.py escapes what it takes over


def _engine() -> Environment:
    engine = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    engine.filters.update(
        moment=_moment,
        clock=_clock,
        code=_code,
        drawn=_drawn,
        said_of=said_of,
        cause_name=cause_name,
        badge=_badge,
    )
    return engine


_ENGINE = _engine()
