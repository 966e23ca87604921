"""The command line of enrolment: names of connections, the environment file, refusals before anything is touched."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import pytest

from nightshift import cli
from nightshift.clients import node_install
from nightshift.clients.ssh_connect import generate_key_pair
from nightshift.domain.debts import Debt, DebtKind
from nightshift.domain.errors import ConfigError, LeaseHeldError
from nightshift.domain.facts import LeaseFacts, NodeFacts, WorkloadFacts, WorkloadName
from nightshift.domain.owner import require_installation, require_own_name
from nightshift.steps import enrol as enrol_step
from nightshift.steps.enrol import Access, enrol, unenrol

NOW = 150.0
NODE = NodeFacts("cp1", "10.0.0.1", True, "1.34.4", True, False)


class FakeSetup:
    def __init__(self, lease: LeaseFacts | None = None) -> None:
        empty = LeaseFacts("", 0, None, None, 120)
        self.done: list[str] = []
        self.api = SimpleNamespace(
            nodes=lambda: (self.node,),
            annotate_node=lambda name, values: self.done.append(f"annotate {name} {dict(values)}"),
            lease=lambda: lease or empty,
            drop_node_annotations=lambda name, owner, token: self.done.append(name),
            uncordon=lambda name: self.done.append(f"uncordon {name}") or self.is_ours,
            debts=lambda: tuple(self.debts),
            record_debt=self.record_debt,
            forget_debt=lambda debt: self.debts.remove(debt) or True,
            workload=lambda name: self.workload,
            set_workload=self.set_workload,
        )
        self.is_ours = False
        self.node = NODE
        self.debts: list[Debt] = []
        self.workload = WorkloadFacts(WorkloadName("Deployment", "shop", "web"), "u", "1", 0, 0)
        self.quiesce: tuple[WorkloadName, ...] = ()

    def record_debt(self, debt, instead_of):
        self.debts[self.debts.index(instead_of)] = debt
        return True

    def set_workload(self, found, setting):
        self.done.append(f"set {found.name} {setting}")
        self.workload = replace(found, setting=setting)
        return True

    def apply(self, quiesce=(), reads=()):
        self.done.append("apply")
        self.quiesce, self.reads = quiesce, reads
        return ("x",)

    def remove(self):
        self.done.append("remove")
        return ("x",)

    def kube_config(self):
        return {"server": "it's quoted"}


@pytest.fixture
def world(monkeypatch, tmp_path):
    monkeypatch.delenv("NIGHTSHIFT_INSTALLATION", raising=False)
    setup = FakeSetup()
    installed: list[str] = []
    held: list[bool] = []
    monkeypatch.setattr(enrol_step, "connector", lambda *_: None)
    monkeypatch.setattr(
        enrol_step,
        "install_scripts",
        lambda n, c, b, key, is_held: installed.append(key) or held.append(is_held) or ("done",),
    )
    monkeypatch.setattr(enrol_step, "remove_scripts", lambda *_: ())
    monkeypatch.setattr(enrol_step, "_verified", lambda *_: "log-in works")
    monkeypatch.setattr(cli.ClusterSetup, "from_kubeconfig", staticmethod(lambda _: setup))
    monkeypatch.setenv("NIGHTSHIFT_CLUSTERS", str(tmp_path / "clusters"))
    describe(tmp_path, "mine", "nightshift_mine_kubernetes", "nightshift_mine_ssh")
    (tmp_path / "key").write_text("key")
    (tmp_path / "known").write_text(f"10.0.0.1 {generate_key_pair().public}\n")
    return SimpleNamespace(setup=setup, installed=installed, held=held, directory=tmp_path)


def describe(directory, name: str, kubernetes: str, ssh: str, more: str = "") -> None:
    """Write a cluster's file."""
    (directory / "clusters").mkdir(exist_ok=True)
    text = f"kubernetes_connection: {kubernetes}\nssh_connection: {ssh}\nstore: file:///s\n{more}"
    (directory / "clusters" / f"{name}.yaml").write_text(text)


def run(world, command: str, cluster: str = "mine") -> int:
    here = world.directory
    words = ["--cluster", cluster, "--kubeconfig", "k", "--ssh-key", str(here / "key")]
    return cli.main(
        [command, *words, "--known-hosts", str(here / "known"), "--write-env", str(here / ".env")]
    )


