"""A person, or a newer catalogue, corrects a report that is already written: the new one leads, the old one stays beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from nightshift.clients.incident_folder import DIAGNOSIS, MANIFEST, REPORT, REPORT_BYTES
from nightshift.clients.incident_page import Notice, Page
from nightshift.domain.diagnosis.engine import to_dict
from nightshift.domain.errors import ConfigError
from nightshift.domain.incident.record import PERSON, Incident
from nightshift.steps.corrections import (
    NOTICES,
    add_notice,
    day,
    listed_notices,
    notices_of,
    rewrite,
    said_by,
)
from nightshift.steps.incident import ERROR, judge, write_report
from nightshift.steps.session import StorePort

_NEXT_STEP = "Next step: "
_HERE = "."  # the store is the incident's folder itself


@dataclass(frozen=True)
class Correction:
    """Who corrects, when, and what they found.

    Args:
        person: who.
        now: seconds since the epoch.
        finding: in their own words; "" when today's catalogue is to say it.
        remedy: what helps, by that person; "" when they do not say. Only with a finding.
    """

    person: str
    now: float
    finding: str = ""
    remedy: str = ""


def correct(store: StorePort, name: str, files: Mapping[str, str], correction: Correction) -> str:
    """Correct the report in an incident's folder; returns what was done, one sentence.

    Args:
        store: over the incident's folder.
        name: of that folder.
        files: path -> text of the incident, see `clients/evidence_bundle.py: read_bundle`.
        correction: see `Correction`.

    Raises:
        ConfigError: BUNDLE_UNREADABLE, there is no incident.
    """
    manifest = store.read_json(MANIFEST)
    old = store.read_bytes(REPORT, REPORT_BYTES)
    if manifest is None or old is None:
        raise _no_incident(name)
    before = _incident(name, manifest, store.read_json(DIAGNOSIS))
    found = judge(files, before.step, before.since)
    judged = to_dict(found)
    after = replace(
        before,
        confidence=PERSON if correction.finding else found.confidence.value,
        cause=found.first.cause.name if found.first and not correction.finding else "",
        sentence=correction.finding or found.sentence,
    )
    if not correction.finding and before.confidence == PERSON:
        return f"Nothing was changed: a person found the cause, and only another finding replaces it. {before.sentence}"
    if not correction.finding and (after.cause, after.confidence) == (before.cause, before.confidence):
        return f"Nothing to correct: {after.sentence}"
    kept = _keep(store, old.decode("utf-8", errors="replace"), manifest, (before, after), correction)
    notices = [_corrects(before, correction, kept), *notices_of(store, _HERE).get(REPORT, [])]
    page = _page(after, manifest, judged, files, correction, notices)
    rewrite(store, _HERE, DIAGNOSIS, _document(judged, correction))
    rewrite(store, _HERE, REPORT, write_report(page, files))
    listed = listed_notices({**notices_of(store, _HERE), REPORT: notices})
    rewrite(store, _HERE, NOTICES, listed)
    return f"Corrected: {after.sentence} The earlier report stays as {kept}."


def corrected_index(listed: Mapping[str, Any], incident: Incident) -> dict[str, Any]:
    """Return a run's index with this incident's verdict as it is now."""
    verdict = {key: getattr(incident, key) for key in ("confidence", "cause", "sentence")}
    entries = [
        {**e, **verdict} if e.get("name") == incident.name else e for e in listed.get("incidents") or ()
    ]
    return {**listed, "incidents": entries}


def _incident(name: str, manifest: Mapping[str, Any], diagnosis: Mapping[str, Any] | None) -> Incident:
    found = Incident.from_folder(name, manifest, diagnosis)
    if found is None:
        raise _no_incident(name)
    return found


def _keep(
    store: StorePort,
    old: str,
    manifest: Mapping[str, Any],
    verdicts: tuple[Incident, Incident],
    correction: Correction,
) -> str:
    """Put the old report and its diagnosis aside under a number; returns the report's name."""
    number = 1 + sum(1 for file in manifest.get("files") or () if str(file.get("path")).startswith("report-"))
    name = f"report-{number}.html"
    rewrite(store, _HERE, name, old)
    judged = store.read_json(DIAGNOSIS)
    if judged is not None:
        rewrite(store, _HERE, f"diagnosis-{number}.json", _dumped(judged))
    before, after = verdicts
    text = (
        f"by {correction.person} on {day(correction.now)} UTC. It says now: {after.sentence} "
        f"This report said: {said_by(before)}"
    )
    known = notices_of(store, _HERE)
    rewrite(store, _HERE, NOTICES, listed_notices({**known, name: known.get(REPORT, [])}))
    add_notice(store, _HERE, Notice("Corrected", text, REPORT, "Read the later report.", leads=True), name)
    return name


def _corrects(before: Incident, correction: Correction, kept: str) -> Notice:
    how = "" if correction.finding else " with a newer catalogue"
    text = (
        f"of {day(before.made)} UTC, which said: {said_by(before)} Corrected by {correction.person} on {day(correction.now)} "
        f"UTC{how}."
    )
    return Notice("This corrects an earlier report", text, kept, "Read the earlier report.", leads=True)


def _page(
    incident: Incident,
    manifest: Mapping[str, Any],
    judged: Mapping[str, Any],
    files: Mapping[str, str],
    correction: Correction,
    notices: list[Notice],
) -> Page:
    failure = files.get(ERROR, "").strip()
    return Page(
        incident=incident,
        cluster=str(manifest.get("cluster", "")),
        run_id=str(manifest.get("run_id", "")),
        failure=failure.partition(_NEXT_STEP)[0].strip(),
        next_step=failure.partition(_NEXT_STEP)[2],
        diagnosis=judged,
        finding=correction.finding,
        remedy=correction.remedy,
        files=list(manifest.get("files") or ()),
        missing=[str(gap) for gap in manifest.get("missing") or ()],
        notices=notices,
    )


def _document(judged: Mapping[str, Any], correction: Correction) -> str:
    by = {"person": correction.person, "on": day(correction.now), "text": correction.finding}
    if correction.remedy:
        by["remedy"] = correction.remedy
    return _dumped({**judged, "finding": by if correction.finding else None, "corrected": by})


def _dumped(data: Mapping[str, Any]) -> str:
    return json.dumps(data, indent=2, sort_keys=True, default=str) + "\n"


def _no_incident(name: str) -> ConfigError:
    return ConfigError(
        "BUNDLE_UNREADABLE",
        f"{name} is no incident that could be corrected.",
        cause=f"It has no {MANIFEST} or no {REPORT}.",
        next_step="Give the path of an incident's folder, as it lies in the store under evidence/<run>/.",
    )
