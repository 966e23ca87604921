"""The journal of a case: everything that was seen, with its time, one JSON object per line. Pure.

| kind | fields |
|---|---|
| `strike` | `number`, `fault`, `moment`, `place`, `run`, `task`, `map`, `attempt`, `node`: done now |
| `over` | `number`: what was cut off, stopped or killed is back (or was never away) |
| `night` | `run`, `what` (began, ended), `state`, `answer`, `note` |
| `second` | `number`, `what` (began, at work, ended), `run`, `owner`, `state`, `answer`, `note`: of the run to be refused |
| `cordons` | `names`: of all cordoned nodes |
| `foreign` | `node`, `what` (placed, lifted): a person's own cordon |
| `lease` | `holder`, `token` |
| `gauge` | `known`, `value`: of k8s_upgrade_in_flight; an absent one is 0 |
| `api` | `ready`: of the Kubernetes API |
| `node` | `node`, `on`, `jobs`, `kubeadm` (pids), `dpkg`, `manifests` |
| `unit` | `node`, `unit`, `what` (started, ended), `boot`: of a job, from the node's own journal |
| `command` | `node`, `verb`, `step`, of `job-poll` also `cursor` ("-": from the job's begin): what sudo ran for us, from the node's own journal |
| `attempt` | `run`, `task`, `map`, `number`, `ended`, `state`: a try of a task, at its begin, from Airflow's API |
| `task` | `run`, `task`, `map`, `state`, `attempt`: a change of state, for reading |
| `process` | `component`, `what` (died, started): of Airflow |
| `target` | `reached`, `versions`: at the end of a night that no strike ended |
| `note` | `text` |
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True)
class Event:
    """Something that was seen. `at` is in seconds since the epoch."""

    at: float
    kind: str
    data: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, key: str) -> Any:
        return self.data[key]

    def get(self, key: str, default: Any = None) -> Any:
        """Return a field, or `default`."""
        return self.data.get(key, default)

    def line(self) -> str:
        """The event as a line of the journal."""
        clock = datetime.fromtimestamp(self.at, UTC).strftime("%H:%M:%S.%f")[:-3]
        return json.dumps({"clock": clock, "at": round(self.at, 3), "kind": self.kind, **self.data})


def parse(lines: Iterable[str]) -> Iterator[Event]:
    """Read a journal; a last line that was cut off by a kill is left out."""
    for line in lines:
        if not line.endswith("\n"):
            return
        fields = json.loads(line)
        del fields["clock"]
        yield Event(fields.pop("at"), fields.pop("kind"), fields)


def of(events: Sequence[Event], *kinds: str) -> list[Event]:
    """The events of these kinds, in the order of time."""
    return sorted((e for e in events if e.kind in kinds), key=lambda e: e.at)
