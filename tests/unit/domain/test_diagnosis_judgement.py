"""The tests of a diagnosis are answered by what is seen; what the node says afterwards fills gaps and replaces nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import pytest
from tests.scripts.conftest import NODE_SCRIPTS
from tests.unit.domain import diagnosis_bundles as b
from tests.unit.domain.test_diagnosis_causes import apiserver

from nightshift.domain.diagnosis.answers import Answer, CauseTest
from nightshift.domain.diagnosis.asked import (
    FACTS,
    FOLDER,
    SECTIONS,
    Asked,
    asked_in,
    first_evidence,
    sections_of,
    sections_of_one,
)
from nightshift.domain.diagnosis.causes import CATALOGUE
from nightshift.domain.diagnosis.engine import Confidence, Diagnosis, to_dict
from nightshift.domain.diagnosis.judgement import conclude, sections_to_ask
from nightshift.domain.diagnosis.reading import read
from nightshift.domain.diagnosis.text import as_text

AT = b.STARTED + 200  # 23:20:20 UTC
ASKED = "asked on cp1 at 23:20:20 UTC"


def judge(files: Mapping[str, str]) -> Diagnosis:
    return conclude(files, b.STARTED, read(first_evidence(files), b.STARTED))


def asked(files: Mapping[str, str], answers: Mapping[str, str], failed: str = "") -> dict[str, str]:
    """A bundle, and what the node said when it was asked for all that it can be asked for."""
    facts = json.dumps(Asked("cp1", AT, tuple(SECTIONS), failed).facts())
    return {**files, **{f"{FOLDER}{path}": text for path, text in answers.items()}, FACTS: facts}


def state(files: Mapping[str, str]) -> dict[str, str]:
    return {p: t for p, t in files.items() if p.startswith(("state/", "manifests/", "jobs/"))}


def no_stray() -> dict[str, str]:
    """The historic night's files after somebody took the stray one away."""
    files = b.historic()
    entry = next(line for line in files[b.LISTING].splitlines(keepends=True) if ".bak" in line)
    files[b.LISTING] = files[b.LISTING].replace(entry, "")
    return b.without(files, "manifests/kube-apiserver.yaml.bak")


def of(found: Diagnosis, cause: str) -> CauseTest:
    return next(test for test in found.tests if test.cause == cause)


def test_the_first_causes_test_leads_and_is_answered_by_what_was_seen() -> None:
    found = judge(b.historic())
    test = found.tests[0]
    assert (test.cause, test.answer) == ("stray_static_pod", Answer.YES)
    assert "kube-apiserver.yaml.bak wins over kube-apiserver.yaml" in test.finding
    assert test.source == "manifests/listing.txt"
    assert (test.asked, test.later) == ("", "")
    assert "Do two files there name the same pod" in test.question


def test_what_nobody_could_look_for_is_not_answered_and_never_a_no() -> None:
    found = judge(b.without(b.historic(), "manifests/"))
    test = of(found, "stray_static_pod")
    assert test.answer is Answer.NOT_ANSWERED
    assert "manifests/listing.txt is not in the evidence" in test.finding
    assert {"manifests", "argv", "processes"} <= {*sections_to_ask(found)}


def test_a_healthy_node_has_no_test_and_is_asked_nothing() -> None:
    found = judge(b.healthy())
    assert found.tests == ()
    assert sections_to_ask(found) == ()


def test_no_more_than_five_are_tested() -> None:
    found = judge(b.without(b.kubeadm_failed(), "manifests/", "state/", "journal/", "pods/", "recorder/"))
    assert len(found.shadows) > 5
    assert len(found.tests) == 5
    causes = [cause for cause in CATALOGUE if cause.name in {test.cause for test in found.tests}]
    assert sections_to_ask(found) == sections_of(causes)
    answered = judge(asked(b.without(b.historic(), "manifests/", "journal/"), state(b.historic())))
    assert answered.tests[0].cause == "stray_static_pod"
    assert len(answered.tests) == 5


def test_what_is_needed_to_understand_an_answer_is_asked_for_with_it() -> None:
    (rebooted,) = (cause for cause in CATALOGUE if cause.name == "node_rebooted")
    assert sections_of([rebooted]) == ("jobs", "processes", "manifests")


def test_what_the_evidence_lacked_and_the_node_says_counts_and_says_when() -> None:
    lost = b.without(b.historic(), "manifests/")
    assert judge(lost).first is None
    found = judge(asked(lost, state(b.historic())))
    assert found.first is not None
    assert found.first.cause.name == "stray_static_pod"
    test = found.tests[0]
    assert (test.answer, test.source, test.asked) == (Answer.YES, "asked/manifests/listing.txt", ASKED)
    assert f"[asked/manifests/listing.txt, {ASKED}]" in as_text(found)


@pytest.mark.parametrize("written", ["2026-06-18 21:59:16", "2026-11-28 23:19:59"])
def test_a_file_that_only_the_later_look_shows_makes_nobody_sure(written: str) -> None:
    """Whoever looked into the failure may have laid the copy there: the job had ended at 23:19:30."""
    then = b.historic()
    then[b.LISTING] = re.sub(
        r"2026-06-18 21:59:16(?=\S* \S+ kube-apiserver\.yaml\.bak)", written, then[b.LISTING]
    )
    assert written in then[b.LISTING]
    found = judge(asked(b.without(b.historic(), "manifests/"), state(then)))
    assert found.first is not None
    assert (found.first.cause.name, found.confidence) == ("stray_static_pod", Confidence.LIKELY)


