"""rehearse: the whole job, with everything that needs a kernel or a cluster stood in for; its libraries by themselves."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.scripts.conftest import NODE_SCRIPTS, PYTHON, FakeNode
from tests.scripts.test_kubeadm_upgrade import TOOLS

from nightshift.clients.node_ssh import ExitCode

VERSION = "1.35.4"
BUNDLE = "etcd-20261129T230000Z.tar.gz"
IMAGE = f"registry.example/kube-apiserver:v{VERSION}"
_CONTAINER = "import os, sys, time; os.chroot(sys.argv[1]); print(flush=True); time.sleep(300)"
MANIFEST = """\
apiVersion: v1
kind: Pod
metadata:
  name: kube-apiserver
spec:
  containers:
  - command:
    - kube-apiserver
    - --advertise-address=10.0.0.11
    - --client-ca-file=/etc/kubernetes/pki/ca.crt
    - --enable-admission-plugins=NodeRestriction,MutatingAdmissionWebhook
    - --etcd-servers=https://127.0.0.1:2379,https://10.0.0.12:2379
    - --etcd-servers-overrides=/events#https://10.0.0.11:2381
    - --egress-selector-config-file=/etc/kubernetes/egress.yaml
    - --audit-webhook-config-file=/etc/kubernetes/audit.yaml
    - --audit-log-maxsize=500
    - --audit-log-path=/var/log/audit.log
    - --secure-port=6443
    - '--oidc-username-prefix=it''s:'
    env:
    - name: NO_PROXY
      value: "10.0.0.0/8"
    image: %(image)s
    livenessProbe:
      failureThreshold: 8
    name: kube-apiserver
    volumeMounts:
    - mountPath: /etc/kubernetes/pki
      name: k8s-certs
      readOnly: true
    - mountPath: /made/on/demand
      name: made
  - command:
    - sidecar
    image: sidecar:1
    name: sidecar
    volumeMounts:
    - mountPath: /sidecar
      name: made
  hostNetwork: true
  volumes:
  - hostPath:
      path: /etc/kubernetes/pki
      type: %(pki_type)s
    name: k8s-certs
  - hostPath:
      path: %(made)s
      type: DirectoryOrCreate
    name: made
status: {}
"""
STUBS = {
    # Options up to "--", then the program: no namespace is made.
    "unshare": 'while [[ $1 == -* && $1 != -- ]]; do shift; done\n[[ $1 != -- ]] || shift\n[[ ! -e {fake}/no-namespaces ]] || exit 1\nexec "$@"\n',
    "mount": 'echo "mount $*" >>{fake}/calls\n[[ $* != *remount* || ! -e {fake}/no-remount ]] || exit 32\n'
    '[[ $1 != --bind || $2 == "$3" ]] || {{ [[ -d $2 ]] && cp -a "$2/." "$3" || cp "$2" "$3"; }}\n',
    "umount": "true\n",
    "ip": '[[ $* != "-o link show up" ]] || cat {fake}/links\n',
    "ctr": 'echo "ctr $* $CONTAINERD_SNAPSHOTTER" >>{fake}/calls\n'
    '[[ ! -e {fake}/no-containerd ]] || exit 1\n'
    'case "$*" in *"images mount"*) cp -a {fake}/image/. "${{@: -1}}" ;; *"images ls"*) echo there ;; *"snapshots ls"*) cat {fake}/views ;; esac\n',
    "containerd": """printf "    snapshotter = ''\\n      snapshotter = 'zfs'\\n"\n""",
    "crictl": "exit 0\n",
    "nproc": "echo 4\n",
    # Up to lib/enter.pl, then its ROOT, NAME=VALUE…, --, PROGRAM, ARGUMENT…; what asks for the version is not the start.
    "setpriv": 'while [[ $1 != */enter.pl ]]; do shift; done\nroot=$2\nshift 2\nvariables=()\n'
    'while [[ $1 != -- ]]; do variables+=("$1"); shift; done\nshift\n'
    '[[ ! -e {fake}/enter-code ]] || exit "$(cat {fake}/enter-code)"\n'
    'if [[ ${{2:-}} == --version ]]; then cat {fake}/version; exit; fi\n'
    'printf "%s\\n" "$root" "$@" >{fake}/argv\nprintf "%s\\n" "${{variables[@]}}" >{fake}/environment\n'
    'find "$root" | sort >{fake}/tree\nexec "$root$1"\n',
    "dpkg-deb": "tar -c -C {fake}/deb ./usr/bin/kubeadm\n",
    "sleep": "exec /bin/sleep 0.05\n",
    "curl": 'for word in "$@"; do [[ $word != https://* ]] || url=$word; done\n'
    'echo "$url" >>{fake}/asked\n'
    "path=${{url#https://*/}}\nfile={fake}/api/${{path//\\//_}}\n"
    "code=200\n"
    '[[ -e $file ]] || file={fake}/api/empty\n'
    '[[ ! -e $file.code ]] || code=$(cat "$file.code")\n'
    'while (($# > 0)); do case $1 in --output) output=$2 ;; --write-out) write=1 ;; esac; shift; done\n'
    'if [[ -n ${{output:-}} ]]; then cat "$file" >"$output"; else cat "$file"; fi\n'
    '[[ -z ${{write:-}} ]] || printf "%s" "$code"\n'
    '[[ ! -e $file.exit ]] || exit "$(cat "$file.exit")"\n',
}  # fmt: skip
DEATH = "#!/bin/bash\necho 'I1129 starting'\necho 'Error: unknown flag: --gone'\nexit 1\n"
LIFE = "#!/bin/bash\nexec /bin/sleep 300\n"
RESOURCE = '{{"name":"{0}","singularName":"","namespaced":true,"kind":"K","verbs":["get","list"],"storageVersionHash":"x"}}'


def stub(control: Control, name: str, body: str) -> None:
    """Put another program in a real one's place."""
    program = Path(control.environment["PATH"].partition(":")[0]) / name
    program.write_text(f"#!/bin/bash\n{body}")
    program.chmod(0o755)


