"""Signs of the node's state when the evidence was taken: disks, processes, scratch, the kubelet's configuration, drift.

Source: state/*.txt, state/*.yaml and the manifests. These are taken after the failure: what was full may have been emptied by a rollback.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from nightshift.domain.diagnosis.jobs import UNFINISHED, read_jobs
from nightshift.domain.diagnosis.signs import QUOTE_LIMIT, Sign, Signs, guarded

DISK_FULL = "disk.full"
DISK_ROOM = "disk.room"
SCRATCH_PILE = "scratch.pile"
KUBELET_ABSENT = "kubelet.not_running"
KUBEADM_RUNNING = "kubeadm.running"
REBOOTED = "node.rebooted"
STATIC_POD_PATH = "kubelet.static_pod_path"
DRIFT = "apiserver.drift"

FULL_PERCENT = 99
ROOM_PERCENT = 95  # in use, at most, of a mount that has room
PILE_COUNT = 10  # etcd backups of kubeadm; one is made per upgrade of a control plane
_DISKS = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs"})
# Where Kubernetes, packages and Nightshift write; a full disk that holds none of these stops no upgrade.
_WRITTEN = (
    "/etc/kubernetes",
    "/var/lib/etcd",
    "/var/lib/kubelet",
    "/var/lib/containerd",
    "/var/lib/nightshift",
    "/var/log",
    "/var/lib/dpkg",
    "/var/cache/apt",
    "/usr/bin",
)
_MANIFESTS = "/etc/kubernetes/manifests"
_BACKUP = re.compile(r"^d\s.*/(kubeadm-backup-etcd-[^/\s]+)$")
_STARTED = re.compile(r"^\s*1\s+0\s+(\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4})\s")
_FLAG = re.compile(r"^\s*- --([\w-]+)", re.MULTILINE)
_ARGUMENT = re.compile(r"^\s*(?:-\s+)?(?:name:\s*)?([a-z][\w-]*)(?::|$)")
# kubeadm writes these whether or not they are configured.
_KUBEADMS_OWN = {"authorization-mode", "enable-admission-plugins", "enable-bootstrap-token-auth"}
_DRIFTING = ("authentication-", "authorization-", "oidc-", "audit-", "admission-", "encryption-", "enable-")


def read_states(files: Mapping[str, str], since: float | None = None) -> Signs:
    """All signs of the node's state.

    Args:
        files: path in the bundle -> text.
        since: an older job is of another failure (epoch seconds).
    """
    processes = (KUBELET_ABSENT, KUBEADM_RUNNING, REBOOTED)
    return Signs.merged(
        (
            guarded((DISK_FULL, DISK_ROOM), lambda: _disks(files)),
            guarded((SCRATCH_PILE,), lambda: _scratch(files)),
            guarded(processes, lambda: _processes(files, since)),
            guarded((STATIC_POD_PATH,), lambda: _kubelet_configuration(files)),
            guarded((DRIFT,), lambda: _drift(files)),
        )
    )


def _disks(files: Mapping[str, str]) -> Signs:
    """`df -B1 --output`: source, type, inodes (4 columns), bytes (4 columns), file, mount."""
    path = "state/df.txt"
    lines = files.get(path, "").splitlines()
    if not lines or "Mounted on" not in lines[0]:
        return _unread(path, DISK_FULL, DISK_ROOM)
    rows = [columns for line in lines[1:] if len(columns := line.split(None, 11)) == 12]
    signs = []
    for row in rows:
        used = max(_percent(row[5]), _percent(row[9]))
        name = DISK_FULL if used >= FULL_PERCENT else DISK_ROOM if used <= ROOM_PERCENT else ""
        if name and row[1] in _DISKS and _is_written(row[11]):
            value = f"bytes {row[9]}, inodes {row[5]}"
            signs.append(Sign(name, subject=row[11], quote=" ".join(row), source=path, value=value))
    return Signs(tuple(signs), looked=frozenset({DISK_FULL, DISK_ROOM}))


def _is_written(mount: str) -> bool:
    return any(f"{path}/".startswith(f"{mount.rstrip('/')}/") for path in _WRITTEN)


def _percent(text: str) -> int:
    return int(text[:-1]) if text.endswith("%") and text[:-1].isdecimal() and len(text) <= 4 else 0


def _scratch(files: Mapping[str, str]) -> Signs:
    path = "state/scratch.txt"
    if path not in files:
        return _unread(path, SCRATCH_PILE)
    backups = [line for line in files[path].splitlines() if _BACKUP.match(line)]
    if len(backups) < PILE_COUNT:
        return Signs(looked=frozenset({SCRATCH_PILE}))
    sign = Sign(
        SCRATCH_PILE,
        subject=f"{len(backups)} etcd backups in /etc/kubernetes/tmp",
        quote=backups[-1][:QUOTE_LIMIT],
        source=path,
        count=len(backups),
        value=f"{len(backups)} etcd backups",
    )
    return Signs((sign,), looked=frozenset({SCRATCH_PILE}))


def _processes(files: Mapping[str, str], since: float | None) -> Signs:
    """`ps -eo pid,ppid,lstart,etimes,stat,rss,args`: who runs, and since when the first process does."""
    path = "state/processes.txt"
    text = files.get(path, "")
    if not any(_STARTED.match(line) for line in text.splitlines()):
        return _unread(path, KUBELET_ABSENT, KUBEADM_RUNNING, REBOOTED)
    commands = [words[10] for line in text.splitlines() if len(words := line.split(None, 10)) == 11]
    signs = []
    if not any(re.match(r"\S*/?kubelet(\s|$)", command) for command in commands):
        signs.append(Sign(KUBELET_ABSENT, subject="kubelet", source=path, quote="no process kubelet"))
    signs += [
        Sign(KUBEADM_RUNNING, subject=command[:80], quote=command[:QUOTE_LIMIT], source=path)
        for command in commands
        if re.match(r"\S*/?kubeadm (upgrade|init|join|reset)\b", command)
    ]
    reboot = _reboot(text, files, path, since)
    return Signs.merged((Signs(tuple(signs), looked=frozenset({KUBELET_ABSENT, KUBEADM_RUNNING})), reboot))


def kubelet_seconds(files: Mapping[str, str]) -> float:
    """How long the kubelet had run when the evidence was taken; 0 when none ran, or nobody knows."""
    rows = [
        words
        for line in files.get("state/processes.txt", "").splitlines()
        if len(words := line.split(None, 10)) == 11
    ]
    found = [row[7] for row in rows if re.match(r"\S*/?kubelet(\s|$)", row[10]) and row[7].isdecimal()]
    return max((float(seconds) for seconds in found), default=0.0)


def _reboot(text: str, files: Mapping[str, str], path: str, since: float | None) -> Signs:
    """The first process is younger than a job that never ended.

    ps tells local time without its offset. The listing of the manifests has the node's offset; without it, UTC.
    """
    unfinished = read_jobs(files, since).of(UNFINISHED)
    first = next(found for line in text.splitlines() if (found := _STARTED.match(line)))
    offset = re.search(r" ([+-]\d{4}) ", files.get("manifests/listing.txt", ""))
    booted = _local_seconds(first[1])
    if booted is None:
        return Signs(unread={REBOOTED: f"{path} has a date in another language"})
    booted -= _offset_seconds(offset[1]) if offset else 0.0
    began = unfinished[0].first if unfinished else None
    if began is None or booted <= began:
        return Signs(looked=frozenset({REBOOTED}))
    sign = Sign(REBOOTED, subject="this node", quote=first[0].strip(), source=path, first=booted, last=booted)
    return Signs((sign,), looked=frozenset({REBOOTED}))


def _local_seconds(text: str) -> float | None:
    """Seconds of ps' local time as if it were UTC; None when it is in another language."""
    try:
        return datetime.strptime(text, "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _offset_seconds(text: str) -> float:
    return (1 if text[0] == "+" else -1) * (int(text[1:3]) * 3600.0 + int(text[3:]) * 60.0)


def _kubelet_configuration(files: Mapping[str, str]) -> Signs:
    path = "state/kubelet-config.yaml"
    text = files.get(path, "")
    if "KubeletConfiguration" not in text:
        return _unread(path, STATIC_POD_PATH)
    found = re.search(r"^staticPodPath:\s*[\"']?([^\s\"']+)", text, re.MULTILINE)
    where = found[1].rstrip("/") if found else ""
    if where == _MANIFESTS:
        return Signs(looked=frozenset({STATIC_POD_PATH}))
    sign = Sign(
        STATIC_POD_PATH, subject=where or "no directory", quote=found[0] if found else "", source=path
    )
    return Signs((sign,), looked=frozenset({STATIC_POD_PATH}))


def _drift(files: Mapping[str, str]) -> Signs:
    """Flags of the API server's manifest that kubeadm's configuration does not have, and the other way round.

    kubeadm writes the manifest anew from its configuration. Only flags that kubeadm never sets by itself are compared.
    """
    # The node's own copy is of the failure's hour; the driver's, from the API, is read when the node could not ask.
    paths = ("state/kubeadm-config.yaml", "cluster/kubeadm-config.yaml")
    path = next((p for p in paths if "ClusterConfiguration" in files.get(p, "")), paths[0])
    wanted, manifest = files.get(path, ""), files.get("manifests/kube-apiserver.yaml", "")
    if "ClusterConfiguration" not in wanted or not manifest:
        return _unread(path, DRIFT)
    configured = _drifting(_extra_arguments(wanted) - _KUBEADMS_OWN)
    running = _drifting(set(_FLAG.findall(manifest)) - _KUBEADMS_OWN)
    differing = sorted(configured ^ running)
    if not differing:
        return Signs(looked=frozenset({DRIFT}))
    sign = Sign(
        DRIFT,
        subject=", ".join(f"--{name}" for name in differing),
        quote=f"only in kubeadm-config: {sorted(configured - running)}; only in the manifest: {sorted(running - configured)}",
        source=path,
        count=len(differing),
    )
    return Signs((sign,), looked=frozenset({DRIFT}))


def _extra_arguments(text: str) -> set[str]:
    """Names below `apiServer:` → `extraArgs:`, in the list form (v1beta4) and the map form (v1beta3)."""
    section = re.search(r"^apiServer:[ \t]*\n((?:[ \t-].*\n?)*)", text, re.MULTILINE)
    found = (
        re.search(r"^([ \t]*)extraArgs:[ \t]*\n((?:\1[ \t-].*\n?)*)", section[1], re.MULTILINE)
        if section
        else None
    )
    if found is None:
        return set()
    matches = (_ARGUMENT.match(line.replace("name: ", "", 1)) for line in found[2].splitlines())
    return {match[1] for match in matches if match and match[1] != "value"}


def _drifting(flags: set[str]) -> set[str]:
    return {flag for flag in flags if flag.startswith(_DRIFTING)}


def _unread(path: str, *names: str) -> Signs:
    return Signs(unread=dict.fromkeys(names, f"{path} is not in the evidence"))
