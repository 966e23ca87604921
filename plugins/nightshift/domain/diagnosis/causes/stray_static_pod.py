"""Two files in the manifests directory are one and the same pod: the kubelet runs the one that sorts last."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, Match
from nightshift.domain.diagnosis.causes.symptoms import CONTROL_PLANE_STUCK
from nightshift.domain.diagnosis.signs import Signs

_DECISIVE = ("manifests.duplicate",)


def _match(signs: Signs) -> Match | None:
    """The file of the component that kubeadm waited for; a stray of another one did not stop this upgrade."""
    found = signs.of(*_DECISIVE)
    if not found:
        return None
    waited = {sign.subject for sign in signs.of("kubeadm.hash_unchanged")}
    about = [sign for sign in found if sign.value.partition(":")[0] in waited] if waited else list(found)
    if about:
        return Match(tuple(about), about[0].subject)
    return Match(
        found, found[0].subject, kept_down=f"kubeadm waited for {', '.join(sorted(waited))}, not for this pod"
    )


CAUSE = Cause(
    name="stray_static_pod",
    title="The file {subject} in /etc/kubernetes/manifests is the same pod as another file there: the kubelet runs it instead of what kubeadm writes.",
    decisive=_DECISIVE,
    explains=CONTROL_PLANE_STUCK,
    test="Do two files there name the same pod, and does the running process have the arguments of the stray one? `grep -H '  name: ' /etc/kubernetes/manifests/*; ps -ww -C kube-apiserver -o args=`",
    remedy="Move the file out of /etc/kubernetes/manifests (a backup belongs elsewhere, whatever its suffix), wait until the pod has restarted from its real manifest, run the night again.",
    runbook="DUPLICATE_MANIFEST",
    specificity=5,
    match=_match,
)
