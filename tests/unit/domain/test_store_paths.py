import pytest

from nightshift.domain.store_paths import require_store_url


@pytest.mark.parametrize(
    "url",
    [
        *("file:///var/lib/nightshift/store", "/var/lib/nightshift/store", "file:///s", "file:///a folder/b"),
        *("s3://bucket", "s3://bucket/", "s3://aws_store@bucket/a/b", "s3a://b/c", "gs://b", "gcs://b/c"),
        *("abfs://azure@container/a", "abfss://container"),
    ],
)
def test_addresses_of_stores(url: str) -> None:
    assert require_store_url(url) == url


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("S3//bucket", "s3://bucket"),
        ("S3://bucket/a", "s3://bucket/a"),
        ("s3:/bucket", "s3://bucket"),
        ("s3/bucket", "s3://bucket"),
        ("gcss://bucket", "gcs://bucket"),
        ("./store", "file:///var/lib/nightshift/store"),
        ("../store", "file:///var/lib/nightshift/store"),
        ("store", "file:///var/lib/nightshift/store"),
        ("my/store", "file:///var/lib/nightshift/my/store"),
        ("file://store/a", "file:///store/a"),
        ("file:store", "file:///store"),
        ("FILE:///store", "file:///store"),
        (" file:///store\n", "file:///store"),
        ("\ts3://bucket/a ", "s3://bucket/a"),
        (" ./store", "file:///var/lib/nightshift/store"),
    ],
)
def test_what_is_none_is_refused_with_the_nearest_right_form(wrong: str, nearest: str) -> None:
    with pytest.raises(ValueError, match="is no address of a store") as caught:
        require_store_url(wrong)
    assert f"did you mean {nearest!r}?" in str(caught.value)
    assert nearest != wrong
    assert require_store_url(nearest) == nearest


@pytest.mark.parametrize(
    "wrong",
    [
        *(
            "",
            " ",
            "/",
            "//",
            ".",
            "s3:",
            "s3://",
            "s3://@",
            "https://bucket.example.org",
            "memory:x",
            "s3://a b",
        ),
        *("my-store://bucket", "git+ssh://host/path", "//host/share", "file://", "S3://a@b@c"),
    ],
)
def test_where_nothing_is_near_the_forms_are_named_and_nothing_that_is_refused_as_well(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"is no address of a store; It is file:///path, or s3://"):
        require_store_url(wrong)
