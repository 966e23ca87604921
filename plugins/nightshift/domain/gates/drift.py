"""Gate: would the upgrade silently change how the cluster is configured?

`kubeadm upgrade` writes control-plane manifests anew from ConfigMap `kubeadm-config` and kubelets' files from
ConfigMap `kubelet-config`. Compared is each live manifest with what the node's own kubeadm would write in its place
(patches in `/etc/kubernetes/patches` included), each kubelet's file with its ConfigMap and with what the kubelet runs
with, and the add-ons with kubeadm's.

* **Passes** when nothing differs, or only in order and spaces.
* **Warns** of flags, volumes and environment variables that run and that `kubeadm-config` lacks (OIDC,
  `--authentication-config`, audit): `reconcile_drift` writes them there before the first node is touched. Of what the
  ConfigMaps want and does not run yet, of what kubeadm has no place for, of kubelet files edited by hand, a custom
  Corefile, add-ons that are not kubeadm's.
* **Warns**, too, of what differs while a control plane is half upgraded (its kubeadm is of another minor than what
  runs, or its etcd is newer than what that kubeadm writes): nobody can tell a person's setting from the other kubeadm's
  default there, so nothing is taken over from it, and it must be able to go on.
* **Blocks** when it cannot be known which side is right (addresses, networks, certificates), when the component would
  not start, when only some control planes have a setting, and in front of a control plane whose settings would be lost
  now. With the policy `drift.reconcile: block`, whatever would be lost blocks.
* **Blind** when a node, `kubeadm-config` or `kubelet-config` cannot be read, and where a kubelet has no file or does not
  run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from nightshift.domain.drift import (
    COMPONENTS,
    Difference,
    Effect,
    Grade,
    Uploads,
    addon_repositories,
    differences,
    flags_unread,
    is_stock_corefile,
    kubelet_edits,
    kubelet_pending,
    kubelet_unread,
    other_kubeadm,
    repository_of,
    shown,
    uploads,
)
from nightshift.domain.facts.drift import (
    CLUSTER_SETTINGS,
    CONTROL_PLANE_CONFIG,
    KUBELET_FILES,
    Addon,
    ClusterSettings,
    ControlPlaneConfig,
    KubeletFiles,
)
from nightshift.domain.gates.findings import Finding, conclude
from nightshift.domain.policy import ClusterPolicy
from nightshift.domain.quarantine import left_aside
from nightshift.domain.round import AnyTopic, Moment, NotRead, Round
from nightshift.domain.topics import CONFIGZ, NODES
from nightshift.domain.verdicts import Outcome, Verdict

NAME = "drift"
TITLE = "Configuration drift"
NEEDS: tuple[AnyTopic, ...] = (NODES, CONTROL_PLANE_CONFIG, KUBELET_FILES, CLUSTER_SETTINGS)
WANTS: tuple[AnyTopic, ...] = (CONFIGZ,)
MOMENTS = frozenset({Moment.NIGHT, Moment.PLACE})

_PATCHED = "kubeletconfiguration"  # how kubeadm's patches of a kubelet's configuration begin


def check(round_: Round, policy: ClusterPolicy) -> Verdict:
    """Judge what this night's upgrade would change beside the version."""
    configs = round_.by_node(CONTROL_PLANE_CONFIG)
    wanted = uploads(configs)
    blocks = policy.drift.reconcile == "block"
    if round_.moment is Moment.PLACE:  # what kubeadm writes on nodes that are done was judged before them
        configs = {name: config for name, config in configs.items() if name in round_.nodes_ahead}
    findings = [*_not_rendered(configs), *_control_planes(configs, wanted, blocks, round_.moment)]
    if round_.moment is Moment.NIGHT:
        aside = left_aside(round_, round_.get(NODES), policy.workers)
        findings += [*_unknown_kubelets(round_, aside), *_cluster(round_, blocks)]
    return conclude(
        NAME,
        findings,
        passed=f"Manifests of {len(configs)} control planes are what kubeadm would write; kubelets and add-ons as kubeadm left them.",
        value=f"{sum(len(differences(c)) for c in configs.values())} differences in manifests",
        threshold="none that an upgrade would change",
        evidence=_evidence(configs, wanted),
    )


