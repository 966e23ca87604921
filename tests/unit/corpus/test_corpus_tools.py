"""The corpus' tools: incidents from their directories, trimming that does not choose, a score that counts lies apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.domain import diagnosis_bundles as b

from nightshift.domain.diagnosis.engine import Confidence
from nscorpus import trim
from nscorpus.incidents import CorpusError, Label, corpus
from nscorpus.recipes import RECIPES
from nscorpus.record import waiting
from nscorpus.score import Answer, judge_all, report, score

LABEL = {
    "cause": "stray_static_pod",
    "truth": "x",
    "origin": "synthetic",
    "made_by": "x",
    "recorded": "2026-11-29",
}


def write(root: Path, name: str, files: dict[str, str], **label: Any) -> None:
    folder = root / "train" / name
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "label.json").write_text(json.dumps(LABEL | label), encoding="utf-8")


def bundle(root: Path, name: str, files: dict[str, str], **label: Any) -> None:
    write(root, name, {}, **label)
    (root / "train" / name / "bundle.tar.gz").write_bytes(trim.pack(files))


def test_an_incident_is_its_base_with_what_differs(tmp_path: Path) -> None:
    bundle(tmp_path, "one", {"a": "1\n", "b/c": "2\n", "d": "3\n"})
    write(tmp_path, "two", {"files/a": "new\n", "append/d": "4\n"}, base="one", remove=["b/"])
    _, two = corpus("train", tmp_path)
    assert two.files() == {"a": "new\n", "d": "3\n4\n"}
    assert two.family() == "one"


def test_a_base_of_the_other_side_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "two", {}, base="somewhere-else")
    with pytest.raises(CorpusError, match="not on this side"):
        corpus("train", tmp_path)[0].files()


def test_a_label_with_an_unknown_key_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "one", {}, guess="x")
    with pytest.raises(CorpusError, match="guess"):
        corpus("train", tmp_path)
    assert Label.from_dict(LABEL | {"decoys": ["x"]}).decoys == ("x",)


def test_the_score_counts_a_lie_apart_from_a_miss(tmp_path: Path) -> None:
    bundle(tmp_path, "a-right", b.stray(b.kubeadm_failed()))
    bundle(tmp_path, "b-lie", b.stray(b.kubeadm_failed()), cause="disk_full")
    bundle(tmp_path, "c-unknown", b.kubeadm_failed())
    bundle(tmp_path, "d-uncatalogued", b.kubeadm_failed(), cause="uncatalogued")
    bundle(tmp_path, "e-healthy", b.healthy(), cause="healthy")
    judged = judge_all(corpus("train", tmp_path))
    assert [one.answer for one in judged] == [
        Answer.RIGHT,
        Answer.CONFIDENT_WRONG,
        Answer.UNKNOWN,
        Answer.RIGHT,
        Answer.RIGHT,
    ]
    assert judged[1].diagnosis.confidence is Confidence.CONFIDENT
    said = score(judged)
    assert (said.catalogued, said.right, said.confident_wrong, said.unknown) == (3, 1, 1, 1)
    assert (said.uncatalogued_unknown, said.healthy_without_cause) == (1, 1)
    assert "b-lie: confident and wrong (confident): The file" in report("train", judged, is_long=False)


def test_a_cause_that_is_kept_down_is_not_among_those_named(tmp_path: Path) -> None:
    stray = b.stray(b.kubeadm_failed(), "etcd.yaml.bak", "etcd.yaml")
    bundle(tmp_path, "other-component", stray, cause="stray_static_pod")
    (one,) = judge_all(corpus("train", tmp_path))
    assert [s.cause.name for s in one.diagnosis.conditions] == ["stray_static_pod"]
    assert not one.is_in_top


def test_trimming_keeps_both_ends_of_every_shape_and_nothing_older() -> None:
    old = b.journal("kubelet", "from before").replace("T23:19", "T22:19")
    same = "".join(b.journal("kubelet", f"the same {n}") for n in range(50))
    files = {
        b.KUBELET: old + same + b.journal("kubelet", "another"),
        "state/df.txt": "kept\n" * 99,
        "jobs/stage": "state=failed\nstarted=1.5\n",
    }
    small, said = trim.trimmed(files, 1795907900.0)
    lines = small[b.KUBELET].splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == [
        "0",
        "1",
        "2",
        "3",
        "4",
        "5",
        "47",
        "48",
        "49",
        "another",
    ]
    assert small["state/df.txt"] == files["state/df.txt"]
    assert "jobs/stage" not in small, "the status of an earlier job is another incident's"
    assert said == {b.KUBELET: "10 of 52 lines"}


def test_a_long_log_keeps_its_ends() -> None:
    words = [f"line {chr(97 + n % 26) * (n + 9)}" for n in range(900)]
    text = "".join(b.journal("kubelet", word) for word in words)
    small, _ = trim.trimmed({b.KUBELET: text}, 0.0)
    assert len(small[b.KUBELET]) <= trim.FILE_LIMIT + 1000
    assert words[0] in small[b.KUBELET]
    assert words[-1][:800] in small[b.KUBELET]


def test_the_same_files_make_the_same_bundle() -> None:
    assert trim.pack({"a": "1", "b": "2"}) == trim.pack({"b": "2", "a": "1"})


def test_recipes_are_told_apart_and_what_was_recorded_is_not_played_again(tmp_path: Path) -> None:
    assert len({recipe.name for recipe in RECIPES}) == len(RECIPES)
    first, second, *_ = [r for r in RECIPES if r.side == "train"]
    bundle(tmp_path, first.name, {"a": "1"})
    assert waiting("train", (), tmp_path)[0] == second
    assert [r.name for r in waiting("train", (second.name,), tmp_path)] == [second.name]


def test_the_recorders_samples_are_thinned_and_metrics_left_out() -> None:
    samples = "".join(f'{{"t":{n}}}\n' for n in range(2000))
    files = {
        "recorder/samples.jsonl": samples,
        "recorder/metrics/etcd-after.txt": "x 1\n",
        "recorder/meta.json": "{}",
    }
    small, said = trim.trimmed(files, 0.0)
    assert small["recorder/samples.jsonl"].splitlines()[:2] == ['{"t":0}', '{"t":8}']
    assert small["recorder/meta.json"] == "{}"
    assert "recorder/metrics/etcd-after.txt" not in small
    assert said == {"recorder/metrics/etcd-after.txt": "left out"}
