"""The verb `supply`: a real apt and a real curl against a repository and a registry of this test."""

from __future__ import annotations

import gzip
import hashlib
import shlex
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.scripts.conftest import FakeNode

from nightshift.clients.questions.supply import parse_supply
from nightshift.domain.facts.supply import Supplied, SupplyItem

VERSION = "1.35.4-1.1"
LIBRARIES = '. "$NIGHTSHIFT_ROOT/lib/registry.sh"; . "$NIGHTSHIFT_ROOT/lib/supply.sh"'


class Handler(SimpleHTTPRequestHandler):
    """Files of a directory; what lies under `login/` wants one."""

    def do_HEAD(self) -> None:
        if "/login/" in self.path:
            self.send_error(401)
        elif "get-only" in self.path:
            self.send_error(403)
        else:
            super().do_HEAD()

    def log_message(self, *words: object) -> None:
        """Nobody reads it."""


class Internet:
    """A package repository of 1.35 and a registry, on one port."""

    def __init__(self, root: Path, url: str, keyring: Path, home: Path) -> None:
        self.root, self.url, self.keyring, self.home = root, url, keyring, home
        self.deb = root / "v1.35/deb"

    def publish(self, *packages: str, needs: str = "") -> None:
        """Write a signed index that names these packages, and their files; kubelet depends on `needs`."""
        self.deb.mkdir(parents=True, exist_ok=True)
        entries = ""
        for name in packages:
            file = self.deb / f"{name}_{VERSION}_all.deb"
            file.write_text(name)
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            entries += (
                f"Package: {name}\nVersion: {VERSION}\nArchitecture: all\nMaintainer: x\nDescription: x\n"
                f"Filename: ./{file.name}\nSize: {file.stat().st_size}\nSHA256: {digest}\n"
                f"{f'Depends: {needs}' if needs and name == 'kubelet' else 'Section: x'}\n\n"
            )
        (self.deb / "Packages").write_text(entries)
        (self.deb / "Packages.gz").write_bytes(gzip.compress(entries.encode()))
        sums = "".join(
            f" {hashlib.sha256((self.deb / name).read_bytes()).hexdigest()} {(self.deb / name).stat().st_size} {name}\n"
            for name in ("Packages", "Packages.gz")
        )
        date = subprocess.run(["date", "-uR"], capture_output=True, text=True, check=True).stdout
        (self.deb / "Release").write_text(f"Origin: test\nDate: {date}SHA256:\n{sums}")
        self.sign(self.home)

    def sign(self, home: Path) -> None:
        clear = ["--yes", "-o", str(self.deb / "InRelease"), "--clearsign", str(self.deb / "Release")]
        gpg(home, *clear)

    def push(self, image: str) -> None:
        name, _, tag = image.rpartition(":")
        path = self.root / "v2" / name / "manifests" / tag
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")


def gpg(home: Path, *words: str) -> None:
    command = [
        "gpg",
        "--batch",
        "--quiet",
        "--homedir",
        str(home),
        "--pinentry-mode",
        "loopback",
        "--passphrase",
        "",
    ]
    subprocess.run([*command, *words], check=True, capture_output=True)


def make_key(home: Path) -> None:
    home.mkdir(mode=0o700)
    gpg(home, "--quick-generate-key", f"{home.name} <test@example>", "rsa2048", "sign", "never")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("keys")
    for name in ("ours", "stranger"):
        make_key(directory / name)
    gpg(directory / "ours", "-o", str(directory / "ours.gpg"), "--export")
    yield directory
    for name in ("ours", "stranger"):
        subprocess.run(["gpgconf", "--homedir", str(directory / name), "--kill", "all"], check=False)


@pytest.fixture
def internet(node: FakeNode, keys: Path, tmp_path: Path) -> Iterator[Internet]:
    root = tmp_path / "internet"
    root.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(root)))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    keyring = Path("/tmp") / f"{tmp_path.parent.name}-{tmp_path.name}.gpg"  # apt's own user must get at it
    keyring.write_bytes((keys / "ours.gpg").read_bytes())
    keyring.chmod(0o644)
    sources = node.root / "fs/etc/apt/sources.list.d"
    sources.mkdir(parents=True)
    (sources / "kubernetes.list").write_text(f"deb [signed-by={keyring}] {url}/v1.34/deb/ /\n")
    (tmp_path / "status").write_text("")  # what this machine has installed is not asked
    (tmp_path / "apt.conf").write_text(f'Dir::State::status "{tmp_path}/status";\n')
    node.environment["APT_CONFIG"] = str(tmp_path / "apt.conf")
    made = Internet(root, url, keyring, keys / "ours")
    mirror(node, "registry.k8s.io", url)
    yield made
    server.shutdown()
    keyring.unlink()