def slow(control: Control) -> None:
    """Each pause lasts: an API server is given time to settle."""
    stub(control, "sleep", "exec /bin/sleep 0.8\n")


class Control(FakeNode):
    """A control plane with a snapshot, staged packages, an image, and an API server that does what a test says."""

    @property
    def fake(self) -> Path:
        return self.systemd

    @property
    def work(self) -> Path:
        return self.state / "work/rehearsal"

    def rehearse(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.scripts / "jobs" / "rehearse"), *(words or (VERSION, BUNDLE))]
        return subprocess.run(
            command, capture_output=True, text=True, env=self.variables(), timeout=60, check=False
        )

    def program(self, text: str) -> None:
        path = self.fake / "image/usr/local/bin/kube-apiserver"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def manifest(self, **words: str) -> None:
        words = {"image": IMAGE, "pki_type": "DirectoryOrCreate", "made": "/made", **words}
        (self.fake / "manifest.yaml").write_text(MANIFEST % words)

    def memory(self, total_mib: int, available_mib: int) -> None:
        proc = self.root / "fs/proc"
        (proc / "meminfo").write_text(
            f"MemTotal: {total_mib * 1024} kB\nMemFree: 1 kB\nMemAvailable: {available_mib * 1024} kB\n"
        )

    def answers(self, path: str, body: str, code: int = 200) -> None:
        file = self.fake / "api" / path.strip("/").replace("/", "_")
        file.write_text(body)
        file.with_name(f"{file.name}.code").write_text(str(code))

    def lists(self, version: str, *names: str) -> None:
        resources = ",".join(RESOURCE.format(name) for name in names)
        base = f"/apis/{version}" if "/" in version else f"/api/{version}"
        self.answers(base, f'{{"kind":"APIResourceList","resources":[{resources}]}}')

    def argv(self) -> list[str]:
        return (self.fake / "argv").read_text().splitlines()

    def asked(self) -> list[str]:
        return (self.fake / "asked").read_text().splitlines()


