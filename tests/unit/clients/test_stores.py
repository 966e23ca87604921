import json
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import pytest
from upath import UPath

from nightshift.clients.stores import Store
from nightshift.domain.errors import ConfigError, TransientError


class RemotePath:
    """Just what an object store's path offers."""

    protocol = "s3"
    objects: dict[str, bytes]

    def __init__(self, name: str, objects: dict[str, bytes]) -> None:
        self.name, self.objects = name, objects

    def __truediv__(self, part: str) -> "RemotePath":
        return RemotePath(f"{self.name}/{part}", self.objects)

    def __str__(self) -> str:
        return self.name

    def exists(self) -> bool:
        return self.name in self.objects

    def open(self, mode: str) -> Any:
        import io

        if mode == "rb":
            if self.name not in self.objects:
                raise FileNotFoundError(self.name)
            return io.BytesIO(self.objects[self.name])
        objects, name = self.objects, self.name

        class Upload(io.BytesIO):
            def close(self) -> None:
                objects[name] = self.getvalue()
                super().close()

        return Upload()


class LocalUrl(RemotePath):
    protocol = "file"

    @property
    def path(self) -> str:
        return self.name.removeprefix("file://")


def test_json_goes_round_and_is_private(tmp_path: Path) -> None:
    store = Store(tmp_path, "lab")
    assert store.read_json("ledger/a.json") is None
    path = store.write_json("ledger/a.json", {"b": 1})
    assert Path(path) == tmp_path / "lab/ledger/a.json"
    assert Path(path).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "lab").stat().st_mode & 0o077 == 0
    assert store.read_json("ledger/a.json") == {"b": 1}
    assert store.exists("ledger/a.json")


def test_a_file_url_is_a_local_path(tmp_path: Path) -> None:
    path = Store(LocalUrl(f"file://{tmp_path}", {}), "lab").write_json("a.json", {})
    assert Path(path) == tmp_path / "lab/a.json"


def test_a_stream_that_breaks_leaves_nothing_behind(tmp_path: Path) -> None:
    def half(target: BinaryIO) -> None:
        target.write(b"half")
        raise RuntimeError("connection lost")

    store = Store(tmp_path, "lab")
    store.write_json("s.tar.gz", {"old": True})
    with pytest.raises(RuntimeError):
        store.write_stream("s.tar.gz", half)
    assert store.read_json("s.tar.gz") == {"old": True}
    assert [p.name for p in (tmp_path / "lab").iterdir()] == ["s.tar.gz"]


def test_half_a_document_is_no_document(tmp_path: Path) -> None:
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab/a.json").write_text('{"a": ')
    (tmp_path / "lab/b.json").write_text("[1]")
    store = Store(tmp_path, "lab")
    assert store.read_json("a.json") is None
    assert store.read_json("b.json") is None


def test_an_object_store_gets_whole_objects() -> None:
    objects: dict[str, bytes] = {}
    store = Store(RemotePath("s3://b", objects), "lab")
    assert store.write_json("ledger/a.json", {"b": 1}) == "s3://b/lab/ledger/a.json"
    assert json.loads(objects["s3://b/lab/ledger/a.json"]) == {"b": 1}
    assert store.exists("ledger/a.json")
    assert store.read_json("ledger/a.json") == {"b": 1}
    assert store.read_json("ledger/b.json") is None


def test_a_store_that_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "lab").write_text("a file where a folder should be")
    store = Store(tmp_path, "lab")
    with pytest.raises(TransientError, match=r"STORE_UNAVAILABLE.*Next step: Check the policy's `store`"):
        store.write_json("a.json", {})
    with pytest.raises(TransientError, match="STORE_UNAVAILABLE"):
        store.read_json("a.json")


def test_a_store_that_works_keeps_nothing_of_its_check(tmp_path: Path) -> None:
    Store(tmp_path, "lab").check("run-1")
    assert list((tmp_path / "lab").iterdir()) == []


@pytest.mark.parametrize("folder", ["ledger", "readiness", "snapshots", "evidence", "drift", "kubelets"])
@pytest.mark.parametrize("is_dangling", [False, True])
def test_a_folder_that_takes_no_file_is_found_out_before_the_night_wants_it(
    tmp_path: Path, folder: str, is_dangling: bool
) -> None:
    """Somebody ran a command as root, or moved a part of the store elsewhere."""
    Store(tmp_path, "lab").write_text("ledger/x.json" if folder != "ledger" else "evidence/x", "")
    place = tmp_path / "lab" / folder
    place.symlink_to(tmp_path / "gone") if is_dangling else place.touch()
    with pytest.raises(TransientError, match=rf"STORE_UNAVAILABLE.*{place}"):
        Store(tmp_path, "lab").check("run-1")


def test_a_check_of_the_folders_leaves_nothing_in_them(tmp_path: Path) -> None:
    _fill(Store(tmp_path, "lab"))
    before = sorted(tmp_path.rglob("*"))
    Store(tmp_path, "lab").check("run-1")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_store_that_loses_what_it_took_is_found_out() -> None:
    class Forgetful(RemotePath):
        def __truediv__(self, part: str) -> "Forgetful":
            return Forgetful(f"{self.name}/{part}", {})

    with pytest.raises(TransientError, match=r"STORE_UNAVAILABLE.*did not come back"):
        Store(Forgetful("s3://b", {}), "lab").check("run-1")


