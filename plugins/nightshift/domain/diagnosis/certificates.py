"""Which certificates of the node had ended when the step failed (state/certificates.txt, one line a file with `notAfter=`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from nightshift.domain.diagnosis.jobs import read_jobs
from nightshift.domain.diagnosis.signs import QUOTE_LIMIT, Sign, Signs

ENDED = "certificates.ended"
_PATH = "state/certificates.txt"
_LINE = re.compile(r"(?P<file>/[^\s:]+): .*\bnotAfter=(?P<end>\w{3} +\d{1,2} \d\d:\d\d:\d\d \d{4}) GMT")


def read_certificates(files: Mapping[str, str], since: float | None) -> Signs:
    """The certificates that had ended; unread without their list, or without the failure's time.

    Args:
        files: path in the bundle -> text.
        since: when the failed step began, epoch seconds; None: the newest job says it.
    """
    rows = [found for line in files.get(_PATH, "").splitlines() if (found := _LINE.match(line))]
    times = [time for sign in read_jobs(files, since).seen if (time := sign.last or sign.first) is not None]
    at = max(times, default=since)
    if not rows or not at:
        return Signs(unread={ENDED: f"{_PATH} is not in the evidence"})
    signs = [
        Sign(ENDED, subject=row["file"], quote=row[0][:QUOTE_LIMIT], source=_PATH, value=f"{row['end']} GMT")
        for row in rows
        if _seconds(row["end"]) <= at
    ]
    return Signs(tuple(signs), looked=frozenset({ENDED}))


def _seconds(text: str) -> float:
    return datetime.strptime(text, "%b %d %H:%M:%S %Y").replace(tzinfo=UTC).timestamp()