@pytest.fixture
def control(node: FakeNode, tmp_path: Path, hurried_scripts: Path) -> Iterator[Control]:
    control = Control(node.root, scripts=hurried_scripts)
    fs = node.root / "fs"
    for directory in ("etc/kubernetes/manifests", "etc/kubernetes/pki/etcd", "proc"):
        (fs / directory).mkdir(parents=True)
    for kind in ("mnt", "net"):
        for process, number in (("self", 1), ("1", 0)):
            (fs / f"proc/{process}/ns").mkdir(parents=True, exist_ok=True)
            (fs / f"proc/{process}/ns/{kind}").symlink_to(f"{kind}:[{number}]")
    (fs / "etc/kubernetes/pki/ca.crt").write_text("THE CLUSTER'S CA\n")
    (fs / "etc/kubernetes/admin.conf").touch()
    (fs / "etc/kubernetes/manifests/kube-apiserver.yaml").write_text(
        "    kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint: 10.0.0.11:6443\n"
    )
    control.memory(16384, 12000)
    (control.fake / "cluster-configuration").write_text(
        "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: v1.34.4\n"
    )
    (control.fake / "views").touch()
    (control.fake / "version").write_text(f"Kubernetes v{VERSION}\n")
    (control.fake / "links").write_text("1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536\n")
    (control.fake / "etcd-restored").write_text("1234 567 89 1000\n")
    _programs(control, tmp_path)
    _files(control)
    container = tmp_path / "container"
    programs = container / "usr/local/bin"
    programs.mkdir(parents=True)
    for name in ("etcd", "etcdctl", "etcdutl"):
        shutil.copy(TOOLS / "etcd-programs", programs / name)
    database = container / "data/member/snap/db"
    database.parent.mkdir(parents=True)
    database.write_bytes(b"x" * 4096)
    arguments = ["--cert-file=/etc/kubernetes/pki/etcd/server.crt", "--data-dir=/data"]
    command = [sys.executable, "-c", _CONTAINER, str(container), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    control.pretend_process("etcd", process.pid)
    yield control
    process.kill()
    process.communicate()


def _programs(control: Control, tmp_path: Path) -> None:
    own = tmp_path / "bin"
    own.mkdir()
    for name, text in STUBS.items():
        (own / name).write_text("#!/bin/bash\n" + text.format(fake=control.fake))
        (own / name).chmod(0o755)
    control.environment["PATH"] = f"{own}:{TOOLS}:{control.variables()['PATH']}"


def _files(control: Control) -> None:
    snapshots = control.state / "snapshots"
    snapshots.mkdir()
    (control.fake / "snapshot.db").write_text("data")
    with tarfile.open(snapshots / BUNDLE, "w:gz") as tar:
        tar.add(control.fake / "snapshot.db", "snapshot.db")
    staged = control.state / f"packages/{VERSION}-1.1"
    staged.mkdir(parents=True)
    for name in ("STAGED", f"kubeadm_{VERSION}-1.1_amd64.deb"):
        (staged / name).touch()
    kubeadm = control.fake / "deb/usr/bin/kubeadm"
    kubeadm.parent.mkdir(parents=True)
    kubeadm.write_text(
        f'#!/bin/bash\necho "$*" >{control.fake}/rendered-by\n'
        f'cp "$(sed -E "s/.* --config ([^ ]+).*/\\1/" <<<"$*")" {control.fake}/rendered-from\n'
        f"[[ ! -e {control.fake}/kubeadm-refuses ]] || {{ cat {control.fake}/kubeadm-refuses; exit 1; }}\n"
        f"manifest=manifest.yaml; ! grep -q fromOutside {control.fake}/rendered-from || manifest=outside.yaml\n"
        f'cp {control.fake}/$manifest "$KUBEADM_INIT_DRYRUN_DIR/kube-apiserver.yaml"\n'
    )
    kubeadm.chmod(0o755)
    control.program(LIFE)
    control.manifest()
    (control.fake / "image/var").mkdir()
    (control.fake / "image/run").mkdir()
    (control.fake / "image/var/run").symlink_to("/run")
    (control.fake / "api").mkdir()
    (control.fake / "api/empty").write_text('{"kind":"List","apiVersion":"v1","metadata":{},"items":[]}')
    control.answers("/apis", '{"groups":[{"versions":[{"groupVersion":"apps/v1"}]}]}')
    control.lists("v1", "pods", "secrets")
    control.lists("apps/v1", "deployments")


def result(done: subprocess.CompletedProcess[str]) -> dict:
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    return json.loads(line.removeprefix("RESULT "))


# -- the whole job ------------------------------------------------------------------------------------------------------


def test_a_healthy_target_is_ready_and_lists_everything(control: Control) -> None:
    done = control.rehearse()
    assert done.returncode == 0, done.stdout + done.stderr
    told = result(done)
    assert (told["rehearsed"], told["resources"], told["group_versions"]) == (True, 3, 2)
    listed = [url.partition("6443")[2] for url in control.asked() if "?limit=" in url]
    assert listed == [
        "/api/v1/pods?limit=250",
        "/api/v1/secrets?limit=250",
        "/apis/apps/v1/deployments?limit=250",
    ]
    assert not control.work.exists()


def test_it_runs_with_the_manifest_that_the_targets_kubeadm_writes(control: Control) -> None:
    (control.root / "fs/etc/kubernetes/patches").mkdir()
    assert control.rehearse().returncode == 0
    assert "kubernetesVersion: v1.35.4" in (control.fake / "rendered-from").read_text()
    assert "--patches" in (control.fake / "rendered-by").read_text()
    argv = control.argv()
    assert argv[1] == "/nightshift/rehearsed-apiserver"  # nobody takes it for the live one
    assert {"--advertise-address=10.0.0.11", "--secure-port=6443", "--oidc-username-prefix=it's:"} <= set(
        argv
    )
    assert {"NO_PROXY=10.0.0.0/8", "GOMAXPROCS=1"} <= set(
        (control.fake / "environment").read_text().splitlines()
    )
    tree = (control.fake / "tree").read_text()
    assert "root/etc/kubernetes/pki/ca.crt" in tree
    assert "root/made/on/demand" in tree
    assert "root/sidecar" not in tree


def test_nothing_that_leads_to_live_things_is_left_in_its_arguments(control: Control) -> None:
    assert control.rehearse().returncode == 0
    argv = control.argv()
    assert [word for word in argv if "10.0.0.12" in word or "2381" in word] == []
    assert [word for word in argv if word.startswith(("--egress-selector", "--audit-webhook"))] == []
    assert [word for word in argv if word.startswith("--audit-log")] == [
        "--audit-log-path=/nightshift/audit.log",
        "--audit-log-maxsize=8",
        "--audit-log-maxbackup=1",
    ]
    assert "--etcd-servers=https://127.0.0.1:2379" in argv
    assert "--enable-admission-plugins=NodeRestriction" in argv
    assert "--disable-admission-plugins=MutatingAdmissionWebhook,ValidatingAdmissionWebhook" in argv


def test_its_client_is_no_client_of_the_cluster(control: Control) -> None:
    control.program(
        f"#!/bin/bash\ncp {control.work}/root/nightshift/client-ca.crt {control.fake}/trusted\n" + LIFE
    )
    assert control.rehearse().returncode == 0
    assert "--client-ca-file=/nightshift/client-ca.crt" in control.argv()
    trusted = (control.fake / "trusted").read_text()
    assert trusted.startswith("THE CLUSTER'S CA\n")  # what the manifest names is read all the same
    assert trusted.count("BEGIN CERTIFICATE") == 1


def test_the_image_is_taken_from_where_the_kubelet_has_it_pulled(control: Control) -> None:
    assert control.rehearse().returncode == 0
    calls = (control.fake / "calls").read_text()
    view = re.search(rf"ctr -n k8s.io images mount {IMAGE} ({control.work}/image\.\w+) zfs\n", calls)
    assert view
    assert f"ctr -n k8s.io images unmount --rm {view[1]} zfs\n" in calls


def test_a_view_that_outlived_a_power_loss_is_forgotten_and_never_taken(control: Control) -> None:
    """Of a view of that name, containerd gives the image that it was made of: an older one would be rehearsed."""
    control.work.mkdir(parents=True)
    left = f"{control.work}/image.OldOldOl"
    (control.fake / "views").write_text(
        f"KEY PARENT KIND\n{left} sha256:1 View\n/other/image.x sha256:1 View\n"
    )
    assert control.rehearse().returncode == 0
    calls = (control.fake / "calls").read_text()
    assert f"ctr -n k8s.io images unmount --rm {left} zfs\n" in calls
    assert "/other/image.x" not in calls
    assert len(set(re.findall(r"images mount \S+ (\S+)", calls)) - {left}) == 1


def test_a_client_ca_that_is_not_there_keeps_its_name(control: Control) -> None:
    (control.root / "fs/etc/kubernetes/pki/ca.crt").unlink()
    control.rehearse()
    assert "--client-ca-file=/etc/kubernetes/pki/ca.crt" in control.argv()


def test_an_api_server_that_dies_fails_with_its_own_words(control: Control) -> None:
    control.program(DEATH)
    control.answers("/readyz", "", 500)
    done = control.rehearse()
    assert done.returncode == ExitCode.REHEARSAL_FAILED
    assert done.stderr.splitlines()[-1].endswith("before it was ready: Error: unknown flag: --gone")
    assert "Error: unknown flag: --gone" in (control.state / "rehearsal.log").read_text()
    assert not control.work.exists()


def test_its_words_are_evidence_and_hold_no_secret(control: Control) -> None:
    control.program("#!/bin/bash\necho 'Error: bad --oidc-client-secret=hunter2'\nexit 1\n")
    control.answers("/readyz", "", 500)
    done = control.rehearse()
    bundle = subprocess.run(
        [str(control.scripts / "nightshift-node"), "collect-evidence", "0"],
        capture_output=True,
        env=control.variables(),
        check=True,
    ).stdout
    (control.fake / "bundle.tar.gz").write_bytes(bundle)
    with tarfile.open(control.fake / "bundle.tar.gz") as tar:
        log = tar.extractfile("./rehearsal/kube-apiserver.log")
        assert log is not None
        words = log.read().decode()
    assert "Error: bad --oidc-client-secret=[REDACTED]" in words
    assert "hunter2" not in words + done.stdout + done.stderr


def test_a_failure_that_is_over_is_no_evidence(control: Control) -> None:
    (control.state / "rehearsal.log").write_text("Error: of another night")
    assert control.rehearse().returncode == 0
    assert not (control.state / "rehearsal.log").exists()


def test_a_resource_that_cannot_be_read_is_named(control: Control) -> None:
    body = '{"kind":"Status","message":"no kind \\"Gone\\" is registered","code":500}'
    control.answers("/api/v1/secrets?limit=250", body, 500)
    control.answers("/api/v1/secrets?limit=1", body, 500)
    done = control.rehearse()
    assert done.returncode == ExitCode.REHEARSAL_FAILED
    assert (
        'cannot list 1 of 3 resources: v1 secrets (HTTP 500, the first one): no kind "Gone" is registered'
        in done.stderr
    )


def test_every_page_is_read(control: Control) -> None:
    page = (
        '{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"9","continue":"abc"},"items":[]}'
    )
    control.answers("/api/v1/pods?limit=250", page + " " * 9000)
    control.answers("/api/v1/pods?limit=250&continue=abc", '{"message":"unable to decode"}', 500)
    done = control.rehearse()
    assert done.returncode == ExitCode.REHEARSAL_FAILED
    assert "v1 pods (HTTP 500" in done.stderr


def test_pages_of_custom_resources_are_read_whose_metadata_comes_last(control: Control) -> None:
    end = ',"kind":"GadgetList","metadata":{"continue":"abc","resourceVersion":"9"}}\n'
    page = '{"apiVersion":"x.io/v1","items":[' + " " * 20000 + "]" + end
    control.answers("/apis", '{"groupVersion":"apps/v1"},{"groupVersion":"x.io/v1"}')
    control.lists("x.io/v1", "gadgets")
    control.answers("/apis/x.io/v1/gadgets?limit=250", page)
    control.answers("/apis/x.io/v1/gadgets?limit=250&continue=abc", '{"message":"unable to decode"}', 500)
    done = control.rehearse()
    assert done.returncode == ExitCode.REHEARSAL_FAILED
    assert "x.io/v1 gadgets (HTTP 500" in done.stderr


def test_a_page_that_is_not_understood_proves_nothing(control: Control) -> None:
    control.answers("/api/v1/pods?limit=250", '{"items":[],"metadata":{"continue":"abc"}}')
    done = control.rehearse()
    assert done.returncode == 0
    assert "the list of v1 pods" in result(done)["reason"]


def test_an_answer_that_was_cut_off_is_none(control: Control) -> None:
    file = control.fake / "api/api_v1_pods?limit=250"
    file.write_text('{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"9"},"items":[{')
    file.with_name(f"{file.name}.exit").write_text("18")
    slow(control)
    assert control.rehearse().returncode == ExitCode.REHEARSAL_FAILED


@pytest.mark.parametrize(
    ("version", "code"), [("/api/v1", 500), ("/apis/apps/v1", 503), ("/apis/apps/v1", 404)]
)
def test_an_api_that_cannot_be_discovered_is_never_left_out(
    control: Control, version: str, code: int
) -> None:
    control.answers(version, '{"message":"it has no idea"}', code)
    slow(control)
    done = control.rehearse()
    assert done.returncode == ExitCode.REHEARSAL_FAILED
    assert f"v1 (it cannot be discovered): HTTP {code}: it has no idea" in done.stderr


def test_an_api_server_without_what_every_one_serves_has_proven_nothing(control: Control) -> None:
    control.answers("/apis", '{"groups":[]}')
    done = control.rehearse()
    assert done.returncode == ExitCode.REHEARSAL_FAILED
    assert "apps/v1: it is not served" in done.stderr


@pytest.mark.parametrize("path", ["/apis", "/apis/apiregistration.k8s.io/v1/apiservices"])
def test_what_fails_once_is_asked_again(control: Control, path: str) -> None:
    good = control.fake / "api" / path.strip("/").replace("/", "_")
    control.answers(path, good.read_text() if good.exists() else "{}", 503)
    stub(
        control, "sleep", f"[[ ! -e {control.fake}/argv ]] || echo 200 >'{good}.code'\nexec /bin/sleep 0.05\n"
    )
    done = control.rehearse()
    assert done.returncode == 0, done.stderr
    assert result(done)["resources"] == 3


def test_a_forbidden_that_passes_is_none(control: Control) -> None:
    """The first seconds of an API server: it does not know its roles yet."""
    control.scripts = NODE_SCRIPTS  # with all its time to settle: this machine may be slow
    control.answers("/api/v1/pods?limit=250", '{"message":"forbidden"}', 403)
    file, slept = control.fake / "api/api_v1_pods?limit=250", control.fake / "slept"
    good = f"cp {control.fake}/api/empty '{file}'; echo 200 >'{file}.code'"
    stub(control, "sleep", f"echo . >>{slept}\n(($(wc -l <{slept}) < 6)) || {{ {good}; }}\n/bin/sleep 0.05\n")
    done = control.rehearse()
    assert done.returncode == 0, done.stderr
    assert result(done)["resources"] == 3


def test_apis_of_other_servers_and_of_webhooks_are_left_out_and_said(control: Control) -> None:
    control.answers("/apis", '{"groupVersion":"apps/v1"},{"groupVersion":"m.io/v1"},{"groupVersion":"x.io/v1"},{"groupVersion":"old.io/v1"}')  # fmt: skip
    control.answers(
        "/apis/apiregistration.k8s.io/v1/apiservices",
        '{"spec":{"service":{"namespace":"a","name":"b","port":443},"group":"m.io","version":"v1","caBundle":""}}'
        '{"spec":{"group":"apps","version":"v1"}}',
    )
    control.answers(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        '{"items":[{"spec":{"group":"x.io","names":{"plural":"gadgets","kind":"G"},"conversion":{"strategy":"Webhook"}}},'
        '{"spec":{"group":"y.io","names":{"plural":"fine","kind":"F"},"conversion":{"strategy":"None"}}}]}',
    )
    control.lists("x.io/v1", "gadgets")
    control.answers("/apis/x.io/v1/gadgets?limit=250", '{"message":"conversion webhook failed"}', 500)
    control.answers("/apis/old.io/v1", "{}", 404)
    apis = control.fake / "api/apis"  # stale ones are given time, and then are gone
    stub(
        control,
        "sleep",
        f"! grep -q old.io {control.fake}/asked || sed -i 's/old.io/apps/' {apis}\nexec /bin/sleep 0.8\n",
    )
    done = control.rehearse()
    assert done.returncode == 0, done.stdout + done.stderr
    assert result(done)["left_out"] == [
        "m.io/v1: another server answers for it",
        "x.io/v1 gadgets: a webhook converts it",
        "old.io/v1: an API that is not served any more",
    ]
    assert result(done)["resources"] == 3


def test_a_volume_that_is_not_on_the_node_fails_as_the_kubelet_would(control: Control) -> None:
    control.manifest(pki_type="Directory")
    shutil.rmtree(control.root / "fs/etc/kubernetes/pki")
    done = control.rehearse()
    assert done.returncode == ExitCode.REHEARSAL_FAILED
    assert "the kubelet would not start the pod: /etc/kubernetes/pki" in done.stderr


def test_a_configuration_that_kubeadm_refuses_fails_with_its_words(control: Control) -> None:
    (control.fake / "kubeadm-refuses").write_text(
        'error: unknown field "spec.dns.old"\nTo see the stack trace of this error execute with --v=5 or higher\n'
    )
    done = control.rehearse()
    assert done.returncode == ExitCode.REHEARSAL_FAILED
    assert "unknown field" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ("no-containerd", "containerd does not answer"),
        ("no-namespaces", "gives no namespaces"),
        ("no-snapshot", "is not on this node"),
        ("no-memory", "MiB of memory"),
        ("unread-manifest", "not understood"),
    ],
)
def test_what_cannot_be_rehearsed_is_said_and_no_failure(control: Control, trouble: str, reason: str) -> None:
    (control.fake / trouble).touch()
    if trouble == "no-snapshot":
        (control.state / "snapshots" / BUNDLE).unlink()
    if trouble == "no-memory":
        control.memory(2048, 1500)
    if trouble == "unread-manifest":
        control.manifest(image="|")
    done = control.rehearse()
    assert done.returncode == 0, done.stderr
    assert result(done)["rehearsed"] is False
    assert reason in result(done)["reason"]
    assert not control.work.exists()


