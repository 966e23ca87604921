"""Faults: arguments are refused in words, sizes are right, records survive an interruption."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from nslab.faults import access, commands, control_plane, disks, etcd, etcd_members, outages, records, supply
from nslab.faults.model import Case, Fault
from nslab.nodes import infra, machine, state
from nslab.shell import LabError

GIB = 2**30


@pytest.fixture(autouse=True)
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An `ha` lab on paper: three control planes, three workers, no process."""
    monkeypatch.setattr(records, "DIRECTORY", tmp_path / "faults")
    monkeypatch.setattr(state, "FILE", tmp_path / "lab.json")
    state.Lab("ha").save()


@dataclass
class Trouble:
    """A fault that notes what was done to it, and can be told to break in the middle."""

    done: list[str] = field(default_factory=list)
    breaks: str = ""

    def inflict(self, case: Case) -> str:
        self._perhaps_break("inflict")
        self.done.append(f"inflict {case.subject} {case.parameters.get('size', '')}".strip())
        return f"{case.subject} is in trouble"

    def undo(self, case: Case) -> str:
        self._perhaps_break("undo")
        self.done.append(f"undo {case.subject}")
        return f"{case.subject} is well"

    def _perhaps_break(self, action: str) -> None:
        if action in self.breaks.split():
            raise LabError("the node is away")

    def fault(self, name: str = "test", outlives_reset: bool = False) -> Fault:
        def parse(words):
            return [Case(name, words[0], {"size": words[1]} if words[1:] else {})]

        return Fault(name, f"{name} NODE [SIZE]", "", parse, self.inflict, self.undo, outlives_reset)


@pytest.fixture
def trouble(monkeypatch: pytest.MonkeyPatch) -> Trouble:
    made = Trouble()
    monkeypatch.setattr(commands, "FAULTS", {"test": made.fault()})
    return made


def test_break_then_heal_leaves_no_record(trouble: Trouble) -> None:
    assert commands.inflict("test", ["w1"]) == ["w1 is in trouble"]
    assert commands.active() == ["test w1"]
    assert commands.heal("test") == ["w1 is well"]
    assert commands.active() == []


def test_breaking_twice_undoes_the_first_one(trouble: Trouble) -> None:
    commands.inflict("test", ["w1", "1G"])
    commands.inflict("test", ["w1", "2G"])
    assert trouble.done == ["inflict w1 1G", "undo w1", "inflict w1 2G"]
    assert commands.active() == ["test w1 2G"]


def test_a_fault_that_cannot_be_made_is_undone(trouble: Trouble) -> None:
    trouble.breaks = "inflict"
    with pytest.raises(LabError, match="the node is away"):
        commands.inflict("test", ["w1"])
    assert trouble.done == ["undo w1"]
    assert commands.active() == []


def test_a_fault_that_cannot_be_undone_stays_shown(trouble: Trouble) -> None:
    trouble.breaks = "inflict undo"
    with pytest.raises(LabError, match="the node is away"):
        commands.inflict("test", ["w1"])
    assert commands.active() == ["test w1"]
    trouble.breaks = ""
    assert commands.heal("test") == ["w1 is well"]


def test_heal_with_a_node_leaves_the_others(trouble: Trouble) -> None:
    commands.inflict("test", ["w1"])
    commands.inflict("test", ["w2"])
    commands.heal("test", ["w2"])
    assert commands.active() == ["test w1"]


def test_heal_all_gives_power_back_first_and_then_undoes_the_youngest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Trouble()
    names = ("disk-fill", "node-power-off", "stray-manifest")
    monkeypatch.setattr(commands, "FAULTS", {n: made.fault(n) for n in names})
    for number, name in enumerate(names):
        commands.inflict(name, [f"w{number}"])
    commands.heal_all()
    assert [d for d in made.done if d.startswith("undo")] == ["undo w1", "undo w2", "undo w0"]


def test_forget_undoes_only_what_a_reset_would_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Trouble()
    faults = {"on-node": made.fault("on-node"), "outside": made.fault("outside", outlives_reset=True)}
    monkeypatch.setattr(commands, "FAULTS", faults)
    commands.inflict("on-node", ["w1"])
    commands.inflict("outside", ["image"])
    commands.forget()
    assert [d for d in made.done if d.startswith("undo")] == ["undo image"]
    assert commands.active() == []


def test_unknown_fault_names_the_known_ones(trouble: Trouble) -> None:
    with pytest.raises(LabError, match="the faults are test"):
        commands.heal("tset")


