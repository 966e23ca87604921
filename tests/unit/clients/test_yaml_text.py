import pytest
import yaml

from nightshift.clients import yaml_text


def test_a_document_becomes_what_the_slow_loader_makes_of_it() -> None:
    text = "a: [1, 2.5, null, 'x']\nb: {c: on, d: 2026-01-02, e: 0x10}\nf: |\n  one\n  two\n"
    assert yaml_text.read_yaml(text) == yaml.safe_load(text)
    assert yaml_text.read_yaml(b"") is None


def test_no_object_is_made_of_a_tag() -> None:
    with pytest.raises(yaml.constructor.ConstructorError):
        yaml_text.read_yaml("!!python/object/apply:os.getcwd []")


@pytest.mark.parametrize("text", ["a: [", "a: b: c", "\ta: 1", "a: \x07"])
def test_what_is_no_yaml_is_one_kind_of_error(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        yaml_text.read_yaml(text)


def test_libyaml_does_the_work_where_it_is_there() -> None:
    """Else a probe of a control-plane node takes several times as long, and nothing says why."""
    assert yaml_text._LOADER is yaml.CSafeLoader
