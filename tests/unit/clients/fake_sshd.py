"""A real SSH server on loopback whose commands are answered by the test."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import paramiko

Answer = tuple[int, bytes, bytes]  # exit code (-1: cut the connection after stdout), stdout, stderr


@dataclass
class FakeSshd:
    """Accepts one public key; `answer` gets (command, stdin) of each command. Port 0: any that is free."""

    accepted: paramiko.PKey
    answer: Callable[[str, bytes], Answer]
    host_key: paramiko.PKey = field(default_factory=paramiko.ECDSAKey.generate)
    connections: int = 0
    logins: int = 0  # tried, whether accepted or not
    dies_at_login: bool = False
    address: str = "127.0.0.1"
    port: int = 0

    def __post_init__(self) -> None:
        self._socket = socket.create_server((self.address, self.port))
        self.port = self._socket.getsockname()[1]
        self._transports: list[paramiko.Transport] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def pinned(self) -> str:
        return f"{self.host_key.get_name()} {self.host_key.get_base64()}"

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            transport = paramiko.Transport(connection)
            transport.add_server_key(self.host_key)
            self._transports.append(transport)
            with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
                transport.start_server(server=_Session(self, transport))

    def cut(self) -> None:
        for transport in self._transports:
            transport.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # else a thread in accept() keeps the port open
        self._socket.close()
        self.cut()


class _Session(paramiko.ServerInterface):
    def __init__(self, server: FakeSshd, transport: paramiko.Transport) -> None:
        self._server = server
        self._transport = transport

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        self._server.logins += 1
        if self._server.dies_at_login:
            self._transport.close()
        accepted = key == self._server.accepted and username == "nightshift"
        return paramiko.AUTH_SUCCESSFUL if accepted else paramiko.AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=self._serve, args=(channel, command.decode()), daemon=True).start()
        return True

    def _serve(self, channel: paramiko.Channel, command: str) -> None:
        stdin = b""
        while chunk := channel.recv(65536):
            stdin += chunk
        code, stdout, stderr = self._server.answer(command, stdin)
        channel.sendall(stdout)
        if code < 0:
            self._transport.close()
            return
        channel.sendall_stderr(stderr)
        channel.send_exit_status(code)
        channel.close()
