"""Incident reports in the Airflow UI: `/nightshift/reports/<DAG>/<run's folder>/<incident>/<file>`, out of the store.

Who may read the DAG's task logs may read its cluster's reports, which quote logs; Airflow says who that is. What is served was written by the product,
but quotes logs that anybody may have written into: it may run nothing and fetch nothing.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import HTMLResponse, Response, StreamingResponse

from nightshift.clients.cluster_config import clusters_directory, load_cluster, salvage_cluster
from nightshift.clients.incident_folder import MANIFEST, REPORT
from nightshift.clients.incident_page import render_index
from nightshift.clients.stores import Store
from nightshift.domain.errors import ConfigError, NightshiftError
from nightshift.domain.store_paths import is_safe, path_safe
from nightshift.steps.evidence import EVIDENCE, incidents_of_run

# All DAGs of a cluster: whoever may read one of them reads about that cluster.
_DAGS = ("upgrade", "readiness", "recover", "brake")
_PAGE_BYTES = 32 * 1024 * 1024
_CUT = b"<p><strong>The report is longer than what is shown here; the whole of it lies in the store.</strong></p>"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'; sandbox allow-downloads allow-popups allow-top-navigation-by-user-activation",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-cache",
}


def build_app() -> FastAPI:
    """The application that Airflow's API server mounts; every route asks Airflow whether the user may read the DAG's logs."""
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.core_api.security import requires_access_dag

    app = FastAPI(title="Nightshift", openapi_url=None, docs_url=None, redoc_url=None)
    may_read = [Depends(requires_access_dag("GET", DagAccessEntity.TASK_LOGS))]
    app.get("/reports/{dag_id}/{run}/", dependencies=may_read)(show_run)
    app.get("/reports/{dag_id}/{run}/{incident}/{path:path}", dependencies=may_read)(show_file)
    return app


def show_run(dag_id: str, run: str) -> Response:
    """The list of a run's reports."""
    store, folder = _store_of(dag_id), _folder(run)
    try:
        incidents = incidents_of_run(store, folder)
    except NightshiftError as error:
        raise HTTPException(503, error.message) from error
    return HTMLResponse(render_index(f"Incident reports of run {run}", incidents), headers=_HEADERS)


def show_file(dag_id: str, run: str, incident: str, path: str) -> Response:
    """One file of an incident: a report as a page, everything else to be saved."""
    store, folder = _store_of(dag_id), f"{_folder(run)}/{_safe(incident)}"
    parts = PurePosixPath(path or REPORT).parts
    if not parts or not all(map(is_safe, parts)):
        raise HTTPException(404, "There is no such file.")
    name = "/".join(parts)
    try:
        return _page(store, f"{folder}/{name}") if name.endswith(".html") else _saved(store, folder, name)
    except NightshiftError as error:
        raise HTTPException(503, error.message) from error


def _page(store: Store, path: str) -> Response:
    content = store.read_bytes(path, _PAGE_BYTES + 1)
    if content is None:
        raise HTTPException(404, "There is no such report: its evidence was removed, or none was made.")
    if len(content) > _PAGE_BYTES:
        content = content[:_PAGE_BYTES] + _CUT
    return HTMLResponse(content, headers=_HEADERS)


def _saved(store: Store, folder: str, name: str) -> Response:
    """Only what the manifest names, and the manifest."""
    manifest = store.read_json(f"{folder}/{MANIFEST}") or {}
    known = {str(file.get("path")) for file in manifest.get("files") or () if isinstance(file, dict)}
    if name not in {*known, MANIFEST} or not store.exists(f"{folder}/{name}"):
        raise HTTPException(404, "There is no such file.")
    headers = {**_HEADERS, "Content-Disposition": f'attachment; filename="{name.replace("/", "-")}"'}
    return StreamingResponse(
        store.chunks(f"{folder}/{name}"), media_type="application/octet-stream", headers=headers
    )


def _folder(run: str) -> str:
    return f"{EVIDENCE}/{_safe(path_safe(run))}"


def _safe(name: str) -> str:
    if not is_safe(name):
        raise HTTPException(404, "There is no such run or report.")
    return name


def _store_of(dag_id: str) -> Store:
    """The store of a DAG's cluster; of a file with a mistake as much as can be read, as its DAG has it."""
    from airflow.sdk import ObjectStoragePath

    kind, _, cluster = dag_id.partition("_")
    if kind not in _DAGS or not is_safe(cluster):
        raise HTTPException(404, "This is no DAG of Nightshift.")
    file = clusters_directory() / f"{cluster}.yaml"
    if not file.is_file():
        raise HTTPException(404, f"There is no file of a cluster {cluster}.")
    try:
        policy = load_cluster(file)
    except ConfigError:
        policy = salvage_cluster(file)
    return Store(ObjectStoragePath(policy.store), policy.name)
