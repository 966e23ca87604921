"""Faults of the API, the monitoring and of nodes' state: what they write, and that their undo leaves nothing."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from nslab.faults import api_objects, api_use, monitoring, node_state, records
from nslab.faults.model import Case, Fault
from nslab.nodes import cluster, machine, state
from nslab.shell import LabError

MANIFEST = """\
spec:
  containers:
  - command:
    - kube-apiserver
    - --advertise-address=10.0.0.1
"""


@pytest.fixture(autouse=True)
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "DIRECTORY", tmp_path / "faults")
    monkeypatch.setattr(state, "FILE", tmp_path / "lab.json")
    state.Lab("ha").save()


@pytest.mark.parametrize(
    ("parse", "words", "cause"),
    [
        (node_state.parse_cordon, ["w9"], "no node w9"),
        (node_state.parse_clock, ["w1"], "usage: lab/lab break clock-offset"),
        (node_state.parse_clock, ["w1", "0"], "the offset in milliseconds is '0'"),
        (node_state.parse_expired, ["w1"], "w1 is no control-plane node"),
        (node_state.parse_soon, ["cp1", "soon"], "the number of days is 'soon'"),
        (api_use.parse, ["w1"], "w1 is no control-plane node"),
        (monitoring.parse_alert, ["a", "b"], "usage: lab/lab break critical-alert"),
        (monitoring.parse_prometheus, ["now"], "usage: lab/lab break prometheus-down"),
        (api_objects.WEBHOOK_NARROW.parse, ["w1"], "usage: lab/lab break webhook-narrow"),
    ],
)
def test_refused_in_words(parse: Callable[[Sequence[str]], list[Case]], words: list[str], cause: str) -> None:
    with pytest.raises(LabError, match=cause):
        parse(words)


class Api:
    """The cluster's objects on paper: `kubectl apply` and `delete` of manifests, by their names."""

    def __init__(self) -> None:
        self.objects: set[str] = set()
        self.conditions: list[dict[str, str]] = []

    def kubectl(self, args: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        names = {line for line in (options.get("stdin") or "").splitlines() if line.startswith("metadata:")}
        if args[0] == "apply":
            self.objects |= names
        elif args[0] == "delete":
            assert "--ignore-not-found" in args
            self.objects -= names
        ready = {"endpoints": [{"conditions": {"ready": True}}]}
        answer = json.dumps({"status": {"conditions": self.conditions}, "items": [ready]})
        return subprocess.CompletedProcess(list(args), 0, answer, "")


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    made = Api()
    monkeypatch.setattr(cluster, "kubectl", made.kubectl)
    return made


OBJECT_FAULTS = (
    api_objects.WEBHOOK_WITHOUT_ENDPOINTS,
    api_objects.WEBHOOK_NARROW,
    api_objects.WEBHOOK_ON_ONE_NODE,
    api_objects.WEBHOOK_OUTSIDE,
    api_objects.CRD_DEAD_CONVERSION,
    api_objects.APISERVICE_UNAVAILABLE,
)


@pytest.mark.parametrize("fault", OBJECT_FAULTS, ids=lambda f: f.name)
def test_objects_come_and_all_go(fault: Fault, api: Api) -> None:
    api.conditions = [{"type": "Available", "status": "False"}, {"type": "Established", "status": "True"}]
    (case,) = fault.parse([])
    for _ in range(2):
        fault.inflict(case)
        assert any("nslab" in name for name in api.objects)
    for _ in range(2):
        fault.undo(case)
        assert api.objects == set()


def test_it_is_waited_until_the_api_server_has_noticed(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_objects, "APPEAR", 0.01)
    api.conditions = [{"type": "Available", "status": "True"}]
    (case,) = api_objects.APISERVICE_UNAVAILABLE.parse([])
    with pytest.raises(LabError, match="has noticed apiservice-unavailable"):
        api_objects.APISERVICE_UNAVAILABLE.inflict(case)


def test_only_the_flag_is_added_to_the_manifest() -> None:
    changed = api_use.with_flag(MANIFEST)
    assert set(changed.splitlines()) - set(MANIFEST.splitlines()) == {f"    - {api_use.FLAG}"}
    with pytest.raises(LabError, match="has a --runtime-config already"):
        api_use.with_flag(changed)
    with pytest.raises(LabError, match="starts no kube-apiserver"):
        api_use.with_flag("kind: Pod\n")


def test_the_manifest_comes_back_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifests = tmp_path / "etc/kubernetes/manifests"
    manifests.mkdir(parents=True)
    (manifests / "kube-apiserver.yaml").write_text(MANIFEST)
    running = [["kube-apiserver"]]

    def enter(_node: str, argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        words = [word.replace("/etc/kubernetes", str(tmp_path / "etc/kubernetes")) for word in argv]
        done = subprocess.run(words, input=options.get("stdin"), check=True, capture_output=True, text=True)
        text = (manifests / "kube-apiserver.yaml").read_text()
        running[0] = [
            line.strip().removeprefix("- ") for line in text.splitlines() if line.startswith("    - ")
        ]
        return done

    monkeypatch.setattr(machine, "enter", enter)
    monkeypatch.setattr(api_use, "api_server_argv", lambda node: running[0])
    monkeypatch.setattr(api_use.probe, "ask", lambda *_: type("Answer", (), {"ok": True}))
    monkeypatch.setattr(cluster, "wait_healthy", lambda timeout: None)
    asked: list[str] = []
    monkeypatch.setattr(cluster, "kubectl", lambda args: asked.append(args[-1]))
    (case,) = api_use.parse(["cp1"])
    for _ in range(2):
        api_use.ask(case)
        assert api_use.FLAG in running[0]
    assert asked == [api_use.REQUEST] * 2
    for _ in range(2):
        api_use.forget(case)
        assert (manifests / "kube-apiserver.yaml").read_text() == MANIFEST
    assert sorted(path.name for path in (tmp_path / "etc/kubernetes").rglob("*")) == [
        "kube-apiserver.yaml",
        "manifests",
    ]


def test_an_alert_is_resolved_by_the_same_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[list[dict[str, Any]]] = []
    monkeypatch.setattr(monitoring, "_send", sent.append)
    (case,) = monitoring.parse_alert([])
    monitoring.raise_alert(case)
    monitoring.resolve_alert(case)
    (fired,), (resolved,) = sent
    assert (
        fired["labels"]
        == resolved["labels"]
        == {"alertname": "LabOnFire", "severity": "critical", "source": "nslab"}
    )
    now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 1))
    assert fired["endsAt"] > now > resolved["endsAt"] > resolved["startsAt"]