def _evidence(configs: Mapping[str, ControlPlaneConfig], wanted: Uploads) -> dict[str, Any]:
    """Every difference with its grade, and what would be written into kubeadm-config."""
    return {
        "uploads": [f"{setting.component}: {setting}" for setting in wanted.settings],
        "differences": {
            node: [f"{d.grade.value}: {d.component}: {d.what}" for d in differences(config)]
            for node, config in configs.items()
        },
    }


_Found = list[tuple[Difference, tuple[str, ...]]]  # differences with the nodes that have them


def _control_planes(
    configs: Mapping[str, ControlPlaneConfig], wanted: Uploads, blocks: bool, moment: Moment
) -> Iterator[Finding]:
    yield from (_refused(node, c.refusal) for node, c in sorted(configs.items()) if c.refusal)
    found = _grouped(configs)
    yield from (_fatal(d, nodes) for d, nodes in found if d.grade is Grade.FATAL)
    recoverable = [(d, nodes) for d, nodes in found if d.grade is Grade.RECOVERABLE]
    uneven = dict(wanted.uneven)
    yield from (_uneven(d, uneven[d.setting]) for d, _ in recoverable if d.setting in uneven)
    lost = [(d, n) for d, n in recoverable if d.effect is Effect.LOSE and d.setting not in uneven]
    carried = [(d, n) for d, n in lost if d.setting is not None]
    if carried:
        yield _recoverable(carried, wanted, blocks, moment)
    replaced = [(d, n) for d, n in lost if d.setting is None]
    if replaced:
        yield _replaced(replaced, blocks)
    brought = [(d, n) for d, n in recoverable if d.effect is Effect.BRING]
    if brought:
        yield _pending(brought, blocks)
    unclear = [(d, n) for d, n in recoverable if d.effect is Effect.UNCLEAR]
    if unclear:
        yield _half_upgraded(unclear, configs, blocks)


def _not_rendered(configs: Mapping[str, ControlPlaneConfig]) -> Iterator[Finding]:
    """Components that run and of which kubeadm, without a word, wrote nothing to compare with."""
    for node, config in sorted(configs.items()):
        missing = [c for c in COMPONENTS if c in config.live and c not in config.rendered]
        if missing and not config.refusal:
            yield Finding(
                Outcome.BLIND,
                "DRIFT_UNKNOWN",
                f"{node}: kubeadm wrote no manifest of {', '.join(missing)} from kubeadm-config to compare with.",
                "kubeadm-config says that something else looks after it, or kubeadm's answer was cut off.",
                "Ask again; then see what `nightshift-node look control-plane-config` says on that node.",
                value="nothing",
                threshold="a manifest of each component that runs",
            )


def _grouped(configs: Mapping[str, ControlPlaneConfig]) -> _Found:
    """What several control planes have alike is said once."""
    nodes: dict[Difference, list[str]] = defaultdict(list)
    for node, config in sorted(configs.items()):
        for difference in differences(config):
            nodes[difference].append(node)
    return [(difference, tuple(names)) for difference, names in nodes.items()]


def _said(found: _Found) -> tuple[str, str]:
    """The nodes, and by component what differs there."""
    nodes = ", ".join(sorted({node for _, names in found for node in names}))
    by_component: dict[str, list[str]] = defaultdict(list)
    for difference, _ in found:
        by_component[difference.component].append(difference.what)
    return nodes, "; ".join(f"{component}: {shown(texts)}" for component, texts in by_component.items())


