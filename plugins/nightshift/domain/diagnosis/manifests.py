"""The static-pod directory as the kubelet reads it: every file that does not start with a dot, whatever its suffix.

Source: manifests/listing.txt (`ls -la --time-style=full-iso`) and manifests/<file>. Of two files of one pod the last one in the order
of names wins when the kubelet lists the directory anew (kubernetes/kubernetes `pkg/kubelet/config/file.go`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping

from nightshift.domain.diagnosis.signs import Sign, Signs

LISTING = "manifests/listing.txt"
DUPLICATE = "manifests.duplicate"
STRAY = "manifests.stray"
_NAMES = frozenset({DUPLICATE, STRAY})
_SUFFIXES = (".yaml", ".yml", ".json")
_ENTRY = re.compile(r"^([-l])[rwxsStT-]{9}\S*\s+\d+\s+\S+\s+\S+\s+(\d+)\s+(\S+ \S+ \S+)\s(.+?)(?: -> .*)?$")
_METADATA = re.compile(r"^metadata:[ \t]*\n((?:[ \t-].*\n?)*)", re.MULTILINE)
_NAME = re.compile(r"([ \t]*)name:\s*[\"']?([\w.-]+)")
_JSON_POD_NAME = re.compile(r'"metadata"\s*:\s*\{[^{}]*"name"\s*:\s*"([\w.-]+)"')


def read_manifests(files: Mapping[str, str]) -> Signs:
    """Find files that are no manifest by their name, and files of one and the same pod."""
    listing = files.get(LISTING, "")
    entries = {found[4]: found[0] for line in listing.splitlines() if (found := _ENTRY.match(line))}
    # A listing that lists nothing was not read: a control plane has manifests, and `ls` on a worker says "total".
    if not entries and "total " not in listing:
        return Signs(unread=dict.fromkeys(_NAMES, f"{LISTING} is not in the evidence"))
    read = {name: entry for name, entry in entries.items() if not name.startswith(".")}
    pods = defaultdict(list)
    for name in sorted(read):
        pods[_pod_of(name, files.get(f"manifests/{name}", ""))].append(name)
    duplicates = {pod: names for pod, names in pods.items() if len(names) > 1}
    signs = [_duplicate(pod, names, read) for pod, names in duplicates.items()]
    signs += [
        Sign(STRAY, subject=name, quote=entry, source=LISTING)
        for name, entry in read.items()
        if not name.endswith(_SUFFIXES)
    ]
    return Signs(tuple(signs), looked=_NAMES)


def _duplicate(pod: str, names: list[str], entries: Mapping[str, str]) -> Sign:
    own = f"{pod}.yaml"
    others = [name for name in names if name != own] or names[1:]
    return Sign(
        DUPLICATE,
        subject=others[-1],
        quote="\n".join(entries[name] for name in names),
        source=LISTING,
        count=len(names),
        value=f"{pod}: {names[-1]} wins over {', '.join(names[:-1])}",
    )


def _pod_of(name: str, text: str) -> str:
    """The pod a file is of; by its name when its content is not in the evidence."""
    section = _METADATA.search(text)
    lines = section[1].splitlines() if section else []
    # The pod's own name stands at the depth of metadata's first key; labels may have a `name` of their own, deeper.
    depth = len(lines[0]) - len(lines[0].lstrip()) if lines else 0
    names = [found[2] for line in lines if (found := _NAME.match(line)) and len(found[1]) == depth]
    json_name = _JSON_POD_NAME.search(text)
    return next(iter(names), json_name[1] if json_name else name.partition(".")[0])
