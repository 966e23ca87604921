"""The lab's command line: finds the module that brings a command and hands over to it."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from nslab.shell import LabError

# A module's `register(subparsers)` adds its commands, each with `set_defaults(run=function)`.
# Only the module of the command that was asked for is imported.
MODULES = {
    "nslab.nodes.commands": ("up", "down", "reset", "status", "ssh", "kubectl", "env", "doctor"),
    "nslab.faults": ("break", "heal"),
    "nslab.probe": ("probe",),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 0 done, 1 it could not be done, 2 wrong usage."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = _parser(arguments[:1]).parse_args(arguments)
    try:
        options.run(options)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def _parser(command: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lab", description="A real kubeadm cluster on this machine.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    asked = [module for module, names in MODULES.items() if set(command) & set(names)]
    for module in asked or MODULES:
        importlib.import_module(module).register(subparsers)
    return parser
