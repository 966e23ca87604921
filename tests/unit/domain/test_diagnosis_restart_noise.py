"""What a control plane says once while it restarts is no cause; the same words, when they last until the step fails, are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

import pytest
from tests.scripts.conftest import NODE_SCRIPTS
from tests.unit.domain import diagnosis_bundles as b
from tests.unit.domain.test_diagnosis_causes import NO_LEADER, apiserver, judge, kubelet, no_kubelet

from nightshift.domain.diagnosis import foreign
from nightshift.domain.diagnosis.engine import Confidence, Diagnosis
from nightshift.domain.diagnosis.reading import read
from nightshift.domain.diagnosis.signs import State
from nightshift.domain.diagnosis.text import as_text

# The job of the bundles runs from 23:17:00 to 23:19:30; kubeadm says at its end that it waited in vain.
RESTART, AGAIN, LATER = "23:17:20", "23:19:05", "23:19:50"
SECOND_START = b.ETCD.replace("/1.log", "/2.log")
CERTIFICATES = "state/certificates.txt"


def at(time: str, line: str) -> str:
    return line.replace("T23:19:30", f"T{time}")


def through(line: str, start: int = 0, end: int = 150, every: int = 10) -> str:
    """The line again and again, seconds after 23:17:00."""
    return "".join(at(f"23:{17 + n // 60:02}:{n % 60:02}", line) for n in range(start, end, every))


def etcd(message: str, **more: object) -> str:
    return b.container(json.dumps({"level": "warn", "msg": message, **more}, separators=(",", ":")))


def slow(message: str, took: str, count: int, **more: object) -> str:
    return etcd(message, took=took, **more) * count


MIRROR = b.journal(
    "kubelet",
    'E1128 23:19:30.1 110 kubelet.go:1900] "Failed creating a mirror pod" err="Internal error occurred: failed calling webhook '
    '\\"validate.kyverno.svc-fail\\": failed to call webhook: Post \\"https://kyverno-svc.kyverno.svc:443/validate\\": dial tcp '
    '10.96.1.7:443: connect: connection refused" pod="kube-system/kube-apiserver-cp1"',
)
LOOKUP = b.journal(
    "kubelet",
    'E1128 23:19:30.1 110 controller.go:145] "Failed to ensure lease exists, will retry" err="Get \\"https://api.example.com:6443/x\\": '
    'dial tcp: lookup api.example.com on 10.0.0.2:53: server misbehaving" interval="200ms"',
)
PULL_LOOKUP = b.journal(
    "kubelet",
    'E1128 23:19:30.1 110 pod_workers.go:1324] "Error syncing pod, skipping" err="failed to pull image: dial tcp: lookup registry.k8s.io: '
    'i/o timeout" pod="kube-system/kube-apiserver-cp1"',
)
INTERNET = b.journal(
    "nightshift-job",
    "W1128 23:19:30.1 99 version.go:108] could not fetch a Kubernetes version from the internet: unable to get URL "
    '"https://dl.k8s.io/release/stable-1.txt": Get "https://dl.k8s.io/release/stable-1.txt": dial tcp: lookup dl.k8s.io: no such host',
)
PORT = b.died(
    "failed to create listener: failed to listen on 0.0.0.0:6443: listen tcp 0.0.0.0:6443: bind: address already in use"
)
SERVING = b.container("I1128 23:19:30.1 1 secure_serving.go:211] Serving securely on [::]:6443")
ETCD_PORT = etcd("listen failed", error="listen tcp 10.0.0.1:2379: bind: address already in use")
ETCD_SERVING = etcd("serving client traffic securely", traffic="grpc+http", address="10.0.0.1:2379")
KUBELET_PORT = b.journal(
    "kubelet",
    'E1128 23:19:30.1 110 server.go:201] "Failed to listen and serve" err="listen tcp 0.0.0.0:10250: bind: address already in use"',
)
EXPIRED = (
    "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: "
    "current time 2026-11-28T23:19:30Z is after 2026-11-01T00:00:00Z"
)
STRANGE = "tls: failed to verify certificate: x509: certificate signed by unknown authority"


def refused(message: str, error: str, address: str = "10.0.0.9:51514") -> str:
    return etcd(message, **{"remote-addr": address, "server-name": "", "error": error})


NEW_3_6, OLD_3_5 = "rejected connection on client endpoint", "rejected connection"
READ = slow("apply request took too long", "4.3s", 50, prefix="read-only range ", request="key:x")
WRITE = slow("apply request took too long", "4.3s", 50, prefix="", request="header:<ID:1 > txn:<>")
FSYNC = slow("slow fdatasync", "1.2s", 6)
HEARTBEAT = slow(
    "leader failed to send out heartbeat on time; took too long, leader is overloaded likely from slow disk",
    "",
    20,
)

NOISE: dict[str, list[tuple[str, str]]] = {
    "a mirror pod, while its webhook waits for the API": [(b.KUBELET, at(RESTART, MIRROR))],
    "a mirror pod, after the step": [(b.KUBELET, at(LATER, MIRROR))],
    "a name, while the resolver restarts": [(b.KUBELET, at(RESTART, LOOKUP))],
    "a registry's name, once": [(b.KUBELET, at(RESTART, PULL_LOOKUP))],
    "the newest version in the Internet": [(b.JOBS, INTERNET)],
    "an API server that waits for the old one's port": [
        (b.APISERVER, at(RESTART, PORT) + at(AGAIN, SERVING))
    ],
    "an etcd that waits for the old one's port": [(b.ETCD, at(RESTART, ETCD_PORT) + at(AGAIN, ETCD_SERVING))],
    "an API server's port after the step": [(b.APISERVER, at(LATER, PORT))],
    "an API server's port at both restarts": [
        (b.APISERVER, at(RESTART, PORT) + at(AGAIN, SERVING) + at(LATER, PORT))
    ],
    "a kubelet that waits for the old one's port": [(b.KUBELET, at(RESTART, KUBELET_PORT))],
    "two starts of etcd": [(b.ETCD, at(RESTART, NO_LEADER)), (SECOND_START, at(AGAIN, NO_LEADER))],
    "two starts of etcd in one file": [(b.ETCD, at(RESTART, NO_LEADER) + at(AGAIN, NO_LEADER))],
    "elections with an end": [
        (
            b.ETCD,
            through(
                etcd("8e9e05c52164694d is starting a new election at term 3")
                + etcd("raft.node: 8e9e05c52164694d elected leader 8e9e05c52164694d at term 4")
            ),
        )
    ],
    "a scraper's old certificate": [(b.ETCD, through(refused(NEW_3_6, EXPIRED)))],
    "a scraper's old certificate, etcd 3.5": [(b.ETCD, through(refused(OLD_3_5, EXPIRED)))],
    "a scraper on this node": [(b.ETCD, through(refused(NEW_3_6, EXPIRED, "127.0.0.1:51514")))],
    "a scraper of another authority": [(b.ETCD, through(refused(NEW_3_6, STRANGE)))],
    "slow reads of a large cluster": [(b.ETCD, READ)],
    "late heartbeats": [(b.ETCD, HEARTBEAT)],
}


def with_all(files: dict[str, str], lines: Iterable[tuple[str, str]]) -> dict[str, str]:
    for path, text in lines:
        files = b.with_lines(files, path, text)
    return files


def gave_up() -> dict[str, str]:
    """An API server that does not reach etcd, for a reason that nothing tells."""
    line = "F1128 23:19:30.0 1 instance.go:233] Error creating leases: error creating storage factory: context deadline exceeded"
    return apiserver(b.container(line))


UNKNOWN = {
    "kubeadm waited in vain": b.kubeadm_failed,
    "the API server ends of something new": lambda: apiserver(b.died("something new went wrong")),
    "the API server does not reach etcd": gave_up,
    "the kubelet is unhealthy": lambda: b.failed("kubelet-upgrade", 24),
}


@pytest.mark.parametrize("failure", UNKNOWN)
@pytest.mark.parametrize("name", NOISE)
def test_what_a_restart_says_is_no_cause(name: str, failure: str) -> None:
    found = judge(with_all(UNKNOWN[failure](), NOISE[name]))
    assert found.first is None, found.sentence


@pytest.mark.parametrize("name", NOISE)
def test_what_a_restart_says_leaves_the_true_cause_sure(name: str) -> None:
    found = judge(with_all(b.stray(b.kubeadm_failed()), NOISE[name]))
    assert (cause(found), found.confidence) == ("stray_static_pod", Confidence.CONFIDENT)


def cause(found: Diagnosis) -> str | None:
    return found.first and found.first.cause.name


REFUSED_API = b.container(
    "W1128 23:19:30.1 1 logging.go:55] [core] [Channel #2 SubChannel #4]grpc: addrConn.createTransport failed to connect to {Addr: "
    '"127.0.0.1:2379", ServerName: "127.0.0.1:2379"}. Err: connection error: desc = "error reading server preface: remote error: tls: bad certificate"'
)
ELECTION = etcd("8e9e05c52164694d is starting a new election at term 3")
LASTING: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "a webhook that does not come back": ("webhook", [(b.KUBELET, through(MIRROR))]),
    "a registry's name": ("dns", [(b.KUBELET, through(PULL_LOOKUP))]),
    "elections without an end": ("etcd_quorum", [(b.ETCD, through(ELECTION, every=2))]),
    "an API server that etcd refuses": (
        "certificate_expired",
        [
            (b.ETCD, through(refused(NEW_3_6, EXPIRED, "127.0.0.1:51514"))),
            (b.APISERVER, through(REFUSED_API)),
        ],
    ),
    "a disk that syncs slowly": ("etcd_io_starvation", [(b.ETCD, WRITE + FSYNC)]),
}


def test_a_scrapers_certificate_is_not_the_one_that_the_api_server_is_refused_for() -> None:
    strange = REFUSED_API.replace("bad certificate", "unknown certificate authority")
    lines = [(b.ETCD, through(refused(NEW_3_6, EXPIRED))), (b.APISERVER, strange)]
    assert judge(with_all(gave_up(), lines)).first is None


def test_a_cluster_without_a_leader_on_a_slow_disk_is_only_likely() -> None:
    found = judge(with_all(gave_up(), [(b.ETCD, through(ELECTION, every=2) + FSYNC)]))
    assert (cause(found), found.confidence) == ("etcd_quorum", Confidence.LIKELY)


@pytest.mark.parametrize("name", LASTING)
def test_what_lasts_until_the_step_fails_is_the_cause(name: str) -> None:
    true, lines = LASTING[name]
    found = judge(with_all(gave_up(), lines))
    assert (cause(found), found.confidence) == (true, Confidence.CONFIDENT), found.sentence


DENIED = MIRROR.replace("Internal error occurred: failed calling webhook", "admission webhook").replace(
    ": failed to call webhook: Post", " denied the request: Post"
)


def test_a_webhooks_single_line_at_the_end_is_likely_only_when_it_denied() -> None:
    assert judge(b.with_lines(b.kubeadm_failed(), b.KUBELET, MIRROR)).first is None
    found = judge(b.with_lines(b.kubeadm_failed(), b.KUBELET, DENIED))
    assert (cause(found), found.confidence) == ("webhook", Confidence.LIKELY)
    assert "it was not said for long" in as_text(found)


def long_job() -> dict[str, str]:
    """A job that ran from 23:12:00 to 23:19:30."""
    files, path = b.failed(started=b.STARTED - 300), "jobs/kubeadm-upgrade"
    return {
        **files,
        path: files[path].replace(f"finished={b.STARTED - 150}", f"finished={b.STARTED + 150}"),
    }


def test_what_each_of_two_restarts_says_did_not_last() -> None:
    """kubeadm's rollback restarts the API server, too: the same burst again, minutes later."""
    long = long_job()
    both = through(MIRROR, -280, -275, 1) + through(MIRROR, 145, 160, 5)
    (sign,) = read(b.with_lines(long, b.KUBELET, both)).of("webhook.failed")
    assert (sign.count, sign.steady) == (8, (10.0, 1795907975.0))
    assert judge(b.with_lines(long, b.KUBELET, both)).first is None


