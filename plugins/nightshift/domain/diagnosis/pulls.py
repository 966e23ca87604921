"""Pulls that failed after a mirror had answered that it does not have the image: the runtime's last words are about the next host only.

containerd's line of a mirror's answer does not name the image. It is of the pull that is at work; while two are, it is of neither.

Source: journal/containerd.log (containerd core/remotes/docker/resolver.go, internal/cri/server/images/image_pull.go).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from nightshift.domain.diagnosis.lines import Line, is_readable, lines_of
from nightshift.domain.diagnosis.patterns import DRIVER, IMAGE, JOBS, RUNTIME
from nightshift.domain.diagnosis.signs import QUOTE_LIMIT, Sign, Signs

REFUSED = "image.mirror_refused"
_WORDS = re.compile(r"PullImage|StatusNotFound")
_PULL = re.compile(r"msg=\"PullImage \\\"(?P<image>[^\"\\]{1,500})\\\"(?P<end> failed| returns )?")
_ANSWER = re.compile(r"msg=\"trying next host - response was http\.StatusNotFound\"")
_OURS = re.compile(IMAGE)


@dataclass
class _Pull:
    """One that is at work.

    Args:
        answers: of mirrors that do not have the image.
        is_alone: no other one was at work meanwhile.
    """

    answers: list[Line] = field(default_factory=list)
    is_alone: bool = True


def read_pulls(files: Mapping[str, str], since: float | None) -> Signs:
    """One sign for each image that a mirror did not have and whose pull failed.

    Args:
        files: path in the bundle -> text.
        since: older lines are of another failure, epoch seconds; None: all count.
    """
    journals = [(p, text) for p, text in files.items() if re.match(RUNTIME, p) and is_readable(text)]
    if not journals:
        return Signs(unread={REFUSED: "without the container runtime's journal"})
    said = "\n".join(text for path, text in files.items() if re.match(f"{JOBS}|{DRIVER}", path))
    found: dict[str, Sign] = {}
    for path, text in journals:
        for image, line in _refused(lines_of(text, since, _WORDS)):
            is_ours = _OURS.search(image) is not None or image in said
            sign = Sign(
                REFUSED, image, line.text.strip()[:QUOTE_LIMIT], f"{path}:{line.number}", line.time, line.time
            )
            found.setdefault(image, replace(sign, tied=is_ours))
    return Signs(tuple(found.values()), looked=frozenset({REFUSED}))


def _refused(lines: Iterator[Line]) -> Iterator[tuple[str, Line]]:
    """Image and a mirror's answer, of each pull that failed."""
    pulls: dict[str, _Pull] = {}
    for line in lines:
        if _ANSWER.search(line.text):
            for pull in pulls.values():
                pull.answers.append(line)
        elif (said := _PULL.search(line.text)) is None:
            continue
        elif said["end"] is None:
            pulls[said["image"]] = _Pull()
            if len(pulls) > 1:
                for pull in pulls.values():
                    pull.is_alone = False
        else:
            ended = pulls.pop(said["image"], None)
            if ended and ended.is_alone and ended.answers and said["end"] == " failed":
                yield said["image"], ended.answers[0]
