"""What an upgrade would silently change, because it stands in one place of the configuration and not in another.

`kubeadm upgrade` writes every control-plane manifest anew from ConfigMap kubeadm-config, and every kubelet's
configuration from ConfigMap kubelet-config: what somebody wrote into the files is gone afterwards, and what somebody
wrote into the ConfigMaps arrives. Compared is with what kubeadm itself would write, see docs/adr/0020.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from nightshift.domain.facts.drift import ControlPlaneConfig, HostVolume, KubeletFiles, StaticPod
from nightshift.domain.facts.versions import DEFAULT_REGISTRY

_FLAG = re.compile(r"--?([A-Za-z][A-Za-z0-9._-]*)(?:=(.*))?", re.DOTALL)
_RELEASE = re.compile(r"v?(\d+\.\d+)\.\d+")
# Where ClusterConfiguration keeps what is added to a component.
_SECTIONS: Mapping[str, tuple[str, ...]] = {
    "kube-apiserver": ("apiServer",),
    "kube-controller-manager": ("controllerManager",),
    "kube-scheduler": ("scheduler",),
    "etcd": ("etcd", "local"),
}
COMPONENTS = tuple(_SECTIONS)


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Who and where a component is: which of two answers is right, only a person knows.
_IDENTITY: Mapping[str, frozenset[str]] = {
    "kube-apiserver": _names(
        "advertise-address secure-port service-cluster-ip-range etcd-servers etcd-cafile etcd-certfile etcd-keyfile "
        "client-ca-file tls-cert-file tls-private-key-file service-account-key-file "
        "service-account-signing-key-file kubelet-client-certificate kubelet-client-key proxy-client-cert-file "
        "proxy-client-key-file requestheader-client-ca-file"
    ),
    "kube-controller-manager": _names(
        "cluster-cidr service-cluster-ip-range cluster-name client-ca-file root-ca-file kubeconfig "
        "authentication-kubeconfig authorization-kubeconfig service-account-private-key-file "
        "cluster-signing-cert-file cluster-signing-key-file requestheader-client-ca-file"
    ),
    "kube-scheduler": _names("kubeconfig authentication-kubeconfig authorization-kubeconfig client-ca-file"),
    "etcd": _names(
        "name data-dir wal-dir listen-client-urls advertise-client-urls listen-peer-urls initial-advertise-peer-urls "
        "cert-file key-file trusted-ca-file peer-cert-file peer-key-file peer-trusted-ca-file"
    ),
}
# Read by etcd only when its data directory is new; kubeadm writes them differently at a join and at an upgrade.
_NO_EFFECT: Mapping[str, frozenset[str]] = {"etcd": frozenset({"initial-cluster", "initial-cluster-state"})}
# The API server ends at once when it is given both.
_EXCLUSIVE = (
    ("authentication-config", re.compile(r"oidc-.*")),
    ("authorization-config", re.compile(r"authorization-(mode|policy-file|webhook-.*)")),
)
# kubeadm leaves out the first when it is given the second.
_LEFT_OUT = {"authorization-mode": "authorization-config"}
# kubeadm mounts those of them that the node has on the day it writes the manifest.
_CA_VOLUMES = _names(
    "ca-certs etc-pki etc-pki-ca-trust etc-pki-tls-certs etc-ca-certificates usr-share-ca-certificates "
    "usr-local-share-ca-certificates"
)
_READ_AT_START = ("-file", "-config", "kubeconfig")  # how the flags end whose file must be there at the start
_RESOLVER = "resolvConf"  # kubeadm itself names that of the node's systemd in the kubelet's file
_SHOWN = 8  # settings in one sentence


class Grade(StrEnum):
    """How grave one difference is."""

    COSMETIC = "cosmetic"  # nothing works differently
    RECOVERABLE = "recoverable"  # the upgrade changes something, and it can be carried over or is wanted
    FATAL = "fatal"  # which side is right must be decided first, or the component would not start


class Effect(StrEnum):
    """What the upgrade would do about it."""

    NOTHING = "nothing"
    LOSE = "lose"  # it runs, and would be gone
    BRING = "bring"  # kubeadm-config wants it, and it does not run yet
    UNCLEAR = "unclear"  # the owner's, or the default of another kubeadm than the one that was asked


@dataclass(frozen=True)
class Setting:
    """One setting of a control-plane component that ClusterConfiguration has a place for.

    Args:
        kind: "flag", "volume" or "env".
        values: of a flag all of them, in order; of an environment variable its one.
        volume: of a volume.
    """

    component: str
    kind: str
    name: str
    values: tuple[str, ...] = ()
    volume: HostVolume | None = None

    def __str__(self) -> str:
        """For people; an environment variable's value may hold a password and is not shown."""
        if self.kind == "flag":
            return " ".join(f"--{self.name}={value}" for value in self.values)
        if self.volume is not None:
            return f"volume {self.name} ({self.volume.host_path} at {self.volume.mount_path})"
        return f"environment variable {self.name}"


