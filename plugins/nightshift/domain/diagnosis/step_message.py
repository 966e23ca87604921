"""What the failed step's own message says of the node: that it could not be reached at all, in driver/error.txt.

`driver.unreachable` (patterns.py) is the symptom: the step lost the node or its job. A job that is gone without an end (JOB_LOST) was told by a
node that answered: that is no proof of a cut connection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from nightshift.domain.diagnosis.lines import is_readable
from nightshift.domain.diagnosis.signs import QUOTE_LIMIT, Sign, Signs

ERROR = "driver/error.txt"
NODE_AWAY = "driver.node_away"
_AWAY = re.compile(r"^[^\n]*\bNODE_UNREACHABLE\b[^\n]*", re.MULTILINE)


def read_step_message(files: Mapping[str, str]) -> Signs:
    """Whether the step says that the node did not answer over SSH."""
    text = files.get(ERROR, "")
    if not is_readable(text):
        return Signs(unread={NODE_AWAY: f"{ERROR} is not in the evidence"})
    found = _AWAY.search(text)
    if found is None:
        return Signs(looked=frozenset({NODE_AWAY}))
    line = text.count("\n", 0, found.start()) + 1
    quote = found[0].strip()[:QUOTE_LIMIT]
    return Signs((Sign(NODE_AWAY, quote=quote, source=f"{ERROR}:{line}"),), looked=frozenset({NODE_AWAY}))
