"""Running other programs: one place that turns a failure into a sentence with its cause."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence


class LabError(Exception):
    """Something the lab cannot go on from; says what happened and what to do next."""

    def __init__(self, cause: str, next_step: str = "") -> None:
        super().__init__(f"{cause}\n  next: {next_step}" if next_step else cause)


class CommandError(LabError):
    """A program ended with another code than 0."""

    def __init__(self, argv: Sequence[str], code: int, output: str) -> None:
        tail = "\n".join(output.strip().splitlines()[-15:])
        super().__init__(f"`{shlex.join(argv)}` ended with code {code}:\n{tail}")
        self.code = code
        self.output = output


def run(
    argv: Sequence[str],
    *,
    check: bool = True,
    stdin: str | None = None,
    timeout: float | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program, keep its output, and raise `CommandError` when it fails.

    `env` is added to the present environment; `timeout` is in seconds.
    """
    environment = {**os.environ, "LC_ALL": "C.UTF-8", **(env or {})}
    feed = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
    try:
        done = subprocess.run(
            list(argv),
            text=True,
            capture_output=True,
            timeout=timeout,
            env=environment,
            errors="replace",
            **feed,
        )
    except FileNotFoundError as error:
        raise LabError(
            f"`{argv[0]}` is not installed", "run `lab/lab doctor`; it names the package"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"`{shlex.join(argv)}` did not end within {timeout} s") from error
    if check and done.returncode != 0:
        raise CommandError(argv, done.returncode, done.stderr or done.stdout)
    return done


def output(argv: Sequence[str], **options: object) -> str:
    """Run a program and return what it printed, without the last line break."""
    return run(argv, **options).stdout.rstrip("\n")  # type: ignore[arg-type]  # options are run's own


def wait_until(
    ready: Callable[[], bool], what: str, timeout: float, interval: float = 0.5, next_step: str = ""
) -> float:
    """Poll until `ready()` is true and return the seconds that took; raise `LabError` after `timeout` seconds."""
    started = time.monotonic()
    while not ready():
        if time.monotonic() - started > timeout:
            raise LabError(f"{what}: not so after {timeout:.0f} s", next_step)
        time.sleep(interval)
    return time.monotonic() - started
