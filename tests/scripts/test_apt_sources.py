"""The live package source: which one is kubernetes', its keyring in the three forms people write it, its answers."""

from __future__ import annotations

import pytest
from tests.scripts.test_kubeadm_upgrade import TOOLS

from nightshift.clients.node_ssh import ExitCode

BASE = "https://pkgs.k8s.io/core:/stable:"
KEYRING = "/etc/apt/keyrings/k8s.gpg"
ONE_LINE = f"deb [arch=amd64 signed-by={KEYRING}] {BASE}/v1.34/deb/ /\n"
DEB822 = f"Types: deb\nURIs: {BASE}/v1.34/deb/\nSuites: /\nSigned-By: {KEYRING}\n"
INLINE = (
    f"Types: deb\nURIs: {BASE}/v1.34/deb/\nSuites: /\nSigned-By:\n"
    " -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n -----END PGP PUBLIC KEY BLOCK-----\nEnabled: yes\n"
)
CRIO = "https://mirror.example/isv:/cri-o:/stable:/v1.34/deb/"
OLD_CRIO = "https://pkgs.k8s.io/addons:/cri-o:/stable:/v1.34/deb/"
CRIO_LINE = "deb [signed-by=/etc/apt/keyrings/cri-o.gpg] {} /\n"
CRIO_STANZA = "Types: deb\nURIs: {}\nSuites: /\nSigned-By: /etc/apt/keyrings/cri-o.gpg\n"


def write(node, name: str, text: str):
    directory = node.root / "fs/etc/apt/sources.list.d"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_text(text)
    return directory / name


def keyring(node, base: str = BASE) -> list[str]:
    """The file of the source that is found, its address, its keyring."""
    find = f'source=$(live_source "{base}"); [[ -n $source ]] || exit 0; cut -f 1,5 --output-delimiter=" " <<<"$source"'
    done = node.shell("apt.sh", f'APT_PRIVATE={node.root}; {find}; live_keyring "$source"')
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(("name", "text"), [("k8s.list", ONE_LINE), ("k8s.sources", DEB822)])
def test_path_of_the_keyring(node, name, text):
    path = write(node, name, text)
    write(node, "other.list", "deb http://deb.example/debian stable main\n")
    assert keyring(node) == [str(path), f"{BASE}/v1.34/deb/", KEYRING]


def test_inline_key(node):
    write(node, "k8s.sources", INLINE)
    path = keyring(node)[2]
    assert path == str(node.root / "keyring.asc")
    assert (node.root / "keyring.asc").read_text() == (
        "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc\n-----END PGP PUBLIC KEY BLOCK-----\n"
    )


@pytest.mark.parametrize("crio", [CRIO, OLD_CRIO])
@pytest.mark.parametrize("base", [BASE, "http://mirror.example/k8s"], ids=["its own", "node uses another"])
@pytest.mark.parametrize("first", [CRIO_LINE, CRIO_STANZA], ids=["list", "sources"])
@pytest.mark.parametrize("text", [ONE_LINE, DEB822, INLINE], ids=["list", "sources", "inline key"])
def test_cri_o_is_not_kubernetes(node, crio, base, first, text):
    """CRI-O's packages lie under addresses of the same form, and cri-o.list sorts before kubernetes.list."""
    write(node, "cri-o.list" if first == CRIO_LINE else "cri-o.sources", first.format(crio))
    path = write(node, "kubernetes.list" if text == ONE_LINE else "kubernetes.sources", text)
    expected = str(node.root / "keyring.asc") if text == INLINE else KEYRING
    assert keyring(node, base) == [str(path), f"{BASE}/v1.34/deb/", expected]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("both.list", CRIO_LINE.format(CRIO) + ONE_LINE),
        ("both.sources", CRIO_STANZA.format(CRIO) + "\n" + DEB822),
        (
            "both.sources",
            CRIO_STANZA.format(CRIO) + "# ours\n \n\n" + DEB822 + "\n" + CRIO_STANZA.format(OLD_CRIO),
        ),
        ("both.sources", DEB822.replace("URIs:", f"URIs: {CRIO}\n")),
        ("both.sources", CRIO_STANZA.format(f"{BASE}/v1.33/deb/") + "Enabled: no\n\n" + DEB822),
    ],
)
def test_several_in_one_file(node, name, text):
    path = write(node, name, text)
    assert keyring(node) == [str(path), f"{BASE}/v1.34/deb/", KEYRING]