def test_environment_file(world, capsys):
    path = world.directory / ".env"
    path.write_text("OTHER=kept\nAIRFLOW_CONN_NIGHTSHIFT_MINE_SSH='old'\n")
    assert run(world, "enrol") == 0
    assert path.stat().st_mode & 0o777 == 0o600
    lines = dict(line.split("=", 1) for line in path.read_text().splitlines())
    assert lines.pop("OTHER") == "kept"
    assert "gives Airflow no NIGHTSHIFT_INSTALLATION" in capsys.readouterr().err
    assert set(lines) == {"AIRFLOW_CONN_NIGHTSHIFT_MINE_KUBERNETES", "AIRFLOW_CONN_NIGHTSHIFT_MINE_SSH"}
    shell = f'. {path}; printf %s "$AIRFLOW_CONN_NIGHTSHIFT_MINE_KUBERNETES"'
    value = json.loads(subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True).stdout)
    assert json.loads(value["extra"]["kube_config"]) == {"server": "it's quoted"}
    ssh = json.loads(lines["AIRFLOW_CONN_NIGHTSHIFT_MINE_SSH"].strip("'"))
    assert ssh["login"] == "nightshift"
    assert list(ssh["extra"]["host_keys"]) == ["cp1"]


def test_enrolling_again_keeps_the_key(world):
    run(world, "enrol")
    first = (world.directory / ".env").read_text()
    name = next(x for x in first.splitlines() if x.startswith("NIGHTSHIFT_INSTALLATION="))
    require_own_name(require_installation(name.partition("=")[2]))
    run(world, "enrol")
    assert (world.directory / ".env").read_text() == first
    assert len(set(world.installed)) == 1


@pytest.mark.parametrize(
    ("line", "is_kept"), [("site-b", True), ("'site-b'", True), ("", False), ("''", False)]
)
@pytest.mark.parametrize("export", ["", "export "])
def test_the_name_of_an_airflow_is_made_up_only_where_there_is_none(world, line, is_kept, export):
    path = world.directory / ".env"
    path.write_text(f"{export}NIGHTSHIFT_INSTALLATION={line}\nOTHER=kept\n")
    run(world, "enrol")
    shell = f'. {path}; printf %s "$NIGHTSHIFT_INSTALLATION"'
    said = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True).stdout
    assert (said == "site-b") is is_kept
    require_own_name(require_installation(said))


def test_an_airflow_that_has_its_name_from_the_environment_gets_no_other(world, monkeypatch, capsys):
    monkeypatch.setenv("NIGHTSHIFT_INSTALLATION", "site-b")
    run(world, "enrol")
    assert "NIGHTSHIFT_INSTALLATION" not in (world.directory / ".env").read_text() + capsys.readouterr().err


def test_names_come_from_the_clusters_file(world):
    describe(world.directory, "prod", "prod_api", "prod_nodes")
    run(world, "enrol", "prod")
    assert "AIRFLOW_CONN_PROD_NODES=" in (world.directory / ".env").read_text()


def test_unenrol_takes_the_lines_back_and_nothing_else(world):
    run(world, "enrol")
    path = world.directory / ".env"
    path.write_text(path.read_text() + "OTHER=kept\n")
    name = next(x for x in path.read_text().splitlines(True) if x.startswith("NIGHTSHIFT_INSTALLATION="))
    assert run(world, "unenrol") == 0
    assert path.read_text() == f"{name}OTHER=kept\n"
    assert world.setup.done == ["apply", "uncordon cp1", "cp1", "remove"]


def test_enrol_refuses_a_cluster_without_a_file_before_anything(world, capsys):
    describe(world.directory, "prod", "k", "n")
    assert run(world, "enrol", "mien") == 1
    said = capsys.readouterr().err
    assert "[CONFIG_INVALID] There is no cluster mien" in said
    assert f"{world.directory}/clusters/mien.yaml does not exist; the clusters there are mine, prod." in said
    assert (world.installed, world.setup.done) == ([], [])
    assert not (world.directory / ".env").exists()


def test_enrol_says_when_no_cluster_has_a_file(world, capsys):
    (world.directory / "clusters" / "mine.yaml").unlink()
    assert run(world, "enrol") == 1
    assert "no cluster has a file there" in capsys.readouterr().err


def test_unenrol_of_an_unknown_cluster_goes_on_and_names_what_it_did_not_find(world, capsys):
    run(world, "enrol")
    path = world.directory / ".env"
    before = path.read_text()
    capsys.readouterr()
    assert run(world, "unenrol", "mien") == 0
    said = capsys.readouterr().err
    assert (
        f"warning: {world.directory}/clusters/mien.yaml does not exist; the clusters there are mine." in said
    )
    assert "has no AIRFLOW_CONN_NIGHTSHIFT_MIEN_KUBERNETES and no AIRFLOW_CONN_NIGHTSHIFT_MIEN_SSH" in said
    assert path.read_text() == before
    assert world.setup.done[-1] == "remove"


