"""From Airflow's connections to a `Session`: the one place where credentials meet clients.

Everything heavy (hooks, kubernetes, paramiko) is imported when a session is opened, never when a DAG file
is parsed: every task start parses its DAG file again.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, cast

from nightshift.domain.errors import ConfigError
from nightshift.domain.facts import NodeAddress, NodeFacts
from nightshift.domain.policy import ClusterPolicy

if TYPE_CHECKING:
    from nightshift.clients.kube_api import KubeApi
    from nightshift.clients.node_ssh import NodeSsh
    from nightshift.steps.session import KubePort, Session

_LOG = logging.getLogger(__name__)


def policy_named(cluster: str) -> ClusterPolicy:
    """Read the policy of one cluster (triggers carry the name only).

    Raises:
        ConfigError: CONFIG_INVALID.
    """
    from nightshift.clients.cluster_config import clusters_directory, load_cluster

    return load_cluster(clusters_directory() / f"{cluster}.yaml")


def installation() -> str:
    """Which Airflow this is, in the name of every owner: NIGHTSHIFT_INSTALLATION, else one that may begin nothing.

    Raises:
        ConfigError: CONFIG_INVALID.
    """
    from nightshift.domain.owner import UNNAMED, require_installation

    return require_installation(os.environ.get("NIGHTSHIFT_INSTALLATION") or UNNAMED)


@contextmanager
def open_session(
    policy: ClusterPolicy,
    run_id: str,
    log: Callable[[str], None] = _LOG.info,
    began: float | None = None,
    *,
    needs_api: bool = True,
) -> Iterator[Session]:
    """Give a step its way into the cluster; nodes are connected to when a step first asks for one.

    Args:
        policy: the cluster's policy.
        run_id: Airflow's run id.
        log: gets one plain line at a time, without secrets: lines of jobs and words of APIs are among them.
        began: when this try of the task began, seconds since the epoch; None: now.
        needs_api: False: without a usable connection the session still opens, and what asks the API is told why.

    Raises:
        ConfigError: CONNECTION_MISSING or CONFIG_INVALID, unless `needs_api` is False.
    """
    from airflow.sdk import ObjectStoragePath

    from nightshift.clients.pushgateway import Pushgateway
    from nightshift.clients.stores import Store
    from nightshift.domain.redaction import redact
    from nightshift.steps.session import Session

    session = Session(
        policy=policy,
        kube=_kube(policy.kubernetes_connection)
        if needs_api
        else _kube_or_reason(policy.kubernetes_connection),
        ssh=_NodeConnector(policy.ssh_connection),
        store=Store(ObjectStoragePath(policy.store), policy.name),
        pushgateway=Pushgateway(policy.pushgateway_url, policy.name),
        run_id=run_id,
        installation=installation(),
        began=time.time() if began is None else began,
        log=lambda line: log(redact(line)),
    )
    try:
        yield session
    finally:
        session.close()


_ENROL_WRITES = "`./nightshift enrol` writes it."


def connection_named(connection_id: str, purpose: str, origin: str = _ENROL_WRITES) -> Any:
    """Return an Airflow connection, from whichever secrets backend has it.

    Args:
        connection_id: its name.
        purpose: what it leads to, and its type.
        origin: a sentence that says where it comes from.

    Raises:
        ConfigError: CONNECTION_MISSING.
    """
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return BaseHook.get_connection(connection_id)
    except AirflowNotFoundException as error:
        raise ConfigError(
            "CONNECTION_MISSING",
            f"Airflow has no connection {connection_id!r} ({purpose}).",
            cause="Neither the environment nor a secrets backend of this process has it.",
            next_step=f"Give AIRFLOW_CONN_{connection_id.upper()} to every Airflow process; {origin}",
        ) from error


def _kube(connection_id: str) -> KubeApi:
    """Build the API client from a `kubernetes` connection."""
    from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
    from airflow.sdk.exceptions import AirflowRuntimeError

    from nightshift.clients.kube_api import KubeApi

    extra = connection_named(connection_id, "the cluster's API, type kubernetes").extra_dejson
    if not any(extra.get(name) for name in ("kube_config", "kube_config_path", "in_cluster")):
        # The hook would take whatever kubeconfig this machine has, which may be another cluster's.
        raise _bad_kube_connection(connection_id, "It names no kubeconfig.")
    try:
        return KubeApi(KubernetesHook(conn_id=connection_id).get_conn())
    except AirflowRuntimeError:  # Airflow did not answer, which says nothing about the connection
        raise
    except Exception as error:  # whatever a loader of kubeconfigs throws, the connection is unusable
        raise _bad_kube_connection(connection_id, f"{type(error).__name__}: {error}.") from error


def _kube_or_reason(connection_id: str) -> KubePort:
    """Build the API client, or what says at each call why there is none."""
    try:
        return _kube(connection_id)
    except ConfigError as error:
        return cast("KubePort", _NoKube(error))


class _NoKube:
    """Stands in for an API client that cannot be made."""

    def __init__(self, error: ConfigError) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        """Raise the reason, whatever is asked."""
        raise self._error


def _bad_kube_connection(connection_id: str, cause: str) -> ConfigError:
    return ConfigError(
        "CONFIG_INVALID",
        f"The connection {connection_id!r} cannot be used to reach the cluster's API.",
        cause=cause,
        next_step="Put a complete kubeconfig (as JSON) into the connection's extra field `kube_config`; "
        "`./nightshift enrol` writes one.",
    )


class _NodeConnector:
    """Opens nodes with the credentials of one `ssh` connection, each with its own pinned host key."""

    def __init__(self, connection_id: str) -> None:
        self._connection_id = connection_id
        self._host_keys: dict[str, str] | None = None

    def __call__(self, node: NodeFacts | NodeAddress) -> NodeSsh:
        """Return the way into `node`; it connects when first used.

        Raises:
            ConfigError: CONNECTION_MISSING, CONFIG_INVALID, or NODE_NOT_ENROLLED when no host key is pinned.
        """
        from nightshift.clients.node_ssh import NodeSsh
        from nightshift.clients.script_bundle import ScriptBundle
        from nightshift.orchestration.hooks import PinnedSshHook

        if self._host_keys is None:
            self._host_keys = self._read_host_keys()
        if node.name not in self._host_keys:
            raise ConfigError(
                "NODE_NOT_ENROLLED",
                f"No host key is pinned for node {node.name}.",
                cause=f"The extra field `host_keys` of connection {self._connection_id!r} does not name it.",
                next_step="Enrol the node (`./nightshift enrol`), then give the new connection to Airflow.",
            )
        hook = PinnedSshHook(self._connection_id, node.address, self._host_keys[node.name])
        return NodeSsh(node.name, hook.get_conn, ScriptBundle.shipped())

    def _read_host_keys(self) -> dict[str, str]:
        extra = connection_named(self._connection_id, "the nodes, type ssh").extra_dejson
        host_keys = extra.get("host_keys")
        if not isinstance(host_keys, dict) or not (extra.get("private_key") or extra.get("key_file")):
            raise ConfigError(
                "CONFIG_INVALID",
                f"The connection {self._connection_id!r} lacks `private_key` or `host_keys` in its extra.",
                cause="It was written by hand, or for something else.",
                next_step="Let `./nightshift enrol` write it, or add both fields.",
            )
        return host_keys


def import_step(path: str) -> Callable[..., Any]:
    """Import `module:function` below `nightshift.steps`, e.g. "gates:check_disk_usage"; its answer comes without secrets.

    Answers become XComs, notes and the ledger's entry, and quote what APIs and nodes have said.
    """
    from importlib import import_module

    from nightshift.domain.redaction import redact_texts

    module, _, function = path.partition(":")
    step: Callable[..., Any] = getattr(import_module(f"nightshift.steps.{module}"), function or module)

    @wraps(step)
    def without_secrets(*arguments: Any, **inputs: Any) -> Any:
        return redact_texts(step(*arguments, **inputs))

    return without_secrets
