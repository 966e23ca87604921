"""Debugging aid: `python3 -m nslab.build 1.34.4 1.35.4` makes the artifacts of these versions."""

from __future__ import annotations

import sys

from nslab.build import ensure_all
from nslab.settings import FROM_VERSION, TARGET_VERSION
from nslab.shell import LabError


def main() -> int:
    """Build for the versions named on the command line and print where the results are."""
    try:
        artifacts = ensure_all(
            sys.argv[1:] or [FROM_VERSION, TARGET_VERSION], lambda text: print(text, flush=True)
        )
    except (LabError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    for name, value in vars(artifacts).items():
        print(f"{name}: {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