@dataclass(frozen=True)
class Difference:
    """One difference between a live manifest and what kubeadm would write in its place.

    Args:
        what: it, for people.
        setting: what kubeadm-config would have to say so that it stays; None = it has no place for it.
    """

    component: str
    grade: Grade
    effect: Effect
    what: str
    setting: Setting | None = None


@dataclass(frozen=True)
class Uploads:
    """What kubeadm-config should be told.

    Args:
        settings: on every control plane alike.
        uneven: not on every control plane, with the nodes that have them.
        refusal: why nothing can be written there; "" otherwise.
        unclear: the nodes from which something was left out, because another kubeadm wrote what runs there.
    """

    settings: tuple[Setting, ...]
    uneven: tuple[tuple[Setting, tuple[str, ...]], ...] = ()
    refusal: str = ""
    unclear: tuple[str, ...] = ()


def split_words(words: Sequence[str]) -> tuple[tuple[str, ...], list[tuple[str, str]]]:
    """Split a command into its program's words and its flags in order; `--flag value` in two words is one flag.

    Raises:
        ValueError: a word behind the first flag is none.
    """
    first = next((i for i, word in enumerate(words) if word.startswith("-")), len(words))
    flags: list[tuple[str, str]] = []
    rest = list(words[first:])
    while rest:
        word = rest.pop(0)
        match = _FLAG.fullmatch(word)
        if match is None:
            raise ValueError(f"no flag: {word[:80]!r}")
        value = match[2]
        if value is None and rest and not rest[0].startswith("-"):
            value = rest.pop(0)
        flags.append((match[1], "true" if value is None else value))
    return tuple(words[:first]), flags


def compare(component: str, live: StaticPod, rendered: StaticPod) -> tuple[Difference, ...]:
    """Everything in which a live manifest differs from what kubeadm would write, image tags left out."""
    if live.program != rendered.program:
        started = " ".join(live.program) or "nothing that could be read"
        return (
            Difference(component, Grade.FATAL, Effect.LOSE, f"its manifest does not start it, but {started}"),
        )
    return (
        *_flag_differences(component, live, rendered),
        *_volume_differences(component, live, rendered),
        *_env_differences(component, live, rendered),
        *_other_differences(component, live, rendered),
    )


def differences(config: ControlPlaneConfig) -> tuple[Difference, ...]:
    """All differences of one control plane; a component that only one side has is the static-pod gate's finding."""
    return tuple(
        _unclear(difference) if other_kubeadm(config, component) else difference
        for component in COMPONENTS
        if component in config.live and component in config.rendered
        for difference in compare(component, config.live[component], config.rendered[component])
    )


def other_kubeadm(config: ControlPlaneConfig, component: str = "kube-apiserver") -> str:
    """Why what kubeadm would write is not what wrote this component, for people; "" when it may be compared.

    So it is after a night that ended between the package and the manifests, and when a person upgraded kubeadm first:
    defaults that changed between the minors look like somebody's settings then.
    """
    running = _tag(config, "kube-apiserver")
    if _minor(running) is None or _minor(running) != _minor(config.kubeadm):
        return f"kubeadm is {config.kubeadm}, and kube-apiserver {running or 'without a version'} runs"
    if component == "etcd" and "etcd" in config.live and "etcd" in config.rendered:
        mine, theirs = _tag_of(config.live["etcd"].image), _tag_of(config.rendered["etcd"].image)
        if mine != theirs:
            return f"etcd {mine or 'without a version'} runs, and kubeadm would write {theirs}"
    return ""


