"""From a bundle's text files to signs. Pure: the same files give the same signs.

The files are those of `include/scripts/node/lib/evidence.sh`, by their path in the bundle: journal/kubelet.log, jobs/<step>,
pods/kube-system_<pod>_<uid>/<container>/<n>.log, rehearsal/kube-apiserver.log, manifests/…, state/…, recorder/…; and
driver/error.txt, the failed step's message, when there is one.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, pairwise

from nightshift.domain.diagnosis.causes.symptoms import SYMPTOMS
from nightshift.domain.diagnosis.certificates import ENDED, read_certificates
from nightshift.domain.diagnosis.etcd_log import NAMES as ETCD_NAMES
from nightshift.domain.diagnosis.etcd_log import read_etcd
from nightshift.domain.diagnosis.fast_syncs import NAMES as FAST_SYNC_NAMES
from nightshift.domain.diagnosis.fast_syncs import read_fast_syncs
from nightshift.domain.diagnosis.followed import FOLLOWED, followed_last, is_cut, without_strangers
from nightshift.domain.diagnosis.foreign import FOREIGN, read_foreign
from nightshift.domain.diagnosis.jobs import NAMES as JOB_NAMES
from nightshift.domain.diagnosis.jobs import Window, read_jobs, window
from nightshift.domain.diagnosis.kubeadm_bugs import KNOWN_BUG, read_kubeadm_bugs
from nightshift.domain.diagnosis.lines import COMMAND_FAILED, LINE_LIMIT, Line, is_readable, lines_of
from nightshift.domain.diagnosis.manifests import LISTING, read_manifests
from nightshift.domain.diagnosis.manifests import NAMES as MANIFEST_NAMES
from nightshift.domain.diagnosis.patterns import (
    APISERVER,
    CONTROL_PLANE,
    DRIVER,
    ETCD,
    JOBS,
    KERNEL,
    KUBELET,
    PATTERNS,
    RUNTIME,
    TITLES,
    Pattern,
)
from nightshift.domain.diagnosis.pulls import NOT_MIRRORED, read_pulls
from nightshift.domain.diagnosis.recording import NAMES as RECORDER_NAMES
from nightshift.domain.diagnosis.recording import read_recording
from nightshift.domain.diagnosis.rehearsed import WORKED, read_rehearsed
from nightshift.domain.diagnosis.signs import QUOTE_LIMIT, Sign, Signs, guarded
from nightshift.domain.diagnosis.states import kubelet_seconds, read_states
from nightshift.domain.diagnosis.step_message import NODE_AWAY, read_step_message
from nightshift.domain.diagnosis.swaps import SWAPPED, read_swaps

_QUIET_SECONDS = 300.0  # a kubelet that has run for longer did not begin within the evidence's window
_SUBJECTS_KEPT = 200  # of one sign, of those that are tied to the upgrade and of the others
_TIMES_KEPT = 10_000  # of one sign and subject
_PAUSE_SECONDS = 100.0  # the kubelet tries a pod again at least every 90 s
_GENERAL = "driver.failed"
_TOKEN = re.compile(r"[\w./:@-]+")
# Component -> its logs and the sign that a log of it shows how it ended.
_CRASHING = {"kube-apiserver": (APISERVER, "apiserver.died"), "etcd": (ETCD, "etcd.died")}
_OF_COMPONENTS = {APISERVER: ("kube-apiserver",), ETCD: ("etcd",), CONTROL_PLANE: ("kube-apiserver", "etcd")}
# A quiet kernel says nothing in a night, and a step's own message is there only when somebody put it there.
_OPTIONAL = (KERNEL, DRIVER)


def read(files: Mapping[str, str], since: float | None = None) -> Signs:
    """Everything a bundle shows.

    Args:
        files: path in the bundle -> text.
        since: when the failed step's job began, epoch seconds, as the driver knows it: what is older is of another failure. None: the
            newest job on the node is taken for it.
    """
    files = without_strangers(files)
    span = window(files, since)
    own = functools.cache(lambda: _OwnWords(_own_lines(files, span)))  # asked within what is guarded
    readers: tuple[tuple[Iterable[str], Callable[[], Signs]], ...] = (
        (JOB_NAMES, lambda: read_jobs(files, since)),
        (MANIFEST_NAMES, lambda: read_manifests(files)),
        ((), lambda: read_states(files, since)),
        ((FOREIGN,), lambda: read_foreign(files)),
        ((ENDED,), lambda: read_certificates(files, since)),
        (ETCD_NAMES, lambda: read_etcd(files, span.logs)),
        (RECORDER_NAMES, lambda: read_recording(files)),
        ((SWAPPED,), lambda: read_swaps(files, since)),
        (FAST_SYNC_NAMES, lambda: read_fast_syncs(files, span.logs)),
        (
            (NOT_MIRRORED,),
            lambda: read_pulls(files, span.logs, span.jobs, lambda image: own().name(image, is_quick=False)),
        ),
        ((WORKED,), lambda: read_rehearsed(files)),
        ((NODE_AWAY,), lambda: read_step_message(files)),
        ((KNOWN_BUG,), lambda: read_kubeadm_bugs(files, span.jobs)),
        ({pattern.sign for pattern in PATTERNS}, lambda: _read_lines(files, span, since, own())),
    )
    said = Signs(files=tuple(path for path, text in files.items() if is_readable(text)))
    return _without_the_general(Signs.merged((*(guarded(*reader) for reader in readers), said)))


def _without_the_general(signs: Signs) -> Signs:
    """That the step failed, somehow, is a symptom of its own only while nothing says how."""
    if not any(sign.name in SYMPTOMS and sign.name != _GENERAL for sign in signs.seen):
        return signs
    return replace(signs, seen=tuple(sign for sign in signs.seen if sign.name != _GENERAL))


@dataclass
class _Found:
    """All lines of one pattern and subject, as far as the sign needs them.

    Args:
        path: file of the line that is quoted.
        line: that is quoted: the first one about the control plane, or else the first one.
        is_tied: whether it is about the control plane, or the failed job speaks of it.
        first: earliest time of all lines.
        last: latest.
        count: of lines.
        times: of the first lines.
    """

    path: str
    line: Line
    is_ours: bool
    is_tied: bool
    first: float | None = None
    last: float | None = None
    count: int = 0
    times: list[float] = field(default_factory=list)

    def add(self, path: str, line: Line, *, is_ours: bool) -> None:
        """Count a line; one about the control plane is quoted before one that may be about a tenant."""
        if is_ours and not self.is_ours:
            self.path, self.line, self.is_ours, self.is_tied = path, line, True, True
        if line.time is not None:
            self.first = line.time if self.first is None else min(self.first, line.time)
            self.last = line.time if self.last is None else max(self.last, line.time)
            if len(self.times) < _TIMES_KEPT:
                self.times.append(line.time)
        self.count += 1

    def sign(self, name: str, subject: str) -> Sign:
        """The sign they make."""
        return Sign(
            name,
            subject=subject,
            quote=self.line.text.strip()[:QUOTE_LIMIT],
            source=f"{self.path}:{self.line.number}",
            first=self.first,
            last=self.last,
            count=self.count,
            tied=self.is_tied,
            steady=_steady(self.times),
        )


def _steady(times: Sequence[float]) -> tuple[float, float] | None:
    """How long the longest stretch without a long pause is, and when it ended."""
    ordered = sorted(times)
    if not ordered:
        return None
    longest, begin = (0.0, ordered[0]), ordered[0]
    for before, time in pairwise(ordered):
        begin = begin if time - before <= _PAUSE_SECONDS else time
        longest = max(longest, (time - begin, time))
    return longest


class _Collector:
    """What lines showed so far. Of each sign a bounded number of subjects is kept: a hostile log has a new one in every line."""

    def __init__(self, own_words: _OwnWords) -> None:
        self._own_words = own_words
        self._found: dict[tuple[str, str], _Found] = {}
        self._subjects: Counter[tuple[str, bool]] = Counter()
        self._told: set[int] = set()

    def add(self, path: str, line: Line, patterns: Sequence[Pattern]) -> None:
        """Put a line to the signs it is one of. Of a very long line the beginning is enough, and cheap.

        One that the recorder followed, and that the kubelet's own file has as well, is the same line.
        """
        text = line.text[:LINE_LIMIT]
        for pattern in patterns:
            subject = pattern.subject(text)
            if subject is None or self._is_told(path, line, text, pattern.sign):
                continue
            subject, is_ours = subject[:QUOTE_LIMIT], pattern.is_ours(path, text)
            found = self._found.get((pattern.sign, subject)) or self._new(
                pattern.sign, subject, path, line, is_ours=is_ours
            )
            if found is not None:
                found.add(path, line, is_ours=is_ours)

    def signs(self) -> list[Sign]:
        """All signs, in the order in which they were found."""
        return [found.sign(name, subject) for (name, subject), found in self._found.items()]

    def _new(self, sign: str, subject: str, path: str, line: Line, *, is_ours: bool) -> _Found | None:
        is_full = self._subjects[sign, False] >= _SUBJECTS_KEPT
        is_tied = is_ours or self._own_words.name(subject, is_quick=is_full)
        self._subjects[sign, is_tied] += 1
        if self._subjects[sign, is_tied] > _SUBJECTS_KEPT:
            return None
        return self._found.setdefault((sign, subject), _Found(path, line, is_ours, is_tied))

    def _is_told(self, path: str, line: Line, text: str, sign: str) -> bool:
        if not path.startswith(("pods/", FOLLOWED)):
            return False
        key = hash((sign, line.time, text))
        is_told = path.startswith(FOLLOWED) and key in self._told
        self._told.add(key)
        return is_told


class _OwnWords:
    """What the failed job and the failed step speak of, word by word."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._text = "\n".join(texts)
        self._words: set[str] = set()
        for token in set(_TOKEN.findall(self._text)):
            self._words.add(token)
            word = token.rstrip(".:,/-")  # the end of a sentence is not of the name
            self._words.add(word)
            self._words.update(word[: found.start()] for found in islice(re.finditer("[:@]", word), 4))

    def name(self, subject: str, *, is_quick: bool) -> bool:
        """Whether they speak of the same thing, as a whole word; of several words, in that order.

        Args:
            subject: "" is nothing to speak of.
            is_quick: look for single words only: to search the text for each of very many subjects takes minutes.
        """
        if not subject or subject in self._words:
            return bool(subject)
        return not is_quick and _TOKEN.fullmatch(subject) is None and subject in self._text


