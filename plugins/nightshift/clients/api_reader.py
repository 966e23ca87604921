"""The API server, read only, for questions: lists page by page, so that a big cluster never lies in memory as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from nightshift.clients.kube_transport import KubeTransport, StatusError
from nightshift.clients.questions import ApiQuestion, ApiReader
from nightshift.domain.errors import BlindError

PAGE_ITEMS = 500

T = TypeVar("T")


class TransportReader:
    """Reads through one `KubeTransport`."""

    def __init__(self, http: KubeTransport) -> None:
        self._http = http

    def list(self, path: str) -> Iterator[dict[str, Any]]:
        """All items of a list, page by page; a resource that the server does not know has none.

        Raises:
            UnreachableError: API_UNREACHABLE, also when the list changed so much meanwhile that its rest is gone.
            ConfigError: API_FORBIDDEN or API_REFUSED.
        """
        path, _, selected = path.partition("?")  # a selector: the client would add a second "?" to it
        query, is_first = {**dict(parse_qsl(selected)), "limit": str(PAGE_ITEMS)}, True
        while True:
            try:
                page = self._http.call("GET", path, query=query, judged=(404,) if is_first else ())
            except StatusError:
                return
            yield from page.get("items") or ()
            rest = (page.get("metadata") or {}).get("continue")
            if not rest:
                return
            query, is_first = {**query, "continue": rest}, False

    def get(self, path: str) -> dict[str, Any] | None:
        """One object; None when it does not exist."""
        try:
            found: dict[str, Any] = self._http.call("GET", path, judged=(404,))
        except StatusError:
            return None
        return found


def put(question: ApiQuestion[T], reader: ApiReader, host: str) -> T:
    """Put a question and return its answer.

    Raises:
        BlindError: API_ANSWER_UNKNOWN, the answer is not what the question expects.
        NightshiftError: the reader's own.
    """
    try:
        return question.ask(reader)
    except (ValueError, LookupError, TypeError, AttributeError) as error:  # an answer of another shape
        raise BlindError(
            "API_ANSWER_UNKNOWN",
            f"An answer of {host} was not understood.",
            cause=f"{type(error).__name__}: {error}",
            next_step="The API serves something this version of Nightshift does not know: report it with this message.",
        ) from error
