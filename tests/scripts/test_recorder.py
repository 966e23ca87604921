"""The recorder on a node in a directory: what a sample has, what is kept, when it ends, and that no job needs it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.scripts.test_evidence import bundle, stub

from nightshift.domain.diagnosis.samples import samples_of

METRICS = """\
# TYPE etcd_disk_wal_fsync_duration_seconds histogram
etcd_disk_wal_fsync_duration_seconds_bucket{le="0.001"} 3
etcd_disk_wal_fsync_duration_seconds_sum 1.25
etcd_disk_wal_fsync_duration_seconds_count 42
etcd_disk_backend_commit_duration_seconds_sum NaN
etcd_disk_backend_commit_duration_seconds_count 7
etcd_server_slow_apply_total 3
etcd_server_has_leader 1
etcd_mvcc_db_total_size_in_bytes 2.355e+06
"""
CONTAINER = "0123456789ab" + "c" * 52
SANDBOX = "ba9876543210" + "d" * 52
LOG = "var/log/pods/kube-system_kube-apiserver-cp1_00ff/kube-apiserver/0.log"


@pytest.fixture
def machine(node, tmp_path, hurried_scripts):
    """A control plane whose etcd and API server answer; /proc has two processes."""
    node.scripts = hurried_scripts
    etcd = _serve(METRICS.encode())
    api = _serve(b"ok", tls=_certificate(tmp_path))
    words = [
        "--cert-file=/etc/kubernetes/pki/x",
        f"--listen-metrics-urls=http://127.0.0.1:{etcd.server_port}",
    ]
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", *words])
    node.pretend_process("etcd", process.pid)
    fs = node.root / "fs"
    manifests = fs / "etc/kubernetes/manifests"
    manifests.mkdir(parents=True)
    (manifests / "etcd.yaml").write_text("kind: Pod\n")
    endpoint = f"kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint: 127.0.0.1:{api.server_port}"
    (manifests / "kube-apiserver.yaml").write_text(f"kind: Pod\nmetadata:\n  annotations:\n    {endpoint}\n")
    _plant_proc(fs / "proc")
    (fs / LOG).parent.mkdir(parents=True)
    (fs / LOG).write_text("2026-11-28T23:15:42.6Z stderr F F1128 first words\n")
    links = fs / "var/log/containers"
    links.mkdir(parents=True)
    (links / f"kube-apiserver-cp1_kube-system_kube-apiserver-{CONTAINER}.log").symlink_to(f"/{LOG}")
    task = fs / f"run/containerd/io.containerd.runtime.v2.task/k8s.io/{CONTAINER}"
    task.mkdir(parents=True)
    (task / "config.json").write_text(
        json.dumps({"annotations": {"io.kubernetes.cri.sandbox-id": SANDBOX}}).replace(": ", ":")
    )
    node.api, node.etcd = api, etcd
    yield node
    (node.systemd / "units/nightshift-stage.service").unlink(missing_ok=True)
    process.kill()
    process.wait()
    for server in (api, etcd):
        server.shutdown()


def _serve(body: bytes, tls: ssl.SSLContext | None = None) -> ThreadingHTTPServer:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(server.status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.status = 200
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server


def _certificate(directory) -> ssl.SSLContext:
    key, certificate = directory / "tls.key", directory / "tls.crt"
    words = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ed25519",
        "-nodes",
        "-subj",
        "/CN=x",
        "-keyout",
        key,
        "-out",
        certificate,
    ]
    subprocess.run(words, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def _plant_proc(proc) -> None:
    (proc / "pressure").mkdir(parents=True)
    for name in ("io", "cpu", "memory"):
        text = "some avg10=0.00 avg60=0.00 avg300=0.00 total=11\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=22\n"
        (proc / "pressure" / name).write_text(text)
    (proc / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:       8 kB\n")
    (proc / "loadavg").write_text("0.25 0.50 0.75 1/99 4711\n")
    (proc / "diskstats").write_text("   8       0 sda 1 0 16 4 5 6 32 8 0 99 12\n")
    _plant_process(proc, 71, 'we"ird', ["weird"], 100)
    _plant_process(proc, 72, "kubeadm", ["kubeadm", "upgrade", "apply"], 0)


def _plant_process(proc, pid: int, comm: str, args: list[str], written: int) -> None:
    own = proc / str(pid)
    own.mkdir(exist_ok=True)
    (own / "comm").write_text(f"{comm}\n")
    (own / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in args))
    (own / "status").write_text("Name:\tx\nPPid:\t1\n")
    (own / "io").write_text(f"read_bytes: 0\nwrite_bytes: {written}\ncancelled_write_bytes: 0\n")
    (own / "cgroup").write_text("0::/system.slice/some.service\n")


def begin(node, job_id: str = "job-0001") -> subprocess.Popen[bytes]:
    (node.state / "jobs/stage").write_text(f"job_id={job_id}\nstate=running\nstarted=1\n")
    (node.systemd / "units/nightshift-stage.service").touch()
    return subprocess.Popen(
        [str(node.scripts / "nightshift-recorder"), "stage", job_id, "600"],
        env=node.variables(),
        start_new_session=True,
    )


def kill(process: subprocess.Popen[bytes]) -> None:
    """As systemd does it: with all of the unit."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def live(node):
    """Where the recording is: in memory, and on the disk when it is over."""
    memory = node.root / "fs/run/nightshift/recorder"
    return memory if memory.exists() else node.state / "recorder"


