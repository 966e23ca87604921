"""The driver's rules are the node's: the same planted secrets disappear, and what explains a failure stays."""

import time
import traceback

import pytest
from tests.unit.redaction_plants import INNOCENT, PLANTED, SECRETS

from nightshift.domain.errors import ConfigError
from nightshift.domain.redaction import redact, redact_object, redact_texts, without_secrets

OWN = [
    "-----BEGIN RSA PRIVATE KEY-----\nMIIsecretsecret\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN EC PRIVATE KEY-----\nMIIsecretsecret",
    "client-certificate-data: LS0tLS1CRUdJTsecretsecret",
    "token eyJhbGciOi.eyJzZWNyZXQsecret.secretsecret",
    "kubeadm join --token secre1.secretsecret0000",
    "proxy http://ann:secretsecret@proxy:3128/",
    "Authorization: Basic secretsecret",
    "curl -H 'Bearer secretsecretsecret'",
    "password=secretsecret",
    '"client-secret": "secretsecret"',
    "--oidc-client-secret secretsecret",
    "certificateKey: secretsecret",
]


@pytest.mark.parametrize("form", SECRETS)
def test_what_the_nodes_take_out_is_taken_out_here_too(form: str) -> None:
    text = SECRETS[form]
    said = redact(f"first line\n{text}\nlast line\n")
    assert [secret for secret in PLANTED if secret in said] == []
    assert said.startswith("first line\n")
    assert said.endswith("last line\n")
    assert said.count("kept") == text.count("kept")


@pytest.mark.parametrize("form", SECRETS)
def test_a_second_time_takes_nothing_more(form: str) -> None:
    once = redact(SECRETS[form])
    assert redact(once) == once


def test_what_stands_behind_a_secret_is_not_taken_with_it() -> None:
    assert redact('["--token","hunter2","--kept"]') == '["--token","[REDACTED]","--kept"]'


@pytest.mark.parametrize("text", INNOCENT)
def test_what_the_nodes_leave_stays_here_too(text: str) -> None:
    assert redact(f"{text}\n") == f"{text}\n"


@pytest.mark.parametrize("text", OWN)
def test_planted_secrets_disappear(text: str) -> None:
    said = redact(f"before\n{text}\n")
    assert "secretsecret" not in said
    assert "secre1.secretsecret0000" not in said
    assert said.startswith("before\n")


def test_what_explains_a_failure_stays() -> None:
    text = "static Pod hash for component kube-apiserver on Node cp1 did not change after 5m0s\nexit code 26"
    assert redact(text) == text


def test_objects_of_the_api_lose_secret_variables_and_what_repeats_them() -> None:
    pod = {
        "metadata": {
            "name": "etcd-cp1",
            "managedFields": [{"x": 1}],
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "secretsecret", "a": "b"},
        },
        "spec": {
            "env": [{"name": "DB_PASSWORD", "value": "secretsecret"}, {"name": "MODE", "value": "fast"}],
            "command": ["x", "--client-secret=secretsecret"],
        },
    }
    said = redact_object(pod)
    assert "secretsecret" not in str(said)
    assert said["metadata"] == {"name": "etcd-cp1", "annotations": {"a": "b"}}
    assert said["spec"]["env"][1] == {"name": "MODE", "value": "fast"}


def test_objects_lose_what_only_a_name_says_to_be_secret() -> None:
    found = redact_object(
        {
            "command": ["kms", "--token", "secretsecret", "--v", "2"],
            "env": [{"name": "DB_PASS", "value": "secretsecret"}],
            "extraArgs": [{"name": "oidc-client-secret", "value": "secretsecret"}],
            "user": {"token": "secretsecret\n", "tokens": ["secretsecret"], "tokenFile": "/a"},
            "volumes": [{"secret": {"secretName": "a"}}],
            "list": [{"kind": "Secret", "data": {"a": "secretsecret"}}],
        }
    )
    assert "secretsecret" not in str(found)
    assert found["command"] == ["kms", "--token", "[REDACTED]", "--v", "2"]
    assert found["volumes"] == [{"secret": {"secretName": "a"}}]
    assert found["user"]["tokenFile"] == "/a"


@pytest.mark.no_cover  # the limit of time is the program's own
def test_no_line_makes_it_slow() -> None:
    began = time.monotonic()
    for line in ("pass-" * 12_000, 'password="' + "\\" * 60_000, "{name: " + "A_TOKEN" * 9_000):
        redact(line)
    assert time.monotonic() - began < 20  # 0.6 s measured; without a limit of the line over a minute


def test_all_texts_of_an_answer_lose_their_secrets_and_nothing_else_changes() -> None:
    class Pair(tuple[str, ...]):
        """Not ours to rebuild."""

        __slots__ = ()

    kept = {"token": 17, "names": ["a", 1.5, None], "pair": Pair(["password=hunter2"])}
    said = redact_texts({**kept, "words": ("password=hunter2 kept", {"x": ["password=hunter2"]})})
    assert said == {**kept, "words": ("password=[REDACTED] kept", {"x": ["password=[REDACTED]"]})}


def test_an_error_is_told_without_the_secrets_of_what_it_was_caused_by() -> None:
    error = ConfigError("X", "It said password=hunter2.", cause="token: hunter2hunter2", next_step="Look.")
    assert "hunter2" not in str(error)
    cause, context = ValueError("password=hunter2 kept"), KeyError("plain")
    cause.__context__, context.__context__ = context, cause  # a ring, as no traceback prints it twice
    error.__cause__ = cause
    assert without_secrets(error) is error
    assert isinstance(error.__cause__, RuntimeError)
    assert str(error.__cause__) == "ValueError: password=[REDACTED] kept"
    assert error.__suppress_context__
    assert "hunter2" not in "".join(traceback.format_exception(error))
    plain = ValueError("plain")
    assert without_secrets(plain) is plain
    assert not plain.__suppress_context__
