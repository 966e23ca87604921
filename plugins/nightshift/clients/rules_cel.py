"""Owners' rules in CEL: checked when the policy is read, evaluated over a few plain facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celpy import Environment
from celpy.adapter import json_to_cel
from celpy.celparser import CELParseError
from celpy.celtypes import BoolType
from celpy.evaluation import CELEvalError


def check_syntax(expression: str) -> None:
    """Refuse what does not parse.

    Raises:
        ValueError: with the place where the parser stopped.
    """
    try:
        Environment().compile(expression)
    except CELParseError as error:
        raise ValueError(f"no CEL expression: stopped in line {error.line}, column {error.column}") from error


def evaluate(expression: str, facts: Mapping[str, Any]) -> bool:
    """Evaluate an expression over JSON-like facts.

    Raises:
        ValueError: it cannot be evaluated (a name that does not exist, a missing key), or is neither true nor false.
    """
    check_syntax(expression)
    environment = Environment()
    variables: Any = json_to_cel(dict(facts))
    try:
        result = environment.program(environment.compile(expression)).evaluate(variables)
    except CELEvalError as error:
        raise ValueError(_first_sentence(error)) from error
    if not isinstance(result, BoolType):
        raise ValueError(f"its result is a {type(result).__name__}, not true or false")
    return bool(result)


def _first_sentence(error: CELEvalError) -> str:
    """The library appends everything it knows, whole activations included."""
    return str(error.args[0] if error.args else error).partition(" (in activation")[0][:200]