def _recoverable(found: _Found, wanted: Uploads, blocks: bool, moment: Moment) -> Finding:
    nodes, what = _said(found)
    is_late = moment is Moment.PLACE
    if wanted.refusal:
        after = f"nothing can be written there: {wanted.refusal}"
        outcome, advice = (
            Outcome.BLOCK,
            "Upload it anew with kubeadm (kubeadm config migrate), then ask again.",
        )
    elif is_late:
        after = "the upgrade of this place would take them away"
        outcome, advice = Outcome.BLOCK, "Clear reconcile_drift with downstream: it writes them there first."
    elif blocks:
        after = "the policy drift.reconcile says block"
        outcome, advice = (
            Outcome.BLOCK,
            "Write them into kubeadm-config, or set drift.reconcile: upload-config.",
        )
    else:
        after = "reconcile_drift writes them there before a node is touched"
        outcome, advice = Outcome.WARN, "Nothing to do tonight; see that the list is what you want to keep."
    return Finding(
        outcome,
        "DRIFT_RECOVERABLE",
        f"{nodes}: running, but not in kubeadm-config, from which the upgrade writes the manifests: {what}; {after}.",
        "The manifest was edited on the node, and ConfigMap kubeadm-config was not.",
        advice,
        value=f"{len(found)} settings",
        threshold="0 settings",
    )


def _uneven(difference: Difference, holders: tuple[str, ...]) -> Finding:
    return Finding(
        Outcome.BLOCK,
        "DRIFT_UNEVEN",
        f"{difference.component} has {difference.what} on {', '.join(holders)} only; kubeadm-config holds for all control "
        "planes, so the upgrade would take it away there.",
        "The manifest was edited on some control planes and not on others.",
        "Make them alike, or keep it as a kubeadm patch in /etc/kubernetes/patches on these nodes.",
        value=", ".join(holders),
        threshold="every control plane, or none",
    )


def _fatal(difference: Difference, nodes: tuple[str, ...]) -> Finding:
    return Finding(
        Outcome.BLOCK,
        "DRIFT_FATAL",
        f"{', '.join(nodes)}: {difference.component}: {difference.what}.",
        "kubeadm-config and the manifest disagree about something a component cannot run with either way.",
        "Find out which side is right; correct the other (kubectl -n kube-system edit configmap kubeadm-config, or the file).",
        value=difference.what,
        threshold="the same on both sides",
    )


def _refused(node: str, refusal: str) -> Finding:
    last = refusal.strip().splitlines()[-1][:300]
    return Finding(
        Outcome.BLOCK,
        "DRIFT_FATAL",
        f"{node}: kubeadm would write no manifests from kubeadm-config: {last}.",
        "ConfigMap kubeadm-config or the manifest was edited into something that kubeadm does not take.",
        "Correct ConfigMap kubeadm-config; `kubeadm upgrade` ends with the same words.",
        value="refused",
        threshold="accepted",
    )


def _replaced(found: _Found, blocks: bool) -> Finding:
    nodes, what = _said(found)
    return Finding(
        Outcome.BLOCK if blocks else Outcome.WARN,
        "DRIFT_REPLACED",
        f"{nodes}: the upgrade replaces what kubeadm-config has no place for: {what}.",
        "The manifest was edited on the node, or another kubeadm's timeouts wrote it.",
        "To keep it, write it as a kubeadm patch into /etc/kubernetes/patches on these nodes.",
        value=f"{len(found)} fields",
        threshold="0 fields",
    )


def _pending(found: _Found, blocks: bool) -> Finding:
    nodes, what = _said(found)
    return Finding(
        Outcome.BLOCK if blocks else Outcome.WARN,
        "DRIFT_PENDING",
        f"{nodes}: in kubeadm-config, but not running; the upgrade brings it: {what}.",
        "ConfigMap kubeadm-config was edited and the manifests were not, or a flag was taken out by hand.",
        "Nothing, if that is wanted; else take it out of kubeadm-config.",
        value=f"{len(found)} settings",
        threshold="0 settings",
    )


