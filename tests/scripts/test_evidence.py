"""An evidence bundle carries what explains a failure, stays small, and carries no secret."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import os
import subprocess
import tarfile
import time
from pathlib import Path

from nightshift.domain.diagnosis.asked import SECTIONS, is_answer

PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEplanted1secret\nMIIEplanted2secret\n-----END RSA PRIVATE KEY-----"
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJwbGFudGVkIjoic2VjcmV0In0.c2lnbmF0dXJl"
PLANTED = {
    "planted1secret": f"line before\n{PEM}\nline after",
    "MIIEinline": '{"key":"-----BEGIN EC PRIVATE KEY-----\\nMIIEinline\\n-----END EC PRIVATE KEY-----"} kept-tail',
    "hunter2oidc": "        - --oidc-client-secret=hunter2oidc",
    "hunter2env": "        - name: OIDC_CLIENT_SECRET\n          value: hunter2env",
    "hunter2url": "proxy http://user:hunter2url@proxy:3128/ used",
    "hunter2json": '{"clientSecret": "hunter2json", "user": "kept-user"}',
    "hunter2flag": "kubeadm join --token hunter2flag --v=5",
    "abcdef.0123456789abcdef": "bootstrap abcdef.0123456789abcdef used",
    JWT: f"request header seen: {JWT}",
    "opaquebearer12": "Authorization: Bearer opaquebearer12",
    base64.b64encode(PEM.encode()).decode()[
        :40
    ]: f"client-key-data: {base64.b64encode(PEM.encode()).decode()}",
}
KEPT = [
    "line before",
    "line after",
    "kept-tail",
    "kept-user",
    "--v=5",
    "--service-account-signing-key-file=/etc/x.key",
]


def bundle(node, since: int | str = 0, *words: str) -> dict[str, bytes]:
    command = [str(node.scripts / "nightshift-node"), "collect-evidence", str(since), *words]
    done = subprocess.run(command, capture_output=True, env=node.variables(), check=True, timeout=60)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()}


def plant(node) -> None:
    text = "\n".join((*PLANTED.values(), "--service-account-signing-key-file=/etc/x.key", ""))
    logs = node.root / "fs/var/log/pods/kube-system_kube-apiserver-cp1_uid/kube-apiserver"
    logs.mkdir(parents=True)
    (logs / "0.log").write_text(text)
    manifests = node.root / "fs/etc/kubernetes/manifests"
    manifests.mkdir(parents=True)
    (manifests / "kube-apiserver.yaml").write_text(text)


def test_no_planted_secret_leaves_the_node(node):
    plant(node)
    files = bundle(node)
    everything = b"\n".join(files.values()).decode(errors="replace")
    assert [secret for secret in PLANTED if secret in everything] == []
    log = files["./pods/kube-system_kube-apiserver-cp1_uid/kube-apiserver/0.log"].decode()
    assert [text for text in KEPT if text not in log] == []


def test_key_cut_off_at_its_end_is_still_redacted(node):
    logs = node.root / "fs/var/log/pods/kube-system_etcd-cp1_uid/etcd"
    logs.mkdir(parents=True)
    (logs / "0.log").write_text("-----BEGIN PRIVATE KEY-----\nMIIEcutoff\n")
    assert b"MIIEcutoff" not in b"".join(bundle(node).values())


def test_size_is_bounded_and_the_end_of_a_log_is_kept(node):
    logs = node.root / "fs/var/log/pods/kube-system_etcd-cp1_uid/etcd"
    logs.mkdir(parents=True)
    for number in range(17):  # each one is cut to 4 MiB, and the 17th finds no room
        (logs / f"{number}.log").write_text(("." * 4000 + "\n") * 1_100 + "last line\n")
    files = bundle(node)
    kept = [content for name, content in files.items() if name.startswith("./pods/")]
    assert all(content.endswith(b"last line\n") for content in kept)
    assert sum(len(content) for content in files.values()) <= 64 * 1024 * 1024
    assert b".log" in files["./left-out.txt"]


def test_nothing_stays_on_the_node(node):
    plant(node)
    bundle(node)
    assert list((node.state / "work").glob("evidence.*")) == []


def test_logs_older_than_the_window_are_left_out(node):
    plant(node)
    files = bundle(node, since=32503680000)
    assert not [name for name in files if name.startswith("./pods/")]
    assert "./manifests/kube-apiserver.yaml" in files


def test_a_secret_among_the_manifests_goes_by_its_name_only(node):
    plant(node)
    text = "apiVersion: v1\nkind: Secret\ndata:\n  anything: aHVudGVyMg==\n"
    (node.root / "fs/etc/kubernetes/manifests/stray.yaml").write_text(text)
    files = bundle(node)
    assert "./manifests/stray.yaml" not in files
    assert b"stray.yaml" in files["./manifests/listing.txt"]
    assert b"manifests/stray.yaml\tit has a Secret" in files["./left-out.txt"]
    assert b"aHVudGVyMg" not in b"".join(files.values())


def test_a_manifest_behind_a_symbolic_link_is_shown_as_the_kubelet_reads_it(node):
    plant(node)
    manifests = node.root / "fs/etc/kubernetes/manifests"
    (node.root / "elsewhere").mkdir()
    target = node.root / "elsewhere/pod.yaml"
    target.write_text("kind: Pod\nmetadata: {name: kube-apiserver}\nspec: {token: hunter2planted}\n")
    (manifests / "stray.yaml").symlink_to(target)
    (manifests / "dangling.yaml").symlink_to("/nowhere")
    (manifests / "folder.yaml").symlink_to(node.root / "elsewhere")
    (manifests / "of-its-own").mkdir()
    os.mkfifo(manifests / "pipe.yaml")
    files = bundle(node)
    assert files["./manifests/stray.yaml"].startswith(b"kind: Pod\nmetadata: {name: kube-apiserver}\n")
    assert b"hunter2planted" not in b"".join(files.values())
    assert hashlib.sha256(target.read_bytes()).hexdigest().encode() in files["./state/manifest-sums.txt"]
    missing = dict(line.split("\t") for line in files["./left-out.txt"].decode().splitlines())
    assert {name: why for name, why in missing.items() if name.startswith("manifests/")} == {
        "manifests/dangling.yaml": "it is or leads to: nothing that can be read",
        "manifests/folder.yaml": "it is or leads to: directory",
        "manifests/pipe.yaml": "it is or leads to: fifo",
    }


def test_a_log_of_which_only_the_end_is_shown_begins_with_a_whole_record(node):
    logs = node.root / "fs/var/log/pods/kube-system_etcd-cp1_uid/etcd"
    logs.mkdir(parents=True)
    time_of = "2026-11-28T23:15:42.6Z stderr"
    cut = f'{time_of} P {{"{"." * 5 * 2**20}"password":"\n{time_of} F hunter2planted"}}\n'
    (logs / "0.log").write_text(f"{cut}{time_of} F kept\n{time_of} P also \n{time_of} F kept\n")
    (logs / "1.log").write_text(f"password: {'.' * 5 * 2**20} hunter2planted\nkept\n")
    files = bundle(node)
    folder = "./pods/kube-system_etcd-cp1_uid/etcd"
    kept = f"{time_of} F kept\n{time_of} F also kept\n"  # the redaction joins what runtimes took apart
    assert files[f"{folder}/0.log"].decode() == kept
    assert files[f"{folder}/1.log"] == b"kept\n"


def test_rotated_and_earlier_logs_are_there(node):
    plant(node)
    logs = node.root / "fs/var/log/pods/kube-system_kube-apiserver-cp1_uid/kube-apiserver"
    (logs / "1.log").write_text("of the container before\n")
    (logs / "0.log.20261128-231500.gz").write_bytes(gzip.compress(b"packed away\n"))
    files = bundle(node)
    folder = "./pods/kube-system_kube-apiserver-cp1_uid/kube-apiserver"
    assert files[f"{folder}/1.log"] == b"of the container before\n"
    assert files[f"{folder}/0.log.20261128-231500"] == b"packed away\n"


def test_what_is_not_to_be_had_is_said(node):
    files = bundle(node)
    missing = dict(line.split("\t") for line in files["./left-out.txt"].decode().splitlines())
    assert missing["recorder/"] == "nothing was recorded in this window"
    assert b"ended with exit code" in files["./state/kubelet-config.yaml"]


def stub(node, name: str, text: str) -> None:
    directory = node.root / "stubs"
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(f"#!/bin/bash\n{text}\n")
    (directory / name).chmod(0o755)
    node.environment["PATH"] = f"{directory}:{node.variables()['PATH']}"


def test_a_full_disk_delivers_from_memory(node):
    stub(
        node,
        "df",
        f'[[ "$*" != *"{node.state}"* ]] || {{ printf "Avail\\n4096\\n"; exit; }}\nexec /usr/bin/df "$@"',
    )
    files = bundle(node)
    assert "./state/df.txt" in files
    assert not list((node.state / "work").glob("*"))
    assert not list(Path("/run").glob("nightshift-evidence.*"))


def test_a_log_that_is_gone_when_it_is_read_costs_itself_only(node):
    plant(node)
    logs = node.root / "fs/var/log/pods/kube-system_kube-apiserver-cp1_uid/kube-apiserver"
    stub(  # the kubelet removes it between the list and the reading
        node, "stat", f'[[ "$*" != *1.log ]] || rm -f "{logs}/1.log"\nexec /usr/bin/stat "$@"'
    )
    (logs / "1.log").write_text("of the container before\n")
    (logs / "2.log").symlink_to("/nowhere")
    os.mkfifo(logs / "3.log")
    files = bundle(node)
    folder = "pods/kube-system_kube-apiserver-cp1_uid/kube-apiserver"
    assert f"./{folder}/0.log" in files
    assert "./state/packages.txt" in files
    assert f"{folder}/1.log\tit went away before it was read".encode() in files["./left-out.txt"]


def test_what_cannot_be_looked_through_for_secrets_stays_on_the_node(node):
    plant(node)
    stub(node, "perl", "head -c 100; exit 137")
    files = bundle(node)
    assert list(files) == ["./left-out.txt"]
    assert b"manifests/kube-apiserver.yaml\tsecrets could not be taken out of it" in files["./left-out.txt"]


def test_of_a_huge_log_only_its_end_is_read(node):
    logs = node.root / "fs/var/log/pods/kube-system_etcd-cp1_uid/etcd"
    logs.mkdir(parents=True)
    with (logs / "0.log").open("wb") as log:
        log.truncate(40 * 2**30)  # sparse; all of it would take minutes
        log.seek(0, 2)
        log.write(b"\nlast line\n")
    began = time.monotonic()
    files = bundle(node)
    assert files["./pods/kube-system_etcd-cp1_uid/etcd/0.log"] == b"last line\n"
    assert time.monotonic() - began < 45


def test_a_configuration_among_a_jobs_arguments_stays_on_the_node(node):
    arguments = base64.b64encode(b"1.35.4\0-\0oidc-client-secret: hunter2planted\0").decode()
    (node.state / "jobs/rehearse").write_text(f"job_id=1\narguments={arguments}\nstate=failed\n")
    files = bundle(node)
    assert files["./jobs/rehearse"] == b"job_id=1\narguments=[left out]\nstate=failed\n"


def test_a_command_that_hangs_keeps_nothing_else(node, hurried_scripts):
    node.scripts = hurried_scripts
    stub(node, "ss", "exec sleep 600")
    files = bundle(node)
    assert files["./state/sockets.txt"] == b"ended with exit code 124\n"
    assert "./state/clock.txt" in files


def test_the_lines_of_a_job_go_without_secrets_too(node):
    (node.state / "jobs/stage").write_text("job_id=1\nstate=failed\nexit_code=1\ninvocation=inv\n")
    (node.systemd / "journal/inv").write_text(
        f"{PLANTED['hunter2flag']}\n{PLANTED['opaquebearer12']}\nlast line\n"
    )
    said = node.run("job-poll", "stage", "-").stdout
    assert said.endswith("Bearer [REDACTED]\nlast line\n")
    assert "hunter2" not in said


def test_a_secret_in_a_process_arguments_is_in_no_listing(node):
    words = ["python3", "-c", "import time; time.sleep(60)", "--password", "hunter2argument", "--kept"]
    with subprocess.Popen(words) as process:
        (
            node.systemd / "pgrep-etcd|kube-apiserver|kube-controller|kube-scheduler|kubelet|kubeadm"
        ).write_text(f"{process.pid}\n")
        files = bundle(node)
        process.kill()
    assert b"- --password\n- [REDACTED]\n- --kept\n" in files["./state/argv.txt"]
    assert b"hunter2argument" not in b"".join(files.values())


def test_only_the_sections_that_are_asked_for_are_taken(node):
    plant(node)
    (node.state / "jobs/stage").write_text("job_id=1\narguments=aHVudGVyMg==\nstate=failed\n")
    files = bundle(node, "only", "jobs", "manifests", "df", "packages")
    assert {*files} - {"./left-out.txt"} == {
        "./jobs/stage",
        "./manifests/listing.txt",
        "./manifests/kube-apiserver.yaml",
        "./state/df.txt",
        "./state/packages.txt",
    }
    assert files["./jobs/stage"] == b"job_id=1\narguments=[left out]\nstate=failed\n"
    everything = b"\n".join(files.values()).decode(errors="replace")
    assert [secret for secret in PLANTED if secret in everything] == []


def test_every_section_gives_what_the_driver_expects_of_it(node):
    """Also the paths: they are those of the whole bundle, and the same readers read them."""
    plant(node)
    (node.state / "jobs/kubeadm-upgrade").write_text("job_id=1\nstate=failed\n")
    (node.root / "fs/etc/kubernetes/manifests/etcd.yaml").write_text("kind: Pod\n")
    for name, paths in SECTIONS.items():
        files = bundle(node, "only", name)
        left = {line.split("\t")[0] for line in files.get("./left-out.txt", b"").decode().splitlines()}
        assert {path for path in paths if f"./{path}" not in files} <= left, name
        assert all(is_answer(path.removeprefix("./")) for path in files if path != "./left-out.txt"), name


def test_sections_leave_nothing_behind_and_leave_the_recorder_alone(node):
    before = sorted(str(path) for path in node.root.rglob("*"))
    bundle(node, "only", *SECTIONS)
    assert sorted(str(path) for path in node.root.rglob("*")) == before
    assert not list(Path("/run").glob("nightshift-evidence.*"))


def test_sections_are_there_within_ten_seconds_though_all_hangs(node):
    for name in ("ss", "ps", "timedatectl", "dpkg-query", "ls"):
        stub(node, name, "exec sleep 600")
    stub(node, "df", '[[ $1 != -l ]] || exec sleep 600\nexec /usr/bin/df "$@"')
    began = time.monotonic()
    files = bundle(node, "only", "df", "sockets", "processes", "clock", "packages", "manifests")
    assert time.monotonic() - began < 10
    assert b"no time: a bundle takes at most 5 s" in files["./left-out.txt"]


def test_sections_are_there_within_ten_seconds_though_files_hang(node):
    """A pipe that nobody writes to stands for a file on a disk that hangs."""
    pki = node.root / "fs/etc/kubernetes/pki"
    pki.mkdir(parents=True)
    for path in (
        pki / "ca.crt",
        pki / "apiserver.crt",
        node.state / "jobs/stage",
        node.state / "jobs/rehearse",
    ):
        os.mkfifo(path)
    began = time.monotonic()
    files = bundle(node, "only", "jobs", "certificates", "clock")
    assert time.monotonic() - began < 10
    assert files["./jobs/stage"] == b"ended with exit code 124\n"
    assert files["./state/certificates.txt"] == b"ended with exit code 124\n"


def late(node, text: str) -> str:
    """What a bundle has that is late by now; its first line is what was left out."""
    begin = 'evidence=$(mktemp -d); room=100000; trap \'rm -rf "$evidence"\' EXIT; touch "$evidence/left-out.txt"; SECONDS=100'
    done = node.shell("evidence.sh", f'{begin}; {text}; cd "$evidence"; grep -r . .')
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_was_read_is_delivered_though_it_is_late_by_then(node):
    assert late(node, "echo listeners | add state/sockets.txt 1000") == "./state/sockets.txt:listeners\n"


def test_nothing_is_begun_when_it_is_late(node):
    begun = 'look_one() { echo begun >"$evidence/looked"; echo 0 >"$2.exit"; }; add_look state/etcd.txt etcd'
    begun += "; add_output state/df.txt echo begun; add_file pods/0.log 1000 /etc/hostname"
    said = late(node, begun)
    assert [line.split("\t")[0].split(":")[1] for line in said.splitlines()] == [
        "state/etcd.txt",
        "state/df.txt",
        "pods/0.log",
    ]
    assert "begun" not in said


def test_sections_have_two_megabytes_together(node):
    manifests = node.root / "fs/etc/kubernetes/manifests"
    manifests.mkdir(parents=True)
    for number in range(4):
        (manifests / f"{number}.yaml").write_text("# 345678901234567890\n" * 40_000)
    files = bundle(node, "only", "manifests")
    assert sum(len(content) for content in files.values()) <= 2 * 1024 * 1024
    assert b"no room: a bundle has at most 2097152 bytes" in files["./left-out.txt"]