def samples(node) -> list[dict]:
    try:
        return [json.loads(line) for line in (live(node) / "samples.jsonl").read_text().splitlines()]
    except OSError:
        return []


def followed(node) -> list[Path]:
    """Copies with something in them: an empty one is there before it is settled where in the log it begins."""
    return [path for path in live(node).glob("pods/*/*.log") if path.stat().st_size]


def wait_for(condition, seconds: float = 60):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
    return found


def end(node, process: subprocess.Popen[bytes]) -> dict:
    job = live(node) / "job"
    wait_for(
        lambda: job.exists() and job.read_text().strip() == node.status("stage")["job_id"] and samples(node)
    )
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    (node.systemd / "units/nightshift-stage.service").unlink(missing_ok=True)
    return json.loads((live(node) / "meta.json").read_text())


def test_a_sample_has_all_that_could_be_read(machine):
    process = begin(machine)
    wait_for(lambda: len(samples(machine)) >= 2)
    _plant_process(machine.root / "fs/proc", 71, 'we"ird', ["weird", "--x"], 3_000_100)
    sample = wait_for(lambda: [s for s in samples(machine) if s.get("writers")])[0]
    meta = end(machine, process)
    first = samples(machine)[0]
    assert "writers" in first["missed"]  # there is nothing before it to compare with
    assert [key for key in sample if key not in first and key not in first["missed"]] == []
    assert sample["etcd"] == {
        "fsync_sum": 1.25,
        "fsync_count": 42,
        "commit_count": 7,  # its sum was NaN
        "slow_applies": 3,
        "has_leader": 1,
        "db_bytes": 2_355_000,
    }
    assert sample["apiserver"] == {"ready": True}
    pod = sample["pods"]["kube-apiserver"]
    assert (pod["hash"], pod["container"], pod["sandbox"]) == ("00ff", CONTAINER[:12], SANDBOX[:12])
    assert sample["writers"] == [{"pid": 71, "comm": 'we"ird', "written_bytes": 3_000_000}]
    assert sample["pressure"]["io_full_us"] == 22
    assert (sample["memory_available_bytes"], sample["load1"]) == (8192, 0.25)
    assert meta["why_ended"] == "stopped"
    assert meta["started"] <= sample["t"] <= meta["ended"]
    writer = json.loads((live(machine) / "writers.jsonl").read_text())
    assert (writer["pid"], writer["args"]) == (71, "weird --x")
    started = [json.loads(line) for line in (live(machine) / "processes.jsonl").read_text().splitlines()]
    assert [(p["pid"], p["ppid"], p["args"]) for p in started] == [(72, 1, "kubeadm upgrade apply")]
    assert {path.name for path in (live(machine) / "metrics").iterdir()} >= {"etcd-before.txt"}
    assert len(samples_of({"recorder/samples.jsonl": (live(machine) / "samples.jsonl").read_text()})) == len(
        samples(machine)
    )