def test_the_ready_condition_gets_its_age_back(monkeypatch: pytest.MonkeyPatch) -> None:
    patches: list[Any] = []

    def kubectl(args: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        if args[0] == "patch":
            patches.append(json.loads(args[-1]))
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-28T20:04:27Z"}
        return subprocess.CompletedProcess(list(args), 0, json.dumps({"status": {"conditions": [ready]}}), "")

    monkeypatch.setattr(cluster, "kubectl", kubectl)
    monkeypatch.setattr(machine, "enter", lambda *_: None)
    (case,) = node_state.parse_flap(["w1"])
    assert "2026-11-28T20:04:27Z" in node_state.settle(case)
    assert patches == [
        {"status": {"conditions": [{"type": "Ready", "lastTransitionTime": "2026-11-28T20:04:27Z"}]}}
    ]


def test_the_lying_date_lies_about_one_thing_only(tmp_path: Path) -> None:
    script = tmp_path / "date"
    script.write_text(node_state.date_script(7250))
    script.chmod(0o755)

    def said(word: str) -> float:
        return float(subprocess.run([str(script), word], capture_output=True, text=True, check=True).stdout)

    assert said("+%s.%N") - time.time() == pytest.approx(7.25, abs=0.5)
    assert said("+%s") - time.time() == pytest.approx(0, abs=2)


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    """A front-proxy CA and its client certificate, as kubeadm makes them."""
    directory = tmp_path / "etc/kubernetes/pki"
    directory.mkdir(parents=True)
    program = """
        openssl req -x509 -newkey rsa:2048 -nodes -keyout front-proxy-ca.key -out front-proxy-ca.crt \
            -subj /CN=front-proxy-ca -days 3650
        openssl req -newkey rsa:2048 -nodes -keyout front-proxy-client.key -out request -subj /CN=front-proxy-client
        openssl x509 -req -in request -CA front-proxy-ca.crt -CAkey front-proxy-ca.key -set_serial 7 -days 365 \
            -out front-proxy-client.crt
        rm request
    """
    subprocess.run(["sh", "-ec", program], cwd=directory, check=True, capture_output=True)
    return directory


@pytest.mark.parametrize(
    ("fault", "words", "seconds"),
    [
        (node_state.CERTIFICATE_EXPIRED, ["cp1"], -86_400),
        (node_state.CERTIFICATE_SOON, ["cp1", "5"], 5 * 86_400),
    ],
    ids=["expired", "soon"],
)
def test_a_certificate_is_replaced_and_comes_back(
    pki: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault, words: list[str], seconds: int
) -> None:
    etc = str(pki.parent)

    def enter(_node: str, argv: Sequence[str]) -> None:
        subprocess.run([w.replace("/etc/kubernetes", etc) for w in argv], check=True, capture_output=True)

    monkeypatch.setattr(machine, "enter", enter)
    before = {path.name: path.read_bytes() for path in pki.iterdir()}
    (case,) = fault.parse(words)
    for _ in range(2):
        fault.inflict(case)
        shown = _openssl(pki, "x509", "-in", "front-proxy-client.crt", "-noout", "-enddate", "-subject")
        assert "CN = front-proxy-client" in shown
        ends = (
            time.mktime(time.strptime(shown.splitlines()[0], "notAfter=%b %d %H:%M:%S %Y GMT"))
            - time.timezone
        )
        assert ends - time.time() == pytest.approx(seconds, abs=60)
        chain = _openssl(
            pki, "verify", "-no_check_time", "-CAfile", "front-proxy-ca.crt", "front-proxy-client.crt"
        )
        assert "OK" in chain
    for _ in range(2):
        fault.undo(case)
        assert {path.name: path.read_bytes() for path in pki.iterdir()} == before
    assert [path.name for path in pki.parent.iterdir()] == ["pki"]


def _openssl(directory: Path, *words: str) -> str:
    return subprocess.run(
        ["openssl", *words], cwd=directory, check=True, capture_output=True, text=True
    ).stdout
