"""The static-pod directory as the kubelet reads it: every file that does not start with a dot, whatever its suffix.

Source: manifests/listing.txt (`ls -la --time-style=full-iso`) and manifests/<file>. Of two files of one pod the last one in the order
of names wins when the kubelet lists the directory anew (kubernetes/kubernetes `pkg/kubelet/config/file.go`). Which one runs is told by the
arguments of the process, in state/argv.txt; not while it is young: a file that was just written runs until that listing.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping

from nightshift.domain.diagnosis.lines import epoch, is_readable
from nightshift.domain.diagnosis.signs import QUOTE_LIMIT, Sign, Signs

LISTING = "manifests/listing.txt"
ARGUMENTS, PROCESSES = "state/argv.txt", "state/processes.txt"
DUPLICATE = "manifests.duplicate"
STRAY = "manifests.stray"
RUNS = "manifests.runs"  # which of two files of one pod the running process was started from
_SETTLED_SECONDS = 60  # the kubelet lists the directory anew every 20 s
_MANIFEST_LIMIT = 32 * 1024  # characters of a manifest that are looked at; kubeadm's have 4,000
NAMES = frozenset({DUPLICATE, STRAY, RUNS})
_SUFFIXES = (".yaml", ".yml", ".json")
_ENTRY = re.compile(r"^([-l])[rwxsStT-]{9}\S*\s+\d+\s+\S+\s+\S+\s+(\d+)\s+(\S+ \S+ \S+)\s(.+?)(?: -> .*)?$")
_METADATA = re.compile(r"^metadata:[ \t]*\n((?:[ \t-].*\n?)*)", re.MULTILINE)
_NAME = re.compile(r"([ \t]*)name:\s*[\"']?([\w.-]+)")
_ARGUMENT = re.compile(r"^[ \t]*- ([\"']?--[^\n]+)", re.MULTILINE)
_JSON_POD_NAME = re.compile(r'"metadata"\s*:\s*\{[^{}]*"name"\s*:\s*"([\w.-]+)"')


def read_manifests(files: Mapping[str, str]) -> Signs:
    """Find files that are no manifest by their name, files of one and the same pod, and which of these runs."""
    listing = files.get(LISTING, "")
    entries = {found[4]: found for line in listing.splitlines() if (found := _ENTRY.match(line))}
    # A listing that lists nothing was not read: a control plane has manifests, and `ls` on a worker says "total".
    if not entries and "total " not in listing:
        return Signs(unread=dict.fromkeys(NAMES, f"{LISTING} is not in the evidence"))
    read = {name: entry for name, entry in entries.items() if not name.startswith(".")}
    pods, unknown = _pods(read, files)
    duplicates = {pod: names for pod, names in pods.items() if len(names) > 1}
    running = _running(files)
    signs = [
        Sign(STRAY, subject=name, quote=entry[0], source=LISTING)
        for name, entry in read.items()
        if not name.endswith(_SUFFIXES)
    ]
    for pod, names in duplicates.items():
        runs = _that_runs(names, running.get(pod, frozenset()), files)
        signs.append(_duplicate(pod, names, runs, read))
        if runs:
            signs.append(Sign(RUNS, subject=runs, quote=f"the arguments of {pod}", source=ARGUMENTS))
    looked = {STRAY} | ({RUNS} if running else set()) | (set() if unknown else {DUPLICATE})
    unread = {} if running else {RUNS: f"{ARGUMENTS} has no process that has run for a minute"}
    if unknown:  # what it is of, only its content says: a copy may have any name
        unread[DUPLICATE] = f"the content of manifests/{unknown[0]} is not in the evidence"
    return Signs(tuple(signs), frozenset(looked), unread)


def _pods(
    entries: Mapping[str, re.Match[str]], files: Mapping[str, str]
) -> tuple[dict[str, list[str]], list[str]]:
    """The files of each pod, in the order of names; and the files of which nobody knows whether and of what pod they are."""
    pods: dict[str, list[str]] = defaultdict(list)
    unknown = []
    for name in sorted(entries):
        text = files.get(f"manifests/{name}", "")
        pod = _pod_of(text[:_MANIFEST_LIMIT])
        if pod:
            pods[pod].append(name)
        elif not _is_no_pod(text, int(entries[name][2])):
            unknown.append(name)
    return pods, unknown


def _is_no_pod(text: str, size: int) -> bool:
    """Whether a file is sure to be of no pod: it is empty, or it is there as a whole and speaks of none."""
    is_whole = is_readable(text) and size <= len(text.encode()) and len(text) <= _MANIFEST_LIMIT
    return size == 0 or (is_whole and "Pod" not in text)


def _duplicate(pod: str, names: list[str], runs: str, entries: Mapping[str, re.Match[str]]) -> Sign:
    """The one beside kubeadm's own that runs, by its arguments or else by its name."""
    own = f"{pod}.yaml"
    others = [name for name in names if name != own] or names[1:]
    stray = runs if runs in others else others[-1]
    written = _written(entries[stray][3])
    return Sign(
        DUPLICATE,
        subject=stray[:QUOTE_LIMIT],
        quote="\n".join(entries[name][0] for name in names),
        source=LISTING,
        first=written,
        last=written,
        count=len(names),
        value=f"{pod}: {names[-1]} wins over {', '.join(names[:-1])}",
    )