def test_what_cannot_be_read_is_missed_and_never_nought(machine):
    machine.etcd.shutdown()
    machine.etcd.server_close()
    machine.api.status = 500
    (machine.root / "fs/proc/pressure/io").unlink()
    (machine.root / "fs/proc/diskstats").unlink()
    process = begin(machine)
    last = wait_for(lambda: samples(machine)[2:])[0]
    end(machine, process)
    assert "etcd" not in last
    assert {"etcd", "disks"} <= set(last["missed"])
    assert last["apiserver"] == {"ready": False, "said": "500"}
    assert "io_some_us" not in last["pressure"]


def test_what_a_container_said_is_kept_when_its_log_is_gone(machine):
    process = begin(machine)
    copy = live(machine) / f"pods/kube-apiserver-cp1/kube-apiserver-{CONTAINER[:12]}.log"
    wait_for(lambda: copy.exists() and "first words" in copy.read_text())
    with (machine.root / "fs" / LOG).open("a") as log:
        log.write("2026-11-28T23:15:43.6Z stderr F last words\n")
    wait_for(lambda: "last words" in copy.read_text())
    (machine.root / "fs" / LOG).unlink()
    next((machine.root / "fs/var/log/containers").iterdir()).unlink()
    end(machine, process)
    kept = machine.state / f"recorder/pods/kube-apiserver-cp1/kube-apiserver-{CONTAINER[:12]}.log"
    assert "last words" in kept.read_text()  # the copy on the disk outlives a power loss


def test_it_ends_by_itself_after_the_job(machine):
    process = begin(machine)
    wait_for(lambda: samples(machine))
    status = machine.state / "jobs/stage"
    status.write_text(status.read_text().replace("running", "failed"))
    began = time.monotonic()
    assert process.wait(timeout=90) == 0
    assert 4 < time.monotonic() - began < 60  # what a rollback leaves behind is still seen
    assert json.loads((live(machine) / "meta.json").read_text())["why_ended"] == "stopped"
    assert (live(machine) / "metrics/etcd-after.txt").exists()


@pytest.mark.parametrize(
    ("answer", "gone"),
    [
        ("sleep 60", False),
        ("exit 1", False),
        ("echo activating; exit 3", False),
        ("echo failed; exit 3", True),
    ],
)
def test_a_job_whose_unit_systemd_says_nothing_of_is_not_over(node, answer, gone):
    stub(node, "systemctl", answer)
    assert (node.shell("recorder.sh", "is_gone nightshift-stage").returncode == 0) is gone


def test_a_log_at_its_limit_is_said_to_be_cut(machine):
    (machine.root / "fs" / LOG).write_text("x" * 99 + "\n")
    process = begin(machine)
    copy = wait_for(lambda: followed(machine))[0]
    with (machine.root / "fs" / LOG).open("a") as log:
        log.write("x" * (3 * 2**20))
    wait_for(lambda: copy.stat().st_size == 2 * 2**20)
    assert end(machine, process)["logs_cut"] is True


def test_a_log_is_followed_from_a_whole_record_on(machine):
    stamp = "2026-11-28T23:15:42.6Z stderr"
    cut = f"{stamp} P password: {'.' * 600 * 1024}\n{stamp} F hunter2planted\n"
    (machine.root / "fs" / LOG).write_text(f"{cut}{stamp} F kept\n")
    process = begin(machine)
    copy = wait_for(lambda: followed(machine))[0]
    with (machine.root / "fs" / LOG).open("a") as log:
        log.write(f"{stamp} F later\n")
    wait_for(lambda: "later" in copy.read_text())
    end(machine, process)
    (kept,) = live(machine).glob("pods/*/*.log")
    assert kept.read_text() == f"{stamp} F kept\n{stamp} F later\n"


def test_it_ends_at_its_size(machine):
    memory = machine.root / "fs/run/nightshift/recorder"
    (memory / "pods").mkdir(parents=True)
    (memory / "job").write_text("job-0001\n")
    (memory / "pods/large.log").write_bytes(b"\0" * 25 * 1024 * 1024)
    process = begin(machine)
    assert process.wait(timeout=90) == 0
    assert json.loads((live(machine) / "meta.json").read_text())["why_ended"] == "size"
    (machine.systemd / "units/nightshift-stage.service").unlink()


