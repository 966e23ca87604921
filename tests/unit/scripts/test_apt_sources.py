"""The live package source: its keyring in the three forms people write it, and what its answers mean."""

from __future__ import annotations

import pytest
from tests.unit.scripts.test_kubeadm_upgrade import TOOLS

from nightshift.clients.node_ssh import ExitCode

ONE_LINE = (
    "deb [arch=amd64 signed-by=/etc/apt/keyrings/k8s.gpg] https://pkgs.k8s.io/core:/stable:/v1.34/deb/ /\n"
)
DEB822 = "Types: deb\nURIs: https://pkgs.k8s.io/core:/stable:/v1.34/deb/\nSuites: /\nSigned-By: /etc/apt/keyrings/k8s.gpg\n"
INLINE = (
    "Types: deb\nURIs: https://pkgs.k8s.io/core:/stable:/v1.34/deb/\nSuites: /\nSigned-By:\n"
    " -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n -----END PGP PUBLIC KEY BLOCK-----\nEnabled: yes\n"
)


def write(node, name: str, text: str):
    directory = node.root / "fs/etc/apt/sources.list.d"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_text(text)
    return directory / name


@pytest.mark.parametrize(("name", "text"), [("k8s.list", ONE_LINE), ("k8s.sources", DEB822)])
def test_path_of_the_keyring(node, name, text):
    path = write(node, name, text)
    write(node, "other.list", "deb http://deb.example/debian stable main\n")
    done = node.shell("apt.sh", 'source=$(live_source); echo "$source"; live_keyring "$source"')
    assert done.stdout.splitlines() == [str(path), "/etc/apt/keyrings/k8s.gpg"]


def test_inline_key(node, tmp_path):
    write(node, "k8s.sources", INLINE)
    done = node.shell("apt.sh", f'APT_PRIVATE={tmp_path}; cat "$(live_keyring "$(live_source)")"')
    assert done.stdout == "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc\n-----END PGP PUBLIC KEY BLOCK-----\n"


def test_commented_line_is_no_source(node):
    write(node, "k8s.list", "# " + ONE_LINE)
    assert node.shell("apt.sh", "live_source").stdout == ""


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
