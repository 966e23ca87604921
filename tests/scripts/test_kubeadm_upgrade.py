"""kubeadm-upgrade: what is done already, the order of things, what kubeadm is told."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from tests.scripts.conftest import NODE_SCRIPTS, FakeNode

from nightshift.clients.node_ssh import ExitCode

TOOLS = Path(__file__).parent / "tools"
BASE = "http://repo.example:8081"
SOURCE_LINE = f"deb [signed-by=/k.gpg] {BASE}/v1.34/deb/ /\n"


@pytest.fixture
def control_plane(node: FakeNode) -> FakeNode:
    node.environment["PATH"] = f"{TOOLS}:{node.variables()['PATH']}"
    fs = node.root / "fs"
    for directory in ("etc/apt/sources.list.d", "etc/kubernetes/manifests", "var/lib/dpkg/updates"):
        (fs / directory).mkdir(parents=True)
    (fs / "etc/apt/sources.list.d/kubernetes.list").write_text(SOURCE_LINE)
    (fs / "etc/kubernetes/admin.conf").touch()
    for component in ("apiserver", "scheduler"):
        image = f"    image: registry.k8s.io/kube-{component}:v1.34.4\n"
        (fs / f"etc/kubernetes/manifests/kube-{component}.yaml").write_text(image)
    set_versions(node, "1.34.4")
    (node.systemd / "installed-kubeadm").write_text("1.34.4-1.1\n")
    stage(node)
    return node


def set_versions(node: FakeNode, version: str) -> None:
    (node.systemd / "cluster-configuration").write_text(
        f"kind: ClusterConfiguration\nkubernetesVersion: v{version}\n"
    )
    (node.systemd / "kubeadm-version").write_text(f"v{version}\n")


def stage(node: FakeNode) -> Path:
    directory = node.state / "packages" / "1.35.4-1.1"
    directory.mkdir(parents=True)
    for package in ("kubeadm", "kubelet", "kubectl"):
        (directory / f"{package}_1.35.4-1.1_amd64.deb").write_text(package)
    subprocess.run("sha256sum ./*.deb >SHA256SUMS; touch STAGED", shell=True, cwd=directory, check=True)
    return directory


def upgrade(node: FakeNode, *words: str) -> subprocess.CompletedProcess[str]:
    (node.systemd / "calls").write_text("")
    command = [str(NODE_SCRIPTS / "jobs" / "kubeadm-upgrade"), *(words or ("apply", "1.35.4", "900", BASE))]
    return subprocess.run(
        command, capture_output=True, text=True, env=node.variables(), timeout=60, check=False
    )


def calls(node: FakeNode) -> list[str]:
    return (node.systemd / "calls").read_text().splitlines()


def result(done: subprocess.CompletedProcess[str]) -> dict:
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1].removeprefix("RESULT "))


def configuration(node: FakeNode) -> dict:
    return yaml.safe_load((node.state / "upgrade-configuration.yaml").read_text())


def test_package_before_kubeadm_and_the_exact_staged_file(control_plane):
    assert result(upgrade(control_plane))["already"] is False
    install = next(i for i, call in enumerate(calls(control_plane)) if call.startswith("apt-get install"))
    run = next(i for i, call in enumerate(calls(control_plane)) if call.startswith("kubeadm upgrade"))
    assert install < run
    assert calls(control_plane)[install].endswith("/packages/1.35.4-1.1/kubeadm_1.35.4-1.1_amd64.deb")
    assert "kubelet_" not in calls(control_plane)[install]
    expected = (
        f"kubeadm upgrade apply v1.35.4 --config {control_plane.state}/upgrade-configuration.yaml --yes"
    )
    assert calls(control_plane)[run] == expected


def test_the_time_of_the_package_is_told(control_plane):
    said = result(upgrade(control_plane))
    assert 0 <= said["package_seconds"] <= said["seconds"] + 1
    assert result(upgrade(control_plane))["package_seconds"] == 0


def test_other_nodes_get_kubeadm_upgrade_node(control_plane):
    upgrade(control_plane, "node", "1.35.4", "900", BASE)
    assert f"kubeadm upgrade node --config {control_plane.state}/upgrade-configuration.yaml" in calls(
        control_plane
    )


def test_what_kubeadm_is_told(control_plane):
    upgrade(control_plane, "apply", "1.35.4", "900", BASE, "SystemVerification", "Swap")
    told = configuration(control_plane)
    assert told["apiVersion"] == "kubeadm.k8s.io/v1beta4"
    assert told["kind"] == "UpgradeConfiguration"
    assert told["apply"] == {
        "kubernetesVersion": "v1.35.4",
        "ignorePreflightErrors": ["SystemVerification", "Swap"],
    }
    assert told["node"] == {"ignorePreflightErrors": ["SystemVerification", "Swap"]}
    assert told["timeouts"] == {"upgradeManifests": "900s"}


def test_nothing_is_ignored_by_default_and_patches_are_named_again(control_plane):
    (control_plane.root / "fs/etc/kubernetes/patches").mkdir()
    upgrade(control_plane)
    told = configuration(control_plane)
    assert "ignorePreflightErrors" not in told["apply"]
    assert told["node"]["patches"] == {"directory": str(control_plane.root / "fs/etc/kubernetes/patches")}


def test_source_line_names_the_target_minor_afterwards(control_plane):
    source = control_plane.root / "fs/etc/apt/sources.list.d/kubernetes.list"
    upgrade(control_plane)
    assert source.read_text() == SOURCE_LINE.replace("v1.34", "v1.35")
    assert source.stat().st_mode & 0o777 == 0o644


ONE_LINE = """\
# deb http://repo.example:8081/v1.34/deb/ /
deb [signed-by=/c.gpg] https://pkgs.k8s.io/addons:/cri-o:/stable:/v1.34/deb/ /
deb [signed-by=/k.gpg] http://repo.example:8081/v1.34/deb/ / # of http://repo.example:8081/v1.34/deb/
deb http://deb.example/debian stable main
"""
DEB822 = """\
Types: deb
URIs: https://mirror.example/isv:/cri-o:/stable:/v1.34/deb/
Suites: /

