"""What a later finding says in an earlier report, and the earlier one's word in the later: shown in both, nothing is lost."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from nightshift.clients.incident_folder import MANIFEST, REPORT, REPORT_BYTES
from nightshift.clients.incident_page import Notice, with_notices
from nightshift.domain.incident.record import Incident
from nightshift.steps.session import StorePort

NOTICES = "notices.json"


def corrected_by(before: Incident, later: Incident) -> Notice:
    """For the earlier report."""
    text = f"on {day(later.made)} UTC. It says now ({later.confidence}): {later.sentence} This report said: {said_by(before)}"
    return Notice(
        "Corrected by a later look at the same failure",
        text,
        _link(later),
        "Read the later report.",
        leads=True,
    )


def corrects(before: Incident) -> Notice:
    """For the later report."""
    text = f"of {day(before.made)} UTC, which said ({before.confidence or 'no diagnosis'}): {said_by(before)}"
    return Notice(
        "This corrects an earlier report", text, _link(before), "Read the earlier report.", leads=True
    )


def looked_at_again(later: Incident) -> Notice:
    """For the earlier report, when a later look at the same failure had less to go by: this one stands."""
    text = f"on {day(later.made)} UTC, less sure ({later.confidence or 'no diagnosis'}): {said_by(later)}"
    return Notice("Looked at again, less sure:", text, _link(later), "Read the later report.")


def less_sure_than(before: Incident) -> Notice:
    """For the later report: the earlier one leads."""
    text = (
        f"of {day(before.made)} UTC is surer ({before.confidence}) about the same failure: {said_by(before)}"
    )
    return Notice("An earlier report", text, _link(before), "Read it first.")


def followed_by(later: Incident) -> Notice:
    """For the earlier report, when the later failure is another one."""
    text = f"{later.step} on {day(later.made)} UTC. {later.sentence}"
    return Notice("Another failure of this node, later:", text, _link(later), "Read its report.")


def follows(before: Incident) -> Notice:
    """For the later report."""
    text = f"{before.step} on {day(before.made)} UTC. {said_by(before)}"
    return Notice("Another failure of this node, earlier:", text, _link(before), "Read its report.")


def add_notice(store: StorePort, folder: str, notice: Notice, report: str = REPORT) -> None:
    """Put a notice onto a report that is already written; one that is there already changes nothing.

    Args:
        store: of the cluster.
        folder: of the incident.
        notice: what to say.
        report: which of its reports.
    """
    known = notices_of(store, folder)
    if notice in known.get(report, ()):
        return
    notices = [*known.get(report, ()), notice]
    rewrite(store, folder, NOTICES, listed_notices({**known, report: notices}))
    content = store.read_bytes(f"{folder}/{report}", REPORT_BYTES)
    if content is not None:
        rewrite(store, folder, report, with_notices(content.decode("utf-8", errors="replace"), notices))


def notices_of(store: StorePort, folder: str) -> dict[str, list[Notice]]:
    """The notices of an incident's reports, by report."""
    listed = store.read_json(f"{folder}/{NOTICES}") or {}
    return {report: [Notice(**one) for one in notices] for report, notices in listed.items()}


def listed_notices(notices: Mapping[str, Sequence[Notice]]) -> str:
    """The text of the file that `notices_of` reads."""
    listed = {report: [vars(notice) for notice in some] for report, some in notices.items()}
    return json.dumps(listed, indent=2, sort_keys=True) + "\n"


def rewrite(store: StorePort, folder: str, path: str, text: str) -> None:
    """Write a file of an incident anew, and its hash in the manifest."""
    store.write_text(f"{folder}/{path}", text)
    manifest = store.read_json(f"{folder}/{MANIFEST}")
    if manifest is None:
        return
    content = text.encode("utf-8", errors="replace")
    entry = {"path": path, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    others = [file for file in manifest.get("files") or () if file.get("path") != path]
    files = sorted([*others, entry], key=lambda file: str(file["path"]))
    store.write_json(f"{folder}/{MANIFEST}", {**manifest, "files": files})


def said_by(incident: Incident) -> str:
    """Its verdict, for another report."""
    return incident.sentence or "nothing, it has no diagnosis."


def _link(incident: Incident) -> str:
    return f"../{incident.name}/{REPORT}"


def day(seconds: float) -> str:
    """A moment in UTC, to the minute."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"
