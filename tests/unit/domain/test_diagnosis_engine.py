"""How the diagnosis decides: the historic night, conditions, rivals, and what nobody could look for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.domain import diagnosis_bundles as b
from tests.unit.domain.test_diagnosis_causes import apiserver, judge

from nightshift.domain.diagnosis.cause import Cause, Match, Role, by_signs
from nightshift.domain.diagnosis.causes import CATALOGUE
from nightshift.domain.diagnosis.causes import SYMPTOMS as SYMPTOMS_OF_A_NIGHT
from nightshift.domain.diagnosis.engine import Confidence, diagnose, to_dict
from nightshift.domain.diagnosis.reading import read
from nightshift.domain.diagnosis.signs import Sign, Signs
from nightshift.domain.diagnosis.text import as_text


def test_the_historic_night_names_the_stray_file_and_lists_the_rest_as_conditions() -> None:
    found = judge(b.historic())
    assert found.confidence is Confidence.CONFIDENT
    assert "kube-apiserver.yaml.bak" in found.sentence
    titles = {s.cause.name: s.title for s in found.conditions}
    assert titles.keys() == {"etcd_io_starvation", "drift", "scratch_pile"}
    assert "1199 slow applies (writes 590, reads 609), slowest 4.3 s" in titles["etcd_io_starvation"]
    assert "--authentication-config, --oidc-client-id, --oidc-issuer-url" in titles["drift"]
    assert "145 etcd backups" in titles["scratch_pile"]
    assert "oom_kill" in found.ruled_out
    assert "kube-apiserver.yaml.bak wins over kube-apiserver.yaml" in as_text(found)


def test_without_the_stray_file_it_is_the_io() -> None:
    files = b.historic()
    entry = next(line for line in files[b.LISTING].splitlines(keepends=True) if ".bak" in line)
    files = b.without(
        {**files, b.LISTING: files[b.LISTING].replace(entry, "")}, "manifests/kube-apiserver.yaml.bak"
    )
    found = judge(files)
    assert found.first is not None
    assert found.first.cause.name == "etcd_io_starvation"
    assert {s.cause.name for s in found.conditions} == {"drift", "scratch_pile"}
    assert "stray_static_pod" in found.ruled_out


def test_when_the_manifests_could_not_be_read_the_io_is_not_named() -> None:
    found = judge(b.without(b.historic(), "manifests/"))
    assert found.first is None
    assert found.confidence is Confidence.UNKNOWN
    assert "stray_static_pod" in found.shadows
    assert "stray_static_pod" not in found.ruled_out
    assert [s.cause.name for s in found.rivals] == ["etcd_io_starvation"]


def test_a_stray_file_of_another_pod_is_not_the_cause() -> None:
    files = b.stray(apiserver(b.container("Error: unknown flag: --x")), "etcd.yaml.bak", "etcd.yaml")
    found = judge(files)
    assert found.first is not None
    assert found.first.cause.name == "apiserver_flag"
    kept = next(s for s in found.conditions if s.cause.name == "stray_static_pod")
    assert kept.match is not None
    assert kept.match.kept_down == "kubeadm waited for kube-apiserver, not for this pod"


@pytest.mark.parametrize(
    "make",
    [b.healthy, lambda: b.stray(b.healthy()), lambda: b.with_lines(b.healthy(), b.ETCD, b.slow_applies(20))],
)
def test_without_a_failure_there_is_no_cause(make: object) -> None:
    assert callable(make)
    found = judge(make())
    assert found.first is None
    assert found.confidence is Confidence.UNKNOWN
    assert found.sentence == "The evidence shows no failure."


def test_a_real_failure_of_no_known_cause_is_unknown() -> None:
    found = judge(b.recorded("frozen-node-1.34"))
    assert found.first is None
    assert {"job.api_lost", "kubeadm.preflight", "pod.crash_loop"} == {s.name for s in found.symptoms}
    assert found.sentence.startswith("Unknown: no cause is shown")


def test_an_empty_bundle_rules_nothing_out() -> None:
    found = judge({})
    assert found.first is None
    assert not found.ruled_out
    assert len(found.unknowns) > 20


def test_lines_from_before_the_job_do_not_count() -> None:
    old = b.died("failed to listen on 0.0.0.0:6443: listen tcp 0.0.0.0:6443: bind: address already in use")
    files = b.with_lines(b.kubeadm_failed(), b.APISERVER, old.replace("2026-11-28T23", "2026-11-21T23"))
    assert not read(files).of("port.taken")
    assert "port_taken" in judge(files).ruled_out


def test_a_component_that_crashes_without_a_last_word_was_not_read() -> None:
    files = b.with_lines(b.kubeadm_failed(), b.KUBELET, b.crash_loop())
    found = judge(files)
    assert "apiserver_flag" in found.shadows
    assert "apiserver_flag" not in found.ruled_out


def _cause(name: str, **changes: object) -> Cause:
    plain = Cause(
        name,
        f"{name} {{subject}}.",
        (f"{name}.sign",),
        ("failed.a", "failed.b"),
        "?",
        "!",
        3,
        by_signs(f"{name}.sign"),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def _signs(*names: str, unread: tuple[str, ...] = ()) -> Signs:
    every = {"a.sign", "b.sign", "failed.a", "failed.b", "against"} - set(unread)
    return Signs(
        tuple(Sign(name, subject="it") for name in names), frozenset(every), dict.fromkeys(unread, "gone")
    )


SYMPTOMS = ("failed.a", "failed.b")
A, B = _cause("a"), _cause("b")


def test_one_seen_cause_is_sure() -> None:
    found = diagnose(_signs("a.sign", "failed.a", "failed.b"), (A, B), SYMPTOMS)
    assert (found.confidence, found.sentence) == (Confidence.CONFIDENT, "a it.")
    assert found.ruled_out == {"b": "looked for and not seen: b.sign."}


def test_an_equal_rival_makes_it_likely_and_is_named() -> None:
    found = diagnose(_signs("a.sign", "b.sign", "failed.a"), (A, B), SYMPTOMS)
    assert found.confidence is Confidence.LIKELY
    assert [s.cause.name for s in found.rivals] == ["b"]


def test_of_two_that_explain_the_same_the_more_specific_one_leads_and_is_not_sure() -> None:
    found = diagnose(_signs("a.sign", "b.sign", "failed.a"), (A, replace(B, specificity=4)), SYMPTOMS)
    assert (found.confidence, found.sentence) == (Confidence.LIKELY, "Most likely: b it.")


def test_a_rival_that_is_a_consequence_leaves_the_first_sure() -> None:
    b = replace(B, specificity=4, leads_to=("a",))
    found = diagnose(_signs("a.sign", "b.sign", "failed.a"), (A, b), SYMPTOMS)
    assert (found.confidence, found.sentence) == (Confidence.CONFIDENT, "b it.")


def test_of_two_that_lead_to_each_other_neither_is_the_others_rival() -> None:
    a, b = replace(A, leads_to=("b",)), replace(B, specificity=4, leads_to=("a",))
    found = diagnose(_signs("a.sign", "b.sign", "failed.a"), (a, b), SYMPTOMS)
    assert (found.confidence, found.sentence) == (Confidence.CONFIDENT, "b it.")


def test_a_rival_that_explains_less_than_half_leaves_the_first_sure() -> None:
    weak = replace(A, explains=("failed.a",))
    signs = Signs(
        tuple(Sign(n, subject="it") for n in ("a.sign", "b.sign", "failed.a", "failed.b", "failed.c"))
    )
    whole = replace(B, explains=("failed.a", "failed.b", "failed.c"))
    found = diagnose(signs, (weak, whole), (*SYMPTOMS, "failed.c"))
    assert (found.confidence, found.sentence) == (Confidence.CONFIDENT, "b it.")


def test_what_is_doubtful_is_only_likely_and_says_why() -> None:
    def match(signs: Signs) -> Match:
        return Match(signs.of("a.sign"), "it", doubt="somebody else may have done it")

    found = diagnose(_signs("a.sign", "failed.a"), (replace(A, match=match),), SYMPTOMS)
    assert found.confidence is Confidence.LIKELY
    assert "Not sure, because somebody else may have done it." in as_text(found)
    assert to_dict(found)["first"]["doubt"] == "somebody else may have done it"


def test_what_a_hint_speaks_for_is_neither_ruled_out_nor_first() -> None:
    signs = _signs("a.sign", "failed.a", "against")
    found = diagnose(signs, (A, replace(B, hints=("against",))), SYMPTOMS)
    assert found.sentence == "a it."
    assert "b" not in found.ruled_out
    assert found.unknowns == ("b is not proved, and not ruled out: against it.",)


def test_a_title_without_a_subject_has_no_empty_brackets() -> None:
    nameless = Signs((Sign("a.sign"), Sign("failed.a")), frozenset({"a.sign", "failed.a"}))
    for title, said in (
        ("The disk is full ({subject}).", "The disk is full."),
        ("{subject} ended.", " ended."),
    ):
        found = diagnose(nameless, (replace(A, title=title),), SYMPTOMS)
        assert found.sentence.endswith(said)
        assert "()" not in found.sentence


def test_a_consequence_is_in_the_chain_and_never_first() -> None:
    first = replace(A, specificity=1, leads_to=("b",))
    found = diagnose(_signs("a.sign", "b.sign", "failed.a"), (first, replace(B, specificity=5)), SYMPTOMS)
    assert found.first is not None
    assert found.first.cause.name == "a"
    assert [s.cause.name for s in found.chain] == ["b"]


def test_who_is_contradicted_is_ruled_out() -> None:
    found = diagnose(_signs("a.sign", "against", "failed.a"), (replace(A, forbids=("against",)), B), SYMPTOMS)
    assert found.first is None
    assert found.ruled_out["a"].startswith("against speaks against it")


@pytest.mark.parametrize(
    ("specificity", "confidence"),
    [(2, Confidence.CONFIDENT), (3, Confidence.LIKELY), (4, Confidence.UNKNOWN)],
)
def test_an_unread_cause_counts_by_how_specific_it_is(specificity: int, confidence: Confidence) -> None:
    signs = _signs("a.sign", "failed.a", unread=("b.sign",))
    found = diagnose(signs, (A, replace(B, specificity=specificity)), SYMPTOMS)
    assert found.confidence is confidence
    assert "b" not in found.ruled_out
    assert found.unknowns == ("b could not be looked for: the evidence does not say whether b.sign (gone).",)


def test_who_explains_less_than_half_is_only_likely() -> None:
    weak = replace(A, explains=("failed.a",))
    found = diagnose(_signs("a.sign", "failed.a", "failed.b", "failed.c"), (weak,), (*SYMPTOMS, "failed.c"))
    assert found.confidence is Confidence.LIKELY


def test_a_condition_is_first_only_alone_and_sure_only_when_tied_to_the_failure() -> None:
    slow = replace(A, role=Role.CONDITION, links=("failed.b",), specificity=5)
    assert diagnose(_signs("a.sign", "b.sign", "failed.a"), (slow, B), SYMPTOMS).sentence == "b it."
    assert diagnose(_signs("a.sign", "failed.a"), (slow,), SYMPTOMS).confidence is Confidence.LIKELY
    assert diagnose(_signs("a.sign", "failed.b"), (slow,), SYMPTOMS).confidence is Confidence.CONFIDENT


def test_what_every_restart_shows_is_no_cause() -> None:
    no_leader = b.container('{"level":"warn","msg":"serving /health false; no leader"}')
    taken = b.container('{"level":"warn","msg":"listen tcp 127.0.0.1:2379: bind: address already in use"}')
    files = b.with_lines(b.kubeadm_failed(), b.ETCD, no_leader, taken)
    found = judge(files)
    assert found.first is not None
    assert (found.first.cause.name, found.confidence, found.rivals) == ("port_taken", Confidence.LIKELY, ())


def test_a_full_disk_that_no_upgrade_writes_to_is_no_cause() -> None:
    files = b.kubeadm_failed()
    row = "/dev/sdb1 ext4 100 1 99 1% 1000 1000 0 100% - {}\n"
    assert not read(b.with_lines(files, b.DF, row.format("/srv/photos"))).of("disk.full")
    assert read(b.with_lines(files, b.DF, row.format("/var/lib/etcd"))).of("disk.full")


def test_it_is_plain_data_for_the_report() -> None:
    import json

    data = json.loads(json.dumps(to_dict(judge(b.historic()))))
    assert data["first"]["cause"] == "stray_static_pod"
    assert data["first"]["signs"][0]["source"] == "manifests/listing.txt"
    assert {"ruled_out", "unknowns", "conditions", "chain", "shadows"} <= data.keys()


def test_who_took_the_disk_is_named_with_a_starved_etcd() -> None:
    signs = read(b.starved(b.kubeadm_failed()))
    writer = Sign(
        "recorder.writer",
        subject="python3 (pid 4711)",
        value="900 MB in 60 s",
        source="recorder/samples.jsonl:9",
    )
    found = diagnose(replace(signs, seen=(*signs.seen, writer)), CATALOGUE, SYMPTOMS_OF_A_NIGHT)
    assert found.first is not None
    assert found.first.cause.name == "etcd_io_starvation"
    assert found.sentence.endswith("; python3 (pid 4711) wrote 900 MB in 60 s).")