# kubernetes
Types: deb
Suites: /
URIs: https://mirror.example/isv:/cri-o:/prerelease:/v1.34/deb/
 http://repo.example:8081/v1.34/deb
"""


@pytest.mark.parametrize(("name", "text"), [("all.list", ONE_LINE), ("all.sources", DEB822)])
def test_only_the_address_of_the_kubernetes_source_moves(control_plane, name, text):
    directory = control_plane.root / "fs/etc/apt/sources.list.d"
    (directory / "kubernetes.list").unlink()
    (directory / "cri-o.list").write_text(crio := "deb http://repo.example/cri-o/v1.34/deb/ /\n")
    (directory / name).write_text(text)
    upgrade(control_plane)
    now = (directory / name).read_text().splitlines()
    moved = [(old, new) for old, new in zip(text.splitlines(), now, strict=True) if old != new]
    assert len(moved) == 1
    old, new = moved[0]
    assert new == old.replace(f"{BASE}/v1.34/deb", f"{BASE}/v1.35/deb", 1)
    assert (directory / "cri-o.list").read_text() == crio
    upgrade(control_plane)
    assert (directory / name).read_text().splitlines() == now


def test_done_already_is_quick(control_plane):
    upgrade(control_plane)
    finish_cluster(control_plane)
    assert result(upgrade(control_plane))["already"] is True
    assert not [call for call in calls(control_plane) if call.startswith(("kubeadm upgrade", "apt-get"))]


@pytest.mark.parametrize("missing", ["mark", "configmap", "manifest", "kubeadm"])
def test_not_done_when_one_sign_is_missing(control_plane, missing):
    upgrade(control_plane)
    finish_cluster(control_plane)
    if missing == "mark":
        (control_plane.state / "done/kubeadm-apply-1.35.4").unlink()
    elif missing == "configmap":
        (control_plane.systemd / "cluster-configuration").write_text("kubernetesVersion: v1.34.4\n")
    elif missing == "kubeadm":
        (control_plane.systemd / "kubeadm-version").write_text("v1.34.4\n")
    else:
        manifest = control_plane.root / "fs/etc/kubernetes/manifests/kube-scheduler.yaml"
        manifest.write_text(manifest.read_text().replace("1.35.4", "1.34.4"))
    assert result(upgrade(control_plane))["already"] is False
    assert [call for call in calls(control_plane) if call.startswith("kubeadm upgrade")]


def finish_cluster(node: FakeNode) -> None:
    """What kubeadm itself would have written."""
    set_versions(node, "1.35.4")
    for manifest in (node.root / "fs/etc/kubernetes/manifests").iterdir():
        manifest.write_text(manifest.read_text().replace("1.34.4", "1.35.4"))


def begin(node: FakeNode, *, etcd: bool = False, servers: tuple[str, ...] = ()) -> None:
    """kubeadm's package is installed, and so much of the control plane is new."""
    (node.systemd / "installed-kubeadm").write_text("1.35.4-1.1\n")
    (node.systemd / "kubeadm-version").write_text("v1.35.4\n")
    manifests = node.root / "fs/etc/kubernetes/manifests"
    backup = node.scratch / "kubeadm-backup-manifests-2026-11-24-23-10-00"
    backup.mkdir()
    (manifests / "etcd.yaml").write_text("    image: registry.k8s.io/etcd:3.6.5-0\n")
    if etcd:
        (manifests / "etcd.yaml").rename(backup / "etcd.yaml")
        (manifests / "etcd.yaml").write_text("    image: registry.k8s.io/etcd:3.6.6-0\n")
    for name in servers:
        path = manifests / f"{name}.yaml"
        path.write_text(path.read_text().replace("1.34.4", "1.35.4"))


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({}, "every component is old: it had not begun, or it rolled back; it begins"),
        (
            {"etcd": True},
            "a control plane upgraded half way: etcd new, kube-apiserver kube-scheduler old; kubeadm goes on",
        ),
        (
            {"etcd": True, "servers": ("kube-apiserver",)},
            "a control plane upgraded half way: etcd kube-apiserver new, kube-scheduler old; kubeadm goes on",
        ),
        (
            {"etcd": True, "servers": ("kube-apiserver", "kube-scheduler")},
            "every component is new and kubeadm did not come to its end; it goes on",
        ),
    ],
    ids=["rolled back", "etcd new and apiserver old", "half-upgraded", "not ended"],
)
def test_what_an_earlier_kubeadm_left_is_named_and_carried_on(control_plane, state, said):
    begin(control_plane, **state)
    done = upgrade(control_plane)
    assert result(done)["already"] is False
    assert f"found: {said}" in done.stdout or f"found: kubeadm 1.35.4 is installed and {said}" in done.stdout
    assert [call for call in calls(control_plane) if call.startswith("kubeadm upgrade")]
    assert not [call for call in calls(control_plane) if call.startswith("apt-get install")]