def test_little_memory_is_worked_around_on_the_disk(control: Control) -> None:
    control.memory(4096, 2048)
    done = control.rehearse()
    assert done.returncode == 0, done.stderr
    assert result(done)["place"] == "disk"
    assert "mount -t tmpfs" not in (control.fake / "calls").read_text()
    assert not control.work.exists()


def test_an_api_server_killed_for_want_of_memory_says_nothing_about_the_target(control: Control) -> None:
    control.program("#!/bin/bash\nkill -KILL $$\n")
    control.answers("/readyz", "", 500)
    cgroup = control.root / "fs/sys/fs/cgroup/system.slice/nightshift-rehearse.service"
    cgroup.mkdir(parents=True)
    (control.root / "fs/proc/self/cgroup").write_text("0::/system.slice/nightshift-rehearse.service\n")
    (cgroup / "memory.events").write_text("low 0\nmax 12\noom 1\noom_kill 1\n")
    done = control.rehearse()
    assert done.returncode == 0, done.stderr
    assert "ran out of" in result(done)["reason"]


def test_a_kms_plugin_that_is_not_reachable_is_no_failure(control: Control) -> None:
    control.answers("/readyz", "", 500)
    control.answers(
        "/readyz?verbose", "[+]etcd ok\n[-]kms-providers failed: reason withheld\nreadyz check failed\n", 500
    )
    (control.root / "bin/sleep").write_text("#!/bin/bash\nexec /bin/sleep 0.8\n")
    control.program("#!/bin/bash\nexec /bin/sleep 300\n")
    done = control.rehearse()
    assert done.returncode == 0, done.stderr
    assert "KMS" in result(done)["reason"]


