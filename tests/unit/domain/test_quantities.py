import pytest

from nightshift.domain.quantities import milli, parse_quantity, whole


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2", 2),
        ("1.5", 1.5),
        ("100m", 0.1),
        ("1Ki", 1024),
        ("1k", 1000),
        ("16Mi", 16 * 2**20),
        ("1Gi", 2**30),
        ("1E", 10**18),
        ("129e6", 129_000_000),
        ("1E3", 1000),
        ("250000n", 0.00025),
        (".5", 0.5),
        (4, 4),
    ],
)
def test_quantities_of_the_api(text: str, value: float) -> None:
    assert float(parse_quantity(text)) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "lots", "1Zi", "1 Gi", "1mi", "Ki", "1ki", "10%"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a quantity"):
        parse_quantity(text)


def test_the_scheduler_rounds_up() -> None:
    assert (milli("0.1"), milli("1"), milli("100u"), milli("1.0001")) == (100, 1000, 1, 1001)
    assert (whole("1.5"), whole("1Mi"), whole("100m")) == (2, 1048576, 1)