def _written(stamp: str) -> float | None:
    """When a file was written, epoch seconds: `ls` says date, time and offset."""
    date, time, offset = stamp.split()
    return epoch(f"{date}T{time}{offset}")


def _running(files: Mapping[str, str]) -> dict[str, frozenset[str]]:
    """The flags of each component that has run for a while. Of two that differ: none.

    The arguments are `== PID NAME`, then one a line behind "- ".
    """
    settled = _settled(files.get(PROCESSES, ""))
    found: dict[str, frozenset[str]] = {}
    for block in re.split(r"^== ", files.get(ARGUMENTS, ""), flags=re.MULTILINE)[1:]:
        arguments = [line.removeprefix("- ") for line in block.splitlines()[1:]]
        if arguments and block.partition(" ")[0] in settled:
            name = arguments[0].rpartition("/")[2]
            flags = frozenset(a for a in arguments if a.startswith("--"))
            found[name] = flags if found.get(name, flags) == flags else frozenset()
    return found


def _settled(text: str) -> set[str]:
    """Process ids of those that are older than the kubelet's last listing: `ps -eo pid,ppid,lstart,etimes,…`."""
    rows = [words for line in text.splitlines() if len(words := line.split(None, 8)) == 9]
    return {row[0] for row in rows if row[7].isdecimal() and float(row[7]) >= _SETTLED_SECONDS}


def _that_runs(names: list[str], running: frozenset[str], files: Mapping[str, str]) -> str:
    """The one file that has the arguments of the running process; "" when none has, or two have."""
    same = [name for name in names if running and _flags(files.get(f"manifests/{name}", "")) == running]
    return same[0] if len(same) == 1 else ""


def _flags(text: str) -> set[str]:
    return {found.strip().strip("\"'") for found in _ARGUMENT.findall(text[:_MANIFEST_LIMIT])}


def _pod_of(text: str) -> str:
    """The pod that a manifest is of; "" when that is not to be read."""
    section = _METADATA.search(text)
    lines = section[1].splitlines() if section else []
    # The pod's own name stands at the depth of metadata's first key; labels may have a `name` of their own, deeper.
    depth = len(lines[0]) - len(lines[0].lstrip()) if lines else 0
    names = [found[2] for line in lines if (found := _NAME.match(line)) and len(found[1]) == depth]
    json_name = _JSON_POD_NAME.search(text)
    return next(iter(names), json_name[1] if json_name else "")