def test_unenrol_takes_one_variable_back_and_names_the_other(world, capsys):
    run(world, "enrol")
    path = world.directory / ".env"
    kubernetes = next(x for x in path.read_text().splitlines(True) if "_KUBERNETES=" in x)
    path.write_text(f"{kubernetes}OTHER=kept\n")
    assert run(world, "unenrol") == 0
    assert path.read_text() == "OTHER=kept\n"
    said = capsys.readouterr().err
    assert "has no AIRFLOW_CONN_NIGHTSHIFT_MINE_SSH: nothing to take out for it" in said


def test_unenrol_of_a_known_cluster_warns_of_nothing(world, capsys):
    run(world, "enrol")
    assert run(world, "unenrol") == 0
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize("is_ours", [True, False])
def test_unenrol_gives_back_what_a_dead_run_cordoned(world, is_ours):
    """Before its mark goes: afterwards nothing says that the cordon was ours."""
    said: list[str] = []
    world.setup.is_ours = is_ours
    unenrol(Access(world.setup, "root", "key", lambda _: "k", said.append))
    assert world.setup.done == ["uncordon cp1", "cp1", "remove"]
    assert ("cp1: uncordoned, a run that died had cordoned it" in said) is is_ours


def test_unenrol_starts_what_a_dead_run_had_made_quiet(world):
    """Before the namespace goes, and the record with it."""
    subject, undo = "Deployment/shop/web", {"before": 3, "uid": "u"}
    world.setup.debts = [Debt(DebtKind.REPLICAS, subject, undo, "dead"), Debt(DebtKind.UNREADABLE, "x")]
    said: list[str] = []
    unenrol(Access(world.setup, "root", "key", lambda _: "k", said.append))
    assert world.setup.done[-2:] == ["set Deployment shop/web 3", "remove"]
    assert "cluster: Deployment shop/web has 3 replicas again" in said
    assert "the record of x cannot be read" in "".join(said)


def test_the_rights_to_make_quiet_come_from_the_clusters_file(world):
    describe(world.directory, "prod", "k", "n", "quiesce: [{kind: CronJob, namespace: shop, name: backup}]\n")
    assert run(world, "enrol", "prod") == 0
    assert world.setup.quiesce == (WorkloadName("CronJob", "shop", "backup"),)


def test_unenrol_drops_the_mark_of_a_node_that_was_set_aside(world):
    world.setup.node = replace(NODE, annotations={"nightshift.io/quarantined": "{}"})
    unenrol(access(world.setup))
    assert "annotate cp1 {'nightshift.io/quarantined': None}" in world.setup.done


def test_unenrol_leaves_the_marks_while_a_job_is_at_work(world, monkeypatch):
    def refuse(*_):
        raise ConfigError("ENROL_FAILED", "a job is at work", cause="c", next_step="n")

    monkeypatch.setattr(enrol_step, "remove_scripts", refuse)
    with pytest.raises(ConfigError):
        unenrol(access(world.setup))
    assert world.setup.done == []


def access(setup, host_key="ssh-ed25519 AAAA") -> Access:
    return Access(setup, "root", "key", lambda _: host_key, lambda _: None)


def test_unpinned_host_is_refused_before_anything(world):
    with pytest.raises(ConfigError, match="HOST_KEY_UNKNOWN") as caught:
        enrol(access(world.setup, host_key=None), generate_key_pair())
    assert "cp1" in caught.value.message
    assert (world.installed, world.setup.done) == ([], [])


class Watch:
    """A clock that only sleeping moves, and a Lease that is written again after some seconds."""

    def __init__(self, lease: LeaseFacts, again_after: float | None = None) -> None:
        self.now, self.lease, self.again_after = NOW, lease, again_after

    def read(self) -> LeaseFacts:
        is_again = self.again_after is not None and self.now >= NOW + self.again_after
        return replace(self.lease, renewed=self.now) if is_again else self.lease

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def access(self, setup) -> Access:
        setup.api.lease = self.read
        return replace(access(setup), clock=lambda: self.now, sleep=self.sleep)


LIVE = LeaseFacts("run-1", 5, NOW - 50, NOW - 50, 120)
EXPIRED = LeaseFacts("run-1", 5, NOW - 130, NOW - 130, 120)


