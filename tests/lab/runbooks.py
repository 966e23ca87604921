"""The commands of docs/runbooks: what a page tells a person to type, where, and whether it changes anything.

The pages themselves are what is read, those of causes (causes/disk_full) as those of codes. Under "How to check" every
command only looks; under "Fix", of a cause "What to do", it may change something; a fenced block says which in its info
string (```sh, ```sh changes), and what it defines is there for the commands below it. Words in capitals stand for what
the message names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

DIRECTORY = Path(__file__).resolve().parents[2] / "docs" / "runbooks"
CHECK, FIXES = "How to check", ("Fix", "What to do")
# What is typed starts with one of these; anything else in backticks is a name, a path or a setting.
PROGRAMS = frozenset(
    {
        *(
            "./nightshift",
            "apt-cache",
            "apt-config",
            "apt-get",
            "apt-mark",
            "cat",
            "cd",
            "chmod",
            "chown",
            "chronyc",
            "containerd",
        ),
        *(
            "crictl",
            "ctr",
            "curl",
            "date",
            "df",
            "dmesg",
            "docker",
            "dpkg",
            "dpkg-query",
            "du",
            "env",
            "etcdctl",
            "find",
            "free",
            "getent",
            "gpg",
            "grep",
        ),
        *(
            "iostat",
            "journalctl",
            "kubeadm",
            "kubectl",
            "kubelet",
            "last",
            "ls",
            "lslocks",
            "openssl",
            "pgrep",
            "pidstat",
            "ps",
            "python3",
            "resolvectl",
        ),
        *(
            "sha256sum",
            "ssh",
            "ssh-keygen",
            "ssh-keyscan",
            "sshd",
            "ss",
            "stat",
            "systemctl",
            "tar",
            "time",
            "timedatectl",
            "timeout",
        ),
        *("tr", "uname", "uptime", "vmstat"),
    }
)
ALONE = frozenset({"dmesg", "last", "timedatectl", "uptime"})  # of these one word is a whole command
# Named, not to be typed as they stand: what they need is told by their own help.
NAMES = frozenset(
    {
        *("./nightshift enrol", "kubeadm join", "kubeadm reset", "kubeadm upgrade node"),
        *("crane copy", "skopeo copy --all"),
    }
)

# Commands that change nothing the cluster, its nodes or its packages run with; a pulled image and a fresh package list count as nothing.
_READS = re.compile(
    r"""
    (?:sudo\ )?(?:
    (?:apt-cache\ (?:policy|show)|apt-config\ dump|apt-get\ (?:check|update)|apt-mark\ showhold|base64\ -d|cd|chronyc\ tracking|command\ -v|containerd\ (?:config\ dump|--version))
    |(?:cat|cut|date\ -u|df|dmesg|du|env|find(?!.*\ -(?:delete|exec|ok))|free|getent|gpg\ --show-keys|grep|head|iostat|last|ls|lslocks|pgrep|pidof|pidstat|ps)
    |journalctl(?!.*\ --(?:flush|rotate|sync|vacuum))
    |(?:resolvectl\ status|sha256sum|sort|ss(?!\ .*-K)|sshd\ -T|stat|tail|tr|uname|uniq|uptime|vmstat|wc)
    |crictl\ (?:images|imagefsinfo|info|inspecti|logs|ps|pull|stats|version)|ctr\ (?:-n\ k8s.io\ images\ pull|plugins\ ls)
    |crictl\ exec\ "\$\(crictl\ ps\ [^)]*\)"\ etcdctl\ version
    |curl(?!.*(?:\ -X|\ -d|--data|--request))
    |docker\ compose\ (?:logs|ps)|dpkg\ (?:--audit|-l)|dpkg-query
    |etcdctl\ (?:alarm\ list|endpoint\ (?:health|status)|get|member\ list)
    |kubeadm\ (?:certs\ check-expiration|config\ images\ list|upgrade\ apply\ --help|upgrade\ diff|version)
    |kubectl\ (?:-n\ \S+\ )?(?:auth\ can-i|describe|get|top|exec\ \S+\ --\ df|run\ .*\ --dry-run=server$)
    |kubelet\ --version|(?:xargs\ -tn1\ )?openssl\ x509\ -noout|openssl\ verify|ssh-keygen\ -F|ssh-keyscan|ssh\ .*\ true$|time\ ssh\ \S+\ date
    |systemctl\ (?:cat|is-enabled|list-timers|list-units|show|status)|tar\ -tzf|timedatectl(?:\ timesync-status|$)
    |timeout\ \d+\ bash\ -c\ '</dev/tcp/[\w./]+'
    |/usr/local/lib/nightshift/nightshift-node\ (?:image-manifests|look|package-index|probe|supply|VERB)
    |export\ KUBECONFIG=|alias\ etcdctl=|etcdctl\(\)\ \{\ crictl\ exec\ "\$\(crictl\ ps\ [^)]*\)"\ etcdctl
    )(?=\ |$|(?<==))
    """,
    re.VERBOSE,
)
# Capitals that stand for themselves.
_LITERALS = frozenset({"AIRFLOW_CONN_", "KUBECONFIG", "SHA256SUMS"})
_CAPITALS = re.compile(
    r"(?<![\w$/.])[A-Z][A-Z0-9_]+\b(?!:[.{])|(?<=[/.])[A-Z]{2,}[A-Z0-9_]*\b(?!\w|\.(?![A-Z]{2}))"
)
_FENCE = re.compile(r"^```(.*)\n((?:.*\n)*?)```$", re.MULTILINE)
_SPAN = re.compile(r"`([^`\n]+)`")
_COMMENT = re.compile(r"\s{2,}# .*$")
_SUBSTITUTED = re.compile(r"\$\(([^()]*)\)")
_CONTINUED = re.compile(r"\s*\\\n\s*")
_SHORTHAND = re.compile(r"(?:alias (\w+)=|(\w+)\(\) \{)")


@dataclass(frozen=True)
class Command:
    """What a page tells to type at once.

    Attributes:
        page: the page's code.
        text: as it stands in the page, comments left out.
        lines: its single commands, in order; they share a shell.
        changes: the page says that it may change something.
        where: "node" (as root) or "driver" (the host Airflow runs on, with an administrator's kubectl).
        defined: lines of the page's blocks above it that define a shorthand, or what one needs.
    """

    page: str
    text: str
    lines: tuple[str, ...]
    changes: bool
    where: str
    defined: tuple[str, ...] = ()

    @property
    def words(self) -> set[str]:
        """Its words in capitals that stand for something else."""
        return placeholders(self.text)


def pages() -> list[str]:
    """Names of all pages: codes, and causes below "causes/"."""
    return sorted(path.relative_to(DIRECTORY).with_suffix("").as_posix() for path in DIRECTORY.rglob("*.md"))


def commands(page: str) -> list[Command]:
    """All commands of a page, in its order."""
    return list(commands_in(page, (DIRECTORY / f"{page}.md").read_text(encoding="utf-8")))


def commands_in(page: str, text: str) -> Iterator[Command]:
    """All commands of a page's text.

    Raises:
        ValueError: a fenced block does not say whether it changes something.
    """
    defined: tuple[str, ...] = ()
    for command in _plain(page, text):
        yield replace(command, defined=defined)
        defined += tuple(line for line in command.lines if _is_definition(line))


def prelude(command: Command) -> tuple[str, ...]:
    """The lines that define the shorthands a command uses; those of ETCD_ALARM where its own page has `etcdctl` undefined."""
    named = {line.split(" ", 1)[0] for line in command.lines}
    own = {_shorthand(line) for line in (*command.defined, *command.lines)}
    if named & own:
        return command.defined
    return _etcdctl_of_codes() if "etcdctl" in named else ()


def unknown_spans(page: str) -> list[str]:
    """What a page sets off like a command, of several words, and is none: a setting, a quoted message, or a slip."""
    text = (DIRECTORY / f"{page}.md").read_text(encoding="utf-8")
    told = re.split(rf"^## (?:{'|'.join((CHECK, *FIXES))})$", _FENCE.sub("", text), flags=re.MULTILINE)[1:]
    spans = [span for part in told for span in _SPAN.findall(part)]
    return [span for span in spans if " " in span and not _is_typed(span) and span not in NAMES]


def reads(line: str) -> bool:
    """Tell whether a line only looks, in all of its stages."""
    if re.search(r"(?<![\d&])>(?!&|\s*/dev/null)", _unquoted(line)):
        return False
    stages = [stage for part in split(line, "&&") for stage in split(part, "|")]
    return all(map(_READS.match, stages)) and all(map(reads, _SUBSTITUTED.findall(line)))


def program(stage: str) -> str:
    """The program that a stage of a pipeline is."""
    return stage.removeprefix("sudo ").split(" ", 1)[0]


def split(text: str, separator: str) -> list[str]:
    """Take a shell text apart at a separator that is not in quotes."""
    bare = _unquoted(text)
    found, at = [], 0
    for match in re.finditer(re.escape(separator), bare):
        found.append(text[at : match.start()].strip())
        at = match.end()
    return [*found, text[at:].strip()]


def placeholders(text: str) -> set[str]:
    """Words in capitals of a command that stand for what the message names; "…" stands for what was given before."""
    return {*_CAPITALS.findall(text)} - _LITERALS | ({"…"} & {*text})


def filled(text: str, words: Mapping[str, str]) -> str:
    """A command with its placeholders replaced."""
    text = text.replace("…", words.get("…", "…"))
    return _CAPITALS.sub(lambda match: words.get(match[0], match[0]), text)


def _unquoted(text: str) -> str:
    """The text, as long as it was, with everything in quotes blanked out."""
    return re.sub(r"'[^']*'|\"[^\"]*\"", lambda match: "_" * len(match[0]), text)


def _plain(page: str, text: str) -> Iterator[Command]:
    """All commands of a page's text, each as if no other was there."""
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        heading, _, body = part.partition("\n")
        at = 0
        for fence in _FENCE.finditer(body):
            yield from _inline(page, heading, body[at : fence.start()])
            yield _fenced(page, fence[1], fence[2])
            at = fence.end()
        yield from _inline(page, heading, body[at:])


def _shorthand(line: str) -> str:
    """The name that a line defines; "" when it defines none."""
    match = _SHORTHAND.match(line)
    return (match[1] or match[2]) if match else ""


def _is_definition(line: str) -> bool:
    return line.startswith("export ") or _shorthand(line) != ""


def _etcdctl_of_codes() -> tuple[str, ...]:
    """How the pages of codes define `etcdctl`."""
    block = next(command for command in commands("ETCD_ALARM") if len(command.lines) > 1)
    return tuple(line for line in block.lines if _is_definition(line))


def _fenced(page: str, info: str, body: str) -> Command:
    if info not in ("sh", "sh changes"):
        raise ValueError(f"{page}: a block must begin with ```sh or ```sh changes, not with ```{info}")
    joined = _CONTINUED.sub(" ", body)
    lines = tuple(_COMMENT.sub("", line) for line in joined.splitlines() if line.strip())
    where = "node" if program(lines[0]) != "kubectl" else "driver"
    return Command(page, "\n".join(lines), lines, info == "sh changes", where)


def _inline(page: str, heading: str, body: str) -> Iterator[Command]:
    """Commands in the running text of a section; other sections tell, they do not tell to type."""
    if heading not in (CHECK, *FIXES):
        return
    for item in re.split(r"\n(?=- )|\n\n", body):
        for span in _SPAN.finditer(item):
            if _is_typed(span[1]):
                lines = tuple(split(span[1], ";"))
                where = _where(lines[0], item[: span.start()])
                yield Command(page, span[1], lines, heading in FIXES and not all(map(reads, lines)), where)


def _is_typed(text: str) -> bool:
    name = program(text)
    if text in NAMES:
        return False
    is_ours = name.startswith("/usr/local/lib/nightshift/")
    return text in ALONE or (" " in text and (is_ours or name in PROGRAMS))


def _where(line: str, before: str) -> str:
    """Where a command is typed: the program says it, of those that ask the network the words before it."""
    name = program(line)
    if name in {"curl", "timeout"}:
        is_there = "127.0.0.1" in line or re.search(r"\bnode|control plane", before) is not None
        return "node" if is_there else "driver"
    if name in {
        "kubectl",
        "ssh",
        "ssh-keygen",
        "ssh-keyscan",
        "time",
        "env",
        "./nightshift",
        "tar",
        "docker",
        "python3",
    }:
        return "driver"
    return "driver" if "BUNDLE" in line else "node"
