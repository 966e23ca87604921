import io
import json
import time
from pathlib import Path
from typing import Any

import paramiko
import pytest
from kubernetes.config import kube_config
from tests.unit.clients.fake_sshd import FakeSshd
from tests.unit.orchestration.conftest import HOST_KEY, KUBE_CONFIG

from nightshift.domain.errors import ConfigError, TrustError, UnreachableError
from nightshift.domain.facts import NodeFacts
from nightshift.domain.policy import ClusterPolicy
from nightshift.orchestration import runtime

NODE = NodeFacts("w1", "127.0.0.1", False, "1.34.4", True, False)


def test_a_session_is_made_from_connections(connections: Any, local: ClusterPolicy, tmp_path: Path) -> None:
    with runtime.open_session(local, "run-1") as session:
        path = session.store.write_json("a.json", {"b": 1})
    assert (tmp_path / "lab" / "a.json").exists(), path


@pytest.mark.parametrize(
    ("setting", "owner"),
    [(None, "unnamed/lab/run-1"), ("", "unnamed/lab/run-1"), ("site-b", "site-b/lab/run-1")],
)
def test_a_session_is_named_after_this_installation(
    connections: Any, local: ClusterPolicy, monkeypatch: pytest.MonkeyPatch, setting: str | None, owner: str
) -> None:
    monkeypatch.delenv("NIGHTSHIFT_INSTALLATION", raising=False)
    if setting is not None:
        monkeypatch.setenv("NIGHTSHIFT_INSTALLATION", setting)
    with runtime.open_session(local, "run-1") as session:
        assert (session.owner, session.run_id) == (owner, "run-1")


def test_a_session_knows_when_its_try_began(connections: Any, local: ClusterPolicy) -> None:
    with runtime.open_session(local, "run-1", began=12.5) as session:
        assert session.began == 12.5
    earliest = time.time()
    with runtime.open_session(local, "run-1") as session:
        assert earliest <= session.began <= time.time()


@pytest.mark.parametrize("missing", ["kube", "ssh"])
def test_a_missing_connection_is_named(
    connections: Any, local: ClusterPolicy, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.delenv(f"AIRFLOW_CONN_{missing.upper()}")
    expected = pytest.raises(ConfigError, match=rf"CONNECTION_MISSING.*'{missing}'")
    with expected, runtime.open_session(local, "run-1") as session:
        session.on(NODE)


def test_a_session_that_can_do_without_the_api_opens_and_says_why_there_is_none(
    connections: Any, local: ClusterPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_KUBE")
    with runtime.open_session(local, "run-1", needs_api=False) as session:
        assert session.store.write_json("a.json", {})
        with pytest.raises(ConfigError, match="CONNECTION_MISSING"):
            session.kube.nodes()


@pytest.mark.parametrize(
    "extra",
    [{}, {"kube_config": "{"}, {"kube_config": "{}", "in_cluster": True}, {"kube_config_path": "/nowhere"}],
)
def test_a_kubeconfig_that_cannot_be_used_is_a_config_error(
    connections: Any,
    local: ClusterPolicy,
    extra: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / "config").write_text(json.dumps(KUBE_CONFIG), encoding="utf-8")
    # The machine's own kubeconfig, which is never taken instead of what is missing.
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config"))
    connections("kube", conn_type="kubernetes", extra=extra)
    with pytest.raises(ConfigError, match="CONFIG_INVALID"), runtime.open_session(local, "run-1"):
        pass


def test_a_node_without_a_pinned_host_key_is_not_enrolled(connections: Any, local: ClusterPolicy) -> None:
    other = NodeFacts("w9", "127.0.0.1", False, "1.34.4", True, False)
    with (
        runtime.open_session(local, "run-1") as session,
        pytest.raises(ConfigError, match="NODE_NOT_ENROLLED"),
    ):
        session.on(other)


def test_an_ssh_connection_written_by_hand_is_refused(connections: Any, local: ClusterPolicy) -> None:
    connections("ssh", conn_type="ssh", login="nightshift", extra={})
    with runtime.open_session(local, "run-1") as session, pytest.raises(ConfigError, match="host_keys"):
        session.on(NODE)


def test_a_node_that_does_not_answer_is_unreachable(connections: Any, local: ClusterPolicy) -> None:
    with (
        runtime.open_session(local, "run-1") as session,
        pytest.raises(UnreachableError, match="NODE_UNREACHABLE"),
    ):
        session.on(NODE).probe()


class _Transport:
    def __init__(self, key: Any) -> None:
        self.key = key

    def get_remote_server_key(self) -> Any:
        return self.key


class _Client:
    def __init__(self, key: Any) -> None:
        self.key, self.closed = key, False

    def get_transport(self) -> _Transport:
        return _Transport(self.key)

    def close(self) -> None:
        self.closed = True


def test_a_host_key_the_machine_knows_but_the_connection_does_not_is_refused(
    connections: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.providers.ssh.hooks.ssh import SSHHook

    from nightshift.orchestration.hooks import PinnedSshHook

    client = _Client("another key")
    monkeypatch.setattr(SSHHook, "get_conn", lambda self: client)
    with pytest.raises(TrustError, match="HOST_KEY_CHANGED"):
        PinnedSshHook("ssh", "127.0.0.1", HOST_KEY).get_conn()
    assert client.closed


def test_a_stranger_at_the_nodes_address_is_not_even_asked_to_let_us_in(
    connections: Any, private_key: str
) -> None:
    from nightshift.orchestration.hooks import PinnedSshHook

    accepted = paramiko.Ed25519Key.from_private_key(io.StringIO(private_key))
    server = FakeSshd(accepted, lambda command, stdin: (0, b"", b""))
    extra = {"private_key": private_key, "host_keys": {"w1": HOST_KEY}}
    connections("ssh", conn_type="ssh", login="nightshift", port=server.port, extra=extra)
    try:
        with pytest.raises(TrustError, match="HOST_KEY_CHANGED"):
            PinnedSshHook("ssh", "127.0.0.1", HOST_KEY).get_conn()
        assert (server.connections, server.logins) == (1, 0)
        PinnedSshHook("ssh", "127.0.0.1", server.pinned).get_conn().close()
        assert server.logins > 0, "the counter is blind"
    finally:
        server.close()


def test_policies_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSHIFT_CLUSTERS", str(Path(__file__).parents[2] / "airflow" / "clusters"))
    assert runtime.policy_named("small").name == "small"
