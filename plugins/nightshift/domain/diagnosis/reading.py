"""From a bundle's text files to signs. Pure: the same files give the same signs.

The files are those of `include/scripts/node/lib/evidence.sh`, by their path in the bundle: journal/kubelet.log, jobs/<step>,
pods/kube-system_<pod>_<uid>/<container>/<n>.log, manifests/…, state/…; and driver/error.txt, the failed step's message, when there is one.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping

from nightshift.domain.diagnosis.etcd_log import read_etcd
from nightshift.domain.diagnosis.jobs import read_jobs, since
from nightshift.domain.diagnosis.lines import Line, lines_of
from nightshift.domain.diagnosis.manifests import LISTING, read_manifests
from nightshift.domain.diagnosis.patterns import (
    APISERVER,
    CONTROL_PLANE,
    DRIVER,
    ETCD,
    KERNEL,
    PATTERNS,
    TITLES,
    Pattern,
)
from nightshift.domain.diagnosis.signs import QUOTE_LIMIT, Sign, Signs
from nightshift.domain.diagnosis.states import read_states

# evidence.sh keeps the end of a log (4 MiB of a pod's, 8 MiB of a journal): in a file of that size the beginning is missing.
_CUT_BYTES = 4 * 1024 * 1024
_COMMAND_FAILED = re.compile(r"\Aended with exit code \d+\s*\Z|\A[^\n]*\nended with exit code \d+\s*\Z")
# Component -> its logs and the sign that a log of it shows how it ended.
_CRASHING = {"kube-apiserver": (APISERVER, "apiserver.died"), "etcd": (ETCD, "etcd.died")}
_OF_COMPONENTS = {APISERVER: ("kube-apiserver",), ETCD: ("etcd",), CONTROL_PLANE: ("kube-apiserver", "etcd")}
# A quiet kernel says nothing in a night, and a step's own message is there only when somebody put it there.
_OPTIONAL = (KERNEL, DRIVER)


def read(files: Mapping[str, str]) -> Signs:
    """Everything a bundle shows.

    Args:
        files: path in the bundle -> text.
    """
    start = since(files)
    return Signs.merged(
        (
            read_jobs(files),
            read_manifests(files),
            read_states(files),
            read_etcd(files, start),
            _read_lines(files, start),
        )
    )


def _read_lines(files: Mapping[str, str], start: float | None) -> Signs:
    found: dict[tuple[str, str], list[tuple[str, Line]]] = defaultdict(list)
    readable: dict[str, list[str]] = {pattern.sign: [] for pattern in PATTERNS}
    for path, text in files.items():
        patterns = [p for p in PATTERNS if any(re.match(log, path) for log in p.logs)]
        if not patterns or not _is_readable(text):
            continue
        for pattern in patterns:
            readable[pattern.sign].append(path)
        for line in lines_of(text, start):
            for pattern in patterns:
                match = _match(pattern, line.text)
                if match is not None:
                    found[pattern.sign, _subject(match)].append((path, line))
    signs = [_sign(name, subject, hits) for (name, subject), hits in found.items()]
    return _judge(signs, readable, files)


def _is_readable(text: str) -> bool:
    """An empty log, or a command that failed, says nothing: neither that something was nor that it was not."""
    return bool(text.strip()) and not _COMMAND_FAILED.match(text)


def _match(pattern: Pattern, text: str) -> re.Match[str] | None:
    if not any(word in text for word in pattern.needles) or any(word in text for word in pattern.unless):
        return None
    return pattern.expression.search(text)


def _subject(match: re.Match[str]) -> str:
    return next((value for value in match.groupdict().values() if value), "")


def _sign(name: str, subject: str, hits: list[tuple[str, Line]]) -> Sign:
    path, line = hits[0]
    times = [hit.time for _, hit in hits if hit.time is not None]
    return Sign(
        name,
        subject=subject,
        quote=line.text.strip()[:QUOTE_LIMIT],
        source=f"{path}:{line.number}",
        first=min(times, default=None),
        last=max(times, default=None),
        count=len(hits),
    )


def _judge(signs: list[Sign], readable: Mapping[str, list[str]], files: Mapping[str, str]) -> Signs:
    """Say of each sign whether it was looked for. All logs that may show it are needed: what one lacks another may have."""
    blind_logs = _logs_without_the_crash(signs)
    looked, unread = set(), {}
    for pattern in PATTERNS:
        paths = [
            path for path in readable[pattern.sign] if not any(re.match(log, path) for log in blind_logs)
        ]
        missing = [title for log in pattern.logs for title in _missing(log, pattern, paths, files)]
        cut = [path for path in paths if len(files[path].encode()) >= _CUT_BYTES]
        if missing:
            unread[pattern.sign] = f"without {' and '.join(dict.fromkeys(missing))}"
        elif cut:
            unread[pattern.sign] = f"the beginning of {cut[0]} is cut off"
        else:
            looked.add(pattern.sign)
    return Signs(tuple(signs), frozenset(looked), unread)


def _logs_without_the_crash(signs: list[Sign]) -> list[str]:
    crashing = {sign.subject for sign in signs if sign.name == "pod.crash_loop"}
    killed = {sign.subject for sign in signs if sign.name == "oom.killed"}  # has no last words
    ended = {sign.name for sign in signs}
    silent = {c: log for c, (log, end) in _CRASHING.items() if end not in ended}
    return [log for component, log in silent.items() if component in crashing - killed]


def _missing(log: str, pattern: Pattern, paths: list[str], files: Mapping[str, str]) -> list[str]:
    """Names of the logs of this kind that are needed and not there."""
    if log in _OPTIONAL and len(pattern.logs) > 1:
        return []
    needed = (
        [log]
        if log not in _OF_COMPONENTS
        else [_CRASHING[c][0] for c in _OF_COMPONENTS[log] if _runs(c, files)]
    )
    return [TITLES[one] for one in needed if not any(re.match(one, path) for path in paths)]


def _runs(component: str, files: Mapping[str, str]) -> bool:
    """Whether this node runs the component; yes while nobody knows."""
    listing = files.get(LISTING, "")
    return "total " not in listing or f" {component}.yaml" in listing
