"""Puts the node-side scripts on a node, or takes them away; over an administrator's SSH log-in."""

from __future__ import annotations

import io
import shlex
import time
from collections.abc import Callable

import paramiko

from nightshift.clients.script_bundle import ScriptBundle
from nightshift.clients.ssh_connect import NETWORK_ERRORS, drain, translated
from nightshift.domain.errors import RemoteJobError

_LIMIT_SECONDS = 120.0
# Root may run it directly; anybody else goes through sudo. The archive comes over standard input.
_UNPACK = (
    'd=$(mktemp -d) && trap \'rm -rf "$d"\' EXIT && tar -xzpf - -C "$d" && '
    'if [ "$(id -u)" = 0 ]; then bash "$d/enrol-node" {words}; else sudo -n bash "$d/enrol-node" {words}; fi'
)


def install_scripts(
    node: str, connect: Callable[[], paramiko.SSHClient], bundle: ScriptBundle, public_key: str, is_held: bool
) -> tuple[str, ...]:
    """Install scripts, user and sudoers file; return what changed on the node, line by line.

    Args:
        node: its name, for messages.
        connect: opens the administrator's connection.
        bundle: what is installed.
        public_key: what Nightshift logs in with.
        is_held: a run is at the cluster; a node that has other scripts then refuses.

    Raises:
        RemoteJobError: ENROL_FAILED, with the node's own words.
        UnreachableError: NODE_UNREACHABLE.
        TrustError: SSH_AUTH_REFUSED or HOST_KEY_CHANGED.
    """
    return _run(node, connect, bundle, ("install", public_key, *(("held",) if is_held else ())))


def remove_scripts(
    node: str, connect: Callable[[], paramiko.SSHClient], bundle: ScriptBundle
) -> tuple[str, ...]:
    """Take everything back; raises as `install_scripts`."""
    return _run(node, connect, bundle, ("remove",))


def _run(
    node: str, connect: Callable[[], paramiko.SSHClient], bundle: ScriptBundle, words: tuple[str, ...]
) -> tuple[str, ...]:
    output = io.BytesIO()
    try:
        with connect() as client:
            transport = client.get_transport()
            if transport is None:
                raise paramiko.SSHException("the connection closed at once")
            channel = transport.open_session(timeout=20)
            channel.exec_command(_UNPACK.format(words=shlex.join(words)))
            channel.sendall(bundle.archive())
            channel.shutdown_write()
            code, stderr = drain(channel, output, time.monotonic() + _LIMIT_SECONDS)
    except NETWORK_ERRORS as error:
        raise translated(error, node) from error
    if code != 0:
        raise RemoteJobError(
            "ENROL_FAILED",
            f"Node {node} could not be prepared (exit code {code}).",
            cause=" ".join(stderr.split()) or "It gave no reason.",
            next_step="Do what it says, then run the same command again; it is safe to repeat.",
            exit_code=code,
        )
    return tuple(output.getvalue().decode(errors="replace").splitlines())