def outside(control: Control, **words: str) -> str:
    """What kubeadm makes of a configuration from outside; returns that, as the job's argument."""
    control.manifest(**words)
    shutil.move(control.fake / "manifest.yaml", control.fake / "outside.yaml")
    control.manifest()
    text = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nclusterName: fromOutside\n"
    return handed_over(control, text)


def handed_over(control: Control, text: str) -> str:
    """As start-job hands over what came on its standard input; returns the argument."""
    inputs = control.root / "fs/run/nightshift/inputs"
    inputs.mkdir(parents=True, exist_ok=True)
    content = base64.b64encode(text.encode()).decode()
    (inputs / "rehearse").write_text(content)
    return f"@{hashlib.sha256(content.encode()).hexdigest()}"


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        ({"image": f"evil.example/kube-apiserver:v{VERSION}"}, "evil.example/kube-apiserver"),
        ({"image": f"registry.example/kube-apiserver@sha256:{'0' * 64}"}, ""),
        ({"made": "/root"}, "volume made is /root"),
        ({"made": "/etc/audit"}, ""),
    ],
)
def test_from_outside_come_flags_and_neither_images_nor_files(
    control: Control, words: dict[str, str], refused: str
) -> None:
    """Whoever may start jobs would become root with an image of his own, or read what is root's."""
    with (control.root / "fs/etc/kubernetes/manifests/kube-apiserver.yaml").open("a") as live:
        live.write("spec:\n  volumes:\n  - hostPath:\n      path: /etc/audit\n    name: audit\n")
    done = control.rehearse(VERSION, BUNDLE, outside(control, **words))
    assert "fromOutside" in (control.fake / "rendered-from").read_text()
    if refused:
        assert done.returncode == ExitCode.REFUSED
        assert refused in done.stderr
        assert not (control.fake / "argv").exists()
    else:
        assert result(done)["rehearsed"] is True


