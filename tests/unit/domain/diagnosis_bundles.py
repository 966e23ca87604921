"""Bundles for the tests of the diagnosis: the recorded healthy one, with synthetic lines added.

Every added line is synthetic: written as the component writes it (wording from its source or from the public thread named beside it),
with invented times and names.
"""

from __future__ import annotations

from pathlib import Path

RECORDED = Path(__file__).parents[2] / "fixtures" / "evidence"
T = "2026-11-28T23:19"
STARTED = 1795907820.5  # of the job that failed, seconds since the epoch
_APISERVER = "pods/kube-system_kube-apiserver-cp1_fbc27364deaf450f4c18bb92b8416179/kube-apiserver/1.log"
_ETCD = "pods/kube-system_etcd-cp1_b889ac07bf48a4468a23025136ac1759/etcd/1.log"
KUBELET, RUNTIME, KERNEL, DRIVER = (
    "journal/kubelet.log",
    "journal/containerd.log",
    "journal/kernel.log",
    "driver/error.txt",
)
JOBS, LISTING, SCRATCH, DF = (
    "journal/nightshift-all.log",
    "manifests/listing.txt",
    "state/scratch.txt",
    "state/df.txt",
)
APISERVER, ETCD, PROCESSES = _APISERVER, _ETCD, "state/processes.txt"

HASH = "error execution phase control-plane: failed to perform the upgrade: couldn't upgrade control plane. kubeadm has tried to recover everything into the earlier state. Errors faced: static Pod hash for component kube-apiserver on Node cp1 did not change after 5m0s: context deadline exceeded"
ROLLED_BACK = "couldn't upgrade control plane. kubeadm has tried to recover everything into the earlier state"


def recorded(name: str) -> dict[str, str]:
    """The files of a recorded bundle."""
    root = RECORDED / name
    return {str(p.relative_to(root)): p.read_text(encoding="utf-8") for p in root.rglob("*") if p.is_file()}


def healthy() -> dict[str, str]:
    return recorded("healthy-1.34")


def failed(
    step: str = "kubeadm-upgrade", exit_code: int = 26, state: str = "failed", started: float = STARTED
) -> dict[str, str]:
    """A node whose job of that night failed, for no reason that is to be seen."""
    files = healthy()
    files[f"jobs/{step}"] = (
        f"job_id=1\nboot_id=b\nstarted={started}\nfinished={started + 150}\nstate={state}\nexit_code={exit_code}\n"
    )
    files[JOBS] = journal("nightshift-job", "[upgrade] Reading configuration from the cluster...")
    return files


def kubeadm_failed() -> dict[str, str]:
    """kubeadm waited for the new kube-apiserver and rolled back, for no reason that is to be seen."""
    return with_lines(failed(), JOBS, journal("nightshift-job", HASH))


def with_lines(files: dict[str, str], path: str, *lines: str) -> dict[str, str]:
    return {**files, path: files.get(path, "") + "".join(lines)}


def journal(unit: str, text: str) -> str:
    return f"{T}:30+0000 cp1 {unit}[99]: {text}\n"


def container(text: str) -> str:
    return f"{T}:30.123456789Z stderr F {text}\n"


def crash_loop(component: str = "kube-apiserver") -> str:
    """As the 1.34 kubelet of the lab wrote it (fixtures, frozen-node-1.34)."""
    return journal(
        "kubelet",
        f'E1128 23:19:30.730268 110 pod_workers.go:1324] "Error syncing pod, skipping" err="failed to \\"StartContainer\\" for \\"{component}\\" '
        f'with CrashLoopBackOff: \\"back-off 10s restarting failed container={component} pod={component}-cp1_kube-system(1)\\""',
    )


def slow_applies(count: int = 1180, seconds: float = 4.3) -> str:
    """etcd as in the incident: etcd-io/etcd server/etcdserver/txn/util.go."""
    line = (
        '{"level":"warn","ts":"2026-11-28T23:19:30.1Z","caller":"txn/util.go:93","msg":"apply request took too long","took":"%ss",'
        '"expected-duration":"100ms","prefix":"%s","request":"key:\\"/registry/x\\" ","response":"size:512"}'
    )
    return "".join(container(line % (seconds, "" if n % 2 else "read-only range ")) for n in range(count))


def died(text: str) -> str:
    return container(f'E1128 23:19:30.1 1 run.go:72] "command failed" err="{text}"')


def stray(
    files: dict[str, str], name: str = "kube-apiserver.yaml.bak", of: str = "kube-apiserver.yaml"
) -> dict[str, str]:
    """A backup copy beside the manifest, one flag changed."""
    entry = f"-rw------- 1 root root 3949 2026-06-18 21:59:16.851277775 +0000 {name}\n"
    changed = files[f"manifests/{of}"].replace("- --", "- --event-ttl=2h\n    - --", 1)
    return with_lines({**files, f"manifests/{name}": changed}, LISTING, entry)


def starved(files: dict[str, str]) -> dict[str, str]:
    """etcd for whole seconds behind, and an API server that gave up on it (the incident's own words)."""
    files = with_lines(files, ETCD, slow_applies())
    gave_up = "F1128 23:19:31.0 1 instance.go:233] Error creating leases: error creating storage factory: context deadline exceeded"
    return with_lines(with_lines(files, APISERVER, container(gave_up)), KUBELET, crash_loop())


def historic() -> dict[str, str]:
    """The night of 2026-06-24: stray copy, starved etcd, 145 backups, OIDC drift."""
    files = stray(starved(kubeadm_failed()))
    files[SCRATCH] = "".join(
        f"d 700 2026-06-01 23:0{n % 10} 4096 /etc/kubernetes/tmp/kubeadm-backup-etcd-2026-06-01-23-{n:03d}\n"
        for n in range(145)
    )
    files["state/kubeadm-config.yaml"] = (
        "apiServer:\n  extraArgs:\n  - name: oidc-issuer-url\n    value: https://id.example\n"
        "  - name: oidc-client-id\n    value: kubernetes\napiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n"
    )
    real = files["manifests/kube-apiserver.yaml"]
    files["manifests/kube-apiserver.yaml"] = real.replace(
        "- --", "- --authentication-config=/etc/kubernetes/pki/auth-config.yaml\n    - --", 1
    )
    return files


def without(files: dict[str, str], *prefixes: str) -> dict[str, str]:
    return {path: text for path, text in files.items() if not path.startswith(prefixes)}
