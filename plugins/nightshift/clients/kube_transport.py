"""One HTTP exchange with the API server: short time limits, no hidden retries but one, our own errors.

A look whose connection ends without an answer is asked once more, at once: a balancer ends the connections to an API
server that is away, and an API server those that were idle for long, while the next one answers.

Plain JSON instead of the client library's models: no deserialisation cost, and objects that a newer
API server extended pass through unharmed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import urllib3
from kubernetes.client import ApiClient
from kubernetes.client.exceptions import ApiException

from nightshift.domain.errors import ConfigError, NightshiftError, UnreachableError

_CONNECT_SECONDS = 3.0
_READ_SECONDS = 10.0
# JSON where it is JSON, else the text itself; the client's own "str" gives "b'…'" (its bytes, written out).
_AS_DECODED = dict.fromkeys((200, 201, 202), "object")
_REFUSALS = (401, 403)
_READY_PATH = "/readyz"
MERGE_PATCH = "application/merge-patch+json"


class StatusError(Exception):
    """The API server answered with a status its caller has to judge (404, 409, 422, 429, 500 on request)."""

    def __init__(self, status: int, body: Mapping[str, Any], text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status
        self.body = body
        self.text = text


class KubeTransport:
    """Sends requests through one configured `ApiClient` (credentials and TLS are its business)."""

    def __init__(self, api_client: ApiClient) -> None:
        self._client = api_client
        self.host = str(api_client.configuration.host)
        # urllib3 would retry three times on its own: a caller with a time budget must see each failure.
        api_client.rest_client.pool_manager.connection_pool_kw["retries"] = urllib3.Retry(0, redirect=2)

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        judged: tuple[int, ...] = (),
        as_text: bool = False,
    ) -> Any:
        """Send one request and return the decoded answer (the plain text with `as_text`).

        Statuses listed in `judged` are handed to the caller as `StatusError` instead of being translated.

        Raises:
            UnreachableError: API_UNREACHABLE, no answer in time, 5xx, throttled, or not ready yet.
            ConfigError: API_FORBIDDEN or API_REFUSED, an answer that another try will not change.
            StatusError: a status listed in `judged`.
        """
        accept = "*/*" if as_text else "application/json"
        headers = {"Accept": accept, "Content-Type": content_type}
        what = f"{method} {path}"

        def send_once() -> Any:
            return self._send(method, path, list((query or {}).items()), headers, body)

        def send() -> Any:
            try:
                return send_once()
            except urllib3.exceptions.HTTPError as error:
                if method != "GET" or not _was_cut(error):
                    raise
                return send_once()

        try:
            try:
                return send()
            except ApiException as error:
                if error.status not in _REFUSALS or path == _READY_PATH:
                    raise
                # An API server that has just started refuses whatever its roles and tokens allow, until it has read
                # them. The request was refused, so it can be repeated.
                self.require_ready(what)
                return send()
        except ApiException as error:
            # "from None": four layers of urllib3 would bury the one sentence that helps in the task's log.
            raise self._translated(error, what, judged) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._unreachable(what, _root_cause(error)) from None

    def _send(
        self, method: str, path: str, query: list[tuple[str, str]], headers: dict[str, str], body: Any
    ) -> Any:
        """One request as the client library sends it."""
        return self._client.call_api(
            path,
            method,
            query_params=query,
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
            response_types_map=_AS_DECODED,
            _return_http_data_only=True,
            _request_timeout=(_CONNECT_SECONDS, _READ_SECONDS),
        )

    def is_ready(self) -> bool:
        """Tell whether the API server has all it needs to judge a request."""
        try:
            return str(self.call("GET", _READY_PATH, as_text=True)).strip() == "ok"
        except NightshiftError:
            return False

    def require_ready(self, what: str) -> None:
        """Raise UnreachableError (API_UNREACHABLE) for `what` unless the API server is ready."""
        if not self.is_ready():
            raise self._unreachable(what, "The API server has just started and is not ready.")

    def _translated(self, error: ApiException, what: str, judged: tuple[int, ...]) -> Exception:
        """Our error for an answered (or TLS-refused) request."""
        status = int(error.status or 0)
        body = _decoded(error.body)
        text = str(body.get("message") or error.reason or "no message")
        if status in judged:
            return StatusError(status, body, text)
        if status in _REFUSALS:
            return ConfigError(
                "API_FORBIDDEN",
                f"{self.host} refused {what} ({status}).",
                cause=text,
                next_step="Check the credentials of the kubernetes connection and apply the shipped ClusterRole.",
            )
        if status == 0 or status == 429 or status >= 500:
            return self._unreachable(what, f"{status or 'TLS'} {text}")
        return ConfigError(
            "API_REFUSED",
            f"{self.host} refused {what} ({status}).",
            cause=text,
            next_step="This is not expected of a healthy cluster: read the API server's log for this request.",
        )

    def _unreachable(self, what: str, cause: str) -> UnreachableError:
        """The API could not answer: its state is unknown."""
        return UnreachableError(
            "API_UNREACHABLE",
            f"{self.host} did not answer {what}.",
            cause=cause,
            next_step="Check that the API server runs and that this host reaches it; then clear this task.",
        )


def _decoded(body: Any) -> dict[str, Any]:
    """A Status object if the answer was one; proxies answer with HTML or nothing."""
    try:
        decoded = json.loads(body or "{}")
    except (TypeError, ValueError):
        return {"message": str(body)[:200]}
    return decoded if isinstance(decoded, dict) else {}


def _was_cut(error: urllib3.exceptions.HTTPError) -> bool:
    """Tell whether the connection was there and ended without an answer."""
    reason = getattr(error, "reason", None) or error
    return isinstance(reason, urllib3.exceptions.ProtocolError) and any(
        isinstance(part, ConnectionError) for part in reason.args
    )


def _root_cause(error: BaseException) -> str:
    """The innermost readable reason: urllib3 wraps "connection refused" three times."""
    reason = getattr(error, "reason", None)
    return str(reason or error)
