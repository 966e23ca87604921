"""The node-side scripts as shipped: their bytes, their version and the fingerprint every call checks.

The fingerprint is computed twice, here from the shipped files and on the node from the installed ones, over the
same text: one line per entry with type, mode, owner, group and path, then one `sha256  path` line per file. So a
changed byte, an added file, a looser mode or another owner are all seen.
"""

from __future__ import annotations

import hashlib
import io
import shlex
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nightshift.domain.errors import ConfigError

INSTALL_DIR = "/usr/local/lib/nightshift"
DISPATCHER = f"{INSTALL_DIR}/nightshift-node"
SSH_USER = "nightshift"

_DIRECTORY_MODE = 0o755
_PROGRAM_MODE = 0o555
_TEXT_MODE = 0o444
_TEXT_NAMES = (
    ".sh",
    ".awk",
    ".pl",
    "VERSION",
    "SHA256SUMS",
)  # how the names of files end that are read, never run
_SHIPPED = Path(__file__).resolve().parents[3] / "include" / "scripts"


@dataclass(frozen=True)
class ScriptBundle:
    """All files that belong into `INSTALL_DIR`, by path relative to it, and the installer that puts them there.

    Args:
        files: relative POSIX path -> content, VERSION and SHA256SUMS included.
        installer: content of the script that root runs once on a node (`enrol-node`); not installed.
    """

    files: Mapping[str, bytes]
    installer: bytes = b""

    @staticmethod
    def shipped(directory: Path = _SHIPPED) -> ScriptBundle:
        """Read the bundle from the project's own `include/scripts`.

        Raises:
            ConfigError: CONFIG_INVALID, the directory is incomplete (a broken checkout or image).
        """
        node = directory / "node"
        installer = directory / "enrol-node"
        if not (node / "nightshift-node").is_file() or not installer.is_file():
            raise ConfigError(
                "CONFIG_INVALID",
                f"The node-side scripts are not at {directory}.",
                cause="The checkout or the image misses include/scripts.",
                next_step="Deploy plugins/ and include/ of the same version side by side.",
            )
        content = {
            path.relative_to(node).as_posix(): path.read_bytes()
            for path in sorted(node.rglob("*"))
            if path.is_file() and not path.name.startswith(".")
        }
        return ScriptBundle(_with_sums(content), installer.read_bytes())

    @property
    def version(self) -> str:
        """Content of VERSION: the first 12 hex digits of the hash over all scripts."""
        return self.files["VERSION"].decode().strip()

    @property
    def fingerprint(self) -> str:
        """What `verify_command` must compute on the node, as a hex SHA-256."""
        text = "".join(f"{line}\n" for line in (*sorted(self._entries()), *self._sums()))
        return hashlib.sha256(text.encode()).hexdigest()

    def verify_command(self) -> str:
        """POSIX shell text: leaves with 90 (not installed) or 91 (differs), else falls through.

        It runs as the unprivileged SSH user before anything is run as root.
        """
        listing = r"find . -printf '%y %m %U %G %p\n' | LC_ALL=C sort"
        sums = "find . -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum"
        return (
            f"cd {INSTALL_DIR} 2>/dev/null || exit 90; "
            f"[ \"$( {{ {listing}; {sums}; }} | sha256sum | cut -d' ' -f1)\" = {self.fingerprint} ] || exit 91; "
        )

    def command(self, verb: str, args: Iterable[str] = ()) -> str:
        """Shell text that verifies the installed scripts and then runs one verb as root."""
        words = shlex.join((DISPATCHER, verb, *args))
        return f"{self.verify_command()}exec sudo -n {words}"

    def archive(self) -> bytes:
        """A tar.gz for a node: `enrol-node` and `node/…`, with the modes they shall have."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            _add(tar, "enrol-node", self.installer, 0o700)
            for path, content in self.files.items():
                _add(tar, f"node/{path}", content, _mode(path))
        return buffer.getvalue()

    def _entries(self) -> list[str]:
        """`find -printf` lines of the installed tree."""
        directories = {str(parent) for path in self.files for parent in PurePosixPath(path).parents}
        lines = [f"d {_DIRECTORY_MODE:o} 0 0 {_dotted(name)}" for name in directories]
        return lines + [f"f {_mode(path):o} 0 0 {_dotted(path)}" for path in self.files]

    def _sums(self) -> list[str]:
        """`sha256sum` lines in the byte order of the paths."""
        ordered = sorted(self.files, key=lambda path: _dotted(path).encode())
        return [f"{hashlib.sha256(self.files[path]).hexdigest()}  {_dotted(path)}" for path in ordered]


def _with_sums(content: Mapping[str, bytes]) -> dict[str, bytes]:
    """Add VERSION and SHA256SUMS, both derived from the scripts themselves."""
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {path}\n" for path, data in sorted(content.items()))
    version = hashlib.sha256(sums.encode()).hexdigest()[:12]
    return {**content, "VERSION": f"{version}\n".encode(), "SHA256SUMS": sums.encode()}


def _mode(path: str) -> int:
    """Programs may be run, everything else only read; nothing may be written."""
    return _TEXT_MODE if path.endswith(_TEXT_NAMES) else _PROGRAM_MODE


def _dotted(path: str) -> str:
    """A relative path as `find .` prints it."""
    return path if path == "." else f"./{path}"


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    tar.addfile(info, io.BytesIO(content))
