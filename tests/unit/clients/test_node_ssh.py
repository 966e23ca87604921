"""One node over a real SSH connection: what each answer, refusal and broken line becomes."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import socket
import time

import paramiko
import pytest
from tests.unit.clients.fake_sshd import FakeSshd

from nightshift.clients.node_ssh import ExitCode, NodeSsh
from nightshift.clients.script_bundle import ScriptBundle
from nightshift.clients.ssh_connect import (
    connector,
    drain,
    generate_key_pair,
    key_pair_from,
    read_known_hosts,
)
from nightshift.domain.errors import (
    BlindError,
    ConfigError,
    FencedError,
    JobOutageError,
    RemoteJobError,
    TransientError,
    TrustError,
    UnreachableError,
)
from nightshift.domain.facts import Confidential

KEY = generate_key_pair()
BUNDLE = ScriptBundle.shipped()
SUDO_WARNS = "sudo: unable to resolve host cp1: Name or service not known\n"


def job_line(state: str, code: str = "-", job_id: str = "id-1", rebooted: str = "0") -> str:
    arguments = base64.b64encode(b"1.35\0").decode()
    return f"JOB\tstage\t{state}\t{code}\trun-1\t5\t{job_id}\t100.0\t{'-' if code == '-' else '160.0'}\t{rebooted}\t{arguments}"


class Script:
    """Answers in order; the last one is repeated."""

    def __init__(self, *answers) -> None:
        self.answers = list(answers)
        self.commands: list[str] = []
        self.stdin: list[bytes] = []

    def __call__(self, command: str, stdin: bytes):
        self.commands.append(command)
        self.stdin.append(stdin)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, str):
            return 0, answer.encode(), b""
        code, stdout, stderr = answer
        return code, stdout.encode(), stderr.encode()

    @property
    def verbs(self) -> list[str]:
        return [command.rsplit("nightshift-node ", 1)[1] for command in self.commands]


@pytest.fixture
def serve():
    servers = []

    def start(*answers, **options) -> tuple[NodeSsh, Script, FakeSshd]:
        script = Script(*answers)
        accepted = paramiko.Ed25519Key.from_private_key(io.StringIO(KEY.private))
        server = FakeSshd(accepted, script)
        servers.append(server)
        connect = connector("127.0.0.1", "nightshift", KEY.private, server.pinned, server.port)
        return NodeSsh("cp1", connect, BUNDLE, sleep=lambda _: None, **options), script, server

    yield start
    for server in servers:
        server.close()


def test_every_command_verifies_before_it_runs_anything_as_root(serve):
    ssh, script, _ = serve((0, "out", "err"))
    result = ssh.run("fence", "5 ; reboot")
    assert (result.exit_code, result.text, result.stderr) == (0, "out", "err")
    before, _, after = script.commands[0].partition("exec sudo -n ")
    assert BUNDLE.fingerprint in before
    assert "exit 90" in before
    assert "exit 91" in before
    assert after == "/usr/local/lib/nightshift/nightshift-node fence '5 ; reboot'"


def test_one_connection_for_many_commands_and_a_new_one_when_it_broke(serve):
    ssh, _, server = serve("ok")
    ssh.run("probe")
    ssh.run("probe")
    assert server.connections == 1
    server.cut()
    ssh.run("probe")
    assert server.connections == 2


@pytest.mark.parametrize(
    ("answer", "error", "code"),
    [
        ((90, "", ""), TrustError, "NODE_NOT_ENROLLED"),
        ((1, "", "sudo: a password is required\n"), TrustError, "NODE_NOT_ENROLLED"),
        ((1, "", f"{SUDO_WARNS}sudo: a password is required\n"), TrustError, "NODE_NOT_ENROLLED"),
        ((91, "", ""), TrustError, "NODE_SCRIPT_TAMPERED"),
        ((75, "", "token 4 is older than token 5"), FencedError, "NODE_FENCED"),
        ((76, "", "stage is at work for run x"), RemoteJobError, "JOB_BUSY"),
        ((78, "", ""), TransientError, "NODE_LOCKED"),
        ((-1, "", ""), UnreachableError, "NODE_UNREACHABLE"),
    ],
)
def test_ends_every_verb_shares(serve, answer, error, code):
    ssh, _, _ = serve(answer)
    with pytest.raises(error) as caught:
        ssh.run("probe")
    assert caught.value.code == code
    if answer[2] and code != "NODE_NOT_ENROLLED":
        assert answer[2] in caught.value.cause


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, ""),
        (0, "sudo: setrlimit(RLIMIT_CORE): Operation not permitted\n"),
        (3, "no such job\n"),
        (1, ""),
        (1, "printf: write error\n"),
    ],
)
def test_a_warning_of_sudo_is_no_refusal(serve, code, words):
    """A node that does not know its own name has sudo warn before every answer."""
    ssh, _, _ = serve((code, "out", SUDO_WARNS + words))
    result = ssh.run("probe")
    assert (result.exit_code, result.text) == (code, "out")


def test_a_warning_of_sudo_hides_no_end_that_every_verb_shares(serve):
    ssh, _, _ = serve((75, "", f"{SUDO_WARNS}token 4 is older than token 5\n"))
    with pytest.raises(FencedError, match="token 4 is older"):
        ssh.run("probe")


def test_silent_command_ends_at_its_limit(serve):
    import threading

    released = threading.Event()
    ssh, _, server = serve("never")
    server.answer = lambda *_: (released.wait(20), (0, b"", b""))[1]
    with pytest.raises(UnreachableError, match="time limit"):
        ssh.run("probe", timeout_seconds=0.2)
    released.set()


def test_wrong_key_is_refused(serve):
    _, _, server = serve("x")
    stranger = generate_key_pair()
    ssh = NodeSsh(
        "cp1", connector("127.0.0.1", "nightshift", stranger.private, server.pinned, server.port), BUNDLE
    )
    with pytest.raises(TrustError) as caught:
        ssh.run("probe")
    assert caught.value.code == "SSH_AUTH_REFUSED"


def test_a_node_that_goes_away_while_it_lets_us_in_has_refused_nothing(serve):
    """A machine that reboots: another try may well be let in."""
    ssh, _, server = serve("x")
    server.dies_at_login = True
    with pytest.raises(UnreachableError) as caught:
        ssh.run("probe")
    assert caught.value.code == "NODE_UNREACHABLE"
    assert "PAM" in caught.value.next_step, "sshd ends a log-in that PAM denies in the same way"
    assert server.logins > 0


@pytest.mark.parametrize("same_type", [True, False])
def test_other_host_key_is_never_accepted(serve, same_type):
    _, script, server = serve("x")
    other = paramiko.ECDSAKey.generate() if same_type else paramiko.RSAKey.generate(2048)
    pinned = f"{other.get_name()} {other.get_base64()}"
    ssh = NodeSsh("cp1", connector("127.0.0.1", "nightshift", KEY.private, pinned, server.port), BUNDLE)
    with pytest.raises(TrustError) as caught:
        ssh.run("probe")
    assert caught.value.code == "HOST_KEY_CHANGED"
    assert script.commands == []


def test_nobody_there_is_unreachable():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    ssh = NodeSsh(
        "cp1", connector("127.0.0.1", "nightshift", KEY.private, f"ssh-ed25519 {_ed25519()}", port), BUNDLE
    )
    with pytest.raises(UnreachableError) as caught:
        ssh.run("probe")
    assert caught.value.code == "NODE_UNREACHABLE"


def _ed25519() -> str:
    return generate_key_pair().public.split()[1]


def test_job_is_followed_to_its_end_each_line_once(serve):
    ssh, script, _ = serve(
        "started id-1\n",
        f"{job_line('running')}\nCURSOR\t-\n",
        f"{job_line('running')}\nCURSOR\tc1\none\ntwo\n",
        f'{job_line("succeeded", "0")}\nCURSOR\tc2\nRESULT {{"a": 1}}\n',
    )
    lines: list[str] = []
    polls: list[int] = []
    outcome = ssh.run_job("stage", 5, "run-1", ["1.35"], 60, lines.append, lambda: polls.append(1))
    assert re.fullmatch(r"start-job stage 5 run-1 60 [0-9a-f-]{36} 1\.35", script.verbs[0])
    assert script.verbs[1:] == [
        "job-poll stage -",
        "job-poll stage -",
        "job-poll stage c1",
    ]
    started = "stage started as nightshift-stage.service"
    assert lines == [started, "one", "two", 'RESULT {"a": 1}'], "the caller says whose they are"
    assert outcome.result == {"a": 1}
    assert (outcome.exit_code, outcome.attached, len(polls)) == (0, False, 3)


def test_a_failed_job_is_told_in_few_plain_lines_and_the_log_has_all(serve):
    words = [f"line {number}" for number in range(9)] + [
        "\x1b[0;37mCONFIG_SECCOMP\x1b[0m: \x1b[0;32menabled\x1b[0m"
    ]
    ssh, _, _ = serve("started id-1\n", f"{job_line('failed', '137')}\nCURSOR\t-\n" + "\n".join(words) + "\n")
    lines: list[str] = []
    with pytest.raises(RemoteJobError) as caught:
        ssh.run_job("stage", 5, "run-1", [], 60, lines.append)
    assert caught.value.message.endswith("Its last lines: line 6 | line 7 | line 8 | CONFIG_SECCOMP: enabled")
    assert lines[1:] == [*words[:9], "CONFIG_SECCOMP: enabled"]


def test_a_confidential_argument_goes_over_standard_input(serve):
    ssh, script, _ = serve("started id-1\n", f"{job_line('succeeded', '0')}\nCURSOR\tx\n")
    ssh.run_job("stage", 5, "run-1", ["1.35.4", Confidential("aHVudGVyMg==")], 60, lambda _: None)
    assert "aHVudGVyMg" not in "".join(script.commands)
    assert script.verbs[0].endswith(f" 1.35.4 @{hashlib.sha256(b'aHVudGVyMg==').hexdigest()}")
    assert script.stdin[0] == b"aHVudGVyMg=="


def test_attached_is_said(serve):
    ssh, _, _ = serve("attached id-1\n", f"{job_line('succeeded', '0')}\nCURSOR\t-\n")
    assert ssh.run_job("stage", 5, "run-1", [], 60, lambda _: None).attached is True


def test_broken_connection_while_following_is_taken_up_where_it_was(serve):
    ssh, script, server = serve(
        "started id-1\n",
        f"{job_line('running')}\nCURSOR\tc1\none\n",
        (-1, "", ""),
        (-1, "", ""),
        f"{job_line('succeeded', '0')}\nCURSOR\tc2\ntwo\n",
    )
    lines: list[str] = []
    ssh.run_job("stage", 5, "run-1", ["1.35"], 60, lines.append)
    assert lines[1:] == ["one", "two"]
    assert script.verbs[1:] == ["job-poll stage -"] + ["job-poll stage c1"] * 3
    assert server.connections == 3


def test_a_silence_that_lasts_is_told_once_and_so_is_its_end(serve):
    """Ten minutes without a line look as if the task hung."""
    away = [(-1, "", "")] * 6
    ssh, _, _ = serve(
        "started id-1\n",
        f"{job_line('running')}\nCURSOR\tc1\none\n",
        *away,
        f"{job_line('succeeded', '0')}\nCURSOR\tc2\ntwo\n",
    )
    lines: list[str] = []
    ssh.run_job("stage", 5, "run-1", [], 60, lines.append)
    first, begun, ended, last = lines[1:]
    assert (first, last) == ("one", "two")
    assert begun == "cp1 cannot be reached over SSH; the job is asked for again, for up to 600 s"
    assert ended.startswith("the job on cp1 can be asked for again, after ")


def test_what_came_before_the_line_broke_is_asked_for_again_and_told_once(serve):
    ssh, script, _ = serve(
        "started id-1\n",
        f"{job_line('running')}\nCURSOR\tc1\none\n",
        (-1, f"{job_line('running')}\nCURSOR\tc2\ntwo\nthr", ""),
        f"{job_line('succeeded', '0')}\nCURSOR\tc3\ntwo\nthree\n",
    )
    lines: list[str] = []
    ssh.run_job("stage", 5, "run-1", [], 60, lines.append)
    assert lines[1:] == ["one", "two", "three"]
    assert script.verbs[2:] == ["job-poll stage c1"] * 2


def test_a_start_whose_answer_was_lost_is_asked_for_again_as_the_same_request(serve):
    ssh, script, _ = serve(
        (-1, "", ""), "started id-1\n", f"{job_line('failed', '26')}\nCURSOR\tc\nkubeadm said no\n"
    )
    with pytest.raises(RemoteJobError, match=r"exit code 26.*kubeadm said no"):
        ssh.run_job("stage", 5, "run-1", [], 60, lambda _: None)
    assert script.verbs[0] == script.verbs[1]
    other, of_other, _ = serve("started id-1\n", f"{job_line('succeeded', '0')}\nCURSOR\tc\n")
    other.run_job("stage", 5, "run-1", [], 60, lambda _: None)
    assert of_other.verbs[0] != script.verbs[0]


def test_a_lock_that_is_not_free_in_time_is_asked_for_again(serve):
    """Somebody writes to a slow disk under it: that says nothing about the job."""
    locked = (78, "", "another nightshift command held the node's lock for 20 s\n")
    ssh, script, _ = serve(
        locked, "started id-1\n", locked, locked, f"{job_line('succeeded', '0')}\nCURSOR\tc\n"
    )
    assert ssh.run_job("stage", 5, "run-1", [], 60, lambda _: None).exit_code == 0
    assert script.verbs[0] == script.verbs[1]
    assert script.verbs[2:] == ["job-poll stage -"] * 3


def test_only_the_journals_line_ends_end_a_line(serve):
    ssh, _, _ = serve(
        "started id-1\n", f"{job_line('succeeded', '0')}\nCURSOR\tc\n10%\r100%\x0cdone\u2028x\n\nlast\n"
    )
    lines: list[str] = []
    ssh.run_job("stage", 5, "run-1", [], 60, lines.append)
    assert lines[1:] == ["10%100%done\u2028x", "", "last"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (job_line("lost", rebooted="1"), "The node was rebooted under it"),
        (job_line("lost"), "It died without a last word"),
        (job_line("running", job_id="id-2"), "started anew by somebody else"),
    ],
)
def test_why_a_job_is_lost_is_told_apart(serve, line, said):
    ssh, _, _ = serve("started id-1\n", f"{line}\nCURSOR\tc\n")
    with pytest.raises(RemoteJobError, match=said) as caught:
        ssh.run_job("stage", 5, "run-1", [], 60, lambda _: None)
    assert caught.value.code == "JOB_LOST"


def test_node_that_stays_away_is_unreachable_in_the_end(serve):
    ssh, _, _ = serve("started id-1\n", (-1, "", ""), reattach_seconds=0.3)
    with pytest.raises(UnreachableError):
        ssh.run_job("stage", 5, "run-1", [], 60, lambda _: None)


@pytest.mark.parametrize(
    ("line", "code", "exit_code"),
    [
        (job_line("failed", "20"), "PACKAGE_MISSING", 20),
        (job_line("failed", "21"), "IMAGE_MISSING", 21),
        (job_line("failed", "22"), "REPOSITORY_REFUSED", 22),
        (job_line("failed", "23"), "SNAPSHOT_MISMATCH", 23),
        (job_line("failed", "26"), "JOB_FAILED", 26),
        (job_line("failed", "31"), "JOB_WITHOUT_API", 31),
        (job_line("failed", "32"), "JOB_WITHOUT_API", 32),
        (job_line("failed", "35"), "DPKG_BUSY", 35),
        (job_line("failed", "76"), "JOB_BUSY", 76),
        (job_line("failed", "78"), "NODE_LOCKED", 78),
        (job_line("failed", "137"), "JOB_FAILED", 137),
        (job_line("timed-out", "124"), "JOB_TIMED_OUT", 124),
        (job_line("lost"), "JOB_LOST", None),
        (job_line("lost", rebooted="1"), "JOB_LOST", None),
        (job_line("running", job_id="id-2"), "JOB_LOST", None),
    ],
)
def test_bad_ends(serve, line, code, exit_code):
    ssh, _, _ = serve("started id-1\n", f"{line}\nCURSOR\tc\nthe last words\n")
    with pytest.raises(RemoteJobError) as caught:
        ssh.run_job("stage", 5, "run-1", [], 60, lambda _: None)
    assert (caught.value.code, caught.value.exit_code) == (code, exit_code)
    if "id-2" not in line:
        assert "the last words" in caught.value.message


def test_the_cause_of_a_failed_rehearsal_is_the_targets_own_word(serve):
    said = f"it ended before it was ready: {'x' * 300} Error: unknown flag: --gone"
    ssh, _, _ = serve("started id-1\n", f"{job_line('failed', '33')}\nCURSOR\tc\nanother line\n{said}\n")
    with pytest.raises(RemoteJobError, match="REHEARSAL_FAILED") as caught:
        ssh.run_job("stage", 5, "run-1", [], 60, lambda _: None)
    assert caught.value.cause == said


def test_a_dpkg_that_somebody_holds_is_tried_again_and_the_holder_is_the_cause(serve):
    said = "Could not get lock /var/lib/dpkg/lock-frontend within 300 s. It is held by process 812 (unattended-upgr)"
    ssh, _, _ = serve("started id-1\n", f"{job_line('failed', '35')}\nCURSOR\tc\nanother line\n{said}\n")
    with pytest.raises(JobOutageError, match="DPKG_BUSY") as caught:
        ssh.run_job("stage", 5, "run-1", [], 60, lambda _: None)
    assert isinstance(caught.value, TransientError)
    assert caught.value.cause == said


def test_what_a_listener_raises_ends_following_only(serve):
    ssh, script, _ = serve("started id-1\n", f"{job_line('running')}\nCURSOR\t-\n")

    def lease_lost() -> None:
        raise FencedError("RUN_FENCED", "lost", cause="x", next_step="y")

    with pytest.raises(FencedError):
        ssh.run_job("stage", 5, "run-1", [], 60, lambda _: None, lease_lost)
    assert len(script.commands) == 2


def poll(state: str, cursor: str, *lines: str, job_id: str = "id-1") -> str:
    code = "-" if state == "running" else "0"
    return f"{job_line(state, code, job_id)}\nCURSOR\t{cursor}\n" + "".join(f"{line}\n" for line in lines)


def test_following_only_looks_and_tells_each_line_once(serve):
    ssh, script, _ = serve(
        poll("running", "c1", "one"), poll("running", "c2", "two"), poll("succeeded", "c3", "three")
    )
    lines: list[str] = []
    seen: list[str] = []
    last = ssh.follow_job("stage", lines.append, lambda facts: bool(seen.append(facts.state)))
    assert script.verbs == ["job-poll stage -", "job-poll stage c1", "job-poll stage c2"]
    assert (lines, seen) == (["one", "two", "three"], ["running", "running", "succeeded"])
    assert last is not None
    assert (last.state, last.run_id, last.arguments) == ("succeeded", "run-1", ("1.35",))


def test_a_start_that_attaches_goes_on_where_following_stopped(serve):
    """Each line of a job once, and its result, although two calls read it."""
    ssh, script, _ = serve(
        poll("running", "c1", "one", 'RESULT {"a": 1}'),
        poll("running", "c2", "two"),
        "attached id-1\n",
        poll("succeeded", "c3", "two", "three"),
    )
    lines: list[str] = []
    looks = iter([False, True])
    ssh.follow_job("stage", lines.append, lambda _: next(looks))
    outcome = ssh.run_job("stage", 5, "run-1", ["1.35"], 60, lines.append)
    assert script.verbs[-1] == "job-poll stage c1", "the second look was not told"
    assert lines == ["one", 'RESULT {"a": 1}', "stage attached as nightshift-stage.service", "two", "three"]
    assert outcome.lines == ("one", 'RESULT {"a": 1}', "two", "three")
    assert (outcome.attached, outcome.result) == (True, {"a": 1})


def test_another_start_is_read_from_its_own_beginning(serve):
    ssh, script, _ = serve(
        poll("running", "c1", "old"),
        poll("succeeded", "c2"),
        "started id-2\n",
        poll("succeeded", "c9", "new", job_id="id-2"),
    )
    ssh.follow_job("stage", lambda _: None, lambda _: False)
    assert ssh.run_job("stage", 5, "run-1", ["1.35"], 60, lambda _: None).lines == ("new",)
    assert script.verbs[-1] == "job-poll stage -"


def test_a_line_that_breaks_while_following_is_said_at_once(serve):
    ssh, script, _ = serve(poll("running", "c1", "one"), (-1, "", ""))
    with pytest.raises(UnreachableError):
        ssh.follow_job("stage", lambda _: None, lambda _: False)
    assert len(script.commands) == 2


def test_job_facts(serve):
    ssh, _, _ = serve(f"{job_line('failed', '26')}\nCURSOR\t-\n")
    facts = ssh.job("stage")
    assert facts is not None
    assert (facts.state, facts.exit_code, facts.arguments, facts.finished) == ("failed", 26, ("1.35",), 160.0)
    ssh, _, _ = serve(f"{job_line('absent')}\nCURSOR\t-\n")
    assert ssh.job("stage") is None


def test_etcd_metrics(serve):
    assert serve("etcd_x 1\n")[0].etcd_metrics() == "etcd_x 1\n"
    assert serve((ExitCode.ABSENT, "", "no etcd on this node"))[0].etcd_metrics() is None
    with pytest.raises(UnreachableError, match="ETCD_METRICS_UNREADABLE"):
        serve((ExitCode.ETCD_UNAVAILABLE, "", "connection refused"))[0].etcd_metrics()


def test_kubelet_configz_token_goes_over_standard_input(serve):
    ssh, script, _ = serve(json.dumps({"kubeletconfig": {"imageGCHighThresholdPercent": 85}}))
    assert ssh.kubelet_configz("s3cret") == {"imageGCHighThresholdPercent": 85}
    assert "s3cret" not in script.commands[0]
    assert script.stdin == [b"s3cret"]


@pytest.mark.parametrize("answer", ["<html>", "[]", "{}", (24, "", "refused")])
def test_unreadable_kubelet_config_is_blind(serve, answer):
    with pytest.raises(BlindError, match="KUBELET_CONFIG_UNREADABLE"):
        serve(answer)[0].kubelet_configz("t")


def test_package_index(serve):
    offered = serve("1.35.4-1.1\n1.35.3-1.1\n")[0].package_index("1.35", "http://x")
    assert (offered.versions, offered.error) == (("1.35.4-1.1", "1.35.3-1.1"), None)
    absent = serve((ExitCode.ABSENT, "", "no such minor"))[0].package_index("1.99", "http://x")
    assert (absent.versions, absent.error) == ((), None)
    unknown = serve((ExitCode.REPOSITORY_REFUSED, "", "noise\nno signature\n"))[0].package_index(
        "1.35", "http://x"
    )
    assert (unknown.versions, unknown.error) == ((), "no signature")


def test_supply(serve):
    lines = "image\tr/a:1\tfound\tr\nrepository\t1.35\tfound\thttp://x\n"
    ssh, script, _ = serve(lines + "end\n")
    items = ssh.supply("1.35", "1.35.4-1.1", "http://x", ["r/a:1"])
    assert [(item.name, item.state.value) for item in items] == [("r/a:1", "found"), ("1.35", "found")]
    assert script.commands[-1].endswith("nightshift-node supply 1.35 1.35.4-1.1 http://x r/a:1")
    ssh, script, _ = serve(lines + "end\n")
    ssh.supply("1.35", None, "http://x", [])
    assert script.commands[-1].endswith("nightshift-node supply 1.35 - http://x")


@pytest.mark.parametrize(
    "half",
    [
        "image\tr/a:1\tfound\tr\nrepository\t1.35\tfound\thttp://x\n",  # cut off
        "image\tr/a:1\tfound\tr\nend\n",
        "repository\t1.35\tfound\thttp://x\nend\n",
        "end\n",
    ],
)
def test_half_an_answer_about_supply_is_blind(serve, half):
    with pytest.raises(BlindError, match="SUPPLY_SILENT"):
        serve(half)[0].supply("1.35", "1.35.4-1.1", "http://x", ["r/a:1"])


def test_a_supply_that_fails_is_an_error(serve):
    with pytest.raises(RemoteJobError, match="NODE_COMMAND_FAILED"):
        serve((2, "", "usage"))[0].supply("1.35", None, "http://x", [])


def test_fetch_streams_bytes(serve):
    data = bytes(range(256)) * 4000
    ssh, _, server = serve("x")
    server.answer = lambda *_: (0, data, b"")
    target = io.BytesIO()
    assert ssh.fetch("snapshot", "etcd-1.tar.gz", target) == hashlib.sha256(data).hexdigest()
    assert target.getvalue() == data
    with pytest.raises(ConfigError, match=r"FILE_ABSENT.*etcd-2\.tar\.gz"):
        serve((3, "", "none"))[0].fetch("snapshot", "etcd-2.tar.gz", io.BytesIO())


def test_a_bundle_that_may_be_thrown_away_is_asked_for_as_such(serve):
    ssh, script, _ = serve("x")
    ssh.collect_evidence(12.5, io.BytesIO())
    ssh.collect_evidence(12.5, io.BytesIO(), is_baseline=True)
    assert script.verbs == ["collect-evidence 12", "collect-evidence 12 baseline"]


def test_a_test_of_the_diagnosis_asks_for_sections_by_name(serve):
    ssh, script, _ = serve("first", "archive", (2, "", "there is no section 'df'"))
    ssh.collect_evidence(12.5, io.BytesIO())
    target = io.BytesIO()
    ssh.ask_again(("jobs", "df"), target)
    assert script.verbs[1:] == ["collect-evidence only jobs df"]
    assert target.getvalue() == b"archive"
    with pytest.raises(RemoteJobError, match="NODE_COMMAND_FAILED"):
        ssh.ask_again(("df",), io.BytesIO())


def test_nobody_waits_for_a_new_connection_to_ask_for_sections(serve):
    ssh, script, server = serve("first", "archive")
    ssh.collect_evidence(12.5, io.BytesIO())
    server.cut()
    for _ in range(2):
        with pytest.raises(UnreachableError, match="NODE_UNREACHABLE"):
            ssh.ask_again(("df",), io.BytesIO())
    assert (server.connections, len(script.verbs)) == (1, 1)


def test_an_answer_that_goes_on_and_on_ends_at_its_limit():
    class Endless:
        def settimeout(self, _seconds: float) -> None:
            pass

        def recv_stderr_ready(self) -> bool:
            return False

        def recv(self, _size: int) -> bytes:
            time.sleep(0.01)
            assert time.monotonic() < began + 5, "it was never ended"
            return b"x"

    began = time.monotonic()
    with pytest.raises(TimeoutError, match="time limit"):
        drain(Endless(), io.BytesIO(), began + 0.1)


@pytest.mark.parametrize(
    "text", ["", "nonsense\n", "JOB\ta\nCURSOR\tx\n", f"{job_line('running')}\nnonsense\n"]
)
def test_unreadable_poll_is_no_state(serve, text):
    with pytest.raises(RemoteJobError, match="NODE_COMMAND_FAILED"):
        serve(text)[0].job("stage")


def test_generated_key_survives_text():
    assert key_pair_from(KEY.private) == KEY
    with pytest.raises(ConfigError):
        key_pair_from("nonsense")
    with pytest.raises(ConfigError):
        connector("h", "u", "nonsense", "k")


def test_known_hosts(tmp_path):
    path = tmp_path / "known_hosts"
    path.write_text(f"10.0.0.1,cp1 ssh-ed25519 {_ed25519()}\n")
    assert (read_known_hosts(path, "10.0.0.9", "cp1") or "").startswith("ssh-ed25519 ")
    assert read_known_hosts(path, "10.0.0.9", "w1") is None
    with pytest.raises(ConfigError):
        read_known_hosts(tmp_path / "none", "cp1")


@pytest.mark.parametrize("pinned", ["", "ssh-ed25519", "ssh-ed25519 !!!", "ssh-nonsense AAAA"])
def test_unreadable_pinned_key_is_a_configuration_error(pinned):
    with pytest.raises(ConfigError, match="CONFIG_INVALID"):
        connector("127.0.0.1", "nightshift", KEY.private, pinned, 1)()


def look_line(name: str, code: int, text: str) -> str:
    return f"{name}\t{code}\t{base64.b64encode(text.encode()).decode()}\n"


def test_sections_of_a_look_come_in_one_call(serve):
    ssh, script, _ = serve(look_line("clock", 0, "1.5\n") + look_line("etcd", 3, ""))
    assert ssh.look(["clock", "etcd"]) == {"clock": (0, "1.5\n"), "etcd": (3, "")}
    assert script.verbs == ["look clock etcd"]


@pytest.mark.parametrize("answer", ["clock\t0", "clock\t0\tno base64!", "clock\tzero\tMQ=="])
def test_a_look_that_is_no_look_is_blind(serve, answer):
    ssh, _, _ = serve(answer)
    with pytest.raises(BlindError, match=r"LOOK_INCOMPLETE.*cp1"):
        ssh.look(["clock"])


def test_a_look_that_the_node_refuses_is_an_error(serve):
    ssh, _, _ = serve((ExitCode.USAGE, "", "there is no section 'x'"))
    with pytest.raises(RemoteJobError, match="NODE_COMMAND_FAILED"):
        ssh.look(["x"])
