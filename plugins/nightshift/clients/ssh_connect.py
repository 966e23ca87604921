"""Plain SSH connections with a pinned host key; what the command line and the tests use.

Airflow tasks get their connections from `orchestration` instead; both translate failures with `translated`.
"""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import paramiko
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from paramiko.pkey import UnknownKeyType

from nightshift.domain.errors import ConfigError, NightshiftError, TrustError, UnreachableError

CONNECT_SECONDS = 10.0
KEEPALIVE_SECONDS = 15
_STDERR_LIMIT = 64 * 1024  # its end is what explains a failure
_CHUNK = 256 * 1024
# paramiko's words for a connection that ended while the key was being looked at: nothing was refused.
_NO_ANSWER = ("transport shut down or saw EOF", "Authentication timeout.")
_LOOK = "Check that the machine is up, sshd runs and port 22 is open from here; then retry."
_LOOK_AT_LOGIN = (
    "Check that the machine is up and stays so; then, on it, journalctl -u ssh: sshd ends the log-in of an account that is "
    "expired, or that PAM does not let in, without an answer, too."
)


@dataclass(frozen=True)
class KeyPair:
    """An SSH key pair as text.

    Args:
        private: OpenSSH PEM without passphrase.
        public: one `ssh-ed25519 AAAA…` line without comment.
    """

    private: str
    public: str


def generate_key_pair() -> KeyPair:
    """Make a new ed25519 key pair."""
    return _pair(Ed25519PrivateKey.generate())


def key_pair_from(private: str) -> KeyPair:
    """Return the pair a private ed25519 key belongs to.

    Raises:
        ConfigError: CONFIG_INVALID, it is no unencrypted ed25519 key.
    """
    try:
        key = serialization.load_ssh_private_key(private.encode(), password=None)
    except ValueError as error:
        raise _bad_key(str(error)) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _bad_key("it is not of type ed25519")
    return KeyPair(private, _pair(key).public)


def connector(
    host: str, user: str, private_key: str, host_key: str, port: int = 22
) -> Callable[[], paramiko.SSHClient]:
    """Return a function that opens a connection to exactly this machine.

    Args:
        host: address of the node.
        user: login name.
        private_key: PEM text of any type paramiko can read, without passphrase.
        host_key: pinned `ssh-ed25519 AAAA…` (any key type); nothing else is accepted.
        port: of sshd.

    Raises (from the returned function):
        UnreachableError: NODE_UNREACHABLE.
        TrustError: SSH_AUTH_REFUSED or HOST_KEY_CHANGED.
    """
    key = _load_private(private_key)

    def connect() -> paramiko.SSHClient:
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        pin_host_key(client, host, host_key, port)
        try:
            client.connect(
                host,
                port=port,
                username=user,
                pkey=key,
                timeout=CONNECT_SECONDS,
                banner_timeout=CONNECT_SECONDS,
                auth_timeout=CONNECT_SECONDS,
                allow_agent=False,
                look_for_keys=False,
            )
        except (paramiko.SSHException, OSError, EOFError) as error:
            client.close()
            raise translated(error, f"{user}@{host}") from error
        return client

    return connect


def pin_host_key(client: paramiko.SSHClient, host: str, host_key: str, port: int = 22) -> None:
    """Make `client` accept only `host_key` for `host`.

    Raises:
        ConfigError: CONFIG_INVALID, the pinned key cannot be read.
    """
    name = host if port == 22 else f"[{host}]:{port}"
    key = parse_host_key(host_key, host)
    client.get_host_keys().add(name, key.get_name(), key)


def parse_host_key(host_key: str, host: str) -> paramiko.PKey:
    """Read one pinned `ssh-ed25519 AAAA…` line; `host` is named in the error.

    Raises:
        ConfigError: CONFIG_INVALID, the pinned key cannot be read.
    """
    try:
        kind, blob = host_key.split()[:2]
        return paramiko.PKey.from_type_string(kind, base64.b64decode(blob, validate=True))
    except (ValueError, paramiko.SSHException, UnknownKeyType) as error:
        raise ConfigError(
            "CONFIG_INVALID",
            f"The pinned host key of {host} cannot be read.",
            cause=f"{str(error) or 'It is empty'}.",
            next_step="Write it as `ssh-ed25519 AAAA…` into the SSH connection's host_keys, or enrol the node again.",
        ) from error