def test_a_configuration_with_a_document_for_kubeadm_itself_is_refused(control: Control) -> None:
    text = "kind: ClusterConfiguration\n---\nkind: InitConfiguration\npatches: {directory: /tmp/x}\n"
    done = control.rehearse(VERSION, BUNDLE, handed_over(control, text))
    assert done.returncode == ExitCode.REFUSED


def test_a_configuration_that_is_not_the_one_handed_over_is_not_rehearsed(control: Control) -> None:
    handed_over(control, "kind: ClusterConfiguration\n")
    done = control.rehearse(VERSION, BUNDLE, f"@{'0' * 64}")
    assert done.returncode != 0
    assert "what was handed over for rehearse is not there any more" in done.stderr
    assert not (control.fake / "argv").exists()


def test_an_image_of_another_version_is_no_rehearsal_of_this_one(control: Control) -> None:
    (control.fake / "version").write_text("Kubernetes v1.34.4\n")
    done = control.rehearse()
    assert done.returncode == ExitCode.REHEARSAL_FAILED
    assert "the image of 1.35.4 has a kube-apiserver that says: Kubernetes v1.34.4" in done.stderr


def test_a_program_that_cannot_be_started_says_nothing_about_the_target(control: Control) -> None:
    control.answers("/readyz", "", 500)
    control.program("#!/bin/bash\necho 'no such interpreter'\nexit 126\n")
    done = control.rehearse()
    assert done.returncode == 0, done.stderr
    assert "could not be started" in result(done)["reason"]


def test_a_flood_of_log_says_nothing_about_the_target(control: Control) -> None:
    control.answers("/readyz", "", 500)
    control.program("#!/bin/bash\nexec yes 'a line that is written for ever'\n")
    done = control.rehearse()
    assert done.returncode == 0, done.stderr
    assert "MiB of log" in result(done)["reason"]


def test_a_snapshot_for_which_there_is_no_room_says_nothing_about_the_target(control: Control) -> None:
    stub(control, "tar", '[[ $* != *-xzOf* ]] || exit 2\nexec /bin/tar "$@"\n')
    done = control.rehearse()
    assert done.returncode == 0, done.stderr
    assert "the snapshot could not be unpacked" in result(done)["reason"]


def test_a_disk_that_is_full_does_not_hide_the_failure(control: Control) -> None:
    control.program(DEATH)
    control.answers("/readyz", "", 500)
    stub(control, "mktemp", '[[ $* != *rehearsal.log* ]] || exit 1\nexec /bin/mktemp "$@"\n')
    done = control.rehearse()
    assert done.returncode == ExitCode.REHEARSAL_FAILED
    assert done.stderr.splitlines()[-1].endswith("Error: unknown flag: --gone")


def test_a_program_that_is_a_link_of_the_image_is_found(control: Control) -> None:
    control.program(LIFE)
    program = control.fake / "image/usr/local/bin/kube-apiserver"
    (control.fake / "image/opt").mkdir()
    program.rename(control.fake / "image/opt/real")
    program.symlink_to("../../../opt/real")
    assert result(control.rehearse())["rehearsed"] is True


# -- isolation ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("script", "kind"), [("prepare", "mnt"), ("run", "mnt"), ("run", "net")])
def test_the_later_parts_refuse_to_run_in_the_nodes_own_namespaces(
    control: Control, script: str, kind: str
) -> None:
    own = control.root / f"fs/proc/self/ns/{kind}"
    own.unlink()
    own.symlink_to(f"{kind}:[0]")
    control.work.mkdir(parents=True)
    (control.work / "arguments").touch()
    words = (VERSION, BUNDLE) if script == "prepare" else (VERSION, "1", "1", "memory")
    done = subprocess.run(
        [str(control.scripts / "isolated" / script), *words],
        capture_output=True,
        text=True,
        env=control.variables(),
        check=False,
    )
    assert done.returncode == ExitCode.REFUSED
    assert f"not in a {kind} namespace of its own" in done.stderr


def test_they_are_no_jobs(control: Control) -> None:
    for step in ("../isolated/run", "isolated", "run"):
        done = control.run("start-job", step, "1", "run", "60", "12345678")
        assert done.returncode == ExitCode.USAGE


@pytest.mark.parametrize(("links", "refused"), [("", False), ("7: eth0: <BROADCAST,UP> mtu 1500\n", True)])
def test_a_network_with_another_link_that_is_up_is_refused(
    control: Control, links: str, refused: bool
) -> None:
    with (control.fake / "links").open("a") as file:
        file.write(links)
    assert (control.rehearse().returncode == ExitCode.REFUSED) is refused


def test_links_of_an_image_never_lead_out_of_it(control: Control, tmp_path: Path) -> None:
    root, outside = tmp_path / "image-root", tmp_path / "outside"
    (root / "var").mkdir(parents=True)
    (root / "run").mkdir()
    outside.mkdir()
    (root / "var/run").symlink_to("/run")
    (root / "bad").symlink_to(f"../{outside.name}")
    library = f'. "$NIGHTSHIFT_ROOT/lib/rehearsal.sh"; tame_links {root}; '
    done = control.shell("image-root.sh", library + f"inside {root} /var/run/x")
    assert done.stdout.strip() == str(root / "run/x"), done.stderr
    assert os.readlink(root / "var/run") == "../run"
    assert control.shell("image-root.sh", library + f"inside {root} /bad/x").returncode == 1
    assert control.shell("image-root.sh", library + f"inside {root} /../x").returncode == 1


