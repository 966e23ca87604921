"""The report as HTML: the verdict leads, everything is inline, and nothing that was quoted becomes markup."""

from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from tests.unit.domain import diagnosis_bundles as b
from tests.unit.domain.test_incident_samples import _night

from nightshift.clients.incident_page import Notice, Page, Runbook, render, render_index, with_notices
from nightshift.domain.diagnosis.causes import CATALOGUE, SYMPTOMS
from nightshift.domain.diagnosis.engine import diagnose, to_dict
from nightshift.domain.diagnosis.reading import read
from nightshift.domain.incident.plots import draw
from nightshift.domain.incident.record import Incident
from nightshift.domain.incident.timeline import Moment

INCIDENT = Incident("cp1-kubeadm-upgrade-1", "cp1", "kubeadm-upgrade", made=1795908141.0)
EVIL = "<script>alert(1)</script><img src=//evil.example/x onerror=x>"
_FETCH = ("src", "srcset", "poster", "data", "background", "action", "formaction")


class _Elements(HTMLParser):
    """Every element with its attributes, and all text."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "br", "line", "rect", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()


def _page(**changes: Any) -> Page:
    judged = to_dict(diagnose(read(b.historic()), CATALOGUE, SYMPTOMS))
    page = Page(
        INCIDENT,
        "lab",
        "run-1",
        failure="kubeadm ended with exit code 26.",
        next_step="Read `it`.",
        diagnosis=judged,
        timeline=[Moment(1795908000.0, "kubelet", "it fell", "bad")],
        plots=draw(_night(), []),
        files=[{"path": "node.tar.gz", "bytes": 7, "sha256": "ab" * 32}],
        missing=["cluster/events.json: API_FORBIDDEN: no."],
        runbook=Runbook("DUPLICATE_MANIFEST", "# DUPLICATE_MANIFEST\n\n## Symptom"),
        version="0.1.0",
    )
    return replace(page, **changes)


def _evil(value: Any) -> Any:
    """Put markup into every text of a diagnosis."""
    if isinstance(value, dict):
        return {k: v if k == "confidence" else _evil(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_evil(item) for item in value]
    return f"{value}{EVIL}" if isinstance(value, str) else value


def test_the_verdict_comes_first_then_what_happened_what_to_do_and_how_to_be_sure() -> None:
    document = render(_page())
    head = document[document.index("<header") : document.index("</header>")]
    order = ["kube-apiserver.yaml.bak", "Confident", "exit code 26", "Move the file out", "grep -H"]
    places = [head.index(text) for text in order]
    assert places == sorted(places)
    assert "<code>grep -H" in head


def test_what_happened_begins_with_plain_words_and_not_with_a_code() -> None:
    failure = "[JOB_WITHOUT_API] Job kubeadm-upgrade on node cp1 ended with exit code 26. If you know …"
    document = render(_page(failure=failure))
    brief = document.partition('<dd class="brief">')[2].partition("</dd>")[0]
    assert brief.startswith(
        "The job ended because kubeadm failed: kubeadm-upgrade; kubeadm waited in vain for "
    )
    assert "[JOB_WITHOUT_API]" not in brief
    assert "Job kubeadm-upgrade on node cp1 ended" in brief
    assert failure in document
    alone = render(_page(failure=failure, diagnosis=None))
    assert '<dd class="brief">Job kubeadm-upgrade on node cp1' in alone


@pytest.mark.parametrize(
    "text",
    [
        "Chain of causation",
        "What failed: kubeadm waited in vain for a component&#39;s new pod: kube-apiserver",
        "Contributing conditions",
        "145 etcd backups",
        "etcd is starved of disk IO",
        "Ruled out (",
        "<strong>oom kill</strong>: looked for and not seen: the kernel killed a process for want of memory.",
        "manifests/listing.txt",
        "it fell",
        "<svg ",
        "# DUPLICATE_MANIFEST",
        "cluster/events.json: API_FORBIDDEN",
        "abababababababab…",
    ],
)
def test_everything_that_was_found_is_in_it(text: str) -> None:
    assert text in render(_page())


def test_where_to_look_besides_is_said_and_an_older_diagnosis_has_no_such_point() -> None:
    judged = {**(_page().diagnosis or {}), "points": ["Look at the place: it worked in isolation."]}
    assert "<p>Look at the place: it worked in isolation.</p>" in render(_page(diagnosis=judged))
    del judged["points"]
    assert "Look at the place" not in render(_page(diagnosis=judged))


def test_the_tests_stand_below_the_verdict_with_answer_finding_and_where() -> None:
    asked = {"asked": "asked on cp1 at 02:13:05 UTC", "later": ""}
    rows = [
        {"cause": "disk_full", "question": "Is there room? `df -h /`", "answer": "not answered"},
        {"cause": "port_taken", "question": "Who?", "answer": "yes"},
    ]
    rows[0] |= {"finding": "the evidence does not say", "source": "", "asked": "", "later": ""}
    rows[1] |= {"finding": "a port is in use", "source": "asked/state/x.txt", **asked}
    rows[1]["later"] = "at 02:14:00 UTC: no longer: it is free"
    judged = {**(_page().diagnosis or {}), "tests": rows}
    document = render(_page(diagnosis=judged))
    assert document.index("</header>") < document.index('id="tests"') < document.index('id="proof"')
    assert "<strong>disk full?</strong> Not answered: the evidence does not say." in document
    assert "To ask: Is there room? <code>df -h /</code>" in document
    assert "<code>asked/state/x.txt</code> <strong>asked on cp1 at 02:13:05 UTC</strong>" in document
    assert "<p>At 02:14:00 UTC: no longer: it is free.</p>" in document


def test_an_older_diagnosis_has_no_tests() -> None:
    judged = {**(_page().diagnosis or {})}
    del judged["tests"]
    assert 'id="tests"' not in render(_page(diagnosis=judged))


def test_files_that_hold_the_answer_are_named() -> None:
    judged = {**(_page().diagnosis or {})}
    judged["first"] = {**judged["first"], "answered_by": ["manifests/kube-apiserver.yaml.bak"]}
    assert "The answer is also in: <code>manifests/kube-apiserver.yaml.bak</code>." in render(
        _page(diagnosis=judged)
    )


def test_nothing_is_run_and_nothing_is_fetched() -> None:
    found = _Elements(render(_page()))
    names = {tag for tag, _ in found.elements}
    assert not names & {"script", "link", "iframe", "object", "embed", "img", "form", "base"}
    for tag, attributes in found.elements:
        assert not [name for name in attributes if name.startswith("on") or name in _FETCH], tag
        assert "style" not in attributes, tag
        assert not (attributes.get("href") or "").startswith(("http", "//", "javascript", "data")), tag
    assert "url(" not in render(_page())
    assert found.open == []


def test_what_is_quoted_never_becomes_markup() -> None:
    page = _page(
        diagnosis=_evil(_page().diagnosis),
        failure=EVIL,
        finding=EVIL,
        timeline=[Moment(1.0, EVIL, EVIL, "bad")],
        files=[{"path": EVIL, "bytes": 1, "sha256": EVIL}],
        missing=[EVIL],
        runbook=Runbook(EVIL, EVIL),
        notices=[Notice(EVIL, EVIL, "x.html", EVIL)],
        incident=replace(INCIDENT, node=EVIL, step=EVIL, code=EVIL),
        cluster=EVIL,
        run_id=EVIL,
    )
    for document in (
        render(page),
        render(replace(page, diagnosis=None, undiagnosed=EVIL, next_step=EVIL)),
        with_notices(render(page), [Notice(EVIL, EVIL, f'"{EVIL}', EVIL)]),
        render_index(EVIL, [replace(INCIDENT, node=EVIL, sentence=EVIL, confidence=EVIL, corrected_by=EVIL)]),
    ):
        names = {tag for tag, _ in _Elements(document).elements}
        assert not names & {"script", "img"}


def test_an_unknown_cause_says_so_and_what_to_do_is_the_errors_own_step() -> None:
    judged = to_dict(diagnose(read(b.kubeadm_failed()), CATALOGUE, SYMPTOMS))
    document = render(_page(diagnosis=judged, runbook=None, plots=(), timeline=()))
    head = document[document.index("<header") : document.index("</header>")]
    assert judged["first"] is None
    assert ">Unknown: no cause is shown" in head
    assert "Read <code>it</code>." in head
    assert "<svg" not in document


def test_what_a_person_found_leads_and_the_catalogues_answer_stays_beside_it() -> None:
    document = render(_page(finding="Bob did it."))
    head = document[document.index("<header") : document.index("</header>")]
    assert "<h1>Bob did it.</h1>" in head
    assert "What to do" not in head
    assert '<header class="verdict person">' in head
    before, folded = document.split("<details>\n<summary><h2>What the catalogue said, corrected</h2>", 1)
    shown = before[before.index("<main>") :]
    assert "What shows it" not in shown
    assert "kube-apiserver.yaml.bak" not in shown
    assert "It advised, and this was corrected:" in folded
    assert "What shows it" in folded.split("</details>")[0]
    said = render(_page(finding="Bob did it.", remedy="Ask <Bob>."))
    assert "<dt>What to do</dt><dd>Ask &lt;Bob&gt;.</dd>" in said[: said.index("</header>")]


def test_without_a_diagnosis_the_failure_leads() -> None:
    document = render(_page(diagnosis=None, undiagnosed="The diagnosis could not be made: x"))
    assert "<h1>kubeadm-upgrade failed on cp1.</h1>" in document
    assert "The diagnosis could not be made: x" in document


def test_notices_can_be_put_onto_a_finished_report_again_and_again() -> None:
    document = render(_page())
    once = with_notices(document, [Notice("Corrected", "by ann", "report-2.html", "Read it.")])
    twice = with_notices(once, [Notice("Corrected", "by bob & eve")])
    assert '<a href="report-2.html">Read it.</a>' in once
    assert "by ann" not in twice
    assert "by bob &amp; eve" in twice
    assert with_notices(twice, []) == with_notices(document, [])
    assert with_notices("no report", [Notice("a", "b")]) == "no report"


def test_only_a_correction_stands_before_the_verdict() -> None:
    notices = [Notice("Corrected", "by ann", leads=True), Notice("Another failure", "of cp1")]
    for document in (render(_page(notices=notices)), with_notices(render(_page()), notices)):
        order = ["by ann", "<h1>", "of cp1", "What shows it"]
        assert sorted(order, key=document.index) == order


def test_the_runs_page_names_each_incident_and_which_was_corrected() -> None:
    corrected = replace(INCIDENT, sentence="Unknown.", corrected_by="cp1-later")
    document = render_index("Run 1", [corrected])
    assert 'href="cp1-kubeadm-upgrade-1/report.html"' in document
    assert 'href="cp1-later/report.html"' in document
    assert "no incident report" in render_index("Run 1", [])
