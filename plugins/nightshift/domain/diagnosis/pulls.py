"""Images that a mirror did not have and that no other host could give: the last words of such a pull are about the other host only.

containerd's line of a mirror's answer does not name the image. It is of the pull that is at work; while two are, it is of neither. Only a
pull that failed before any host said that it has the image, for want of a host that could be reached, failed for what the mirror lacks.

Source: journal/containerd.log, and the jobs' own journal where ctr pulls (containerd core/remotes/docker/resolver.go, whose words are
others in newer versions, and the CRI server's image_pull.go).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from nightshift.domain.diagnosis.lines import COMMAND_FAILED, LINE_LIMIT, Line, is_readable, lines_of
from nightshift.domain.diagnosis.patterns import JOBS, RUNTIME
from nightshift.domain.diagnosis.signs import QUOTE_LIMIT, Sign, Signs

NOT_MIRRORED = "image.not_mirrored"
_MSG = r"msg(?:=|\":)\""  # containerd's two formats
_ANSWER = re.compile(rf"{_MSG}trying next host(?: - response was http\.StatusNotFound| after status: 404)")
_PULL = re.compile(rf"{_MSG}PullImage \\\"(?P<image>[^\"\\]{{1,500}})\\\"(?P<end> failed| returns )?")
_ANEW = re.compile(rf"{_MSG}starting containerd\"|^-- Boot ")  # pulls that were at work have no end
_WORDS = re.compile(r"PullImage|trying next host|starting containerd|-- Boot ")
_UNREACHED = re.compile(
    r"failed to resolve [^\n]*?(?:no such host|connection refused|i/o timeout|no route to host|network is unreachable)"
)
_CTR_BEGINS = re.compile(r": pulling \S+$")
_CTR_FAILS = re.compile(r": ctr: failed to resolve (?:reference|image) \"(?P<image>[^\"]{1,500})\"")
_CTR_WORDS = re.compile(r"pulling |trying next host|ctr: ")


@dataclass
class _Pull:
    """One that is at work.

    Args:
        answers: of mirrors that do not have the image.
        is_alone: no other one was at work meanwhile.
    """

    answers: list[Line] = field(default_factory=list)
    is_alone: bool = True


def read_pulls(
    files: Mapping[str, str], logs: float | None, jobs: float | None, is_own: Callable[[str], bool]
) -> Signs:
    """One sign for each image.

    Args:
        files: path in the bundle -> text.
        logs: what the runtime said before is of another failure, epoch seconds; None: all counts.
        jobs: the same of what jobs said.
        is_own: whether the failed step speaks of an image; others are a tenant's.
    """
    journals = [(path, text) for path, text in files.items() if re.match(f"{RUNTIME}|{JOBS}", path)]
    read = [path for path, text in journals if re.match(RUNTIME, path) and not COMMAND_FAILED.match(text)]
    found: dict[str, Sign] = {}
    for path, text in journals:
        is_job = re.match(JOBS, path) is not None
        since = jobs if is_job else logs
        for image, line in _refused(text, is_job=is_job):
            if since is not None and line.time is not None and line.time < since:
                continue
            sign = Sign(
                NOT_MIRRORED,
                subject=image,
                quote=line.text.strip()[:QUOTE_LIMIT],
                source=f"{path}:{line.number}",
                first=line.time,
                last=line.time,
                tied=is_job or is_own(image),
            )
            found.setdefault(image, sign)
    if read:
        return Signs(tuple(found.values()), looked=frozenset({NOT_MIRRORED}))
    return Signs(tuple(found.values()), unread={NOT_MIRRORED: "without the container runtime's journal"})


def _refused(text: str, *, is_job: bool) -> Iterator[tuple[str, Line]]:
    """Image and a mirror's answer. All lines are read: a pull that began before the window may be at work in it."""
    if not is_readable(text):
        return iter(())
    words, told = (_CTR_WORDS, _by_ctr) if is_job else (_WORDS, _by_runtime)
    return told(replace(line, text=line.text[:LINE_LIMIT]) for line in lines_of(text, None, words))


def _by_runtime(lines: Iterable[Line]) -> Iterator[tuple[str, Line]]:
    """Image and a mirror's answer, of each image whose last pull failed so."""
    found: dict[str, Line] = {}
    pulls: dict[str, _Pull] = {}
    for line in lines:
        if _ANEW.search(line.text):
            pulls.clear()
        elif _ANSWER.search(line.text):
            for pull in pulls.values():
                pull.answers.append(line)
        elif (said := _PULL.search(line.text)) and said["end"] is None:
            pulls[said["image"]] = _Pull()
            for pull in pulls.values():
                pull.is_alone = pull.is_alone and len(pulls) == 1
        elif said:
            ended = pulls.pop(said["image"], None)
            found.pop(said["image"], None)
            if ended and ended.is_alone and ended.answers and _UNREACHED.search(line.text):
                found[said["image"]] = ended.answers[0]
    yield from found.items()


def _by_ctr(lines: Iterable[Line]) -> Iterator[tuple[str, Line]]:
    """The same of a job's pulls; it does one after the other."""
    answer: Line | None = None
    for line in lines:
        if _CTR_BEGINS.search(line.text):
            answer = None
        elif _ANSWER.search(line.text):
            answer = answer or line
        elif answer and (said := _CTR_FAILS.search(line.text)) and _UNREACHED.search(line.text):
            yield said["image"], answer
