"""When another look at a gate may say something else: a moment, or an event in plain words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_ASKED_BY = "the readiness run asks at any hour, the next night by itself"

# What holds for every code that has no words of its own.
BY_OUTCOME: Mapping[str, str] = {
    "warn": "with the next night; this one goes on",
    "hold": "with the next night; nothing has to be done",
    "block": f"once the remedy is done: {_ASKED_BY}",
    "blind": f"once it can be read: {_ASKED_BY}",
}

# Where something else than the remedy decides; a gate that knows a moment or a name says more.
BY_CODE: Mapping[str, str] = {
    "ADDON_PINNED": "when you took it out of compatibility.pinned",
    "ADDON_UPSTREAM": "when the project has a release for the target",
    "ALERT_FIRING": f"when it has stopped firing, or was silenced: {_ASKED_BY}",
    "CERTIFICATE_EXPIRING": "once it is renewed, and before it expires",
    "CERTIFICATE_NOT_YET_VALID": "when it is valid, or was made again",
    "CRD_CONVERSION_OUTSIDE": "when it is a Service of the cluster, or once you have asked it and override this",
    "DATE_FROZEN": "on the next date that is not frozen",
    "DISK_WOULD_FILL": f"once space is free, which image garbage collection may bring by itself: {_ASKED_BY}",
    "DPKG_BUSY": f"when that process has ended, mostly within minutes: {_ASKED_BY}",
    "ETCD_LEADER_CHANGED": f"after a window without an election: {_ASKED_BY}",
    "ETCD_RESTARTED": f"after a window without a restart: {_ASKED_BY}",
    "ETCD_SLOW": f"when its disk has less to write, or is a faster one: {_ASKED_BY}",
    "ETCD_TOO_FEW_SAMPLES": "when the cluster writes more, or with etcd_latency.active_probe; the next night by itself",
    "FACT_NOT_ASKED": "when Nightshift was mended; until then it says the same",
    "FACT_TOO_OLD": "at once: clear the task",
    "GATE_BROKEN": "when Nightshift was mended; until then it says the same",
    "GATE_SILENT": "at once: clear its task, then decide",
    "IMAGE_UNASKED": "with staging, which pulls it before anything is changed",
    "IMAGE_UNCHECKED": "with staging, which pulls it before anything is changed",
    "NIGHT_MISSED": "with the next night, or a run started by hand",
    "NODE_DOES_NOT_FIT": "when the window opens again",
    "NODE_NOT_ASKED": "at once: clear the task",
    "NODE_NOT_SETTLED": "when it has been Ready for as long as nodes.settle_seconds",
    "NODES_QUARANTINED": "when the mark of a node was taken off",
    "REBOOT_PENDING": "after that node's next boot; this night goes on",
    "WEBHOOK_OUTSIDE": "when it is a Service of the cluster or fails open, or once you have asked it and override this",
    "VERSIONS_MIXED": "after tonight's hop, which brings them together",
    "WINDOW_CLOSED": "when the window opens",
}


@dataclass(frozen=True)
class LookAgain:
    """When another look may say something else.

    Args:
        when: the end of a sentence that begins with "Look again".
        at: the moment, where it is known: seconds since the epoch. `when` says it, too.
    """

    when: str
    at: float | None = None

    @property
    def sentence(self) -> str:
        """For people."""
        return f"Look again {self.when}."

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-serialisable data."""
        return {"when": self.when, "at": self.at}

    @staticmethod
    def from_dict(data: Mapping[str, Any] | None) -> LookAgain | None:
        """Rebuild it from `to_dict`'s output; None from an entry that is older than this notion."""
        return None if not data else LookAgain(str(data["when"]), data.get("at"))


def at_moment(at: float, why: str) -> LookAgain:
    """Say a moment (seconds since the epoch) and what is so from then on; never before it.

    A part of a minute counts as a whole one, so that who keeps to the said minute is not too early.
    """
    whole = -(-at // 60) * 60
    return LookAgain(f"at {datetime.fromtimestamp(whole, UTC):%Y-%m-%d %H:%M} UTC, {why}", whole)


def usual(outcome: str, code: str) -> LookAgain | None:
    """When to look again at what nobody knows more of; None when it passed."""
    when = BY_CODE.get(code) or BY_OUTCOME.get(outcome)
    return None if outcome == "pass" or when is None else LookAgain(when)


def together(looks: Iterable[LookAgain | None]) -> LookAgain | None:
    """Several in one: each is said, and the moment is the last one if all have one."""
    said = list(dict.fromkeys(look for look in looks if look is not None))
    if not said:
        return None
    moments = [look.at for look in said if look.at is not None]
    latest = max(moments) if len(moments) == len(said) else None
    return LookAgain("; ".join(dict.fromkeys(look.when for look in said)), latest)


def sentences(verdicts: Iterable[Mapping[str, Any]]) -> str:
    """What verdicts (as dicts) say of it, in one sentence; "" when none of them says anything."""
    look = together(LookAgain.from_dict(verdict.get("look_again")) for verdict in verdicts)
    return look.sentence if look else ""