def test_every_fault_is_in_the_help() -> None:
    parser = argparse.ArgumentParser()
    commands.register(parser.add_subparsers())
    with pytest.raises(SystemExit):
        parser.parse_args(["break", "--help"])
    for name, fault in commands.FAULTS.items():
        assert fault.name == name
        assert fault.usage.startswith(name)


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ([], "0 arguments given"),
        (["fast"], "the delay in milliseconds is 'fast'"),
        (["0"], "the delay in milliseconds is '0'"),
        (["99999"], "from 1 to 10000"),
        (["200", "w1"], "w1 is no control-plane node"),
        (["200", "cp9"], "no node cp9"),
        (["200", "cp1", "cp2"], "usage: lab/lab break etcd-slow"),
    ],
)
def test_etcd_slow_refuses(words: list[str], cause: str) -> None:
    with pytest.raises(LabError, match=cause):
        etcd.parse(words)


def test_etcd_slow_without_a_node_means_every_member() -> None:
    assert [c.subject for c in etcd.parse(["200"])] == ["cp1", "cp2", "cp3"]
    assert [c.subject for c in etcd.parse(["200", "cp2"])] == ["cp2"]


def test_strace_delays_in_microseconds() -> None:
    assert "inject=fdatasync,fsync:delay_enter=200000" in etcd.strace_command(7, 200)


DISK = disks.FileSystem(size=20 * GIB, free=16 * GIB, available=16 * GIB)


