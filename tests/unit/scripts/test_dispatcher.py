"""The dispatcher: token, single instance, attach, what a poll says."""

from __future__ import annotations

import base64
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.unit.scripts.conftest import NODE_SCRIPTS

from nightshift.clients.node_probe import parse_job
from nightshift.clients.node_ssh import ExitCode

STEP = "reclaim-scratch"


def start_words(
    *args: str, token: int = 1, run_id: str = "airflow/lab/run-1", step: str = STEP
) -> tuple[str, ...]:
    return ("start-job", step, str(token), run_id, "60", *args)


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
    words = start_words("3", "n" * count or "x")
    started = node.run(*words).stdout.split()
    assert node.run(*words).stdout.split() == ["attached", started[1]]


def test_other_step_is_busy(node):
    node.hold_jobs()
    assert node.run(*start_words("3")).returncode == 0
    assert node.run(*start_words("1.35.4", step="kubelet-upgrade")).returncode == ExitCode.BUSY


@pytest.mark.parametrize(("word", "expected"), [("upgrade", ExitCode.BUSY), ("version", ExitCode.OK)])
def test_a_persons_kubeadm_is_busy_but_its_version_is_not(node, tmp_path, word, expected):
    (tmp_path / word).write_text("read -r _\n")
    process = subprocess.Popen(["bash", word], cwd=tmp_path, stdin=subprocess.PIPE)
    try:
        node.pretend_process("kubeadm", process.pid)
        done = node.run(*start_words("3"))
    finally:
        process.kill()
        process.communicate()
    assert done.returncode == expected, done.stderr


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
        ("start-job", "rm", "1", "run", "60"),
        ("start-job", STEP, "1", "run", "60", "$HOME"),
        ("start-job", STEP, "1", "run", "60", "a b"),
        ("start-job", STEP, "1", "run\tid", "60"),
        ("start-job", STEP, "1", "run", "sixty"),
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