def uploads(configs: Mapping[str, ControlPlaneConfig]) -> Uploads:
    """What runs on the control planes, would be lost, and kubeadm-config has a place for; by node."""
    # What is fatal has no setting: which side is right is not for us to write down.
    lost = {
        node: [d.setting for d in differences(config) if d.effect is Effect.LOSE and d.setting]
        for node, config in configs.items()
    }
    unclear = tuple(
        n for n, c in sorted(configs.items()) if any(d.effect is Effect.UNCLEAR for d in differences(c))
    )
    every = list(dict.fromkeys(setting for found in lost.values() for setting in found))
    if not every:
        return Uploads((), unclear=unclear)
    if any(_is_old_form(c.configuration) for c in configs.values()):
        refusal = "kubeadm-config is of a form older than kubeadm.k8s.io/v1beta4"
        return Uploads((), refusal=refusal, unclear=unclear)
    holders = {s: tuple(n for n, c in sorted(configs.items()) if _has(c.live, s)) for s in every}
    return Uploads(
        tuple(s for s in every if len(holders[s]) == len(configs)),
        tuple((s, holders[s]) for s in every if len(holders[s]) < len(configs)),
        unclear=unclear,
    )


def merged(configuration: Mapping[str, Any], settings: Sequence[Setting]) -> dict[str, Any]:
    """Return a ClusterConfiguration (v1beta4) that also says these settings; what it said about them is replaced."""
    result = copy.deepcopy(dict(configuration))
    for setting in settings:
        section = result
        for key in _SECTIONS[setting.component]:
            section[key] = section.get(key) or {}
            section = section[key]
        if setting.kind == "flag":
            _replace(
                section,
                "extraArgs",
                setting.name,
                [{"name": setting.name, "value": v} for v in setting.values],
            )
        elif setting.volume is not None:
            _replace(section, "extraVolumes", setting.name, [_extra_volume(setting.name, setting.volume)])
        else:
            value = setting.values[0]
            _replace(section, "extraEnvs", setting.name, [{"name": setting.name, "value": value}])
    return result


def own_flags(
    config: ControlPlaneConfig, settings: Sequence[Setting]
) -> dict[str, dict[str, tuple[str, ...]]]:
    """The flags of one control plane that are its owner's and not kubeadm's: component -> flag -> values that run."""
    configuration = merged(config.configuration, settings)
    return {
        component: {
            name: pod.flags[name] for name in _extra_names(configuration, component) if name in pod.flags
        }
        for component, pod in config.live.items()
    }


def lost_flags(
    wanted: Mapping[str, Mapping[str, Sequence[str]]], running: Mapping[str, Sequence[str]]
) -> list[str]:
    """Which of the wanted flags (component -> flag -> values) the running processes (component -> argv) lack, for people.

    Asked after an upgrade: kubeadm writes every flag as one word.
    """
    return [
        f"{component} runs without --{name}={value}"
        for component, flags in wanted.items()
        for name, values in flags.items()
        for value in values
        if f"--{name}={value}" not in running.get(component, ())
    ]


def shown(texts: Sequence[str]) -> str:
    """A list for a sentence, not endless."""
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more


def kubelet_edits(files: KubeletFiles, wanted: Mapping[str, Any]) -> tuple[str, ...]:
    """Settings in a kubelet's file that `kubeadm upgrade node` would overwrite, as "maxPods: 200 (cluster: absent)".

    Args:
        files: the node's.
        wanted: the KubeletConfiguration in ConfigMap kubelet-config.
    """
    expected = {**_leaves(wanted), **_leaves(files.instance)}
    return tuple(
        f"{path}: {value!r} (kubelet-config: {expected.get(path, 'absent')!r})"
        for path, value in sorted(_leaves(files.config or {}).items())
        if expected.get(path) != value and path != _RESOLVER
    )


def kubelet_pending(files: KubeletFiles, wanted: Mapping[str, Any]) -> tuple[str, ...]:
    """Settings that a kubelet's file lacks and `kubeadm upgrade node` would write into it, as "podPidsLimit: 100".

    Zero stands for the default and changes nothing. The arguments are those of `kubelet_edits`.
    """
    present = _leaves(files.config or {})
    return tuple(
        f"{path}: {value!r}"
        for path, value in sorted({**_leaves(wanted), **_leaves(files.instance)}.items())
        if path not in present and not _is_default(value) and path != _RESOLVER
    )


