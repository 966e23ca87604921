"""Logs that a bundle has twice: as the kubelet keeps them (pods/…), and as the recorder followed them (recorder/pods/…).

The kubelet removes a container's log with its pod, so a followed one may be all there is. Where both are there, a line counts once.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from nightshift.domain.diagnosis.lines import LINES_LIMIT

FOLLOWED = "recorder/pods/"

# evidence.sh keeps the end of a log (4 MiB of a pod's, 8 MiB of a journal): in a file of that size the beginning is missing.
_CUT_BYTES = 4 * 1024 * 1024
_FOLLOWED_BYTES = 512 * 1024  # a log from before the recorder is followed from its last 512 KiB on
_KEPT = re.compile(
    r"pods/kube-system_([^/_]+)_[0-9a-f]{32}/([^/]+)/"
)  # only a static pod's uid has no dashes
_FOLLOWED = re.compile(rf"{FOLLOWED}([^/]+)/(.+)-[0-9a-f]+\.log$")


def without_strangers(files: Mapping[str, str]) -> dict[str, str]:
    """Leave out the recorder's copies of a tenant's pod that is called like a component (etcd-calico-0).

    The recorder's path has no uid: where the kubelet's own log of the component is in the bundle too, that one tells the pod's name.
    """
    names: dict[str, set[str]] = defaultdict(set)
    for kept in filter(None, map(_KEPT.match, files)):
        names[kept[2]].add(kept[1])

    def is_stranger(path: str) -> bool:
        found = _FOLLOWED.match(path)
        return found is not None and bool(names[found[2]]) and found[1] not in names[found[2]]

    return {path: text for path, text in files.items() if not is_stranger(path)}


def followed_last(files: Mapping[str, str]) -> list[tuple[str, str]]:
    """The files with those of the recorder at the end, else in their order."""
    return sorted(files.items(), key=lambda file: file[0].startswith(FOLLOWED))


def is_cut(path: str, beside: Sequence[str], files: Mapping[str, str]) -> bool:
    """Whether the beginning of a log may be missing.

    Args:
        path: of the log.
        beside: all logs that may show the same; a followed one that is short of its beginning does not matter beside the kubelet's own.
        files: path in the bundle -> text.
    """
    if files[path].count("\n") > LINES_LIMIT:
        return True
    size = len(files[path].encode())
    if not path.startswith(FOLLOWED):
        return size >= _CUT_BYTES
    component = path.removeprefix(FOLLOWED).partition("/")[0]
    return size >= _FOLLOWED_BYTES and not any(
        other.startswith(f"pods/kube-system_{component}_") for other in beside
    )