def test_a_recording_of_another_job_is_put_aside(machine):
    end(machine, begin(machine, "job-0001"))
    machine.shell("recorder.sh", "note_success job-0001")
    end(machine, begin(machine, "job-0002"))
    assert (live(machine) / "job").read_text() == "job-0002\n"
    assert (machine.state / "recorder.previous/job").read_text() == "job-0001\n"
    assert not owed(machine)


def owed(node) -> list[str]:
    """Jobs whose recordings wait for a bundle, oldest first."""
    found = sorted((node.state / "recorder.owed").glob("*/job"))
    return [job.read_text().strip() for job in found]


def power_off(node, process: subprocess.Popen[bytes]) -> None:
    """The node goes down: what was in memory is gone, and nothing was written about the end."""
    wait_for(lambda: (node.state / "recorder/samples.jsonl").exists() and samples(node))
    kill(process)
    shutil.rmtree(node.root / "fs/run/nightshift")
    (node.systemd / "units/nightshift-stage.service").unlink()


def test_samples_are_copied_after_what_explains_them(machine):
    memory = machine.root / "fs/run/nightshift/recorder"
    memory.mkdir(parents=True)
    for name in ("samples.jsonl", "meta.json", "job"):
        (memory / name).write_text("x\n")
    order = machine.root / "order"
    libraries = "".join(
        f'. "$NIGHTSHIFT_ROOT/lib/{name}.sh"; ' for name in ("look/etcd-device", "recorder-keep")
    )
    done = machine.shell("recorder.sh", f"{libraries} keep_file() {{ echo $1 >>{order}; }}; keep_copy")
    assert done.returncode == 0, done.stderr
    assert order.read_text().split() == ["job", "meta.json", "samples.jsonl"]


def later_jobs(node, *jobs: str) -> None:
    for job in jobs:
        end(node, begin(node, job))
        node.shell("recorder.sh", f"note_success {job}")