def _half_upgraded(found: _Found, configs: Mapping[str, ControlPlaneConfig], blocks: bool) -> Finding:
    _, what = _said(found)
    pairs = [(node, other_kubeadm(configs[node], d.component)) for d, nodes in found for node in nodes]
    why = "; ".join(f"{node}: {reason}" for node, reason in dict.fromkeys(pairs))
    return Finding(
        Outcome.BLOCK if blocks else Outcome.WARN,
        "DRIFT_HALF_UPGRADED",
        f"{why}: what differs may be another kubeadm's default or somebody's setting, so nothing is taken over from there, "
        f"and the upgrade writes what kubeadm-config says: {what}.",
        "A night ended between the package and the manifests, or a person upgraded kubeadm first.",
        "What of it is yours, write into kubeadm-config before the night; else nothing to do: the upgrade brings the node on.",
        value=f"{len(found)} differences",
        threshold="kubeadm of the running minor",
    )


def _unknown_kubelets(round_: Round, aside: frozenset[str]) -> Iterator[Finding]:
    """What cannot be compared is not alike; a worker that the night leaves out may be as it is."""
    for node, files in sorted(round_.by_node(KUBELET_FILES).items()):
        if files.config is None and node not in aside:
            yield _unknown_kubelet(node, "has no /var/lib/kubelet/config.yaml")
        if files.arguments is None and node not in aside:
            yield _unknown_kubelet(node, "runs no kubelet, so it is not known with which settings it would")


def _unknown_kubelet(node: str, what: str) -> Finding:
    return Finding(
        Outcome.BLIND,
        "KUBELET_CONFIG_UNREADABLE",
        f"{node} {what}.",
        "The kubelet was stopped, or its file was taken away.",
        "Bring the kubelet of that node back (systemctl status kubelet), then ask again.",
        value="unknown",
        threshold="a file, and a kubelet that runs",
    )


def _cluster(round_: Round, blocks: bool) -> Iterator[Finding]:
    """Kubelets and add-ons; asked once, before the night: later the ConfigMaps are ahead of the nodes."""
    settings = round_.get(CLUSTER_SETTINGS)
    if not settings.kubelet or not settings.configuration:
        yield _no_config_map("kubeadm-config" if settings.kubelet else "kubelet-config")
        return
    files = round_.by_node(KUBELET_FILES)
    edits = {node: _edits(found, settings.kubelet) for node, found in sorted(files.items())}
    if any(edits.values()):
        yield _kubelet_edited({node: said for node, said in edits.items() if said})
    pending = {node: _pending_of(found, settings.kubelet) for node, found in sorted(files.items())}
    if any(pending.values()):
        yield _kubelet_pending({node: said for node, said in pending.items() if said}, blocks)
    try:
        running: Mapping[str, Mapping[str, Any]] = round_.by_node(CONFIGZ)
    except NotRead:  # the disk gate, which cannot do without, is blind then
        running = {}
    unread = {
        node: (*flags_unread(found), *(kubelet_unread(found, running[node]) if node in running else ()))
        for node, found in sorted(files.items())
    }
    if any(unread.values()):
        yield _kubelet_unread({node: said for node, said in unread.items() if said})
    yield from _addons(settings, blocks)


def _edits(files: KubeletFiles, wanted: Mapping[str, Any]) -> tuple[str, ...]:
    return () if _is_patched(files) else kubelet_edits(files, wanted)


def _pending_of(files: KubeletFiles, wanted: Mapping[str, Any]) -> tuple[str, ...]:
    return () if files.config is None or _is_patched(files) else kubelet_pending(files, wanted)


def _is_patched(files: KubeletFiles) -> bool:
    """Its file differs on purpose, and stays so."""
    return any(name.startswith(_PATCHED) for name in files.patches)


def _no_config_map(name: str) -> Finding:
    return Finding(
        Outcome.BLIND,
        "DRIFT_UNKNOWN",
        f"ConfigMap {name} in kube-system is missing or empty.",
        "It was deleted, or kubeadm did not make this cluster.",
        f"Bring it back (kubeadm init phase upload-config), then ask again; without {name} no upgrade works.",
    )