def mirror(node: FakeNode, registry: str, url: str) -> None:
    directory = node.root / "fs/etc/containerd/certs.d" / registry
    directory.mkdir(parents=True)
    text = f'server = "http://127.0.0.1:9"\n\n[host."{url}"]\n  capabilities = ["pull", "resolve"]\n'
    (directory / "hosts.toml").write_text(text)


def supply(node: FakeNode, internet: Internet, version: str, *images: str) -> dict[str, SupplyItem]:
    done = node.run("supply", "1.35", version, internet.url, *images)
    assert done.returncode == 0, done.stderr
    return {item.name: item for item in parse_supply(done.stdout)}


def test_all_is_there(node: FakeNode, internet: Internet) -> None:
    internet.publish("kubeadm", "kubelet", "kubectl")
    internet.push("etcd:3.6.6-0")
    found = supply(node, internet, VERSION, "registry.k8s.io/etcd:3.6.6-0")
    found.pop(f"kubectl={VERSION}", None)  # asked for where this machine has it
    assert {name: item.state for name, item in found.items()} == {
        "1.35": Supplied.FOUND,
        f"kubeadm={VERSION}": Supplied.FOUND,
        f"kubelet={VERSION}": Supplied.FOUND,
        "registry.k8s.io/etcd:3.6.6-0": Supplied.FOUND,
    }


def test_a_stranger_signed_it(node: FakeNode, internet: Internet, keys: Path) -> None:
    internet.publish("kubeadm", "kubelet")
    internet.sign(keys / "stranger")
    found = supply(node, internet, VERSION)
    assert list(found) == ["1.35"]
    assert found["1.35"].state is Supplied.REFUSED
    assert "NO_PUBKEY" in found["1.35"].detail


def test_no_such_minor(node: FakeNode, internet: Internet) -> None:
    assert supply(node, internet, "-")["1.35"].state is Supplied.MISSING


def test_nobody_answers(node: FakeNode, internet: Internet) -> None:
    done = node.run("supply", "1.35", VERSION, "http://127.0.0.1:9")
    (item,) = parse_supply(done.stdout)
    assert (item.kind, item.state) == ("repository", Supplied.AWAY)


def test_a_node_without_a_kubernetes_source(node: FakeNode, internet: Internet) -> None:
    internet.publish("kubeadm", "kubelet")
    (node.root / "fs/etc/apt/sources.list.d/kubernetes.list").unlink()
    assert supply(node, internet, VERSION)["1.35"].state is Supplied.REFUSED


def test_a_package_without_its_file_and_one_without_its_line(node: FakeNode, internet: Internet) -> None:
    internet.publish("kubeadm")
    (internet.deb / f"kubeadm_{VERSION}_all.deb").unlink()
    found = supply(node, internet, VERSION)
    assert found[f"kubeadm={VERSION}"].state is Supplied.MISSING
    assert "404" in found[f"kubeadm={VERSION}"].detail
    assert found[f"kubelet={VERSION}"].state is Supplied.MISSING
    assert "index" in found[f"kubelet={VERSION}"].detail


def test_what_the_packages_depend_on(node: FakeNode, internet: Internet) -> None:
    """A mirror that was copied without it: apt would refuse the download in the middle of the night."""
    internet.publish("kubeadm", "kubelet", "kubectl", "nightshift-cni", needs="nightshift-cni (>= 1.0)")
    found = supply(node, internet, VERSION)
    assert found["nightshift-cni"].state is Supplied.FOUND
    internet.publish("kubeadm", "kubelet", "kubectl", needs="nightshift-cni (>= 1.0)")
    found = supply(node, internet, VERSION)
    assert found["nightshift-cni"].state is Supplied.MISSING
    assert (
        "kubelet : Depends: nightshift-cni (>= 1.0) but it is not installable"
        in found["nightshift-cni"].detail
    )


UNMET = "The following packages have unmet dependencies:\n"
HELD = "E: Unable to correct problems, you have held broken packages."