def read_known_hosts(path: Path, *names: str) -> str | None:
    """Return the pinned key of the first of `names` found in an OpenSSH known_hosts file, ed25519 preferred.

    Raises:
        ConfigError: CONFIG_INVALID, the file cannot be read.
    """
    try:
        entries = paramiko.HostKeys(str(path))
    except (OSError, paramiko.SSHException) as error:
        raise ConfigError(
            "CONFIG_INVALID",
            f"The known_hosts file {path} cannot be read.",
            cause=f"{error}.",
            next_step="Give a file made by ssh-keyscan whose keys you compared with the nodes' own.",
        ) from error
    for name in names:
        found = entries.lookup(name)
        if found:
            kind = "ssh-ed25519" if "ssh-ed25519" in found else sorted(found.keys())[0]
            return f"{kind} {found[kind].get_base64()}"
    return None


def translated(error: Exception, where: str) -> NightshiftError:
    """Translate what paramiko or the network said while connecting.

    Args:
        error: what was raised.
        where: `user@host`, for the message.
    """
    if isinstance(error, NightshiftError):
        return error
    if isinstance(error, paramiko.BadHostKeyException):
        return host_key_changed(where, str(error))
    if isinstance(error, paramiko.AuthenticationException) and not str(error).endswith(_NO_ANSWER):
        return TrustError(
            "SSH_AUTH_REFUSED",
            f"{where} refused our SSH key.",
            cause="The key in the connection is not in the node's authorized_keys, or sshd does not let that user in.",
            next_step="Enrol the node again, or correct the connection's private_key.",
        )
    if "not found in known_hosts" in str(error):
        return host_key_changed(where, "No pinned key of that type is known for it.")
    is_at_login = isinstance(error, paramiko.AuthenticationException)
    return unreachable(where, str(error) or type(error).__name__, _LOOK_AT_LOGIN if is_at_login else _LOOK)


def host_key_changed(where: str, detail: str) -> TrustError:
    """The error for a machine that does not show the pinned key."""
    return TrustError(
        "HOST_KEY_CHANGED",
        f"{where} does not show the pinned host key.",
        cause=f"The node was reinstalled, or somebody else answers at its address. {detail}",
        next_step="Compare with the node's own /etc/ssh/ssh_host_*_key.pub; only then enrol it again.",
    )


def unreachable(where: str, detail: str, next_step: str = _LOOK) -> UnreachableError:
    """The error for a machine that does not answer; its state is unknown."""
    return UnreachableError(
        "NODE_UNREACHABLE",
        f"{where} cannot be reached over SSH.",
        cause=f"{detail.rstrip('.')}.",
        next_step=next_step,
    )


# What a broken, silent or refused connection raises; TimeoutError is an OSError.
NETWORK_ERRORS = (paramiko.SSHException, OSError, EOFError)


class Sink(Protocol):
    """What bytes can be written to."""

    def write(self, data: bytes, /) -> Any:
        """Take the next piece."""


def drain(channel: paramiko.Channel, target: Sink, deadline: float) -> tuple[int, str]:
    """Copy a command's standard output to `target` until it ends; return exit code and standard error.

    Raises:
        TimeoutError: no end before `deadline` (monotonic seconds).
        EOFError: the connection broke before the command's exit code came.
    """
    stderr = bytearray()
    channel.settimeout(0.5)
    while True:
        while channel.recv_stderr_ready():
            stderr += channel.recv_stderr(_CHUNK)
            del stderr[:-_STDERR_LIMIT]
        try:
            data = channel.recv(_CHUNK)
        except TimeoutError:
            data = None
        if data == b"":
            break
        if data:
            target.write(data)
        if time.monotonic() > deadline:  # also of one that goes on and on
            raise TimeoutError("no end within the time limit")
    if not channel.status_event.wait(max(1.0, min(10.0, deadline - time.monotonic()))):
        raise TimeoutError("no exit code within the time limit")
    while channel.recv_stderr_ready():
        stderr += channel.recv_stderr(_CHUNK)
    code = channel.recv_exit_status()
    if code < 0:
        raise EOFError("the connection broke")
    return code, stderr.decode(errors="replace")


def _load_private(text: str) -> paramiko.PKey:
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        try:
            return kind.from_private_key(io.StringIO(text))
        except (paramiko.SSHException, ValueError):
            continue
    raise _bad_key("it is neither an ed25519, ECDSA nor RSA key without passphrase")


def _bad_key(reason: str) -> ConfigError:
    return ConfigError(
        "CONFIG_INVALID",
        "The SSH private key cannot be used.",
        cause=f"{reason}.",
        next_step="Give an unencrypted OpenSSH key; `nightshift enrol` makes one.",
    )


def _pair(key: Ed25519PrivateKey) -> KeyPair:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return KeyPair(private.decode(), public.decode())