def test_a_webhook_that_came_back_before_the_step_failed_is_only_likely() -> None:
    found = judge(b.with_lines(long_job(), b.KUBELET, through(MIRROR, -280, -60)))
    assert (cause(found), found.confidence) == ("webhook", Confidence.LIKELY)


def test_a_port_that_stays_taken_is_the_cause() -> None:
    assert judge(apiserver(through(PORT))).confidence is Confidence.CONFIDENT
    found = judge(apiserver(through(PORT, end=100) + at(AGAIN, SERVING)))
    assert (cause(found), found.confidence) == ("port_taken", Confidence.LIKELY)


def recorded(
    start: float = 1795907920.0, without: Iterable[int] = (), **etcd_values: float
) -> dict[str, str]:
    """One minute of the recorder, up to 23:19:39; counters grow by their value each second. At some seconds etcd does not answer."""
    rows: list[dict[str, object]] = [
        {"t": start + n, "etcd": {k: v * n if k.startswith("fsync") else v for k, v in etcd_values.items()}}
        for n in range(60)
    ]
    for n in without:
        rows[n] = {"t": rows[n]["t"], "missed": ["etcd"]}
    return {"recorder/samples.jsonl": "".join(json.dumps(row) + "\n" for row in rows)}


FAST, SLOW = recorded(fsync_sum=0.002, fsync_count=2), recorded(fsync_sum=1.0, fsync_count=2)
FAST_BEFORE = recorded(1795907880.0, fsync_sum=0.002, fsync_count=2)  # up to 23:18:59
FAST_ELSE = recorded(without=range(45, 55), fsync_sum=0.002, fsync_count=2)  # not from 23:19:25 to 23:19:34