def _kubelet_edited(edits: Mapping[str, tuple[str, ...]]) -> Finding:
    said = "; ".join(f"{node}: {shown(list(texts))}" for node, texts in edits.items())
    return Finding(
        Outcome.WARN,
        "KUBELET_CONFIG_EDITED",
        f"/var/lib/kubelet/config.yaml was edited by hand, and the upgrade writes it anew from kubelet-config: {said}.",
        "Somebody changed the file on the node instead of ConfigMap kubelet-config.",
        "To keep it on one node, write a kubeadm patch (kubeletconfiguration.yaml in /etc/kubernetes/patches); for all nodes, "
        "edit ConfigMap kubelet-config.",
        value=f"{sum(map(len, edits.values()))} settings on {len(edits)} nodes",
        threshold="0",
    )


def _kubelet_pending(pending: Mapping[str, tuple[str, ...]], blocks: bool) -> Finding:
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for node, texts in pending.items():
        alike[texts].append(node)
    said = "; ".join(
        f"{shown(nodes)}: in kubelet-config, but not in /var/lib/kubelet/config.yaml: {shown(texts)}"
        for texts, nodes in alike.items()
    )
    return Finding(
        Outcome.BLOCK if blocks else Outcome.WARN,
        "DRIFT_PENDING",
        f"{said}. The upgrade brings it.",
        "ConfigMap kubelet-config was edited and the nodes' files were not, or a line was taken out of the file by hand.",
        "Nothing, if that is wanted; else take it out of kubelet-config (kubectl -n kube-system edit configmap "
        "kubelet-config), or keep it from one node with a kubeadm patch.",
        value=f"{sum(map(len, pending.values()))} settings on {len(pending)} nodes",
        threshold="0 settings",
    )


def _kubelet_unread(unread: Mapping[str, tuple[str, ...]]) -> Finding:
    said = "; ".join(f"{node}: {shown(list(texts))}" for node, texts in unread.items())
    return Finding(
        Outcome.WARN,
        "KUBELET_CONFIG_UNREAD",
        f"The kubelet runs with other settings than its files say: {said}.",
        "A file was changed after the kubelet had started; the restart during the upgrade makes it read them.",
        "Restart the kubelet by day (systemctl restart kubelet) and see that it comes back.",
        value=f"{sum(map(len, unread.values()))} settings on {len(unread)} nodes",
        threshold="0",
    )


def _addons(settings: ClusterSettings, blocks: bool) -> Iterator[Finding]:
    configuration = settings.configuration or {}
    expected = addon_repositories(configuration)
    for name, addon in (("coredns", settings.dns), ("kube-proxy", settings.proxy)):
        if addon is not None and (repository_of(addon.image) != expected[name] or addon.manager):
            yield _foreign(name, addon, expected[name], blocks)
    domain = (configuration.get("networking") or {}).get("dnsDomain") or "cluster.local"
    if settings.dns is not None and settings.corefile and not is_stock_corefile(settings.corefile, domain):
        yield _custom_corefile()


def _foreign(name: str, addon: Addon, expected: str, blocks: bool) -> Finding:
    whose = f", managed by {addon.manager}" if addon.manager else ""
    return Finding(
        Outcome.BLOCK if blocks else Outcome.WARN,
        "ADDON_FOREIGN",
        f"{name} runs {addon.image}{whose}; the upgrade replaces it with kubeadm's, from {expected}.",
        f"{name} was installed or changed by something else than kubeadm.",
        f"Set imageRepository{' under dns' if name == 'coredns' else ''} in kubeadm-config, or install {name} again after "
        "the upgrade.",
        value=addon.image,
        threshold=expected,
    )


def _custom_corefile() -> Finding:
    return Finding(
        Outcome.WARN,
        "COREFILE_CUSTOM",
        "The Corefile in ConfigMap kube-system/coredns is not kubeadm's; the upgrade keeps it, and rewrites in it what the "
        "new CoreDNS no longer knows.",
        "Somebody changed how the cluster resolves names.",
        "Keep a copy of it; after the night see that names resolve as before.",
        value="custom",
        threshold="kubeadm's",
    )
