"""`python -m nightshift.cli enrol|unenrol|diagnose|correct …`: what a person does from a shell, once per cluster or after a bad night."""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nightshift.clients.cluster_config import (
    clusters_directory,
    connections_of_others,
    load_cluster,
    require_own_connections,
)
from nightshift.clients.cluster_setup import ClusterSetup
from nightshift.clients.evidence_bundle import read_bundle
from nightshift.clients.incident_folder import DIAGNOSIS, MANIFEST
from nightshift.clients.private_files import write_private
from nightshift.clients.script_bundle import SSH_USER
from nightshift.clients.ssh_connect import KeyPair, generate_key_pair, key_pair_from, read_known_hosts
from nightshift.clients.stores import Store
from nightshift.domain.diagnosis.engine import Diagnosis, to_dict
from nightshift.domain.diagnosis.text import as_text
from nightshift.domain.errors import ConfigError, NightshiftError
from nightshift.domain.incident.record import Incident
from nightshift.domain.policy import ClusterPolicy
from nightshift.steps.correct import Correction, correct, corrected_index
from nightshift.steps.enrol import Access, enrol, unenrol
from nightshift.steps.incident import judge

_CONNECTION = "AIRFLOW_CONN_"  # how Airflow finds a connection in its environment
_INSTALLATION = "NIGHTSHIFT_INSTALLATION"  # tells this Airflow from every other one at the same cluster


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command; 0 when done, 1 when it could not be done, 2 for a wrong command line."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except NightshiftError as error:
        print(f"nightshift: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nightshift", description="Prepare clusters for Nightshift, and read its evidence."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run, text in (
        ("enrol", _enrol, "install scripts, user and RBAC; idempotent"),
        ("unenrol", _unenrol, "take all of it back"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        _add_access_options(command)
    _add_diagnose(
        commands.add_parser(
            "diagnose", help=(text := "name the first cause in saved evidence"), description=text
        )
    )
    _add_correct(
        commands.add_parser(
            "correct", help=(text := "correct the report of a saved incident"), description=text
        )
    )
    return parser


def _add_correct(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=_correct)
    command.add_argument(
        "incident", type=Path, metavar="FOLDER", help="of the incident, as it lies under evidence/<run>/"
    )
    command.add_argument(
        "--by", required=True, metavar="NAME", help="who corrects; it stands in both reports"
    )
    command.add_argument(
        "--finding",
        default="",
        metavar="TEXT",
        help="what was the cause, one sentence (default: what today's catalogue says)",
    )
    command.add_argument(
        "--remedy",
        default="",
        metavar="TEXT",
        help="with --finding: what helps; the report shows no other remedy then",
    )


def _add_diagnose(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=_diagnose)
    command.add_argument(
        "bundles",
        nargs="+",
        type=Path,
        metavar="BUNDLE",
        help="an incident's folder as it lies under evidence/<run>/, or a node's archive (tar.gz)",
    )
    command.add_argument("--json", action="store_true", help="one JSON object: bundle -> diagnosis")


def _add_access_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--cluster",
        required=True,
        help="name of its file <name>.yaml in NIGHTSHIFT_CLUSTERS or include/clusters",
    )
    command.add_argument("--kubeconfig", required=True, type=Path, help="of a cluster administrator")
    command.add_argument("--ssh-user", default="root", help="root, or a user with password-less sudo")
    command.add_argument("--ssh-key", required=True, type=Path, help="that user's private key, no passphrase")
    command.add_argument("--known-hosts", required=True, type=Path, help="pinned host keys of all nodes")
    command.add_argument(
        "--write-env",
        type=Path,
        metavar="FILE",
        help="environment file with Airflow's connections, 0600; other lines in it are kept, and it gets a "
        f"{_INSTALLATION} when it has none (default: standard output, connections only)",
    )


def _diagnose(options: argparse.Namespace) -> None:
    """Judge each bundle by itself: what one node shows proves nothing about another."""
    found = {str(path): _judged(path) for path in options.bundles}
    if options.json:
        print(json.dumps({path: to_dict(diagnosis) for path, diagnosis in found.items()}, indent=2))
        return
    print("\n".join(f"{path}\n{as_text(diagnosis)}" for path, diagnosis in found.items()), end="")


def _judged(path: Path) -> Diagnosis:
    """The diagnosis of a bundle; an incident's folder says of itself which step failed, and since when."""
    incident = _incident_in(path.resolve()) if path.is_dir() else None
    return judge(read_bundle(path), incident.step if incident else "", incident.since if incident else 0.0)


def _correct(options: argparse.Namespace) -> None:
    """Write the corrected report beside the old one, and into the run's list of incidents."""
    folder = options.incident.resolve()
    store = Store(folder.parent, folder.name)
    files = read_bundle(folder)
    print(correct(store, folder.name, files, _correction(options)))
    run = Store(folder.parent.parent, folder.parent.name)
    incident = _incident_in(folder)
    listed = run.read_json(f"{incident.node}.json") if incident else None
    if incident and listed:
        run.write_json(f"{incident.node}.json", corrected_index(listed, incident))


def _incident_in(folder: Path) -> Incident | None:
    """The incident that a folder is; None when it is none."""
    store = Store(folder.parent, folder.name)
    return Incident.from_folder(folder.name, store.read_json(MANIFEST) or {}, store.read_json(DIAGNOSIS))


def _correction(options: argparse.Namespace) -> Correction:
    finding, remedy = options.finding.strip(), options.remedy.strip()
    if remedy and not finding:
        raise ConfigError(
            "BUNDLE_UNREADABLE",
            "A remedy without a finding corrects nothing.",
            cause="--remedy was given without --finding.",
            next_step="Say with --finding what the cause was.",
        )
    return Correction(options.by, time.time(), finding, remedy)


def _enrol(options: argparse.Namespace) -> None:
    _require_file(options.cluster)
    names = _connection_names(options.cluster)
    key = _known_key(options.write_env, names["ssh"]) or generate_key_pair()
    made = enrol(_access(options), key)
    variables = {
        names["kubernetes"]: {
            "conn_type": "kubernetes",
            "extra": {"kube_config": json.dumps(made["kube_config"])},
        },
        names["ssh"]: {
            "conn_type": "ssh",
            "login": SSH_USER,
            "extra": {"private_key": key.private, "host_keys": made["host_keys"]},
        },
    }
    lines = {name: _assignment(name, value) for name, value in variables.items()}
    if options.write_env is None:
        print("\n".join(lines.values()))
        return
    name = _name_for(options.write_env)
    if name is None:
        _say(
            f"warning: {options.write_env} gives Airflow no {_INSTALLATION}. Without one, from wherever its processes have "
            "their environment, no night begins."
        )
    lines = (name or {}) | lines  # in this order a second enrolment leaves the file as it is
    _rewrite(options.write_env, lines)
    _say(f"wrote {', '.join(lines)} to {options.write_env}")


def _unenrol(options: argparse.Namespace) -> None:
    """Also without the cluster's file: whoever deleted it first must still get everything back."""
    if _policy(options.cluster) is None:
        _say(f"warning: {_no_file(options.cluster)} Going on with the usual names of the connections.")
    unenrol(_access(options))
    if options.write_env is None:
        return
    others = connections_of_others(_file_of(options.cluster))
    wanted = _connection_names(options.cluster).values()
    shared = [name for name in wanted if name.removeprefix(_CONNECTION) in others]
    for name in shared:
        _say(
            f"warning: {name} stays in {options.write_env}: {others[name.removeprefix(_CONNECTION)]} names it, too"
        )
    names = [name for name in wanted if name not in shared]
    missing = [name for name in names if name not in _variables(options.write_env)]
    if missing:
        _say(f"warning: {options.write_env} has no {' and no '.join(missing)}: nothing to take out for it")
    if len(missing) < len(names):
        _rewrite(options.write_env, dict.fromkeys(names))


def _require_file(cluster: str) -> None:
    """Refuse a cluster that no night would know, and one whose connections are another's.

    Raises:
        ConfigError: CONFIG_INVALID, it has no file, or one that shares a connection.
    """
    policy = _policy(cluster)
    if policy is not None:
        require_own_connections(_file_of(cluster), policy)
    else:
        raise ConfigError(
            "CONFIG_INVALID",
            f"There is no cluster {cluster}; nothing was touched.",
            cause=_no_file(cluster),
            next_step="Correct the name; or write that file first (include/clusters/example.yaml.sample shows "
            "how); or name the directory it lies in with NIGHTSHIFT_CLUSTERS.",
        )


def _no_file(cluster: str) -> str:
    """Where the cluster's file was looked for, and what is there instead."""
    known = sorted(path.stem for path in clusters_directory().glob("*.yaml"))
    there = f"the clusters there are {', '.join(known)}" if known else "no cluster has a file there"
    return f"{_file_of(cluster)} does not exist; {there}."


def _access(options: argparse.Namespace) -> Access:
    try:
        ssh_key = options.ssh_key.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "CONFIG_INVALID",
            f"The SSH key {options.ssh_key} cannot be read.",
            cause=f"{error}.",
            next_step="Give the path of the private key that logs in on the nodes.",
        ) from error
    return Access(
        setup=ClusterSetup.from_kubeconfig(options.kubeconfig),
        ssh_user=options.ssh_user,
        ssh_key=ssh_key,
        host_key=lambda node: read_known_hosts(options.known_hosts, node.address, node.name),
        log=_say,
        quiesce=policy.quiesce if (policy := _policy(options.cluster)) else (),
    )


def _connection_names(cluster: str) -> dict[str, str]:
    """Names of the environment variables, by kind; from the cluster's file, or its name while there is none."""
    policy = _policy(cluster)
    if policy is not None:
        ids = {"kubernetes": policy.kubernetes_connection, "ssh": policy.ssh_connection}
    else:
        ids = {kind: f"nightshift_{cluster}_{kind}" for kind in ("kubernetes", "ssh")}
    return {kind: f"{_CONNECTION}{name.upper()}" for kind, name in ids.items()}


def _policy(cluster: str) -> ClusterPolicy | None:
    """The cluster's file; None while there is none."""
    path = _file_of(cluster)
    return load_cluster(path) if path.exists() else None


def _file_of(cluster: str) -> Path:
    return clusters_directory() / f"{cluster}.yaml"


def _variables(path: Path) -> set[str]:
    """Names of the variables in an environment file; none when there is no file."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {line.partition("=")[0] for line in lines if "=" in line}


def _name_for(path: Path) -> dict[str, str] | None:
    """A made-up name for the Airflow of a new environment file; {} when it has one, or when our own environment does.

    None: the file is there without one. The Airflow may have its name from elsewhere, and must not get a second one.
    """
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = [m for line in lines if (m := re.fullmatch(rf"\s*(?:export\s+)?{_INSTALLATION}=(.*)", line))]
    if os.environ.get(_INSTALLATION) or any(match[1].strip(" '\"") for match in found):
        return {}
    if not found and any(line.strip() for line in lines):
        return None
    return {_INSTALLATION: f"{_INSTALLATION}=airflow-{secrets.token_hex(3)}"}


def _assignment(name: str, value: Mapping[str, Any]) -> str:
    """`NAME='JSON'` as shells and Docker Compose read it; a quote inside is written as JSON's own escape."""
    text = json.dumps(value).replace("'", "\\u0027")
    return f"{name}='{text}'"


def _known_key(path: Path | None, variable: str) -> KeyPair | None:
    """The pair an earlier enrolment wrote into the environment file: enrolling again keeps it."""
    if path is None or not path.exists():
        return None
    for line in path.read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition("=")
        if name == variable:
            try:
                return key_pair_from(json.loads(value.strip("'"))["extra"]["private_key"])
            except (ValueError, KeyError, TypeError):
                return None
    return None


def _rewrite(path: Path, lines: Mapping[str, str | None]) -> None:
    """Replace (None: drop) the variables of these names, keep all other lines; private, at once or not at all."""
    old = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    kept = [line for line in old if line.partition("=")[0] not in lines]
    text = "".join(f"{line}\n" for line in (*kept, *(line for line in lines.values() if line)))
    write_private(path, text)


def _say(text: Any) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