def test_without_its_source_cri_o_is_no_way_out(node):
    write(node, "cri-o.list", CRIO_LINE.format(CRIO))
    assert keyring(node) == []


@pytest.mark.parametrize(
    "base", ["http://10.217.0.2:8081", "http://10.217.0.2:8081/", "http://other.example"]
)
def test_a_mirrors_address_may_be_any(node, base):
    write(node, "cri-o.list", CRIO_LINE.format(CRIO))
    write(node, "kubernetes.list", f"deb [signed-by={KEYRING}] http://10.217.0.2:8081/v1.34/deb/ /\n")
    assert keyring(node, base)[1:] == ["http://10.217.0.2:8081/v1.34/deb/", KEYRING]


def test_the_policys_repository_goes_before_another(node):
    write(node, "a.list", "deb [signed-by=/a.gpg] http://a.example/v1.34/deb/ /\n")
    write(node, "b.list", "deb [signed-by=/b.gpg] http://b.example/v1.34/deb /\n")
    assert keyring(node, "http://b.example")[1:] == ["http://b.example/v1.34/deb", "/b.gpg"]


def test_commented_line_is_no_source(node):
    write(node, "k8s.list", "# " + ONE_LINE)
    write(node, "k8s.sources", DEB822.replace("URIs", "# URIs"))
    assert keyring(node) == []


def test_without_a_source_nothing_is_trusted(node, tmp_path):
    done = node.shell("apt.sh", f"APT_PRIVATE={tmp_path}; private_apt_update 1.35 http://127.0.0.1:1")
    assert done.returncode == 22


@pytest.mark.parametrize(
    ("asked", "found"), [("1.35.4", True), ("1.35.4-1.1", True), ("1.35.40", False), ("1.35", False)]
)
def test_staged_directory_is_found_by_exact_version(node, asked, found):
    directory = node.state / "packages" / "1.35.4-1.1"
    directory.mkdir(parents=True)
    (directory / "STAGED").touch()
    done = node.shell("apt.sh", f"staged_directory {asked}")
    assert (done.stdout.strip() == str(directory)) is found


@pytest.mark.parametrize(
    ("said", "minor", "live_minor_answers", "expected"),
    [
        ("E: Failed to fetch http://x/v1.36/deb/InRelease  404  Not Found", "1.36", True, ExitCode.ABSENT),
        ("E: Failed to fetch http://x/v1.36/deb/InRelease  403  Forbidden", "1.36", True, ExitCode.ABSENT),
        (
            "E: Failed to fetch http://x/v1.36/deb/InRelease  403  Forbidden",
            "1.36",
            False,
            ExitCode.REPOSITORY_REFUSED,
        ),
        (
            "E: Failed to fetch http://x/v1.34/deb/InRelease  403  Forbidden",
            "1.34",
            True,
            ExitCode.REPOSITORY_REFUSED,
        ),
        ("E: Could not connect to x:80, connection timed out", "1.36", True, ExitCode.REPOSITORY_REFUSED),
        ("E: The repository 'http://x ./ Release' is not signed.", "1.36", True, ExitCode.REPOSITORY_REFUSED),
    ],
    ids=[
        "404",
        "403 as object stores say it",
        "403 for all",
        "403 for the minor that runs",
        "away",
        "unsigned",
    ],
)
def test_only_a_repository_that_answers_has_no_such_minor(node, said, minor, live_minor_answers, expected):
    """Everything else is "could not know": taken for "no such minor" it would end as "nothing to do"."""
    node.environment["PATH"] = f"{TOOLS}:{node.variables()['PATH']}"
    write(node, "k8s.list", ONE_LINE)
    (node.systemd / "installed-kubeadm").write_text("1.34.4-1.1\n")
    (node.systemd / "apt-update-fails").write_text(said + "\n")
    if live_minor_answers:
        (node.systemd / "live-index").write_text("0")
    done = node.run("package-index", minor, "http://x")
    assert done.returncode == expected, done.stderr