def test_an_etcd_of_an_earlier_hop_does_not_count_as_new(control_plane):
    begin(control_plane)
    backup = control_plane.scratch / "kubeadm-backup-manifests-2026-08-24-23-10-00"
    backup.mkdir()
    (backup / "etcd.yaml").write_text("    image: registry.k8s.io/etcd:3.5.21-0\n")
    tools = control_plane.root / "later"  # kubeadm's package came after that backup
    tools.mkdir()
    (tools / "kubeadm").symlink_to(TOOLS / "fake")
    control_plane.environment["PATH"] = f"{tools}:{control_plane.variables()['PATH']}"
    assert "every component is old" in upgrade(control_plane).stdout


def test_a_node_that_was_not_begun_has_nothing_to_be_found(control_plane):
    assert "found:" not in upgrade(control_plane).stdout


def test_a_kubeadm_that_somebody_starts_meanwhile_is_not_run_beside(control_plane, tmp_path):
    """start-job has looked, then the package took its time."""
    (tmp_path / "upgrade").write_text("read -r _\n")
    process = subprocess.Popen(["bash", "upgrade"], cwd=tmp_path, stdin=subprocess.PIPE)
    (control_plane.systemd / "kubeadm-after-apt").write_text(f"{process.pid}\n")
    try:
        done = upgrade(control_plane)
    finally:
        process.kill()
        process.communicate()
    assert done.returncode == ExitCode.BUSY
    assert (
        f"somebody else is at it: kubeadm is run by root, pid {process.pid}, since "
        in done.stderr.replace(" (logged in as root)", "")
    )
    assert [call for call in calls(control_plane) if call.startswith("apt-get install")]
    assert not [call for call in calls(control_plane) if call.startswith("kubeadm upgrade")]


