"""Two files in the manifests directory are one and the same pod: the kubelet runs the one that sorts last."""

from __future__ import annotations

from nightshift.domain.diagnosis.cause import Cause, Match
from nightshift.domain.diagnosis.causes.symptoms import CONTROL_PLANE_STUCK
from nightshift.domain.diagnosis.signs import Sign, Signs

_DECISIVE = ("manifests.duplicate",)
_RUNS = "manifests.runs"  # the one that has the arguments of the running process
_SWAPPED = "manifests.swapped"  # the API server became the copy's, or ceased to be, while kubeadm was at work
_UPGRADED = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")  # by kubeadm
_API, _AFTER_IT = "kube-apiserver", {"kube-controller-manager", "kube-scheduler"}  # kubeadm's order
_WAITED = ("kubeadm.hash_unchanged", "recorder.hash_unchanged")
_BEGUN = (*_WAITED, "kubeadm.rolled_back")  # kubeadm was at it, and a pod did not change
_NOT_BEGUN = ("job.api_unavailable",)


def _pod(sign: Sign) -> str:
    return sign.value.partition(": ")[0]


def _winner(sign: Sign) -> str:
    return sign.value.partition(": ")[2].partition(" wins over ")[0]


def _runs(signs: Signs) -> set[str]:
    return {sign.subject for sign in signs.of(_RUNS)}


def _loses(sign: Sign, signs: Signs) -> bool:
    """Another file of the pod comes after it by name, and the process has not this one's arguments."""
    return _winner(sign) != sign.subject and sign.subject not in _runs(signs)


def _doubt(sign: Sign, signs: Signs) -> str:
    """Why a file that wins by name may still not be the one that runs."""
    own = f"{_pod(sign)}.yaml"
    return f"the running {_pod(sign)} has the arguments of {own}" if own in _runs(signs) else ""


def _usurped(found: tuple[Sign, ...], waited: set[str], signs: Signs) -> tuple[Sign, ...]:
    """Copies of the API server that took its place during the job, while kubeadm waits for what it upgrades after it.

    The copy's start is a change of the pod too. kubeadm takes it for the one that it waits for, goes on, and asks an API
    server that the kubelet replaces behind its back. A copy that ran all the while replaces nothing.
    """
    if not waited or not waited <= _AFTER_IT:
        return ()
    swapped = {sign.subject for sign in signs.of(_SWAPPED)}
    return tuple(
        sign for sign in found if _pod(sign) == _API and sign.subject in swapped and not _loses(sign, signs)
    )


def _match(signs: Signs) -> Match | None:
    """The file of the component that kubeadm waited for; a stray of another one did not stop this upgrade.

    Where kubeadm named none, one of those that it upgrades may have; a duplicate of any other pod never does.
    """
    found = signs.of(*_DECISIVE)
    if not found:
        return None
    if signs.of(*_NOT_BEGUN) and not signs.of(*_BEGUN):
        why = "kubeadm had not begun when the API was away; a stray copy stops no job by itself"
        return Match(found, found[0].subject, kept_down=why)
    waited = {sign.subject for sign in signs.of(*_WAITED)}
    about = [sign for sign in found if _pod(sign) in (waited or _UPGRADED)]
    running = [sign for sign in about if not _loses(sign, signs)]
    if running:
        doubt = "" if waited else "nothing shows that kubeadm waited for this pod in vain"
        return Match(tuple(running), running[0].subject, doubt=_doubt(running[0], signs) or doubt)
    if usurped := _usurped(found, waited, signs):
        doubt = (
            f"kubeadm waited for {', '.join(sorted(waited))}, through an API server that is the stray copy's"
        )
        return Match(usurped, usurped[0].subject, doubt=doubt, yields=True)
    if about:
        why = f"{_winner(about[0])} comes after it by name, so the kubelet runs that one"
        return Match(tuple(about), about[0].subject, kept_down=why)
    why = (
        f"kubeadm waited for {', '.join(sorted(waited))}, not for this pod"
        if waited
        else "kubeadm upgrades no such pod"
    )
    return Match(found, found[0].subject, kept_down=why)


CAUSE = Cause(
    name="stray_static_pod",
    title="The file {subject} in /etc/kubernetes/manifests is the same pod as another file there: the kubelet runs it instead of what kubeadm writes.",
    decisive=_DECISIVE,
    explains=CONTROL_PLANE_STUCK,
    test="Do two files there name the same pod, and does the running process have the arguments of the stray one? `grep -H '  name: ' /etc/kubernetes/manifests/*; ps -ww -C kube-apiserver -o args=`",
    remedy="Move the file out of /etc/kubernetes/manifests (a backup belongs elsewhere, whatever its suffix), wait until the pod has restarted from its real manifest, run the night again.",
    specificity=5,
    match=_match,
    hints=("recorder.hash_unchanged",),
    leads_to=(
        "port_taken",
    ),  # two instances follow one another, and the first has not let go of its port yet
    answers=(
        "manifests/",
        "state/argv",
        "state/processes",
    ),
)