@pytest.mark.parametrize(
    ("log", "recording", "confidence"),
    [
        (WRITE, {}, Confidence.LIKELY),
        (WRITE, SLOW, Confidence.CONFIDENT),
        (WRITE, FAST, Confidence.UNKNOWN),
        (WRITE, FAST_BEFORE, Confidence.LIKELY),
        (WRITE, FAST_ELSE, Confidence.LIKELY),
        (WRITE + FSYNC, {}, Confidence.CONFIDENT),
        (WRITE + FSYNC, FAST, Confidence.LIKELY),
        (WRITE + FSYNC, FAST_BEFORE, Confidence.CONFIDENT),
        (WRITE + FSYNC, FAST_ELSE, Confidence.CONFIDENT),
    ],
)
def test_the_disk_is_blamed_only_by_its_own_syncs(
    log: str, recording: Mapping[str, str], confidence: Confidence
) -> None:
    """Fast syncs speak against a logged slow one only where they were measured when it happened."""
    found = judge({**b.with_lines(gave_up(), b.ETCD, log), **recording})
    assert found.confidence is confidence, found.sentence
    listed = (*found.conditions, *((found.first,) if found.first else ()))
    assert "etcd_io_starvation" in {suspect.cause.name for suspect in listed}


def test_a_recorded_stretch_without_a_leader_is_the_cause() -> None:
    found = judge({**gave_up(), **recorded(has_leader=0)})
    assert (cause(found), found.confidence) == ("etcd_quorum", Confidence.CONFIDENT)


