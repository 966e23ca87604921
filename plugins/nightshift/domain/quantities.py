"""Kubernetes' quantities ("100m", "1Gi", "1.5", "2e3") as plain numbers."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal

_SUFFIXES = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    **{name: Decimal(1000) ** power for power, name in enumerate("kMGTPE", start=1)},
    **{f"{name}i": Decimal(1024) ** power for power, name in enumerate("KMGTPE", start=1)},
}
_FORM = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:[eE]([+-]?\d{1,3})|([numkMGTPE]i?|Ki)?)")


def parse_quantity(text: str | int | float) -> Decimal:
    """Read a quantity as the API writes it.

    Raises:
        ValueError: it is none.
    """
    match = _FORM.fullmatch(str(text))
    suffix = (match[3] or "") if match else None
    if match is None or suffix not in _SUFFIXES:
        raise ValueError(f"not a quantity: {text!r}")
    return Decimal(match[1]).scaleb(int(match[2] or 0)) * _SUFFIXES[suffix]


def milli(text: str | int | float) -> int:
    """A quantity in thousandths, rounded up, as the scheduler counts CPUs.

    Raises:
        ValueError: it is none.
    """
    return int((parse_quantity(text) * 1000).to_integral_value(ROUND_CEILING))


def whole(text: str | int | float) -> int:
    """A quantity in whole units (bytes, pods), rounded up.

    Raises:
        ValueError: it is none.
    """
    return int(parse_quantity(text).to_integral_value(ROUND_CEILING))
