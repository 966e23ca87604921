"""The dispatcher: token, single instance, attach, what a poll says."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import signal
import subprocess
import time
import uuid
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.scripts.conftest import NODE_SCRIPTS

from nightshift.clients.node_probe import parse_job
from nightshift.clients.node_ssh import ExitCode

STEP = "reclaim-scratch"


def start_words(
    *args: str,
    token: int = 1,
    run_id: str = "airflow/lab/run-1",
    step: str = STEP,
    request: str | None = None,
) -> tuple[str, ...]:
    return ("start-job", step, str(token), run_id, "60", request or str(uuid.uuid4()), *args)


def poll(node, cursor: str = "-", step: str = STEP):
    done = node.run("job-poll", step, cursor)
    assert done.returncode == 0, done.stderr
    head, mark, *lines = done.stdout.splitlines()
    return parse_job(head), mark.removeprefix("CURSOR\t"), lines


def test_token_only_grows(node):
    assert node.run("fence", "7").returncode == 0
    assert node.run("fence", "7").returncode == 0
    older = node.run("fence", "6")
    assert older.returncode == ExitCode.FENCED
    assert "token 6 is older than token 7" in older.stderr
    assert (node.state / "token").read_text().strip() == "7"


def test_older_run_is_refused_and_newer_raises_the_token(node):
    node.run("fence", "7")
    assert node.run(*start_words("3", token=6)).returncode == ExitCode.FENCED
    assert not (node.state / "jobs" / STEP).exists()
    assert node.run(*start_words("3", token=8)).returncode == 0
    assert (node.state / "token").read_text().strip() == "8"


@pytest.mark.parametrize("token", ["", "-1", "08", "1e3", "99999999999999999999", "1; reboot"])
def test_token_must_be_a_plain_number(node, token):
    assert node.run("fence", token).returncode == ExitCode.USAGE


def test_unreadable_token_file_is_not_taken_for_zero(node):
    (node.state / "token").write_text("")
    assert node.run("fence", "1").returncode == ExitCode.INTERNAL


def test_two_starts_at_once_start_once(node):
    node.hold_jobs()
    both = [node.start(*start_words("3")) for _ in range(2)]
    answers = sorted(process.communicate(timeout=30)[0].split() for process in both)
    assert [how for how, _ in answers] == ["attached", "started"]
    assert answers[0][1] == answers[1][1]


def test_other_arguments_are_busy(node):
    node.hold_jobs()
    assert node.run(*start_words("3")).returncode == 0
    done = node.run(*start_words("4", run_id="run-2"))
    assert done.returncode == ExitCode.BUSY
    assert "run-1" in done.stderr


@pytest.mark.parametrize("count", range(4))
def test_same_arguments_attach_whatever_their_length(node, count):
    """Base64 pads with "=": reading the status must not eat it."""
    node.hold_jobs()
    words = ("3", "n" * count or "x")
    started = node.run(*start_words(*words)).stdout.split()
    assert node.run(*start_words(*words)).stdout.split() == ["attached", started[1]]


def test_an_older_token_is_refused_also_where_it_would_only_attach(node):
    node.hold_jobs()
    started = node.run(*start_words("3", token=5)).stdout.split()
    assert node.run("fence", "7").returncode == 0
    older = node.run(*start_words("3", token=6))
    assert (older.returncode, older.stdout) == (ExitCode.FENCED, "")
    assert node.run(*start_words("3", token=8)).stdout.split() == ["attached", started[1]]
    assert (node.state / "token").read_text().strip() == "8"
    assert node.run(*start_words("3", token=7)).returncode == ExitCode.FENCED


@pytest.mark.parametrize("ended", [False, True])
def test_a_request_whose_answer_was_lost_starts_nothing_a_second_time(node, ended):
    """Also when the job ended meanwhile: what failed is not run again because a line broke."""
    node.environment = {"FAKE_RESULT": "exit-code", "FAKE_EXIT_STATUS": "26"}
    node.hold_jobs()
    words = start_words("3", request="request-of-one-call")
    first = node.run(*words).stdout
    if ended:
        node.let_jobs_end()
    assert first == node.run(*words).stdout == "started request-of-one-call\n"
    assert len(list((node.systemd / "journal").iterdir())) == 1
    assert poll(node)[0].facts.state == ("failed" if ended else "running")
    fenced = node.run("fence", "9")
    assert fenced.returncode == 0
    assert node.run(*words).returncode == ExitCode.FENCED


def test_systemd_ends_all_of_a_job_at_its_limit(node):
    node.run(*start_words("3"))
    words = (node.systemd / "systemd-run").read_text().splitlines()
    assert {"--property=RuntimeMaxSec=60", "--property=KillMode=control-group"} <= set(words)
    assert "--property=TimeoutStopSec=30" in words, "what does not heed TERM is killed"
    assert f"--unit=nightshift-{STEP}.service" in words


def test_other_step_is_busy(node):
    node.hold_jobs()
    assert node.run(*start_words("3")).returncode == 0
    assert node.run(*start_words("1.35.4", step="kubelet-upgrade")).returncode == ExitCode.BUSY


@pytest.mark.parametrize(("word", "expected"), [("upgrade", ExitCode.BUSY), ("version", ExitCode.OK)])
def test_a_persons_kubeadm_is_busy_but_its_version_is_not(node, tmp_path, word, expected):
    with somebodys_kubeadm(node, tmp_path, word):
        done = node.run(*start_words("3"))
    assert done.returncode == expected, done.stderr


def test_who_is_at_it_is_told_with_user_pid_time_and_command_but_no_secret(node, tmp_path):
    key = "c0ffee" * 8
    words = ("join", "10.0.0.1:6443", "--token", "abcdef.0123456789abcdef", "--certificate-key", key)
    with somebodys_kubeadm(node, tmp_path, *words) as process:
        said = node.run(*start_words("3")).stderr.strip()
        since = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(process.pid)], capture_output=True, text=True, check=True
        )
    assert said.startswith("somebody else is at it: kubeadm is run by root")
    assert f"pid {process.pid}, since {since.stdout.strip()}: " in said
    assert "join 10.0.0.1:6443 --token [REDACTED" in said
    assert "abcdef.0123456789abcdef" not in said
    assert key not in said


@contextmanager
def somebodys_kubeadm(node, tmp_path, *words):
    (tmp_path / words[0]).write_text("read -r _\n")
    process = subprocess.Popen(["bash", *words], cwd=tmp_path, stdin=subprocess.PIPE)
    node.pretend_process("kubeadm", process.pid)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_finished_job_starts_anew(node):
    first = node.run(*start_words("3")).stdout.split()
    node.let_jobs_end()
    second = node.run(*start_words("3")).stdout.split()
    assert (first[0], second[0]) == ("started", "started")
    assert first[1] != second[1]


def test_poll_neither_loses_nor_doubles_lines(node):
    node.hold_jobs()
    node.run(*start_words("3", "no-such-name"))
    seen: list[str] = []
    cursor = "-"
    for _ in range(20):
        status, cursor, lines = poll(node, cursor)
        seen += lines
        if seen:
            break
        time.sleep(0.1)
    assert status.facts.state == "running"
    node.let_jobs_end()
    status, cursor, lines = poll(node, cursor)
    seen += lines
    assert status.facts.state == "succeeded"
    assert status.facts.exit_code == 0
    assert status.facts.arguments == ("3", "no-such-name")
    assert seen == ['RESULT {"removed":[],"kept":[],"freed_bytes":0}']
    assert poll(node, cursor)[2] == []


def test_end_is_written_whatever_ended_it(node):
    for variables, expected in (
        (
            {"FAKE_RESULT": "timeout", "FAKE_EXIT_CODE": "killed", "FAKE_EXIT_STATUS": "TERM"},
            ("timed-out", "124"),
        ),
        (
            {"FAKE_RESULT": "signal", "FAKE_EXIT_CODE": "killed", "FAKE_EXIT_STATUS": "KILL"},
            ("failed", "137"),
        ),
        (
            {"FAKE_RESULT": "exit-code", "FAKE_EXIT_CODE": "exited", "FAKE_EXIT_STATUS": "26"},
            ("failed", "26"),
        ),
        # somebody's `systemctl stop`: systemd calls that a success
        (
            {"FAKE_RESULT": "success", "FAKE_EXIT_CODE": "killed", "FAKE_EXIT_STATUS": "TERM"},
            ("failed", "143"),
        ),
    ):
        node.environment = variables
        node.run(*start_words("3"))
        node.let_jobs_end()
        status = node.status(STEP)
        assert (status["state"], status["exit_code"]) == expected
    assert poll(node)[0].is_timed_out is False


def test_job_that_died_is_lost_and_a_reboot_is_said(node):
    node.run(*start_words("3"))
    node.let_jobs_end()
    path = node.state / "jobs" / STEP
    dead = path.read_text().replace("state=succeeded", "state=running")
    path.write_text(dead)
    facts = poll(node)[0].facts
    assert (facts.state, facts.rebooted) == ("lost", False)
    boot_id = node.status(STEP)["boot_id"]
    path.write_text(dead.replace(boot_id, "00000000-0000-0000-0000-000000000000"))
    facts = poll(node)[0].facts
    assert (facts.state, facts.rebooted) == ("lost", True)


@pytest.mark.parametrize(
    ("status", "expected"), [("TERM", "lost"), ("0", "succeeded")], ids=["in the middle", "at its good end"]
)
def test_a_job_ended_by_a_shutdown_is_lost_by_a_reboot_not_failed(node, status, expected):
    node.environment = {
        "FAKE_SYSTEM_STATE": "stopping",
        "FAKE_RESULT": "success",
        "FAKE_EXIT_CODE": "exited" if status == "0" else "killed",
        "FAKE_EXIT_STATUS": status,
    }
    node.run(*start_words("3"))
    node.let_jobs_end()
    path = node.state / "jobs" / STEP
    path.write_text(path.read_text().replace(node.status(STEP)["boot_id"], "the-boot-before"))
    facts = poll(node)[0].facts
    assert facts.state == expected
    assert facts.rebooted is (expected == "lost")


def test_job_that_never_ran_is_absent(node):
    status, cursor, lines = poll(node, step="stage")
    assert status.facts.state == "absent"
    assert (cursor, lines) == ("-", [])


def test_unit_that_does_not_start_is_a_failed_job(node):
    (node.systemd / "refuse").touch()
    assert node.run(*start_words("3")).returncode == ExitCode.INTERNAL
    assert node.status(STEP)["state"] == "failed"


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("start-job", "rm", "1", "run", "60", "request-1"),
        ("start-job", STEP, "1", "run", "60", "request-1", "$HOME"),
        ("start-job", STEP, "1", "run", "60", "request-1", "a b"),
        ("start-job", STEP, "1", "run\tid", "60", "request-1"),
        ("start-job", STEP, "1", "run", "sixty", "request-1"),
        ("start-job", STEP, "1", "run", "60"),
        ("start-job", STEP, "1", "run", "60", "a b c d e"),
        ("fetch-file", "/etc/shadow"),
        ("fetch-file", "/etc/shadow", "etcd-20260101T000000Z.tar.gz"),
        ("fetch-file", "snapshot"),
        ("fetch-file", "snapshot", "../token"),
        ("fetch-file", "snapshot", "/etc/shadow"),
        ("fetch-file", "snapshot", "etcd-*.tar.gz"),
        ("fetch-file", "snapshot", ".partial.x/etcd-20260101T000000Z.tar.gz"),
        ("fetch-file", "snapshot", "etcd-20260101T000000Z.tar.gz/../../token"),
        ("fetch-file", "snapshot", "etcd-20260101T000000Z.tar.gz\n"),
        ("collect-evidence", "yesterday"),
        ("collect-evidence", "0", "everything"),
        ("collect-evidence", "only"),
        ("collect-evidence", "only", "everything"),
        ("collect-evidence", "only", "df", "/etc/shadow"),
        ("collect-evidence", "only", "../df"),
        ("collect-evidence", "only", "static-pods"),
        ("collect-evidence", "only", "df", "clock", "df"),
        ("collect-evidence", "only", "jobs\nprocesses"),
        ("job-poll", STEP),
    ],
)
def test_wrong_words_are_refused(node, words):
    done = node.run(*words)
    assert done.returncode == ExitCode.USAGE
    assert done.stderr.strip()


def test_exactly_the_named_snapshot_is_given_away(node):
    """Not the newest by name: a clock that stepped back names a newer bundle as if it were older."""
    names = ("etcd-20260101T000000Z.tar.gz", "etcd-20260102T000000Z.tar.gz")
    assert node.run("fetch-file", "snapshot", names[0]).returncode == ExitCode.ABSENT
    snapshots = node.state / "snapshots"
    snapshots.mkdir()
    for name in names:
        (snapshots / name).write_text(name)
    for name in names:
        assert node.run("fetch-file", "snapshot", name).stdout == name
    link = snapshots / "etcd-20260103T000000Z.tar.gz"
    link.symlink_to(node.state / "token")
    assert node.run("fetch-file", "snapshot", link.name).returncode == ExitCode.ABSENT


@pytest.mark.parametrize("made", ["etcd-20260101T000000Z.tar.gz", "etcd-20260104T000000Z.tar.gz"])
def test_the_bundle_just_made_is_kept_whatever_the_clock_says(node, made):
    snapshots = node.state / "snapshots"
    snapshots.mkdir()
    others = ("etcd-20260102T000000Z.tar.gz", "etcd-20260103T000000Z.tar.gz")
    for name in (made, *others, "notes.txt"):
        (snapshots / name).touch()
    forget = f'eval "$(sed -n "/^readonly KEPT/p; /^forget_old_bundles()/,/^}}/p" {NODE_SCRIPTS}/jobs/snapshot-etcd)"'
    done = node.shell("jobs.sh", f'{forget}; forget_old_bundles "{snapshots}/{made}"')
    assert done.returncode == 0, done.stderr
    assert {path.name for path in snapshots.iterdir()} == {made, others[1], "notes.txt"}


def test_killed_start_leaves_the_lock_free(node):
    """The lock is the process's: no file to clean up after a SIGKILL."""
    process = node.start(*start_words("3"))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert node.run("fence", "9").returncode == 0