def kubelet_unread(files: KubeletFiles, configz: Mapping[str, Any]) -> tuple[str, ...]:
    """Settings in a kubelet's file that the running kubelet has not read: it is older than the file."""
    if files.arguments is None or files.config_modified <= files.started + 1:
        return ()
    running, given = _leaves(configz), _flag_names(files.arguments)
    return tuple(
        f"{path}: {value!r} (running: {running.get(path, 'absent')!r})"
        for path, value in sorted(_leaves(files.config or {}).items())
        if not _is_default(value) and not _same(running.get(path), value) and _kebab(path) not in given
    )


def flags_unread(files: KubeletFiles) -> tuple[str, ...]:
    """Flags in kubeadm-flags.env that the running kubelet was not started with: it is older than the file."""
    if files.arguments is None or files.flags_modified <= files.started + 1:
        return ()
    return tuple(flag for flag in files.flags if flag not in files.arguments)


@dataclass(frozen=True)
class KubeletChanges:
    """How a kubelet's live configuration differs from what it was before the upgrade, for people.

    Args:
        lost: settings that its file had made, and that are others now.
        others: the rest; the new version's defaults explain them.
    """

    lost: tuple[str, ...]
    others: tuple[str, ...]


def kubelet_changes(
    before: Mapping[str, Any], after: Mapping[str, Any], file: Mapping[str, Any]
) -> KubeletChanges:
    """Compare a kubelet's /configz before and after its upgrade.

    Args:
        before: the kubeletconfig of before.
        after: that of now.
        file: its config.yaml of before; what it set is somebody's word, everything else is the version's.
    """
    old, new = _leaves(before), _leaves(after)
    own = {path for path, value in _leaves(file).items() if not _is_default(value)}
    lost: list[str] = []
    others: list[str] = []
    for path in sorted({*old, *new}):
        if old.get(path) != new.get(path):
            text = f"{path}: {old.get(path, 'absent')!r} (now {new.get(path, 'absent')!r})"
            (lost if path in own else others).append(text)
    return KubeletChanges(tuple(lost), tuple(others))


def is_stock_corefile(corefile: str, domain: str) -> bool:
    """Tell whether kubeadm wrote it (1.19 and newer), spaces left out of account."""
    return _tokens(corefile) in (
        _tokens(_COREFILE.format(domain=domain, cache="")),
        _tokens(
            _COREFILE.format(domain=domain, cache=f"{{ disable success {domain} disable denial {domain} }}")
        ),
    )


def addon_repositories(configuration: Mapping[str, Any]) -> dict[str, str]:
    """Where kubeadm takes the add-ons' images from: "coredns" and "kube-proxy" -> image without tag."""
    base = configuration.get("imageRepository") or DEFAULT_REGISTRY
    dns = (configuration.get("dns") or {}).get("imageRepository") or base
    dns = f"{dns}/coredns" if dns == DEFAULT_REGISTRY else dns
    return {"coredns": f"{dns}/coredns", "kube-proxy": f"{base}/kube-proxy"}


def repository_of(image: str) -> str:
    """An image's name without tag and digest; a port in its registry's address stays."""
    name = image.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"


_COREFILE = """.:53 {{
    errors
    health {{
       lameduck 5s
    }}
    ready
    kubernetes {domain} in-addr.arpa ip6.arpa {{
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }}
    prometheus :9153
    forward . /etc/resolv.conf {{
       max_concurrent 1000
    }}
    cache 30 {cache}
    loop
    reload
    loadbalance
}}"""


