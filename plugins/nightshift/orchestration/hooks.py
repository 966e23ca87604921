"""The SSH provider's hook, made strict: exactly one host key per node, and nobody else's keys."""

from __future__ import annotations

from typing import Any

from airflow.providers.ssh.hooks.ssh import SSHHook

from nightshift.clients.ssh_connect import (
    CONNECT_SECONDS,
    KEEPALIVE_SECONDS,
    NETWORK_ERRORS,
    host_key_changed,
    parse_host_key,
    translated,
)


class PinnedSshHook(SSHHook):  # type: ignore[misc]  # the provider ships no type information
    """Takes user, key, port and proxy from the Airflow connection, and the host key from its `host_keys`.

    Args:
        ssh_conn_id: connection of type ssh.
        remote_host: address of the node.
        pinned_key: `ssh-ed25519 AAAA…`, the only host key this node may show.

    Raises:
        ConfigError: CONFIG_INVALID, the pinned key cannot be read.
    """

    def __init__(self, ssh_conn_id: str, remote_host: str, pinned_key: str) -> None:
        super().__init__(
            ssh_conn_id=ssh_conn_id,
            remote_host=remote_host,
            conn_timeout=int(CONNECT_SECONDS),
            banner_timeout=CONNECT_SECONDS,
            auth_timeout=int(CONNECT_SECONDS),
            cmd_timeout=None,  # the hook's default is 10 s
            keepalive_interval=KEEPALIVE_SECONDS,
            conn_retry_attempts=1,  # who calls knows whether another try is wanted
            no_host_key_check=False,
        )
        self.look_for_keys = False
        self.allow_host_key_change = False
        self.host_key = parse_host_key(pinned_key, remote_host)

    def get_conn(self) -> Any:
        """Open a new connection (a `paramiko.SSHClient`).

        Raises:
            UnreachableError: NODE_UNREACHABLE.
            TrustError: SSH_AUTH_REFUSED or HOST_KEY_CHANGED.
        """
        self.client = None  # a dropped connection is reopened, never handed out again
        where = f"{self.username}@{self.remote_host}"
        try:
            client = super().get_conn()
        except NETWORK_ERRORS as error:
            raise translated(error, where) from error
        # paramiko prefers the machine's own known_hosts to the key we pinned; we do not.
        if client.get_transport().get_remote_server_key() != self.host_key:
            client.close()
            raise host_key_changed(where, "The machine's known_hosts knows it, the connection does not.")
        return client