def test_failed_kubeadm_leaves_no_mark(control_plane):
    (control_plane.systemd / "kubeadm-exit").write_text("1")
    assert upgrade(control_plane).returncode == ExitCode.KUBEADM_FAILED
    assert not (control_plane.state / "done").exists()


def test_failed_kubeadm_leaves_the_source_line_where_the_node_is(control_plane):
    """Else the node's own apt would offer a kubelet that is newer than its API server."""
    source = control_plane.root / "fs/etc/apt/sources.list.d/kubernetes.list"
    (control_plane.systemd / "kubeadm-exit").write_text("1")
    upgrade(control_plane)
    assert source.read_text() == SOURCE_LINE
    (control_plane.systemd / "kubeadm-exit").unlink()
    upgrade(control_plane)
    assert source.read_text() == SOURCE_LINE.replace("v1.34", "v1.35")


@pytest.mark.parametrize("is_at_work", [False, True])
def test_holds_that_a_dead_job_left_off_come_back_with_the_next_fence(control_plane, is_at_work):
    (control_plane.systemd / "calls").write_text("")
    (control_plane.state / "held").write_text("kubeadm\nkubelet\n")
    if is_at_work:
        control_plane.hold_jobs()
        control_plane.run("start-job", "reclaim-scratch", "1", "airflow/lab/run-1", "60", "request-1", "3")
    assert control_plane.run("fence", "2").returncode == 0
    assert ("apt-mark hold kubeadm kubelet" in calls(control_plane)) is not is_at_work
    assert (control_plane.state / "held").exists() is is_at_work


def test_held_package_is_held_again_even_when_apt_failed_once(control_plane):
    (control_plane.systemd / "held").write_text("kubeadm\nvim\n")
    (control_plane.systemd / "apt-fails").touch()
    assert upgrade(control_plane).returncode == ExitCode.INSTALL_FAILED
    (control_plane.systemd / "apt-fails").unlink()
    (control_plane.systemd / "held").write_text("")
    upgrade(control_plane)
    assert "apt-mark hold kubeadm" in calls(control_plane)
    assert not (control_plane.state / "held").exists()


def test_a_hold_that_cannot_be_set_does_not_end_the_job_before_kubeadm(control_plane):
    """apt-mark waits for no lock; the next fence sets it."""
    (control_plane.systemd / "held").write_text("kubeadm\n")
    (control_plane.systemd / "hold-fails").touch()
    done = upgrade(control_plane)
    assert result(done)["already"] is False
    assert "could not be set again yet" in done.stderr
    assert (control_plane.state / "held").read_text() == "kubeadm\n"
    (control_plane.systemd / "hold-fails").unlink()
    assert control_plane.run("fence", "2").returncode == 0
    assert "apt-mark hold kubeadm" in calls(control_plane)
    assert not (control_plane.state / "held").exists()


def test_unstaged_or_changed_packages_are_refused(control_plane):
    staged = control_plane.state / "packages/1.35.4-1.1"
    (staged / "kubeadm_1.35.4-1.1_amd64.deb").write_text("changed")
    assert upgrade(control_plane).returncode == ExitCode.NOT_STAGED
    (staged / "STAGED").unlink()
    assert upgrade(control_plane).returncode == ExitCode.NOT_STAGED
    assert not [call for call in calls(control_plane) if call.startswith(("apt-get", "kubeadm upgrade"))]