def test_a_kubelet_that_ends_by_itself_is_unknown_and_its_last_words_are_quoted() -> None:
    swap = 'E1128 23:19:30.1 99 run.go:72] "command failed" err="failed to run Kubelet: running with swap on is not supported"'
    files = {**kubelet(swap), b.PROCESSES: no_kubelet()[b.PROCESSES]}
    found = judge(files)
    assert found.first is None, found.sentence
    assert "running with swap on is not supported" in as_text(found)


def test_a_kubelet_that_ended_once_by_itself_is_unknown_and_one_that_was_stopped_is_down() -> None:
    ended = b.journal("systemd", "kubelet.service: Failed with result 'exit-code'.")
    stopped = b.journal("systemd", "kubelet.service: Deactivated successfully.")
    assert judge(b.with_lines(no_kubelet(), b.KUBELET, ended)).first is None
    for lines in (stopped, at(RESTART, ended) + stopped):
        found = judge(b.with_lines(no_kubelet(), b.KUBELET, lines))
        assert (cause(found), found.confidence) == ("kubelet_down", Confidence.CONFIDENT)


LISTED = "/etc/kubernetes/pki/etcd/server.crt: subject=CN = cp1 issuer=CN = etcd-ca notBefore=Nov  1 07:05:16 2025 GMT notAfter={} GMT \n"


