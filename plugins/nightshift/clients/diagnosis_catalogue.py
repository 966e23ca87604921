"""docs/diagnosis.md from the causes themselves: `python -m nightshift.clients.diagnosis_catalogue` writes it, a test compares it."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path

from nightshift.domain.diagnosis import causes
from nightshift.domain.diagnosis.cause import Cause, Role
from nightshift.domain.diagnosis.causes import CATALOGUE, SYMPTOMS
from nightshift.domain.diagnosis.patterns import PATTERNS, TITLES

PAGE = Path(__file__).resolve().parents[3] / "docs" / "diagnosis.md"

_HEAD = """# Diagnosis

<!-- Written by `python -m nightshift.clients.diagnosis_catalogue` from the causes' own files; not by hand. -->

`./nightshift diagnose BUNDLE…` reads the evidence of a failed step and names the first cause, or says that it is unknown. It uses no
network and no model: logs and listings become *signs*, and causes are judged by signs alone.

1. A cause is seen when a decisive sign of it is there. Signs that it forbids rule it out.
2. A cause that another seen cause leads to is a consequence of that one, unless that one is doubtful and no more specific.
3. A condition (a slow etcd, old backups, drift) is the first cause only when nothing else was seen. The kubelet, the runtime and the API
   server also speak of other people's pods: what they say counts only when it names the control plane or what the failed step speaks of.
   Otherwise it is listed as seen, and is never the first cause.
4. Of those that explain at least half of what failed the most specific one leads (5 names the very thing, 1 is general). Of
   equally specific ones those without a doubt come first, then what the node's own state shows (two manifests of one pod, a full disk), then
   the earlier one.
5. *Confident* is who explains at least half of what failed, is tied to it, and leaves no doubt: no other seen cause, that does not follow from
   it, explains half as well. Otherwise it is *likely*.
6. A sign whose file is not in the evidence is unread, never absent: nothing is ruled out by it. When a more specific cause could not be looked
   for and would explain the failure, the answer is *unknown*; when an equally specific one, *likely*.
7. Without a failure there is no cause.
8. A rehearsal of the same night that worked, and an API server that did not come up in place, speak for the place: the report says so as a
   point for whoever looks. It weighs nothing.
9. The report answers the tests (*To be sure* below) of the first cause, its rivals and those that could not be looked for, five at most: *yes* is
   "it is this cause", by a decisive sign that is there; *no*, when all were looked for and none is there; else *not answered*. On a night
   the node is asked again for just the files that hold the answers. What the evidence lacked and the node says then counts, but a *no*
   of then makes no other cause sure. What the evidence had stays; the report says beside it what is so by now.

A restart of the control plane says much that is over a moment later: a webhook or a name that does not answer, a port that is taken, an etcd
without a leader. That counts when the failed step says it itself, or when it was said again and again until the step failed.

Lines from before the failed step's job do not count. Where nobody says when it began (a bundle by itself), those from before the newest job on
the node, less two minutes, do not; a job's own lines never count before its start.
"""


def catalogue() -> str:
    """The whole page."""
    rows = "".join(f"| [{c.name}](#{c.name}) | {_doc(c)} | {_kind(c)} |\n" for c in CATALOGUE)
    overview = f"\n| Cause | What it is | Specificity |\n|---|---|---|\n{rows}"
    return _HEAD + overview + "".join(map(_section, CATALOGUE)) + _signs()


def _section(cause: Cause) -> str:
    optional = (
        ("Spoken against by", cause.forbids),
        ("Leads to", cause.leads_to),
        ("Sure only together with", cause.links),
        ("Not ruled out beside", cause.hints),
    )
    more = "".join(f"- **{title}**: {_names(names)}\n" for title, names in optional if names)
    return (
        f'\n## <a id="{cause.name}"></a>{cause.name}\n\n{_doc(cause)}\n\n'
        f"- **Decided by**: {_names(cause.decisive)}\n- **Explains**: {_names(cause.explains) or 'nothing by itself'}\n{more}"
        f"- **To be sure**: {cause.test}\n{_answers(cause)}- **What to do**: {cause.remedy}\n"
        f"- **After a failed step**: [{cause.name}](runbooks/{cause.runbook}.md)\n"
    )


def _answers(cause: Cause) -> str:
    paths = [answer.replace("\\", "") for answer in cause.answers]
    return f"- **Where a bundle has the answer**: {_names(f'{path}…' for path in paths)}\n" if paths else ""


def _doc(cause: Cause) -> str:
    doc = importlib.import_module(f"{causes.__name__}.{cause.name}").__doc__ or ""
    return doc.partition("\n")[0]


def _kind(cause: Cause) -> str:
    return "condition" if cause.role is Role.CONDITION else str(cause.specificity)


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in dict.fromkeys(names))


def _signs() -> str:
    rows = "".join(
        f"| `{p.sign}` | {'; '.join(TITLES[log] for log in p.logs)} | {'yes' if p.sign in SYMPTOMS else ''} |\n"
        for p in PATTERNS
    )
    return (
        "\n## Signs in logs\n\nThe others come from the manifests, the status files of jobs and the node's state.\n\n"
        f"| Sign | Looked for in | Part of the failure |\n|---|---|---|\n{rows}"
    )


if __name__ == "__main__":
    PAGE.write_text(catalogue(), encoding="utf-8")