def test_a_store_that_may_not_delete_is_good_enough() -> None:
    objects: dict[str, bytes] = {}
    Store(RemotePath("s3://b", objects), "lab").check("run-1")  # it has no `fs` at all
    assert list(objects) == ["s3://b/lab/check-run-1/object.json"]


def test_a_bucket_that_does_not_exist_is_said() -> None:
    class NoBucket(RemotePath):
        def __truediv__(self, part: str) -> "NoBucket":
            return NoBucket(f"{self.name}/{part}", {})

        def open(self, mode: str) -> Any:
            raise FileNotFoundError("The specified bucket does not exist")

    with pytest.raises(TransientError, match=r"STORE_UNAVAILABLE.*bucket does not exist"):
        Store(NoBucket("s3://b", {}), "lab").write_json("a.json", {})


@pytest.mark.parametrize(
    ("url", "package"),
    [
        ("s3://aws@bucket/x", "apache-airflow-providers-amazon[s3fs]"),
        ("gs://bucket", "apache-airflow-providers-google"),
        ("abfs://container", "apache-airflow-providers-microsoft-azure"),
    ],
)
def test_a_store_whose_package_is_missing_names_it(url: str, package: str) -> None:
    from airflow.sdk import ObjectStoragePath

    with pytest.raises(ConfigError) as caught:
        Store(ObjectStoragePath(url), "lab").check("run-1")
    assert caught.value.code == "STORE_UNAVAILABLE"
    assert f"{package} is not installed" in caught.value.cause
    assert "EXTRA_PACKAGES" in caught.value.next_step


def _fill(store: Store) -> None:
    store.write_text("evidence/r1/cp1.json", "{}")
    store.write_text("evidence/r1/a/report.html", "what no UTF-8 can say: \udce4")
    store.write_text("evidence/r2/cp1.json", "{}")


@pytest.mark.parametrize("kind", ["local", "object store"])
def test_folders_are_listed_and_removed_as_a_whole(tmp_path: Path, kind: str) -> None:
    store = Store(tmp_path if kind == "local" else UPath(f"memory://bucket{tmp_path}"), "lab")
    assert store.names("evidence") == ()
    _fill(store)
    assert store.names("evidence") == ("r1", "r2")
    assert store.names("evidence/r1") == ("a", "cp1.json")
    assert store.read_bytes("evidence/r1/a/report.html", 1000) == b"what no UTF-8 can say: ?"
    assert store.read_bytes("evidence/r1/a/report.html", 4) == b"what"
    assert b"".join(store.chunks("evidence/r1/a/report.html")).endswith(b": ?")
    store.remove("evidence/r1")
    store.remove("evidence/r1")
    assert store.names("evidence") == ("r2",)
    assert store.read_bytes("evidence/r1/a/report.html", 4) is None


class _Odd(Exception):
    """As a cloud's library raises it: no OSError."""


class _Uploads(RemotePath):
    """Its uploads break in the middle."""

    discarded: ClassVar[list[str]] = []

    def __truediv__(self, part: str) -> "_Uploads":
        return _Uploads(f"{self.name}/{part}", self.objects)

    def open(self, mode: str) -> Any:
        stream, name, discarded = super().open(mode), self.name, self.discarded

        def write(data: bytes) -> int:
            raise _Odd("denied")

        class Broken:
            def write(self, data: bytes) -> int:
                return write(data)

            def discard(self) -> None:
                discarded.append(name)

            def close(self) -> None:
                stream.close()

        return Broken() if mode == "wb" else stream


def test_a_file_that_was_cut_on_its_way_never_appears_in_an_object_store() -> None:
    import fsspec

    def cut(target: BinaryIO) -> None:
        target.write(b"half")
        raise OSError("the connection went")

    fsspec.filesystem("memory").store.clear()
    store = Store(UPath("memory://bucket"), "lab")
    with pytest.raises(OSError, match="the connection went"):
        store.write_stream("a.tar.gz", cut)
    assert not store.exists("a.tar.gz")


def test_an_upload_that_breaks_is_thrown_away_and_one_error() -> None:
    objects: dict[str, bytes] = {}
    store = Store(_Uploads("s3://b", objects), "lab")
    with pytest.raises(TransientError, match=r"STORE_UNAVAILABLE.*denied"):
        store.write_json("a.json", {})
    assert objects == {}
    assert _Uploads.discarded == ["s3://b/lab/a.json"]


def test_a_file_or_a_folder_is_removed_and_what_is_gone_is_fine(tmp_path: Path) -> None:
    store = Store(tmp_path, "lab")
    store.write_json("a/one.json", {})
    store.write_json("b.json", {})
    for what in ("a", "b.json", "b.json", "a"):
        store.remove(what)
    assert store.names("") == ()
