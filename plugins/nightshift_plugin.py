"""The one Airflow plugin of Nightshift: incident reports in the UI, and tasks that start about a second faster.

A task runs in a process forked from the scheduler (LocalExecutor). What the scheduler has imported before, the
task need not: the Kubernetes and SSH hooks take longer to import than most of our steps take to run, and a night
starts some thirty tasks. Only libraries are imported here, never our own code: that is read anew by every task.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

_LIBRARIES = (
    "airflow.providers.cncf.kubernetes.operators.pod",
    "airflow.providers.cncf.kubernetes.hooks.kubernetes",
    "airflow.providers.ssh.hooks.ssh",
    "airflow.providers.standard.operators.python",
    "airflow.sdk.execution_time.task_runner",
    "httpx",
    "prometheus_client",
    "pydantic",
    "tenacity",
    "yaml",
)


class _Warmer:
    """Listens for the start of a long-lived Airflow component."""

    @hookimpl
    def on_starting(self, component: object) -> None:
        """Import the libraries once, in the parent of all tasks; the task runner itself is no such parent."""
        if type(component).__name__ != "Job":
            return
        for name in _LIBRARIES:
            try:
                import_module(name)
            except ImportError:
                logging.getLogger(__name__).warning(
                    "%s cannot be imported: tasks that need it will fail.", name
                )


class _Reports:
    """The application that shows incident reports, built when it is first asked: only the API server ever is."""

    def __init__(self) -> None:
        self._app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request (ASGI)."""
        if self._app is None:
            self._app = import_module("nightshift.ui.reports").build_app()
        await self._app(scope, receive, send)


class NightshiftPlugin(AirflowPlugin):
    """Registers the listener and the application."""

    name = "nightshift"
    fastapi_apps = [{"app": _Reports(), "url_prefix": "/nightshift", "name": "nightshift"}]  # noqa: RUF012
    listeners = [_Warmer()]  # noqa: RUF012 - Airflow's own way to declare them