def test_what_is_no_longer_so_is_said_and_was_the_cause_all_the_same() -> None:
    found = judge(asked(b.historic(), state(no_stray())))
    assert found.first is not None
    assert found.first.cause.name == "stray_static_pod"
    assert found.confidence is Confidence.CONFIDENT
    test = found.tests[0]
    assert (test.answer, test.asked) == (Answer.YES, "")
    assert test.later == "at 23:20:20 UTC: no longer: two files in the manifests directory are the same pod"
    assert "At 23:20:20 UTC: no longer: two files" in as_text(found)


def test_what_came_only_afterwards_is_told_and_is_no_cause() -> None:
    entry = "-rw------- 1 root root 3949 2026-06-18 21:59:16.851277775 +0000 gone.yaml\n"
    then = b.with_lines(
        no_stray(), b.LISTING, entry
    )  # whose pod it was, nobody knows: the test has no answer
    found = judge(asked(then, state(b.historic())))
    assert found.first is None or found.first.cause.name != "stray_static_pod"
    test = of(found, "stray_static_pod")
    assert test.answer is Answer.NOT_ANSWERED
    assert "it is so by now: two files in the manifests directory" in test.later


def test_what_is_still_so_is_said() -> None:
    test = judge(asked(b.historic(), state(b.historic()))).tests[0]
    assert test.later.startswith("at 23:20:20 UTC: still so: two files in the manifests directory")


def test_a_rival_that_only_the_later_look_ruled_out_makes_nobody_sure() -> None:
    flag = apiserver(b.container("Error: unknown flag: --x"))
    assert judge(flag).confidence is Confidence.CONFIDENT
    found = judge(asked(b.without(flag, "manifests/"), state(flag)))
    assert found.first is not None
    assert found.first.cause.name == "apiserver_flag"
    assert found.confidence is Confidence.LIKELY
    test = of(found, "stray_static_pod")
    assert (test.answer, test.asked) == (Answer.NO, ASKED)


def test_a_node_that_does_not_answer_leaves_the_verdict_and_is_said() -> None:
    lost = b.without(b.historic(), "manifests/")
    found = judge(asked(lost, {}, "NODE_UNREACHABLE: cp1 is away."))
    assert found.first is None
    test = of(found, "stray_static_pod")
    assert test.answer is Answer.NOT_ANSWERED
    assert test.finding.endswith("; cp1 could not be asked again: NODE_UNREACHABLE: cp1 is away.")


def test_a_node_that_came_back_tells_that_it_had_rebooted() -> None:
    """Nothing came with the first evidence: the job's begin and the node's offset come with the processes."""
    files = {"driver/error.txt": "[JOB_LOST] Job kubeadm-upgrade on node cp1 was lost: the node booted.\n"}
    then = b.failed(state="running")
    lines = then[b.PROCESSES].splitlines(keepends=True)
    first = next(n for n, line in enumerate(lines) if re.match(r"\s*1\s+0\s", line))
    lines[first] = re.sub(r"\w{3} \w{3} [ \d]\d [\d:]{8} \d{4}", "Sat Nov 28 23:19:59 2026", lines[first])
    then[b.PROCESSES] = "".join(lines)
    found = judge(asked(files, state(then)))
    assert found.first is not None
    assert found.first.cause.name == "node_rebooted"
    assert found.tests[0].asked == ASKED


def test_what_is_asked_again_never_ends_in_the_first_evidence() -> None:
    files = asked(b.healthy(), b.without(state(b.historic()), "jobs/"))
    assert not [path for path in first_evidence(files) if path.startswith(FOLDER)]
    assert judge(files).sentence == "The evidence shows no failure."


def test_a_job_that_began_after_the_failure_is_not_of_it() -> None:
    later = {"jobs/stage": f"job_id=2\nstarted={AT}\nfinished={AT + 1}\nstate=failed\nexit_code=25\n"}
    assert to_dict(judge(asked(b.historic(), later))) == to_dict(judge(b.historic()))


@pytest.mark.parametrize(
    "facts",
    [
        "",
        "[]",
        "{",
        '{"node": "cp1", "at": "soon", "sections": [], "failed": ""}',
        '{"node": "cp1", "at": 1e400, "sections": [], "failed": ""}',
    ],
)
def test_what_cannot_be_read_of_the_asking_was_not_asked(facts: str) -> None:
    files = {**asked(b.historic(), state(no_stray())), FACTS: facts}
    assert asked_in(files) is None
    assert to_dict(judge(files)) == to_dict(judge(b.historic()))


def test_the_node_and_the_driver_know_the_same_sections() -> None:
    text = (NODE_SCRIPTS / "lib/evidence.sh").read_text(encoding="utf-8")
    listed = re.search(r"^readonly SECTIONS=\(([^)]*)\)", text, re.MULTILINE)
    assert listed is not None
    assert tuple(listed[1].split()) == tuple(SECTIONS)


def test_every_section_answers_somebodys_test() -> None:
    asked_for = {name for cause in CATALOGUE for name in sections_of_one(cause)}
    assert asked_for == {*SECTIONS}
