"""The section `static-pods` of the verb `look`."""

from __future__ import annotations

from nightshift.clients.questions import NodeQuestion
from nightshift.domain.facts.static_pods import Access, PodProcess, StaticPodDetails


def parse_static_pods(text: str) -> StaticPodDetails:
    """Read the section's lines, see `lib/look/static-pods.sh`.

    Raises:
        ValueError: a line is none of them.
    """
    directory: Access | None = None
    links: dict[str, Access] = {}
    processes: dict[int, PodProcess] = {}
    for line in text.splitlines():
        kind, *fields = line.split("\t", 3)  # a file's name may hold more of them
        if kind == "directory":
            mode, owner = fields
            directory = Access(mode, owner)
        elif kind == "link":
            mode, owner, name = fields
            links[name] = Access(mode, owner)
        elif kind == "process":
            pid, started, uid = fields
            processes[int(pid)] = PodProcess(float(started), "" if uid == "-" else uid)
        else:
            raise ValueError(f"unknown line: {line[:200]!r}")
    return StaticPodDetails(directory, links, processes)


STATIC_PODS = NodeQuestion(section="static-pods", parse=parse_static_pods)
