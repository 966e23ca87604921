"""The kubelet was stopped and not started again: by a hand, or masked. One that ends by itself has a cause of its own."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, Match
from nightshift.domain.diagnosis.causes.symptoms import KUBELET_STUCK
from nightshift.domain.diagnosis.signs import Sign, Signs

_DECISIVE = ("kubelet.not_running",)
_ENDED = ("kubelet.exited", "kubelet.crashed")  # nobody asked for it
_STOPPED = "kubelet.stopped"
_LAST_WORDS = "kubelet.last_words"


def _match(signs: Signs) -> Match | None:
    """No process kubelet is the failure itself where the kubelet ends again and again: between two starts there is none."""
    found = signs.of(*_DECISIVE)
    if not found:
        return None
    ended = signs.of(*_ENDED)
    if not ended or _last(signs.of(_STOPPED)) > _last(ended):
        return Match(found)
    words = max(signs.of(_LAST_WORDS), key=lambda sign: sign.last or 0.0, default=None)
    said = f"its last words: {words.subject} ({words.source})" if words else "its journal has its last words"
    return Match(
        (*found, *([words] if words else ended)), kept_down=f"it ends by itself, and that has a cause; {said}"
    )


def _last(signs: tuple[Sign, ...]) -> float:
    return max((sign.last or 0.0 for sign in signs), default=0.0)


CAUSE = Cause(
    name="kubelet_down",
    title="The kubelet does not run.",
    decisive=_DECISIVE,
    explains=KUBELET_STUCK,
    test="Since when, and what were its last words? `systemctl status kubelet; journalctl -u kubelet -n 50`",
    remedy="Start it, or repair what it says, then run the night again.",
    specificity=1,
    match=_match,
    answers=(
        "journal/kubelet",
        "state/processes",
        "state/units",
    ),
)