@pytest.mark.parametrize(
    ("wanted", "length"),
    [
        ("12G", 12 * GIB),
        ("512M", GIB // 2),
        ("85%", 13 * GIB - disks.SLACK),
        ("100%", 16 * GIB - disks.SLACK),
    ],
)
def test_fill_length(wanted: str, length: int) -> None:
    assert disks.fill_bytes(wanted, DISK) == length


def test_fill_percentage_counts_as_df_does_when_blocks_are_reserved() -> None:
    reserved = disks.FileSystem(size=20 * GIB, free=16 * GIB, available=15 * GIB)
    length = disks.fill_bytes("85%", reserved)
    used, available = reserved.used + length, reserved.available - length
    assert round(100 * used / (used + available)) == 85


@pytest.mark.parametrize(
    ("wanted", "cause"),
    [
        ("12", "write it like"),
        ("12GB", "write it like"),
        ("17G", "16384 MiB free"),
        ("10%", "4096 MiB in use"),
    ],
)
def test_fill_refuses(wanted: str, cause: str) -> None:
    with pytest.raises(LabError, match=cause):
        disks.fill_bytes(wanted, DISK)


def test_fill_of_two_mounts_of_one_node_are_two_cases() -> None:
    first = disks.parse_fill(["w1", "/", "85%"])[0]
    second = disks.parse_fill(["w1", "/var/lib/kubelet", "85%"])[0]
    assert first.key != second.key
    assert "/" not in first.key + second.key


def test_a_scratch_mount_is_laid_once_and_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With programs that write down what is mounted."""
    directory, mounted = tmp_path / "tmp", tmp_path / "mounted"
    mounted.touch()
    programs = {
        "mount": f'for last; do :; done; [ -d "$last" ] && echo "$*" >>{mounted}',
        "mountpoint": f'grep -q " $2\\$" {mounted}',
        "umount": f'grep -v " $1\\$" {mounted} >{mounted}.left; mv {mounted}.left {mounted}',
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(disks, "MOUNT_DIRECTORY", str(directory))
    monkeypatch.setattr(machine, "enter", lambda _node, argv: subprocess.run(argv, check=True))
    (case,) = disks.SCRATCH_MOUNT.parse(["cp1", "128"])
    for _ in range(2):  # both may be repeated
        disks.SCRATCH_MOUNT.inflict(case)
        wanted = f"-t tmpfs -o size=128m,mode=0700 nslab-scratch-mount {directory}"
        assert mounted.read_text().splitlines() == [wanted]
    for _ in range(2):
        disks.SCRATCH_MOUNT.undo(case)
        assert mounted.read_text() == ""


def test_a_scratch_mount_takes_little_of_the_machines_memory() -> None:
    with pytest.raises(LabError, match="the size in MiB is '257'"):
        disks.SCRATCH_MOUNT.parse(["cp1", "257"])


MANIFEST = """\
spec:
  containers:
  - command:
    - kube-apiserver
    - --advertise-address=10.0.0.1
"""


def test_stray_differs_from_the_manifest_in_one_flag() -> None:
    stray = control_plane.stray_text(MANIFEST)
    assert set(stray.splitlines()) - set(MANIFEST.splitlines()) == {"    - --event-ttl=2h"}
    assert control_plane.stray_text(stray) == stray


def test_scratch_names_are_kubeadms_and_old_except_the_last() -> None:
    now = 1_800_000_000.0
    names = control_plane.scratch_names(145, now)
    assert len(set(names)) == 146
    ages = [now - _moment(name) for name in names]
    assert min(ages[:-1]) > 3 * 86400
    assert ages[-1] == 3600


def _moment(name: str) -> float:
    parsed = time.strptime(name, "kubeadm-backup-etcd-%Y-%m-%d-%H-%M-%S")
    return time.mktime(parsed) - time.timezone


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(
        infra.Sources, "load", lambda: infra.Sources(tmp_path / "packages", tmp_path / "registry")
    )
    tag = tmp_path / "registry/docker/registry/v2/repositories/coredns/coredns/_manifests/tags/v1.13.1"
    tag.mkdir(parents=True)
    deb = tmp_path / "packages/1.35-abc/deb/kubeadm_1.35.4-1.1_amd64.deb"
    deb.parent.mkdir(parents=True)
    deb.write_text("deb")
    return tmp_path


@pytest.mark.parametrize("fault", [supply.IMAGE_MISSING, supply.PACKAGE_MISSING], ids=lambda f: f.name)
def test_supply_is_taken_away_and_put_back(sources: Path, fault: Fault) -> None:
    words = {
        "image-missing": ["registry.k8s.io/coredns/coredns:v1.13.1"],
        "package-missing": ["kubeadm", "1.35.4"],
    }
    before = sorted(sources.rglob("*"))
    (case,) = fault.parse(words[fault.name])
    for _ in range(2):  # both may be repeated
        fault.inflict(case)
        assert not any(Path(p).exists() for p in case.names("paths"))
    assert fault.parse(words[fault.name]) == [case]
    for _ in range(2):
        fault.undo(case)
        assert sorted(sources.rglob("*")) == before


@pytest.mark.parametrize(
    ("fault", "words", "cause"),
    [
        (supply.IMAGE_MISSING, ["coredns/coredns"], "has no tag"),
        (supply.IMAGE_MISSING, ["coredns/coredns:v9"], "its tags are v1.13.1"),
        (supply.PACKAGE_MISSING, ["kubeadm", "1.36.0"], "no kubeadm 1.36.0"),
    ],
)
def test_supply_refuses_what_is_not_there(sources: Path, fault: Fault, words: list[str], cause: str) -> None:
    with pytest.raises(LabError, match=cause):
        fault.parse(words)


@pytest.fixture
def ssh_directory(tmp_path: Path) -> Path:
    directory = tmp_path / "ssh"
    directory.mkdir()
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / "ssh_host_ed25519_key")]
    subprocess.run(command, check=True)
    return directory


def _in_directory(script: str, directory: Path) -> None:
    """Run a node's script on a directory, without a sshd to tell."""
    text = script.replace("/etc/ssh", str(directory)).replace("systemctl reload ssh", "true")
    subprocess.run(["sh", "-c", text], check=True)


def test_the_true_host_key_survives_every_repetition(ssh_directory: Path) -> None:
    before = {path.name: path.read_text() for path in ssh_directory.iterdir()}
    for _ in range(2):
        _in_directory(access.CHANGE, ssh_directory)
        changed = {path.name: path.read_text() for path in ssh_directory.iterdir()}
        assert all(changed[name] != text for name, text in before.items())
        assert (ssh_directory / "ssh_host_ed25519_key").stat().st_mode & 0o777 == 0o600
    for _ in range(2):
        _in_directory(access.RESTORE, ssh_directory)
        assert {path.name: path.read_text() for path in ssh_directory.iterdir()} == before


@pytest.mark.parametrize(
    ("parse", "words", "cause"),
    [
        (outages.parse_ssh, [], "usage: lab/lab break ssh-cut NODE"),
        (outages.parse_ssh, ["w9"], "no node w9"),
        (outages.parse_api, ["w1"], "w1 is no control-plane node"),
        (outages.parse_etcd, ["w1"], "w1 is no control-plane node"),
        (outages.parse_metrics, ["w1"], "w1 is no control-plane node"),
        (etcd_members.parse_alarm, ["w1"], "w1 is no control-plane node"),
        (etcd_members.parse_down, ["w1"], "w1 is no control-plane node"),
    ],
)
def test_outages_refuse(parse: Callable[[Sequence[str]], list[Case]], words: list[str], cause: str) -> None:
    with pytest.raises(LabError, match=cause):
        parse(words)


@pytest.mark.parametrize("fault", [outages.SSH_CUT, outages.API_DOWN, outages.METRICS_CUT])
def test_an_outage_is_one_rule_however_often_it_is_made(
    fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an iptables on paper: a rule is a line of a file, -I puts it first, -D takes one away or fails."""
    rules = tmp_path / "rules"
    rules.touch()
    program = tmp_path / "iptables"
    program.write_text(f"""#!/bin/sh
shift; act=$1; shift 2
case $act in
  -I) echo "$*" >>{rules} ;;
  -D) grep -qxF -e "$*" {rules} || exit 1
      grep -xF -e "$*" {rules} | tail -n +2 >{rules}.left; grep -vxF -e "$*" {rules} >>{rules}.left
      mv {rules}.left {rules} ;;
