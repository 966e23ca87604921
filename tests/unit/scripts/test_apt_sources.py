"""The keyring of the live package source, in the three forms people write it."""

from __future__ import annotations

import pytest

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
