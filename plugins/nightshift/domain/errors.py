"""Every error of Nightshift: a type, a stable code, what happened, its cause and the next step.

The class decides what Airflow does with a failed task (see `orchestration/retries.py`):
only `TransientError` is worth another try: nothing was changed, or the step looks first at what is done.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar, Self

_NAMED_NODES = 10  # a message that lists a hundred nodes is read by nobody


class NightshiftError(Exception):
    """Root of all errors raised on purpose.

    Its texts quote APIs, webhooks and jobs, and end in logs, notes, ledger and XCom: secrets are taken out here, before
    anybody has them.

    Args:
        code: stable UPPER_SNAKE name; `docs/runbooks/<code>.md` explains it.
        message: what happened, with the names and numbers involved.
        cause: why, as far as it is known.
        next_step: what a tired person should do now.
    """

    is_blind: ClassVar[bool] = (
        False  # True: something could not be known, which is another end than a refusal
    )

    def __init__(self, code: str, message: str, *, cause: str, next_step: str) -> None:
        # Its rules are worth their time when something went wrong, not whenever a DAG file is read.
        from nightshift.domain.redaction import redact

        message, cause, next_step = redact(message), redact(cause), redact(next_step)
        super().__init__(f"[{code}] {message} Cause: {cause} Next step: {next_step}")
        self.code = code
        self.message = message
        self.cause = cause
        self.next_step = next_step
        self.reports: tuple[str, ...] = ()  # incidents that tell of it, "<run's folder>/<incident's>"

    def saying(self, more: str, report: str = "") -> Self:
        """Return the same error with one more sentence in its message, and the incident that tells of it."""
        again = type(self).__new__(type(self))
        again.__dict__.update(self.__dict__)
        NightshiftError.__init__(
            again, self.code, f"{self.message} {more}", cause=self.cause, next_step=self.next_step
        )
        again.reports = (*self.reports, *([report] if report else []))
        return again


class ConfigError(NightshiftError):
    """The cluster's YAML, a connection or a run parameter is wrong; nothing was touched."""


class TransientError(NightshiftError):
    """An outside system did not answer; another try is safe."""

    is_blind = True


class UnreachableError(TransientError):
    """A node or an API could not be reached: its state is unknown, which is not the same as dead."""


class TrustError(NightshiftError):
    """Something is not what was enrolled: host key, SSH key, node script. Never retried."""


class LeaseHeldError(NightshiftError):
    """Somebody else is at the cluster; the message says who and since when."""


class FencedError(NightshiftError):
    """This run was fenced: a newer token is on the node or in the Lease. It must stop."""


class LateTryError(FencedError):
    """This try of a task had begun before its run was fenced; only a new try may claim again.

    Asking for one is safe: Airflow takes no answer from the process of a task that was marked as failed or cleared.
    """


class DrainBlockedError(NightshiftError):
    """Pods could not be evicted within the time limit; the message names them and their budgets."""


class RemoteJobError(NightshiftError):
    """A node-side job ended with a failure; the exit code and the end of its output are in the message."""

    def __init__(
        self, code: str, message: str, *, cause: str, next_step: str, exit_code: int | None = None
    ) -> None:
        super().__init__(code, message, cause=cause, next_step=next_step)
        self.exit_code = exit_code


class JobOutageError(RemoteJobError, TransientError):
    """A node-side job gave up because the API server or etcd did not answer it, or somebody else held what it needs.

    It may have begun: another try is safe because every job looks first at what is done.
    """

    is_blind = False


class VerificationError(NightshiftError):
    """We wrote, and the world did not follow."""


class BlindError(NightshiftError):
    """Something that must be known could not be known. Never taken for healthy, never for "nothing to do"."""

    is_blind = True


class GateClosedError(NightshiftError):
    """What was open when the night began refuses the next node; nothing of that node was upgraded."""


class HeldError(NightshiftError):
    """The owner's word (brake, window, frozen date) keeps a step from beginning; nothing is half done.

    No failure: what was not begun continues on the next night, and the run stays green.
    """


class StoppedError(NightshiftError):
    """The owner's word ended the work on a node between two of its steps: it was given back half done."""


def merge(errors: Mapping[str, NightshiftError]) -> NightshiftError:
    """Return one error for what went wrong on several nodes: one cause and one next step, every node named.

    The gravest leads: what no other try will change goes before what may pass by itself.

    Args:
        errors: node name -> its error; at least one.
    """
    leader, first = min(errors.items(), key=lambda item: (isinstance(item[1], TransientError), item[0]))
    if len(errors) > 1 and len({str(error) for error in errors.values()}) == 1:
        return first  # not about a node at all, e.g. a connection that nobody has
    same = [name for name, error in errors.items() if name != leader and error.code == first.code]
    rest = [f"{name} ({error.code})" for name, error in errors.items() if error.code != first.code]
    message = first.message if _names(first.message, leader) else f"{leader}: {first.message}"
    message += f" The same on {_listed(same)}." if same else ""
    message += f" Also: {_listed(rest)}." if rest else ""
    merged = type(first)(first.code, message, cause=first.cause, next_step=first.next_step)
    if isinstance(first, RemoteJobError) and isinstance(merged, RemoteJobError):
        merged.exit_code = first.exit_code
    merged.reports = tuple(dict.fromkeys(name for error in errors.values() for name in error.reports))
    return merged


def _names(text: str, node: str) -> bool:
    """Tell whether the text names the node as a word of its own."""
    return re.search(rf"(?<![\w.-]){re.escape(node)}(?![\w-])", text) is not None


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMED_NODES
    return ", ".join(names[:_NAMED_NODES]) + (f" and {more} more" if more > 0 else "")