@pytest.mark.parametrize(
    ("end", "confidence"),
    [("Nov  1 00:00:00 2026", Confidence.CONFIDENT), ("Nov 29 07:10:16 2027", Confidence.LIKELY)],
)
def test_a_certificate_that_ended_must_be_among_the_nodes_own(end: str, confidence: Confidence) -> None:
    found = judge({**apiserver(b.died(EXPIRED)), CERTIFICATES: LISTED.format(end)})
    assert (cause(found), found.confidence) == ("certificate_expired", confidence)


def test_the_nodes_certificates_are_unread_without_their_list() -> None:
    assert read(b.kubeadm_failed()).state("certificates.ended") is State.UNREAD
    assert (
        read({**b.kubeadm_failed(), CERTIFICATES: "no such file\n"}).state("certificates.ended")
        is State.UNREAD
    )


def test_a_kubeadm_that_still_runs_when_ours_has_ended_is_likely_and_ours_is_none() -> None:
    row = "  4711       1 Sat Nov 28 23:18:00 2026      90 S     51200 /usr/bin/kubeadm upgrade node\n"
    found = judge(b.with_lines(b.kubeadm_failed(), b.PROCESSES, row))
    assert (cause(found), found.confidence) == ("foreign_kubeadm", Confidence.LIKELY)
    for files in (b.failed(exit_code=124), b.failed(state="running")):
        assert cause(judge(b.with_lines(files, b.PROCESSES, row))) != "foreign_kubeadm"


def started(second: int, args: str) -> str:
    return (
        json.dumps({"t": b.STARTED + second, "pid": 4711, "ppid": 1, "comm": "kubeadm", "args": args}) + "\n"
    )


OUR_KUBEADM = "kubeadm upgrade apply v1.35.4 --config /var/lib/nightshift/upgrade-configuration.yaml --yes"


@pytest.mark.parametrize(
    ("second", "args", "confidence"),
    [
        (60, "kubeadm certs renew all", Confidence.CONFIDENT),
        (60, "/usr/bin/kubeadm upgrade node", Confidence.CONFIDENT),
        (200, "kubeadm reset --force", Confidence.LIKELY),
        (60, OUR_KUBEADM, Confidence.UNKNOWN),
        (60, "kubeadm init phase upload-config kubeadm --config /tmp/x/input.yaml", Confidence.UNKNOWN),
        (60, "kubeadm version -o short", Confidence.UNKNOWN),
        (60, "kubeadm upgrade plan", Confidence.UNKNOWN),
    ],
)
def test_a_kubeadm_that_the_recorder_saw_beginning_is_named(
    second: int, args: str, confidence: Confidence
) -> None:
    recording = {"recorder/processes.jsonl": started(1, OUR_KUBEADM) + started(second, args)}
    found = judge({**b.kubeadm_failed(), **recording})
    assert (cause(found), found.confidence) == (
        None if confidence is Confidence.UNKNOWN else "foreign_kubeadm",
        confidence,
    )


def test_an_etcd_that_is_not_reached_at_all_is_not_surely_slow() -> None:
    """The API server's flag names a wrong address, and etcd's disk is slow besides."""
    dial = b.container(
        'W1128 23:19:30.1 1 logging.go:55] [core] grpc: addrConn.createTransport failed to connect to {Addr: "10.0.0.99:2379"}. Err: '
        'connection error: desc = "transport: Error while dialing: dial tcp 10.0.0.99:2379: connect: connection refused"'
    )
    slow_disk = with_all(gave_up(), [(b.ETCD, WRITE + FSYNC)])
    assert judge(b.with_lines(slow_disk, b.APISERVER, at(RESTART, dial))).confidence is Confidence.CONFIDENT
    assert judge(b.with_lines(slow_disk, b.APISERVER, through(dial))).confidence is Confidence.LIKELY


def test_our_own_kubeadm_is_known_by_the_file_that_its_job_names() -> None:
    job = (NODE_SCRIPTS / "jobs" / "kubeadm-upgrade").read_text(encoding="utf-8")
    assert f"CONFIG_FILE=$STATE_DIR{foreign._OURS}" in job
