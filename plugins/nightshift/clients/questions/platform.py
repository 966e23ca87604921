"""What the section `platform` of the verb `look` says: cgroups, kernel, runtime, the kubelet's flags and file."""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import yaml

from nightshift.clients.questions import NodeQuestion
from nightshift.clients.yaml_text import read_yaml
from nightshift.domain.facts.versions import KubeletFlag, Platform

_CGROUPS = {"cgroup2fs": "v2", "tmpfs": "v1", "cgroupfs": "v1"}  # file system of /sys/fs/cgroup
_VERSION = re.compile(r"\bv?(\d+\.\d+\.\d+\S*)")
_DROP_IN = "drop-in"
_UNIT = "kubelet.service"
_FLAG = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*)(?:=([^\s\"]*))?")  # in what systemd shows of the unit
# Files whose variables the unit of the kubelet package puts on its command line.
_FILES = {"flags-env": "kubeadm-flags.env", "default": "/etc/default/kubelet"}


def parse_platform(text: str) -> Platform:
    """Read the section's lines: `key TAB value`, files and arguments in base64.

    Raises:
        ValueError: a line is missing or cannot be read.
    """
    parts = (line.partition("\t") for line in text.splitlines() if "\t" in line)
    pairs = [(key, value) for key, _, value in parts]
    lines = dict(pairs)
    cgroup = _CGROUPS.get(lines["cgroup"])
    if cgroup is None:
        raise ValueError(f"unknown file system of /sys/fs/cgroup: {lines['cgroup']!r}")
    runtime, version = _runtime(lines.get("runtime", ""))
    return Platform(
        cgroup=cgroup,
        kernel=lines["kernel"],
        runtime=runtime,
        runtime_version=version,
        kubelet_flags=tuple(_all_flags(lines)),
        kubelet_config=_merged_config(
            _decoded(lines["config"]), [_decoded(value) for key, value in pairs if key == _DROP_IN]
        ),
    )


def _runtime(said: str) -> tuple[str | None, str | None]:
    """`containerd containerd github.com/containerd/containerd 1.6.20~ds1 …` or `cri-o crio version 1.34.1 …`."""
    name, _, rest = said.partition(" ")
    match = _VERSION.search(rest)
    if not name:
        return None, None
    if match is None:
        raise ValueError(f"no version in what {name} says: {rest!r}")
    return name, match[1].partition("~")[0].partition("+")[0]


def _all_flags(lines: dict[str, str]) -> Iterator[KubeletFlag]:
    """The flags of every place the next kubelet gets them from."""
    for key, place in _FILES.items():
        for name, value in _flags(_env_words(_decoded(lines[key]))):
            yield KubeletFlag(name, value, place)
    for match in _FLAG.finditer(_decoded(lines["unit"])):
        yield KubeletFlag(match[1], match[2] or "", _UNIT)


def _env_words(text: str) -> list[str]:
    """Words of all variables in a systemd environment file."""
    words: list[str] = []
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            words += [word for part in shlex.split(value) for word in part.split()]
    return words


def _flags(words: list[str]) -> Iterator[tuple[str, str]]:
    """`--name=value`, `--name value` and `--name` as name and value."""
    for number, word in enumerate(words):
        if word.startswith("-"):
            name, equals, value = word.lstrip("-").partition("=")
            following = words[number + 1] if number + 1 < len(words) else ""
            yield name, value if equals or following.startswith("-") else following


def _merged_config(text: str, drop_ins: Sequence[str]) -> Mapping[str, object] | None:
    """The kubelet's file with its drop-ins laid over it; None without the file: what is in force then is not known."""
    if not text.strip():
        return None
    merged = _config(text)
    for drop_in in drop_ins:
        merged = _laid_over(merged, _config(drop_in))
    return merged


def _laid_over(below: Mapping[str, object], above: Mapping[str, object]) -> dict[str, object]:
    """As the kubelet merges: mappings key by key, everything else is replaced."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = _laid_over(old, value) if both else value  # type: ignore[arg-type]
    return merged


@lru_cache(maxsize=64)
def _config(text: str) -> Mapping[str, object]:
    """One of the kubelet's files; kept, because those of a thousand nodes are alike and YAML is slow."""
    try:
        config = read_yaml(text) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"the kubelet's configuration file is no YAML: {error}") from error
    if not isinstance(config, dict):
        raise ValueError("the kubelet's configuration file is no mapping")
    return config


def _decoded(value: str) -> str:
    return base64.b64decode(value, validate=True).decode(errors="replace")


PLATFORM_QUESTION = NodeQuestion("platform", parse_platform)