def _read_lines(files: Mapping[str, str], span: Window, since: float | None, own_words: _OwnWords) -> Signs:
    readable: dict[str, list[str]] = {pattern.sign: [] for pattern in PATTERNS}
    collector = _Collector(own_words)
    for path, text in followed_last(files):
        patterns = [p for p in PATTERNS if any(re.match(log, path) for log in p.logs)]
        if not patterns or not is_readable(text):
            continue
        for pattern in patterns:
            readable[pattern.sign].append(path)
        words = re.compile("|".join(re.escape(word) for p in patterns for word in p.needles))
        for line in lines_of(text, _start(path, span), words):
            collector.add(path, line, patterns)
    return _judge(collector.signs(), readable, files, since)


def _start(path: str, span: Window) -> float | None:
    return span.jobs if re.match(JOBS, path) else span.logs


def _own_lines(files: Mapping[str, str], span: Window) -> Iterator[str]:
    for path, text in files.items():
        if re.match(f"{JOBS}|{DRIVER}", path):
            yield from (line.text for line in lines_of(text, _start(path, span)))


def _judge(
    signs: list[Sign], readable: Mapping[str, list[str]], files: Mapping[str, str], since: float | None
) -> Signs:
    """Say of each sign whether it was looked for. All logs that may show it are needed: what one lacks another may have."""
    blind_logs = _logs_without_the_crash(signs)
    quiet = _may_be_quiet(files, since)
    looked, unread = set(), {}
    for pattern in PATTERNS:
        paths = [
            path for path in readable[pattern.sign] if not any(re.match(log, path) for log in blind_logs)
        ]
        missing = [
            t for log in pattern.logs if log not in quiet for t in _missing(log, pattern, paths, files)
        ]
        cut = [path for path in paths if is_cut(path, paths, files)]
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


def _may_be_quiet(files: Mapping[str, str], since: float | None) -> list[str]:
    """Journals that are in the bundle and may well be empty: they were read.

    An idle runtime says nothing for minutes, and a kubelet that has run all the while neither. Jobs say nothing while none runs; of one
    that failed there are words, or they are lost.
    """
    there = {
        log
        for log in (RUNTIME, KUBELET, JOBS)
        for path, text in files.items()
        if re.match(log, path) and (log == JOBS or not COMMAND_FAILED.match(text))
    }
    lost = {JOBS} if read_jobs(files, since).seen else set()
    if kubelet_seconds(files) < _QUIET_SECONDS:
        lost.add(KUBELET)
    return sorted(there - lost)


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