def test_what_a_power_loss_left_is_in_the_next_bundle_whatever_ran_in_between(machine):
    power_off(machine, begin(machine, "job-0001"))
    later_jobs(machine, "job-0002", "job-0003", "job-0004")
    assert owed(machine) == ["job-0001"]

    assert not [name for name in bundle(machine, 0, "baseline") if "/owed" in name]
    # Nothing of the later jobs is asked for; where a bundle had no time for what is owed, the next one has it.
    bundles = (bundle(machine, int(time.time()) + 1000) for _ in range(10))
    files, name = next(
        (files, name) for files in bundles for name in files if name.endswith("/samples.jsonl")
    )

    assert re.fullmatch(r"\./recorder/owed/\d{8}T\d{6}Z-stage/samples\.jsonl", name)
    meta = json.loads(files[name.replace("samples.jsonl", "meta.json")])
    assert (meta["job_id"], meta["why_ended"]) == ("job-0001", "killed")
    said = files["./recorder/owed.txt"].decode()
    began = datetime.fromtimestamp(int(meta["started"]), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert f"an earlier job, stage, from {began} to " in said
    assert not [name for name in bundle(machine) if "/owed" in name]  # once is enough


def test_the_recording_of_a_job_that_failed_unseen_waits_as_well_and_that_of_a_seen_one_does_not(machine):
    end(machine, begin(machine, "job-0001"))  # failed, and nobody fetched anything
    end(machine, begin(machine, "job-0002"))
    assert "./recorder/samples.jsonl" in bundle(machine)  # which delivers both
    later_jobs(machine, "job-0003")
    assert owed(machine) == ["job-0001"]  # goes with the next one that is put aside
    assert not [name for name in bundle(machine) if "/owed" in name]


def test_recordings_that_nobody_fetches_do_not_pile_up(machine):
    folder = machine.state / "recorder.owed"
    for number in range(1, 6):
        (folder / f"170000000{number}").mkdir(parents=True)
        (folder / f"170000000{number}/samples.jsonl").write_text("{}\n")
        (folder / f"170000000{number}/job").write_text(f"old-{number}\n")
    (folder / "1700000005/delivered").touch()
    power_off(machine, begin(machine, "job-0001"))
    later_jobs(machine, "job-0002")
    assert owed(machine) == ["old-3", "old-4", "job-0001"]


def test_a_recording_without_its_last_words_is_delivered_from_memory(machine):
    process = begin(machine, "job-0001")
    wait_for(lambda: samples(machine))
    kill(process)
    (machine.systemd / "units/nightshift-stage.service").unlink()
    later_jobs(machine, "job-0002")
    assert owed(machine) == ["job-0001"]


def test_who_is_told_to_stop_only_waits(machine):
    process = begin(machine)
    wait_for(lambda: len(samples(machine)) >= 2)  # with a log that is followed: by a child of whoever records
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
    assert len(children.stdout.split()) == 1
    tails = subprocess.run(
        ["pgrep", "-P", children.stdout.strip(), "tail"], capture_output=True, text=True, check=False
    )
    assert tails.stdout, "nobody follows a log, so nothing was shown"
    end(machine, process)


def test_nobody_records_on_when_whoever_could_stop_it_is_gone(machine):
    process = begin(machine)
    wait_for(lambda: samples(machine))
    process.kill()
    process.wait()

    def members() -> list[str]:
        found = subprocess.run(["pgrep", "-g", str(process.pid)], capture_output=True, text=True, check=False)
        return found.stdout.split()

    wait_for(lambda: not members())


def test_the_same_job_is_recorded_once_and_a_newer_one_instead(machine):
    memory = machine.root / "fs/run/nightshift/recorder"
    memory.mkdir(parents=True)
    (memory / "job").write_text("job-0001\n")
    unit = machine.systemd / "units/nightshift-recorder.service"
    unit.touch()
    text = '. "$NIGHTSHIFT_ROOT/lib/jobs.sh"; start_recorder stage {} 600'
    assert machine.shell("recorder.sh", text.format("job-0001")).returncode == 0
    assert not (machine.systemd / "systemd-run").exists()
    assert machine.shell("recorder.sh", text.format("job-0002")).returncode == 0
    assert "nightshift-recorder.service" in (machine.systemd / "systemctl-calls").read_text()
    words = (machine.systemd / "systemd-run").read_text().splitlines()
    assert words[-4:] == [str(machine.scripts / "nightshift-recorder"), "stage", "job-0002", "600"]
    assert {"--property=CPUWeight=20", "--property=RuntimeMaxSec=780"} <= set(words)
    assert "--property=KillMode=mixed" in words, "the signal is for the one that waits"
    wait_for(lambda: samples(machine))
    unit.unlink(missing_ok=True)
    (machine.state / "jobs/stage").write_text("job_id=job-0002\nstate=failed\n")


@pytest.mark.parametrize(
    ("step", "control_plane", "expected"),
    [("stage", True, 0), ("stage", False, 1), ("reclaim-scratch", True, 1)],
)
def test_long_jobs_of_control_planes_are_recorded(machine, step, control_plane, expected):
    if not control_plane:
        (machine.root / "fs/etc/kubernetes/manifests/kube-apiserver.yaml").unlink()
    assert machine.shell("recorder.sh", f"is_recorded {step}").returncode == expected


def test_a_job_runs_without_a_recorder_and_says_so(machine):
    (machine.systemd / "refuse").touch()
    (machine.state / "jobs/stage").write_text("job_id=job-0001\nstate=running\n")
    done = subprocess.run(
        [str(machine.scripts / "nightshift-job"), "stage"],
        env={**machine.variables(), "INVOCATION_ID": "x"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "no recording of this job: the recorder could not be started\n"
    assert "usage: stage" in done.stderr  # the job itself was reached


def test_the_recording_is_in_the_bundle_and_a_killed_one_says_so(machine):
    process = begin(machine)
    wait_for(lambda: samples(machine))
    kill(process)
    (machine.systemd / "units/nightshift-stage.service").unlink()
    files = bundle(machine)
    meta = json.loads(files["./recorder/meta.json"])
    assert meta["why_ended"] == "killed"
    assert meta["ended"] >= meta["started"]
    assert json.loads(files["./recorder/samples.jsonl"].splitlines()[0])["t"] >= meta["started"]


def test_after_a_reboot_the_copy_on_the_disk_is_delivered(machine):
    end(machine, begin(machine))
    assert not (
        machine.root / "fs/run/nightshift/recorder"
    ).exists()  # a recording that is over takes no memory
    assert "./recorder/meta.json" in bundle(machine)