def _flag_differences(component: str, live: StaticPod, rendered: StaticPod) -> Iterator[Difference]:
    passed_over = _NO_EFFECT.get(component, frozenset())
    names = [n for n in (*live.order, *rendered.order) if n not in passed_over]
    differing = [n for n in dict.fromkeys(names) if live.flags.get(n) != rendered.flags.get(n)]
    for name in differing:
        mine, theirs = live.flags.get(name), rendered.flags.get(name)
        if name in _IDENTITY[component]:
            what = f"{_flag(name, mine)} in the manifest, kubeadm would write {_flag(name, theirs)}"
            yield Difference(component, Grade.FATAL, Effect.NOTHING, what)
        elif mine is not None:
            setting = Setting(component, "flag", name, mine)
            yield Difference(component, Grade.RECOVERABLE, Effect.LOSE, str(setting), setting)
        elif theirs is not None and not _is_left_out(name, live):
            yield _brought(component, name, theirs, rendered)
    yield from _exclusive_flags(component, {**rendered.flags, **live.flags}, live)
    if not differing and [n for n in live.order if n not in passed_over] != [
        n for n in rendered.order if n not in passed_over
    ]:
        yield Difference(component, Grade.COSMETIC, Effect.NOTHING, "its flags stand in another order")


def _brought(component: str, name: str, values: Sequence[str], rendered: StaticPod) -> Difference:
    """A flag that only kubeadm-config has; one that names a file which nothing brings into the container ends the start."""
    what = _flag(name, values)
    for value in values if name.endswith(_READ_AT_START) else ():
        if not _is_mounted(value, rendered):
            return Difference(
                component,
                Grade.FATAL,
                Effect.BRING,
                f"{what} names a path that no volume brings into its container",
            )
    return Difference(component, Grade.RECOVERABLE, Effect.BRING, what)


def _is_mounted(path: str, pod: StaticPod) -> bool:
    mounts = [volume.mount_path.rstrip("/") for volume in pod.volumes.values() if volume is not None]
    return any(path == mount or path.startswith(f"{mount}/") for mount in mounts)


def _is_left_out(name: str, live: StaticPod) -> bool:
    """Tell whether kubeadm will not write this default once kubeadm-config knows what runs."""
    return _LEFT_OUT.get(name, "") in live.flags


def _exclusive_flags(component: str, flags: Mapping[str, Any], live: StaticPod) -> Iterator[Difference]:
    """Flags that kubeadm-config and the manifest together would have, and the API server refuses together."""
    for one, pattern in _EXCLUSIVE:
        others = [
            n for n in flags if pattern.fullmatch(n) and not (n not in live.flags and _is_left_out(n, live))
        ]
        if component == "kube-apiserver" and one in flags and others:
            what = f"--{one} and {shown([f'--{n}' for n in others])} together would keep it from starting"
            yield Difference(component, Grade.FATAL, Effect.NOTHING, what)


def _flag(name: str, values: Sequence[str] | None) -> str:
    return f"no --{name}" if values is None else " ".join(f"--{name}={value}" for value in values)


def _volume_differences(component: str, live: StaticPod, rendered: StaticPod) -> Iterator[Difference]:
    for name in dict.fromkeys((*live.volumes, *rendered.volumes)):
        mine, theirs = live.volumes.get(name), rendered.volumes.get(name)
        if name in live.volumes and name in rendered.volumes and mine == theirs:
            continue
        if name in _CA_VOLUMES:
            yield Difference(component, Grade.COSMETIC, Effect.NOTHING, f"volume {name}")
        elif name == "etcd-data":
            yield Difference(
                component, Grade.FATAL, Effect.NOTHING, "etcd's data directory is another volume"
            )
        elif name not in live.volumes:
            yield Difference(component, Grade.RECOVERABLE, Effect.BRING, f"volume {name}")
        elif mine is None or component == "etcd":  # kubeadm-config has no extraVolumes for etcd
            yield Difference(component, Grade.RECOVERABLE, Effect.LOSE, f"volume {name}")
        else:
            setting = Setting(component, "volume", name, volume=mine)
            yield Difference(component, Grade.RECOVERABLE, Effect.LOSE, str(setting), setting)


def _env_differences(component: str, live: StaticPod, rendered: StaticPod) -> Iterator[Difference]:
    for name in dict.fromkeys((*live.env, *rendered.env)):
        if name in live.env and name in rendered.env and live.env[name] == rendered.env[name]:
            continue
        value = live.env.get(name)
        what = f"environment variable {name}"
        if name not in live.env:
            yield Difference(component, Grade.RECOVERABLE, Effect.BRING, what)
        else:
            setting = None if value is None else Setting(component, "env", name, (value,))
            yield Difference(component, Grade.RECOVERABLE, Effect.LOSE, what, setting)


