"""What the night's own rehearsal says when the upgrade failed in place: a point for whoever looks, never a cause.

The target's API server that came up in isolation on tonight's data (docs/adr/0023) and not on the node speaks for the place: another
manifest, a slow disk, a port that is taken. It proves none of these, and a rehearsal shows nothing of etcd, of load or of other nodes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from nightshift.domain.diagnosis.signs import QUOTE_LIMIT, Sign, Signs

REHEARSAL = "driver/rehearsal.json"  # what the run's step `rehearse` answered, put there by the driver
WORKED = "rehearsal.worked"
# What an API server that does not come up in place shows.
_NOT_UP = frozenset({"kubeadm.hash_unchanged", "kubeadm.rolled_back", "apiserver.died", "job.api_lost"})
_FAILED = frozenset({"driver.rehearsal", "job.rehearsal_failed"})  # a later one did not work


def read_rehearsed(files: Mapping[str, str]) -> Signs:
    """Whether this night's rehearsal worked; unread when there was none."""
    if REHEARSAL not in files:
        return Signs(unread={WORKED: f"{REHEARSAL} is not in the evidence"})
    data = json.loads(files[REHEARSAL])
    if not isinstance(data, Mapping) or data.get("rehearsed") is not True:
        return Signs(looked=frozenset({WORKED}))
    sign = Sign(
        WORKED,
        subject=str(data.get("node", ""))[:QUOTE_LIMIT],
        quote=str(data.get("sentence", ""))[:QUOTE_LIMIT],
        source=REHEARSAL,
    )
    return Signs((sign,), looked=frozenset({WORKED}))


def points(signs: Signs, symptoms: Sequence[Sign]) -> tuple[str, ...]:
    """Sentences for whoever looks further, beside the verdict and without any weight in it."""
    names = {sign.name for sign in symptoms}
    if not names & _NOT_UP or names & _FAILED:
        return ()
    return tuple(
        f"Look at the place: tonight's rehearsal brought the target's API server up in isolation, and here it did not come up. "
        f"So look first at what only the node has: its manifests directory, its disks, its ports, etcd, what else runs there. "
        f"{sign.quote}".rstrip()
        for sign in signs.of(WORKED)[:1]
    )