@pytest.mark.parametrize(
    ("said", "audit", "items"),
    [
        pytest.param(
            f"{UNMET} kubelet : Depends: a (>= 1) but it is not installable\n"
            f"           Depends: b but it is not going to be installed\n{HELD}",
            "",
            [("a", Supplied.MISSING), ("b", Supplied.MISSING)],
            id="two are not there",
        ),
        pytest.param(
            "E: Packages need to be removed but remove is disabled.",
            "",
            [("kubeadm kubelet", Supplied.REFUSED)],
            id="something else",
        ),
        pytest.param("", "", [("kubeadm kubelet", Supplied.AWAY)], id="nothing said"),
        # The node's own trouble: told by the gate of the packages, when dpkg says it.
        pytest.param(
            "E: dpkg was interrupted, you must run", "x: half-configured", [], id="dpkg interrupted"
        ),
        pytest.param(
            f"{UNMET} x : Depends: y but it is not installed\nE: Unmet dependencies. Try 'apt --fix-broken install'",
            "",
            [("kubeadm kubelet", Supplied.REFUSED)],
            id="another package of the node lacks something",
        ),
        pytest.param("E: Version '1' for 'kubelet' was not found", "", [], id="told of the package itself"),
    ],
)
def test_apt_cannot_say_what_else_is_needed(
    node: FakeNode, said: str, audit: str, items: list[tuple[str, Supplied]]
) -> None:
    stubs = (
        f"apt-get() {{ printf '%s\\n' {shlex.quote(said)}; return 100; }};"
        f"dpkg() {{ printf '%s' {shlex.quote(audit)}; }}"
    )
    done = node.shell("apt.sh", f"{LIBRARIES}; {stubs}; ask_dependencies 1 kubeadm kubelet")
    assert done.returncode == 0, done.stderr
    assert [(item.name, item.state) for item in parse_supply(f"{done.stdout}end\n")] == items


def test_a_store_that_answers_get_only(node: FakeNode, internet: Internet) -> None:
    internet.publish("kubeadm", "kubelet")
    there = internet.deb / "get-only_1_all.deb"
    there.write_text("deb")
    ask = LIBRARIES + "; ask_file x \"'{}' file 3 SHA256:0\""
    address = f"{internet.url}/v1.35/deb/get-only_1_all.deb"
    assert "\tfound\t" in node.shell("apt.sh", ask.format(address)).stdout
    there.unlink()
    assert "\tmissing\t" in node.shell("apt.sh", ask.format(address)).stdout


def test_images_in_every_state(node: FakeNode, internet: Internet) -> None:
    internet.publish("kubeadm", "kubelet")
    internet.push("coredns/coredns:v1.13.1")
    mirror(node, "away.example", "http://127.0.0.1:9")
    images = (
        "registry.k8s.io/coredns/coredns:v1.13.1",
        "registry.k8s.io/pause:3.10.1",
        "registry.k8s.io/login/x:1",
        "away.example/x:1",
    )
    found = supply(node, internet, "-", *images)
    assert [found[image].state for image in images] == [
        Supplied.FOUND, Supplied.MISSING, Supplied.REFUSED, Supplied.AWAY
    ]  # fmt: skip
    assert "404" in found[images[1]].detail


@pytest.mark.parametrize(
    ("statuses", "state"),
    [
        ("404 401", Supplied.REFUSED),  # a mirror has it not; the registry may give it to the runtime's login
        ("403 404", Supplied.REFUSED),
        ("000 404", Supplied.MISSING),
        ("404 404", Supplied.MISSING),
        ("500 000", Supplied.AWAY),
        ("404 200", Supplied.FOUND),
    ],
)
def test_a_mirror_and_its_registry_say_different_things(
    node: FakeNode, statuses: str, state: Supplied
) -> None:
    first, second = statuses.split()
    stubs = (
        "registry_servers() { printf '%s\\n' http://mirror/v2 http://up/v2; };"
        f"http_status() {{ if [[ $2 == http://mirror/* ]]; then echo {first}; else echo {second}; fi; }}"
    )
    done = node.shell("apt.sh", f"{LIBRARIES}; {stubs}; ask_image r.example/a:1")
    (item,) = parse_supply(f"{done.stdout}end\n")
    assert item.state is state


def test_what_is_asked_of_a_registry(node: FakeNode) -> None:
    stubs = 'registry_servers() { echo "http://m/$1/v2"; }; http_status() { echo "asked $2" >&2; echo 404; }'
    done = node.shell("apt.sh", f"{LIBRARIES}; {stubs}; ask_image busybox:1")
    assert done.stderr.strip() == "asked http://m/docker.io/v2/library/busybox/manifests/1"
    assert done.stdout.startswith("image\tbusybox:1\tmissing\t")


@pytest.mark.parametrize(
    "words", [(), ("1.35", VERSION), ("1.35", "x", "http://r"), ("1.35", VERSION, "a b")]
)
def test_wrong_words(node: FakeNode, words: tuple[str, ...]) -> None:
    assert node.run("supply", *words).returncode == 2