@pytest.mark.parametrize(
    ("lease", "again_after", "is_held", "waited"),
    [
        (LIVE, None, True, 0),
        (EXPIRED, None, False, 25),
        (EXPIRED, 20, True, 20),
        (LeaseFacts("", 5, None, None, 120), None, False, 0),
        (LeaseFacts("run-1", 5, None, None, 120), None, False, 0),
    ],
)
def test_a_run_at_the_cluster_keeps_its_scripts_and_rights(world, lease, again_after, is_held, waited):
    watch = Watch(lease, again_after)
    enrol(watch.access(world.setup), generate_key_pair())
    assert world.held == [is_held]
    assert world.setup.done == ([] if is_held else ["apply"])
    assert watch.now == NOW + waited


def test_unenrol_watches_an_expired_lease_too(world):
    with pytest.raises(LeaseHeldError):
        unenrol(Watch(EXPIRED, 20).access(world.setup))
    assert world.setup.done == []


@pytest.mark.parametrize(
    ("is_held", "words"), [(True, ["install", "KEY", "held"]), (False, ["install", "KEY"])]
)
def test_the_installer_is_told(monkeypatch, is_held, words):
    given = []
    monkeypatch.setattr(
        node_install, "_run", lambda node, connect, bundle, said: given.append(list(said)) or ()
    )
    node_install.install_scripts("cp1", None, None, "KEY", is_held)
    assert given == [words]


@pytest.mark.parametrize(
    "text",
    [
        "kubernetes_connection: nightshift_other_kubernetes\nssh_connection: Nightshift_Mine_SSH\n",
        '"ssh_connection": nightshift_mine_ssh\n',
        "ssh_connection :\n  nightshift_mine_ssh\n",
        "{ssh_connection: nightshift_mine_ssh}\n",
        "\ufeffssh_connection: nightshift_mine_ssh\n",
        "ssh_connection: nightshift_mine_ssh\nnodes: [\n",
        "ssh_connection: nightshift_mine_ssh\nkubernetes_connection: [x]\nuntil: 2026-02-30\n",
    ],
)
def test_a_connection_is_found_however_the_other_file_says_it(world, capsys, text):
    (world.directory / "clusters/other.yaml").write_text(text, encoding="utf-8")
    assert run(world, "enrol") == 1
    assert "names the connection nightshift_mine_ssh, and so does other.yaml" in capsys.readouterr().err


def test_a_connection_that_another_cluster_names_stays_when_one_goes(world, capsys):
    run(world, "enrol")
    before = (world.directory / ".env").read_text()
    describe(world.directory, "copy", "nightshift_mine_kubernetes", "nightshift_mine_ssh")
    assert run(world, "unenrol", "copy") == 0
    assert (world.directory / ".env").read_text() == before
    assert "AIRFLOW_CONN_NIGHTSHIFT_MINE_SSH stays" in capsys.readouterr().err


def test_two_clusters_share_no_connection(world, capsys):
    describe(world.directory, "other", "nightshift_other_kubernetes", "nightshift_mine_ssh")
    assert run(world, "enrol") == 1
    said = capsys.readouterr().err
    assert "names the connection nightshift_mine_ssh, and so does other.yaml; nothing was touched" in said
    assert (world.installed, world.setup.done) == ([], [])


def test_a_file_that_is_no_cluster_shares_nothing(world):
    describe(world.directory, "Mine copy", "nightshift_mine_kubernetes", "nightshift_mine_ssh")
    assert run(world, "enrol") == 0


def test_unenrol_waits_for_a_running_night(world):
    with pytest.raises(LeaseHeldError):
        unenrol(Watch(LIVE).access(world.setup))
    assert world.setup.done == []


def test_failed_node_is_said_and_the_cluster_not_touched(world, monkeypatch):
    said: list[str] = []

    def refuse(*_, is_held):
        raise ConfigError("ENROL_FAILED", "no", cause="c", next_step="n")

    monkeypatch.setattr(enrol_step, "install_scripts", refuse)
    with pytest.raises(ConfigError):
        enrol(Access(world.setup, "root", "key", lambda _: "k", said.append), generate_key_pair())
    assert said[0].startswith("cp1: FAILED")
    assert world.setup.done == []


def test_unreadable_key_is_one_line_and_exit_code_1(world, capsys):
    (world.directory / "key").unlink()
    assert run(world, "enrol") == 1
    assert "[CONFIG_INVALID]" in capsys.readouterr().err