def test_interrupted_dpkg_is_played_back_first(control_plane):
    (control_plane.root / "fs/var/lib/dpkg/updates/0001").touch()
    done = upgrade(control_plane)
    assert "found: dpkg was interrupted; it is brought to its end first" in done.stdout
    assert "dpkg --configure -a --force-confold" in calls(control_plane)


@pytest.mark.parametrize(
    "words",
    [
        ("apply", "1.35.4", "900"),
        ("both", "1.35.4", "900", BASE),
        ("apply", "latest", "900", BASE),
        ("apply", "1.35.4", "15m", BASE),
    ],
)
def test_wrong_words(control_plane, words):
    assert upgrade(control_plane, *words).returncode == ExitCode.USAGE
    assert calls(control_plane) == []


def test_configuration_is_read_back_exactly_and_without_kubectl(control_plane, tmp_path):
    text = 'kubernetesVersion: v1.34.4\nextra: "quoted \\\\ back"\nangle: <a&b>\ttab\n'
    (control_plane.systemd / "cluster-configuration").write_text(text)
    assert control_plane.shell("apt.sh", "cluster_configuration").stdout == text
    assert "kubectl " in calls(control_plane)[-1]
    few = tmp_path / "few"
    few.mkdir()
    (few / "curl").symlink_to(TOOLS / "fake")
    for program in ("bash", "basename", "cat", "grep", "head", "sed"):
        (few / program).symlink_to(shutil.which(program) or "")
    (control_plane.root / "fs/etc/kubernetes/kubelet.conf").write_text(
        "clusters:\n- cluster:\n    server: https://api:6443\n"
    )
    control_plane.environment["PATH"] = str(few)  # the machine itself may have kubectl
    done = control_plane.shell("apt.sh", "cluster_configuration")
    assert done.stdout == text, done.stderr
    called = calls(control_plane)[-1]
    assert called.startswith("curl ")
    assert called.endswith(" https://api:6443/api/v1/namespaces/kube-system/configmaps/kubeadm-config")


def test_no_configuration_is_an_error(control_plane):
    (control_plane.systemd / "cluster-configuration").unlink()
    assert control_plane.shell("apt.sh", "cluster_configuration").returncode != 0


AFTER_OUTAGE = """\
[preflight] Running pre-flight checks.
error: error execution phase preflight: [preflight] Some fatal errors occurred:
	[ERROR CreateJob]: could not delete Job "upgrade-health-check-x" in the namespace "kube-system"
"""
REFUSED = (
    'error: Get "https://10.0.0.1:6443/api/v1/nodes": dial tcp 10.0.0.1:6443: connect: connection refused\n'
)
ETCD_AWAY = "error: failed to get config map: etcdserver: request timed out\n"
ROLLED_BACK = """\
[upgrade/staticpods] This can take up to 5m0s
error: error execution phase control-plane: couldn't upgrade control plane. kubeadm has tried to recover everything into \
the earlier state. Errors faced: static Pod hash for component etcd on Node cp1 did not change after 5m0s: \
context deadline exceeded
"""


@pytest.mark.parametrize(
    ("says", "code"),
    [
        (AFTER_OUTAGE, ExitCode.API_LOST),
        (REFUSED, ExitCode.API_LOST),
        (ETCD_AWAY, ExitCode.API_LOST),
        (ROLLED_BACK, ExitCode.KUBEADM_FAILED),
        ("error: this version is not supported\n", ExitCode.KUBEADM_FAILED),
        (REFUSED + "[upgrade] going on\n" * 20 + "error: no\n", ExitCode.KUBEADM_FAILED),
    ],
)
def test_an_outage_under_kubeadm_is_told_from_its_own_failure(control_plane, says, code):
    (control_plane.systemd / "kubeadm-says").write_text(says)
    (control_plane.systemd / "kubeadm-exit").write_text("1")
    ended = upgrade(control_plane)
    assert ended.returncode == code, ended.stderr
    assert says in ended.stdout  # the job's log has kubeadm's own words