@contextmanager
def held_lock(node, tmp_path):
    """Somebody else has the node's lock; nobody waits long for it here."""
    flock = tmp_path / "quick/flock"
    flock.parent.mkdir()
    flock.write_text('#!/bin/bash\nexec /usr/bin/flock "${@/%20/0.1}"\n')
    flock.chmod(0o755)
    node.environment["PATH"] = f"{flock.parent}:{node.variables()['PATH']}"
    with (node.state / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_a_lock_that_is_not_free_in_time_is_no_busy_node(node, tmp_path):
    with held_lock(node, tmp_path):
        for words in (("job-poll", STEP, "-"), start_words("3"), ("fence", "1")):
            done = node.run(*words)
            assert (done.returncode, done.stdout) == (ExitCode.LOCKED, ""), words
            assert "held the node's lock for 20 s" in done.stderr
    assert not (node.state / "jobs" / STEP).exists()
    assert not (node.state / "token").exists()


def test_the_end_of_a_job_is_written_also_when_somebody_keeps_the_lock(node, tmp_path):
    node.hold_jobs()
    assert node.run(*start_words("3")).returncode == 0
    while node.status(STEP)["invocation"] == "-":
        time.sleep(0.02)
    with held_lock(node, tmp_path):
        node.let_jobs_end()
        assert node.status(STEP)["state"] == "succeeded"


def test_who_follows_a_job_may_look_while_a_fence_sweeps_and_nothing_starts(node, tmp_path):
    tools = tmp_path / "slow"
    tools.mkdir()
    (tools / "umount").write_text(
        f"#!/bin/bash\ntouch {tmp_path}/sweeping\nuntil [[ -e {tmp_path}/go ]]; do sleep 0.02; done\n"
    )
    (tools / "flock").write_text('#!/bin/bash\nexec /usr/bin/flock "${@/%20/0.1}"\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    node.environment["PATH"] = f"{tools}:{node.variables()['PATH']}"
    (node.state / "work/rehearsal").mkdir(parents=True)
    fence = node.start("fence", "5")
    try:
        while not (tmp_path / "sweeping").exists():
            assert fence.poll() is None, fence.communicate()
            time.sleep(0.02)
        assert (node.state / "token").read_text() == "5\n"
        assert node.run("job-poll", STEP, "-").returncode == 0
        assert node.run(*start_words("3", token=5)).returncode == ExitCode.LOCKED
    finally:
        (tmp_path / "go").touch()
        said = fence.communicate(timeout=30)
    assert (fence.returncode, said) == (0, ("", ""))
    assert not (node.state / "work/rehearsal").exists()


def test_a_token_is_raised_also_when_the_lock_cannot_be_shared_for_the_rest(node, tmp_path):
    """Who is told that the fence failed would not know that it holds; the next one pays back."""
    flock = tmp_path / "unshared/flock"
    flock.parent.mkdir()
    flock.write_text('#!/bin/bash\n[[ " $* " != *" --shared "* ]] && exec /usr/bin/flock "$@"\n')
    flock.chmod(0o755)
    node.environment["PATH"] = f"{flock.parent}:{node.variables()['PATH']}"
    (node.state / "held").write_text("kubelet\n")
    (node.state / "work/rehearsal").mkdir(parents=True)
    done = node.run("fence", "5")
    assert (done.returncode, done.stdout) == (0, "")
    assert "the token is raised; what a job left behind here is put right by the next fence" in done.stderr
    assert (node.state / "token").read_text() == "5\n"
    assert (node.state / "held").exists()
    assert (node.state / "work/rehearsal").exists()


def test_what_is_handed_over_is_in_a_file_of_roots_and_nowhere_else(node):
    secret = "aHVudGVyMg=="
    word = f"@{hashlib.sha256(secret.encode()).hexdigest()}"
    node.hold_jobs()
    assert node.run(*start_words("3", "a", word), stdin=secret).stdout.startswith("started")
    file = node.root / "fs/run/nightshift/inputs" / STEP
    assert (file.read_text(), file.stat().st_mode & 0o777) == (secret, 0o600)
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert node.run(*start_words("3", "a", word), stdin=secret).stdout.startswith("attached")
    said = [base64.b64decode(node.status(STEP)["arguments"]).decode()]
    said += [path.read_text() for path in (node.systemd / "systemd-run", node.state / "jobs" / STEP)]
    assert [text for text in said if secret in text] == []
    assert said[0] == f"3\0a\0{word}\0"
    assert word in (node.systemd / "systemd-run").read_text().splitlines()
    node.let_jobs_end()
    assert list(file.parent.iterdir()) == []


def test_what_did_not_come_whole_starts_nothing(node):
    word = f"@{hashlib.sha256(b'all of it').hexdigest()}"
    done = node.run(*start_words("3", word), stdin="half")
    assert done.returncode == ExitCode.USAGE
    assert not (node.systemd / "systemd-run").exists()
    assert list((node.root / "fs/run/nightshift/inputs").iterdir()) == []


def test_encoded_arguments_are_nul_terminated(node):
    node.run(*start_words("3", "a", "b"))
    assert base64.b64decode(node.status(STEP)["arguments"]) == b"3\0a\0b\0"


def test_etcd_metrics_on_a_worker_is_absent(node):
    assert node.run("etcd-metrics").returncode == ExitCode.ABSENT


def test_kubelet_configz_wants_a_token(node):
    assert node.run("kubelet-configz").returncode == ExitCode.USAGE


def test_state_of_no_other_directory_is_touched(node):
    before = set(Path("/var/lib").glob("nightshift/*"))
    node.run("fence", "3")
    assert set(Path("/var/lib").glob("nightshift/*")) == before