def _other_differences(component: str, live: StaticPod, rendered: StaticPod) -> Iterator[Difference]:
    mine, theirs = repository_of(live.image), repository_of(rendered.image)
    if mine != theirs:
        what = f"its image {mine}, which kubeadm would take from {theirs}"
        yield Difference(component, Grade.RECOVERABLE, Effect.LOSE, what)
    for path in dict.fromkeys((*live.rest, *rendered.rest)):
        if live.rest.get(path) != rendered.rest.get(path):
            yield Difference(component, Grade.RECOVERABLE, Effect.LOSE, path)


def _unclear(difference: Difference) -> Difference:
    """The same under another kubeadm: nobody can say whose it is; who and where a component is stays fatal."""
    if difference.grade is not Grade.RECOVERABLE:
        return difference
    return replace(difference, effect=Effect.UNCLEAR, setting=None)


def _tag(config: ControlPlaneConfig, component: str) -> str:
    """The tag that runs; of an image without a version, that of the version kubeadm was told."""
    tags = [_tag_of(side[component].image) for side in (config.live, config.rendered) if component in side]
    return next((tag for tag in tags if _minor(tag)), "")


def _tag_of(image: str) -> str:
    return image.partition("@")[0].rpartition("/")[2].partition(":")[2]


def _minor(version: str) -> str | None:
    match = _RELEASE.match(version)
    return match[1] if match else None


def _is_old_form(configuration: Mapping[str, Any]) -> bool:
    return str(configuration.get("apiVersion") or "").endswith(("v1beta1", "v1beta2", "v1beta3"))


def _has(live: Mapping[str, StaticPod], setting: Setting) -> bool:
    pod = live.get(setting.component)
    if pod is None:
        return False
    if setting.kind == "flag":
        return pod.flags.get(setting.name) == setting.values
    if setting.volume is not None:
        return pod.volumes.get(setting.name) == setting.volume
    return pod.env.get(setting.name) == setting.values[0]


def _replace(section: dict[str, Any], key: str, name: str, items: list[dict[str, Any]]) -> None:
    section[key] = [item for item in section.get(key) or [] if item["name"] != name] + items


def _extra_volume(name: str, volume: HostVolume) -> dict[str, Any]:
    plain: dict[str, Any] = {"name": name, "hostPath": volume.host_path, "mountPath": volume.mount_path}
    if volume.read_only:
        plain["readOnly"] = True
    if volume.path_type:
        plain["pathType"] = volume.path_type
    return plain


def _extra_names(configuration: Mapping[str, Any], component: str) -> list[str]:
    section: Any = configuration
    for key in _SECTIONS[component]:
        section = (section or {}).get(key)
    extra = (section or {}).get("extraArgs") or []
    return [item["name"] for item in extra] if isinstance(extra, list) else list(extra)


def _leaves(value: Any, path: str = "") -> dict[str, Any]:
    """All leaves of a configuration by dotted path; lists are leaves, what says nothing is left out."""
    if isinstance(value, Mapping):
        found: dict[str, Any] = {}
        for key, inner in value.items():
            found |= _leaves(inner, f"{path}.{key}" if path else str(key))
        return found
    return {} if value is None or path in ("apiVersion", "kind") else {path: value}


def _is_default(value: Any) -> bool:
    """In a kubelet's file zero means "the default"."""
    return value in (0, "", "0s", []) and value is not False


def _same(running: Any, written: Any) -> bool:
    """Equal, durations ("1h" and "1h0m0s") by their length."""
    if isinstance(running, str) and isinstance(written, str):
        return running == written or _seconds(running) == _seconds(written) is not None
    return bool(running == written)


def _seconds(text: str) -> float | None:
    """A Go duration's length; None when it is none."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(h|ms|m|s)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * {"h": 3600, "m": 60, "s": 1, "ms": 0.001}[unit] for number, unit in parts)


def _flag_names(arguments: Sequence[str]) -> set[str]:
    return {word.lstrip("-").partition("=")[0] for word in arguments if word.startswith("-")}


def _kebab(path: str) -> str:
    """The kubelet's flag of a setting: maxPods -> max-pods."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", path.rpartition(".")[2]).lower()


def _tokens(corefile: str) -> list[str]:
    return [word for line in corefile.splitlines() for word in line.partition("#")[0].split()]
