"""Whose certificate etcd refuses: the API server's, or that of a scraper that nobody renewed."""

from __future__ import annotations

from collections.abc import Callable

from nightshift.domain.diagnosis.cause import Match, matched
from nightshift.domain.diagnosis.signs import Signs

_REFUSED = "apiserver.refused_by_etcd"  # the API server's own words
_LOCAL = '"remote-addr":"127.0.0.1:'  # where the API server of a kubeadm cluster comes from


def with_refused_clients(*names: str, refused: str, alert: str) -> Callable[[Signs], Match | None]:
    """The usual match; without one, that etcd refused a client, which counts only when the API server says that it is the one.

    Args:
        names: of the decisive signs.
        refused: name of the sign that etcd refused a client for the same reason.
        alert: TLS' word for that reason; an older etcd says "bad certificate" of any.
    """

    def match(signs: Signs) -> Match | None:
        found, clients = matched(signs.of(*names)), signs.of(refused)
        if not clients or (found is not None and not found.kept_down):
            return found
        ours = tuple(sign for sign in signs.of(_REFUSED) if sign.subject in (alert, "bad certificate"))
        local = next((sign for sign in clients if _LOCAL in sign.quote), clients[0])
        if ours:
            return Match((local, *ours), local.subject)
        why = f"etcd refused a client ({clients[0].source}), and nothing shows that it was the API server"
        return Match(clients, clients[0].subject, kept_down=why)

    return match