esac
""")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(machine, "enter", lambda _node, argv: subprocess.run(argv, check=True))
    case = fault.parse(["cp1"])[0]
    fault.inflict(case)
    fault.inflict(case)
    assert rules.read_text().splitlines() == [" ".join(outages.RULES[fault.name])]
    rules.write_text(rules.read_text() * 2)  # as two interrupted commands may leave it
    fault.undo(case)
    fault.undo(case)
    assert rules.read_text() == ""


def test_the_last_member_is_not_taken_down() -> None:
    state.Lab("small").save()
    with pytest.raises(LabError, match="this lab has one etcd member"):
        etcd_members.parse_down(["cp1"])


def test_an_alarm_is_raised_and_taken_back_by_the_members_own_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a curl that knows the member and writes down what it is asked for."""
    asked = tmp_path / "asked"
    curl = tmp_path / "curl"
    curl.write_text(f"""#!/bin/sh
for word; do last=$word; done
case $last in
  */status) echo '{{"header":{{"cluster_id":"18", "member_id":"8543087242056840113", "revision":"2"}}, "leader":"85"}}' ;;
  */alarm) printf '%s\n' "$@" | grep action >>{asked} ;;
esac
""")
    curl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(machine, "enter", lambda _node, argv: subprocess.run(argv, check=True))
    (case,) = etcd_members.ETCD_ALARM.parse(["cp1"])
    etcd_members.ETCD_ALARM.inflict(case)
    etcd_members.ETCD_ALARM.undo(case)
    wanted = {"memberID": "8543087242056840113", "alarm": "NOSPACE"}
    lines = [json.loads(line) for line in asked.read_text().splitlines()]
    assert lines == [{"action": "ACTIVATE", **wanted}, {"action": "DEACTIVATE", **wanted}]


def test_a_member_is_taken_down_and_brought_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, taken = tmp_path / "etcd.yaml", tmp_path / "taken.yaml"
    manifest.write_text("etcd")
    monkeypatch.setattr(etcd_members, "MANIFEST", str(manifest))
    monkeypatch.setattr(etcd_members, "TAKEN_AWAY", str(taken))
    monkeypatch.setattr(etcd_members, "find_etcd", lambda _node: 7 if manifest.exists() else None)
    monkeypatch.setattr(etcd_members.probe, "ask", lambda *_: SimpleNamespace(ok=manifest.exists()))
    monkeypatch.setattr(machine, "enter", lambda _node, argv: subprocess.run(argv, check=True))
    (case,) = etcd_members.MEMBER_DOWN.parse(["cp2"])
    for _ in range(2):  # both may be repeated
        etcd_members.MEMBER_DOWN.inflict(case)
        assert not manifest.exists()
        assert taken.read_text() == "etcd"
    for _ in range(2):
        etcd_members.MEMBER_DOWN.undo(case)
        assert manifest.read_text() == "etcd"
        assert not taken.exists()


def test_etcd_is_stopped_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        monkeypatch.setattr(outages, "find_etcd", lambda _node: sleeper.pid)
        case = outages.parse_etcd(["cp1"])[0]
        try:
            outages.stop_etcd(case)
            assert _state_of(sleeper.pid, "T") == "T"
            outages.continue_etcd(case)
            assert _state_of(sleeper.pid, "S") == "S"
        finally:
            sleeper.kill()


def test_without_etcd_there_is_nothing_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "find_etcd", lambda _node: None)
    with pytest.raises(LabError, match="no etcd runs on cp1"):
        outages.stop_etcd(outages.parse_etcd(["cp1"])[0])


def _state_of(pid: int, wanted: str) -> str:
    """The kernel's letter for a process, once it is the wanted one or after a second."""
    for _ in range(100):
        letter = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        if letter == wanted:
            break
        time.sleep(0.01)
    return letter
