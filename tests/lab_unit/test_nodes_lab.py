"""The lab's bookkeeping: processes, lock, cgroup trees, health, arguments, findings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nslab import cli, locks, progress, shell
from nslab.build import binaries, toolchain
from nslab.nodes import cgroups, cluster, commands, doctor, machine, pool, processes, saved, state

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(processes, "_PIDS", tmp_path / "run")
    monkeypatch.setattr(state, "LOGS", tmp_path / "log")
    monkeypatch.setattr(state, "FILE", tmp_path / "lab.json")
    return tmp_path


def test_process_is_found_again_and_stopped(own_state: Path) -> None:
    pid = processes.start("sleeper", SLEEP)
    assert processes.pid_of("sleeper") == pid
    assert processes.started_names() == ["sleeper"]
    processes.stop("sleeper")
    assert processes.pid_of("sleeper") is None
    assert processes.started_names() == []
    assert not Path(f"/proc/{pid}").exists()


def test_process_that_ignores_the_request_is_killed(own_state: Path) -> None:
    stubborn = (
        "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    )
    processes.start("stubborn", [sys.executable, "-c", stubborn])
    shell.wait_until(lambda: "up" in processes.log_file("stubborn").read_text(), "it runs", 10, 0.05)
    processes.stop("stubborn", patience=0.2)
    assert processes.pid_of("stubborn") is None


def test_pid_that_another_process_got_is_left_alone(own_state: Path) -> None:
    (own_state / "run").mkdir()
    (own_state / "run/stranger.pid").write_text(f"{os.getpid()} 1\n")
    assert processes.pid_of("stranger") is None
    processes.stop("stranger")  # must not end this very test


def test_ended_child_counts_as_gone(own_state: Path) -> None:
    pid = processes.start("short", [sys.executable, "-c", ""])
    assert processes.wait_gone(pid, 10)
    assert processes.pid_of("short") is None


def test_second_operation_is_told_who_holds_the_lab(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    holder = rf"`lab reset` \(process {os.getpid()}\) since .*\n  next: wait"
    with (
        locks.operation("reset", lock),
        pytest.raises(shell.LabError, match=holder),
        locks.operation("up", lock),
    ):
        pass
    with locks.operation("up", tmp_path / "lock"):
        pass


def test_lock_ends_with_a_killed_process(tmp_path: Path) -> None:
    hold = (
        "from nslab import locks; from pathlib import Path; import time\n"
        f"with locks.operation('up', Path({str(tmp_path / 'lock')!r})):\n print('held', flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(locks.__file__).parents[1])}
    with subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, env=environment) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.kill()
    with locks.operation("reset", tmp_path / "lock"):
        pass


def test_cgroup_trees_of_v1_and_hybrid() -> None:
    mounts = [
        "tmpfs /sys/fs/cgroup tmpfs rw 0 0",
        "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0",
        "cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0",
        "cgroup /mnt/elsewhere/memory cgroup rw,relatime,memory 0 0",
        "cgroup /sys/fs/cgroup/memory-again cgroup ro,memory 0 0",
        "cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0",
    ]
    assert [t.name for t in cgroups.mounted_hierarchies(mounts)] == ["cpu,cpuacct", "memory", "unified"]


def test_cgroup_tree_of_v2() -> None:
    mounts = ["cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nodev,noexec,relatime 0 0"]
    assert cgroups.mounted_hierarchies(mounts) == [Path("/sys/fs/cgroup")]


def test_v1_group_inherits_its_processors_and_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "hierarchies", lambda: [tmp_path])
    for name in (".", "nslab", "nslab/cp1"):
        (tmp_path / name).mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems", "cgroup.clone_children", "cpu.shares"):
            (tmp_path / name / setting).write_text("")
    (tmp_path / "cpuset.cpus").write_text("0-1\n")
    (tmp_path / "cpuset.mems").write_text("0\n")
    assert cgroups.create("cp1") == [tmp_path / "nslab/cp1"]
    assert (tmp_path / "nslab/cp1/cpuset.cpus").read_text() == "0-1\n"
    assert (tmp_path / "nslab/cp1/cpuset.mems").read_text() == "0\n"
    assert (tmp_path / "nslab/cpu.shares").read_text() == "16384", "all nodes together"
    assert (tmp_path / "nslab/cp1/cpu.shares").read_text() == "", "nodes are equal among themselves"


def node(name: str, ready: str, heartbeat: str) -> dict[str, object]:
    condition = {"type": "Ready", "status": ready, "lastHeartbeatTime": heartbeat}
    return {"metadata": {"name": name}, "status": {"conditions": [condition]}}


def test_a_node_gets_crictl_and_holds_what_upstream_says(monkeypatch: pytest.MonkeyPatch) -> None:
    entered: list[list[str]] = []
    monkeypatch.setattr(machine, "enter", lambda name, argv: entered.append(argv))
    cluster.install_packages("w1", "1.34.4")
    pinned = ["kubeadm=1.34.4-*", "kubelet=1.34.4-*", "kubectl=1.34.4-*"]
    assert next(argv for argv in entered if "install" in argv)[-4:] == [*pinned, "cri-tools"]
    assert ["apt-mark", "hold", "kubeadm", "kubelet", "kubectl"] in entered


def test_what_the_api_remembers_from_before_the_boot_does_not_count() -> None:
    boot = 1_700_000_000.9
    nodes = [
        node("fresh", "True", "2023-11-14T22:13:20Z"),  # the second of the boot
        node("stale", "True", "2023-11-14T22:13:19Z"),
        node("bad", "False", "2023-11-14T22:14:00Z"),
        {"metadata": {"name": "new"}, "status": {}},
    ]
    phrases = cluster.unready_nodes(nodes, boot)
    assert phrases == ["node stale is not Ready", "node bad is not Ready", "node new is not Ready"]


def pod(name: str, phase: str, ready: str, started: str | None) -> dict[str, object]:
    running = {"running": {"startedAt": started}} if started else {"waiting": {}}
    status = {
        "phase": phase,
        "conditions": [{"type": "Ready", "status": ready}],
        "containerStatuses": [{"state": running}],
    }
    return {"metadata": {"name": name, "namespace": "n"}, "status": status}


def test_pods_count_when_they_have_become_ready_after_the_boot() -> None:
    pods = [
        pod("well", "Running", "True", "2023-11-14T22:13:30Z"),
        pod("finished", "Succeeded", "False", None),
        pod("stale", "Running", "True", "2023-11-14T22:00:00Z"),
        pod("waiting", "Running", "True", None),
        pod("failing", "Running", "False", "2023-11-14T22:13:30Z"),
        {"metadata": {"name": "pending", "namespace": "n"}, "status": {"phase": "Pending"}},
    ]
    phrases = cluster.unready_pods(pods, 1_700_000_000.0)
    assert [p.split()[1] for p in phrases] == ["n/stale", "n/waiting", "n/failing", "n/pending"]


def test_unknown_node_is_refused_with_the_known_ones(own_state: Path) -> None:
    state.Lab("small").save()
    with pytest.raises(shell.LabError, match=r"no node cp9\n  next: its nodes are cp1, w1, w2"):
        state.node("cp9")


def test_no_lab_says_how_to_start_one(own_state: Path) -> None:
    with pytest.raises(shell.LabError, match="there is no lab\n  next: start one with `lab/lab up`"):
        state.current()


def test_unreadable_state_says_so(own_state: Path) -> None:
    (own_state / "lab.json").write_text('{"profile_name": "small"')
    with pytest.raises(shell.LabError, match="cannot be read"):
        state.current()


def test_saved_disks_are_named_after_all_they_depend_on() -> None:
    names = {saved.directory_of(state.Lab(p, v)).name for p in ("small", "ha") for v in ("1.34.2", "1.34.4")}
    assert len(names) == 4
    assert all(name.endswith(f"-r{saved.RECIPE}") for name in names)


def test_ssh_pins_host_keys_and_reads_no_configuration_of_the_user(own_state: Path) -> None:
    state.Lab("small").save()
    argv = machine.ssh_command("w1")
    assert argv[:3] == ["ssh", "-F", "none"]
    assert "StrictHostKeyChecking=yes" in argv
    assert argv[-1] == f"root@{state.node('w1').address}"


def test_node_that_never_ran_is_off(own_state: Path) -> None:
    assert machine.find_leader("cp1") is None
    with pytest.raises(shell.LabError, match="node cp1 is off"):
        machine.leader_pid("cp1")


def test_facts_are_what_the_product_needs() -> None:
    facts = commands.facts(state.Lab("ha"))
    assert facts["NSLAB_API"].endswith(":6443")
    assert len(facts["NSLAB_NODES"].split()) == 6
    assert facts["NSLAB_PUSHGATEWAY_URL"].startswith("http://")


@pytest.mark.parametrize(
    ("words", "attribute", "rest"),
    [
        (
            ["kubectl", "-n", "shop", "get", "pods", "--watch"],
            "arguments",
            ["-n", "shop", "get", "pods", "--watch"],
        ),
        (["kubectl", "exec", "p", "--", "ls", "-l"], "arguments", ["exec", "p", "--", "ls", "-l"]),
        (["ssh", "w1", "df", "-h", "/"], "command", ["df", "-h", "/"]),
        (["ssh", "w1"], "command", []),
    ],
)
def test_words_after_kubectl_and_ssh_are_passed_on_untouched(
    words: list[str], attribute: str, rest: list[str]
) -> None:
    assert getattr(cli._parser(words[:1]).parse_args(words), attribute) == rest


def test_help_lists_the_commands_of_all_modules(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    shown = capsys.readouterr().out
    for names in cli.MODULES.values():
        assert all(name in shown for name in names)


def test_failure_is_one_message_and_code_1(own_state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["env"]) == 1
    assert capsys.readouterr().err.startswith("lab: there is no lab")


def test_command_error_holds_the_programs_last_words() -> None:
    with pytest.raises(shell.CommandError, match="ended with code 3:\nwhy"):
        shell.run(["sh", "-c", "echo why >&2; exit 3"])


def test_missing_program_points_to_the_doctor() -> None:
    with pytest.raises(
        shell.LabError, match="`no-such-program` is not installed\n  next: run `lab/lab doctor`"
    ):
        shell.run(["no-such-program"])


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s")]
)
def test_durations_read_like_speech(seconds: float, text: str) -> None:
    assert progress.spell(seconds) == text


def test_waiting_gives_up_in_words() -> None:
    with pytest.raises(shell.LabError, match="the sky is green: not so after 0 s\n  next: look up"):
        shell.wait_until(lambda: False, "the sky is green", 0.05, 0.01, "look up")
    assert shell.wait_until(lambda: True, "now", 5) < 1


def test_doctor_names_what_the_kubelet_would_miss() -> None:
    assert doctor.missing_controllers({"cpu", "memory", "blkio"}) == ["cpuset", "pids"]
    assert doctor.missing_controllers({"cpu", "cpuset", "memory", "pids"}) == []


def test_only_what_is_essential_keeps_the_lab_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    note = doctor.Finding(False, "little memory", essential=False)
    monkeypatch.setattr(doctor, "examine", lambda: [doctor.Finding(True, "root"), note])
    doctor.demand()
    monkeypatch.setattr(doctor, "examine", lambda: [note, doctor.Finding(False, "no loop device")])
    with pytest.raises(shell.LabError, match="no loop device") as caught:
        doctor.demand()
    assert "little memory" not in str(caught.value)


@pytest.mark.parametrize(
    ("chosen", "go", "kubernetes", "others"),
    [
        ("release", None, "Kubernetes is downloaded from http://127.0.0.1:1", "which `lab up` fetches"),
        ("modules", Path("/opt/go"), "built from Go modules, as NSLAB_SOURCE says", "with /opt/go"),
        ("auto", Path("/opt/go"), "http://127.0.0.1:1 cannot be reached", "with /opt/go"),
    ],
)
def test_doctor_says_where_programs_come_from_and_that_go_is_needed_with_downloads_too(
    monkeypatch: pytest.MonkeyPatch, chosen: str, go: Path | None, kubernetes: str, others: str
) -> None:
    asked: list[str] = []
    monkeypatch.setenv("NSLAB_SOURCE", chosen)
    monkeypatch.setattr(binaries, "RELEASE_SERVER", "http://127.0.0.1:1")
    monkeypatch.setattr(toolchain, "find_go", lambda minimum: asked.append(minimum) or go)
    first, second = doctor.supply()
    assert first.fine
    assert second.fine
    assert kubernetes in first.sentence
    assert "etcd, CoreDNS and crictl are always built" in second.sentence
    assert others in second.sentence
    assert asked == ["1.24" if chosen == "release" else "1.25"], "Kubernetes 1.35 asks for a newer one"


def test_doctor_refuses_an_unknown_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NSLAB_SOURCE", "guess")
    (finding,) = doctor.supply()
    assert not finding.fine
    assert "NSLAB_SOURCE=guess is unknown" in finding.sentence


def test_doctor_reports_a_network_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "output", lambda _: "10.217.0.0/25 dev docker0 scope link")
    finding = doctor._addresses()
    assert not finding.fine
    assert "NSLAB_NETWORK" in finding.sentence
    monkeypatch.setattr(doctor, "output", lambda _: "10.217.0.0/24 dev nslab0 proto kernel scope link")
    assert doctor._addresses().fine


def test_disk_copy_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(argv: list[str]) -> None:
        Path(argv[-1]).write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(pool, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pool.clone(tmp_path / "a.img", tmp_path / "b.img")
    assert not (tmp_path / "b.img").exists()


def test_environment_of_another_lab_moves_everything() -> None:
    code = (
        "from nslab import settings as s; import json; print(json.dumps([str(s.STATE_DIR), s.INFRA_ADDRESS]))"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(locks.__file__).parents[1]),
        "NSLAB_STATE": "/other",
        "NSLAB_NETWORK": "10.9.8.0/24",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == ["/other", "10.9.8.2"]


def test_step_says_how_long_it_took_last_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {"boot": 61.0}
    monkeypatch.setattr(progress.store, "durations", lambda: known)
    monkeypatch.setattr(progress.store, "remember_duration", known.__setitem__)
    with progress.Report().step("boot", "booting"):
        time.sleep(0.01)
    assert "booting (last time 1 min 01 s)" in capsys.readouterr().err
    assert known["boot"] < 1


def test_flushes_of_a_node_end_at_its_own_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = tmp_path / "write_cache"
    monkeypatch.setattr(pool, "devices_of", lambda _image: [])
    monkeypatch.setattr(pool, "output", lambda _command: "/dev/loop7")
    monkeypatch.setattr(
        pool, "write_cache", lambda device: setting if device == "/dev/loop7" else tmp_path / "?"
    )
    assert pool.attach(tmp_path / "cp1.img") == "/dev/loop7"
    assert setting.read_text() == "write through"