def test_sockets_of_a_volume_are_covered(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a socket is something live, and a socket does not care about network namespaces."""
    monkeypatch.chdir(control.root / "fs/etc/kubernetes/pki")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("kms.sock")
        assert control.rehearse().returncode == 0
    covered = f"mount --bind {control.work}/empty {control.work}/root/etc/kubernetes/pki/kms.sock"
    assert covered in (control.fake / "calls").read_text()


# -- what it may take, what it leaves -----------------------------------------------------------------------------------


def in_namespace(node: FakeNode, text: str, **stubs: str) -> subprocess.CompletedProcess[str]:
    """Run shell text with the libraries, and the kernel's own mounts, in a mount namespace; stubs come before real programs."""
    own = node.root / "real-bin"
    own.mkdir()
    for name, body in {"ctr": "exit 0\n", **stubs}.items():
        (own / name).write_text(f"#!/bin/bash\n{body}")
        (own / name).chmod(0o755)
    prelude = (
        f'set -euo pipefail; NIGHTSHIFT_ROOT={node.scripts}; . "$NIGHTSHIFT_ROOT/lib/common.sh"; '
        '. "$NIGHTSHIFT_ROOT/lib/rehearsal.sh"; . "$NIGHTSHIFT_ROOT/lib/image-root.sh"; mkdir -p "$REHEARSAL_DIR"; '
    )
    command = ["unshare", "--mount", "--propagation=slave", "--", "bash", "-c", prelude + text]
    environment = {**node.variables(), "PATH": f"{own}:{os.environ['PATH']}"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)


def live_keys(node: FakeNode) -> Path:
    """Files that are the cluster's, on the file system that the rehearsal works on."""
    key = node.root / "fs/etc/kubernetes/pki/ca.key"
    key.parent.mkdir(parents=True, exist_ok=True)
    key.write_text("THE CLUSTER'S KEY")
    return key


BIND = 'bind_volume "$KUBERNETES_DIR/pki" Directory "$REHEARSAL_DIR/root/pki"'
FAILING_REMOUNT = '[[ $* != *remount* ]] || exit 32\nexec /bin/mount "$@"\n'


def test_on_the_disk_the_sweep_takes_its_mounts_away_first(node: FakeNode) -> None:
    key = live_keys(node)
    done = in_namespace(
        node, f'own_mount_point; {BIND}; cat "$REHEARSAL_DIR/root/pki/ca.key"; sweep_rehearsal 60'
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == key.read_text() == "THE CLUSTER'S KEY"
    assert not (node.state / "work/rehearsal").exists()


@pytest.mark.parametrize("umount", ["exit 32\n", 'exec /bin/umount "$@"\n'])
def test_a_volume_that_cannot_be_made_read_only_is_not_mounted_and_lives(node: FakeNode, umount: str) -> None:
    """The sweep removes what it finds: live keys must not be what it finds."""
    key = live_keys(node)
    text = f'code=0; {BIND} || code=$?; echo "code $code"; sweep_rehearsal 60'
    done = in_namespace(node, text, mount=FAILING_REMOUNT, umount=umount)
    assert key.exists()
    assert "code 1" in done.stdout, done.stderr


def test_a_sweep_that_finds_a_mount_removes_nothing(node: FakeNode) -> None:
    key = live_keys(node)
    done = in_namespace(node, f"own_mount_point; {BIND}; sweep_rehearsal 60", umount="exit 32\n")
    assert key.exists()
    assert "still mounted" in done.stderr


def test_a_socket_that_cannot_be_covered_is_an_unusable_volume(node: FakeNode) -> None:
    live_keys(node)
    text = f"""cd "$KUBERNETES_DIR/pki"; {PYTHON} -c 'import socket; socket.socket(1).bind("s")'; code=0; {BIND} || code=$?; echo "code $code" """
    done = in_namespace(node, text, mount='[[ $* != */pki/s ]] || exit 32\nexec /bin/mount "$@"\n')
    assert "code 1" in done.stdout, done.stderr


def test_the_program_has_little_of_roots_powers_and_cannot_leave_its_root(node: FakeNode) -> None:
    text = """
        root=$REHEARSAL_DIR/root
        for directory in usr bin lib lib64 proc dev; do
            [[ ! -d /$directory ]] || { mkdir -p "$root/$directory"; mount --bind "/$directory" "$root/$directory"; }
        done
        printf '%s\\0' A=b >"$REHEARSAL_DIR/environment"
        (enter "$root" /usr/bin/perl -e 'print "$$ ", join(",", map {"$_=$ENV{$_}"} keys %ENV), "\\n";
            print chroot("/usr") ? "leaves" : "stays", "\\n"; print -e "/root" ? "sees" : "blind", "\\n";
            open my $status, "<", "/proc/self/status"; print grep {/^(Cap|NoNew)/} <$status>; kill "KILL", 1; exit 7')
    """
    done = in_namespace(node, text)
    lines = done.stdout.splitlines()
    assert lines[:3] == ["1 A=b", "stays", "blind"], done.stderr
    said = dict(line.split(":\t") for line in lines[3:])
    may = "0000000000000402"  # CAP_DAC_OVERRIDE and CAP_NET_BIND_SERVICE
    assert (said["CapPrm"], said["CapEff"], said["CapBnd"]) == (may, may, may)
    assert (said["CapInh"], said["NoNewPrivs"]) == ("0000000000000000", "1")
    assert done.returncode == 7


def test_a_volume_that_cannot_be_mounted_rehearses_nothing(control: Control) -> None:
    (control.fake / "no-remount").touch()
    done = control.rehearse()
    assert done.returncode == 0, done.stderr
    assert "volume k8s-certs could not be mounted" in result(done)["reason"]


def test_its_unit_may_take_little(control: Control) -> None:
    control.memory(16384, 12000)
    control.run("start-job", "rehearse", "1", "run", "60", "12345678", VERSION, BUNDLE)
    words = (control.fake / "systemd-run").read_text().splitlines()
    assert {
        f"--property=MemoryMax={8192 * 1024**2}",
        "--property=CPUQuota=100%",
        "--property=OOMPolicy=continue",
    } <= set(words)
    control.let_jobs_end()


@pytest.mark.parametrize(("total", "available", "allowed"), [(16384, 12000, 8192), (16384, 3000, 1976), (4096, 500, 0)])  # fmt: skip
def test_half_of_the_memory_and_never_the_last_gib(
    control: Control, total: int, available: int, allowed: int
) -> None:
    control.memory(total, available)
    assert control.shell("rehearsal.sh", "memory_allowance").stdout.strip() == str(allowed * 1024**2)


@pytest.mark.parametrize(
    ("groups", "is_joined"), [("1:cpu,cpuacct:/\n", True), ("1:cpu,cpuacct:/system.slice/x.service\n", False)]
)
def test_where_systemd_sets_no_quota_the_job_does(control: Control, groups: str, is_joined: bool) -> None:
    group = control.root / "fs/sys/fs/cgroup/cpu/nightshift-rehearsal"
    group.parent.mkdir(parents=True)
    (control.root / "fs/proc/self/cgroup").write_text(groups)
    assert control.rehearse().returncode == 0
    assert group.exists() is is_joined
    if is_joined:
        assert (group / "cpu.cfs_quota_us").read_text() == "100000\n"
        assert (group / "cgroup.procs").read_text().strip().isdigit()


def test_other_jobs_have_no_such_limits(control: Control) -> None:
    control.run("start-job", "reclaim-scratch", "1", "run", "60", "12345678", "3")
    assert "MemoryMax" not in (control.fake / "systemd-run").read_text()
    control.let_jobs_end()


@pytest.mark.parametrize("how", ["job-end", "fence", "next start"])
def test_a_copy_of_the_data_does_not_outlive_a_killed_job(control: Control, how: str) -> None:
    (control.work / "data").mkdir(parents=True)
    (control.work / "data/db").write_text("secrets")
    if how == "job-end":
        environment = {**control.variables(), "EXIT_CODE": "killed", "EXIT_STATUS": "KILL"}
        subprocess.run([str(control.scripts / "nightshift-job-end"), "rehearse"], env=environment, check=True)
        assert control.status("rehearse")["exit_code"] == "137"
    elif how == "fence":
        assert control.run("fence", "7").returncode == 0
    else:
        assert control.rehearse().returncode == 0
    assert not control.work.exists()


def test_a_jobs_end_is_written_before_anything_is_cleaned_up(control: Control) -> None:
    """Cleaning up may hang, and systemd gives all of it half a minute."""
    control.work.mkdir(parents=True)
    umount = Path(control.environment["PATH"].partition(":")[0]) / "umount"
    umount.write_text(f"#!/bin/bash\ncp {control.state}/jobs/rehearse {control.fake}/then\n")
    environment = {**control.variables(), "EXIT_CODE": "exited", "EXIT_STATUS": "33"}
    subprocess.run([str(control.scripts / "nightshift-job-end"), "rehearse"], env=environment, check=True)
    assert "exit_code=33\n" in (control.fake / "then").read_text()


def test_a_fence_waits_for_no_cleaning_up(control: Control) -> None:
    control.work.mkdir(parents=True)
    for name in ("umount", "rm"):
        program = Path(control.environment["PATH"].partition(":")[0]) / name
        program.write_text("#!/bin/bash\nexec /bin/sleep 50\n")
        program.chmod(0o755)
    began = time.monotonic()
    assert control.run("fence", "7").returncode == 0
    assert 1 < time.monotonic() - began < 30  # it is given up, and not only not begun


def test_a_running_rehearsal_is_not_swept_by_a_fence(control: Control) -> None:
    control.hold_jobs()
    assert control.run("start-job", "rehearse", "1", "run", "60", "12345678", VERSION, BUNDLE).returncode == 0
    control.work.mkdir(parents=True, exist_ok=True)
    (control.work / "data").touch()
    assert control.run("fence", "7").returncode == 0
    assert control.work.exists()


@pytest.mark.parametrize("dies", [False, True])
def test_cleaning_up_never_changes_the_jobs_end(control: Control, dies: bool) -> None:
    """A mount that is busy cannot be removed; the job's own end is what counts."""
    rm = control.root / "bin/rm"
    rm.write_text('#!/bin/bash\n[[ $* == *one-file-system* ]] && exit 1\nexec /bin/rm "$@"\n')
    rm.chmod(0o755)
    if dies:
        control.program(DEATH)
        control.answers("/readyz", "", 500)
    assert control.rehearse().returncode == (ExitCode.REHEARSAL_FAILED if dies else 0)


def test_the_throwaway_etcd_has_room_for_a_large_database(control: Control, tmp_path: Path) -> None:
    etcd = tmp_path / "container/usr/local/bin/etcd"
    etcd.write_text(f'#!/bin/bash\necho "$*" >{control.fake}/etcd-argv\nexec /bin/sleep 60\n')
    etcd.with_name("etcdctl").write_text(f"#!/bin/bash\ntest -s {control.fake}/etcd-argv\n")
    data = tmp_path / "data/member/snap"
    data.mkdir(parents=True)
    with (data / "db").open("wb") as file:
        file.truncate(3 * 1024**3)
    script = f"bin={etcd.parent} work={tmp_path}; start_restored {tmp_path}/data https://127.0.0.1:1 https://127.0.0.1:2; stop_restored"
    done = control.shell("throwaway-etcd.sh", script)
    assert done.returncode == 0, done.stderr
    assert f"--quota-backend-bytes {7 * 1024**3}" in (control.fake / "etcd-argv").read_text()
