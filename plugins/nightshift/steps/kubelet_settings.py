"""What a kubelet ran with before its upgrade, kept in the store, and what of it is gone afterwards.

Best effort on both sides: it informs, and no upgrade waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence

from nightshift.clients.questions.drift import KUBELET_FILES
from nightshift.domain.drift import KubeletChanges, kubelet_changes, shown
from nightshift.domain.errors import NightshiftError
from nightshift.domain.facts import NodeFacts
from nightshift.domain.store_paths import path_safe
from nightshift.steps.session import Session, on_all


def note_settings(session: Session, node: NodeFacts) -> None:
    """Keep a node's /configz and file before kubeadm writes it anew; what this run has kept already stays."""
    try:
        if session.store.exists(_document(session, node)):
            return
        port = session.on(node)
        code, text = port.look([KUBELET_FILES.section]).get(KUBELET_FILES.section, (1, ""))
        config = port.kubelet_configz(session.kube.kubelet_token())
        if code == 0:
            file = KUBELET_FILES.parse(text).config or {}
            session.store.write_json(_document(session, node), {"configz": config, "file": dict(file)})
    except (NightshiftError, ValueError) as problem:
        session.log(f"{node.name}: what its kubelet runs with could not be kept: {problem}")


def settings_lost(session: Session, nodes: Sequence[NodeFacts]) -> dict[str, tuple[str, ...]]:
    """By node, what somebody had set and the kubelet no longer has; everything else that changed is only logged."""
    known = [node for node in nodes if session.store.exists(_document(session, node))]
    if not known:
        return {}
    try:
        token = session.kube.kubelet_token()
    except NightshiftError as problem:
        session.log(f"What the kubelets run with now could not be asked: {problem}")
        return {}
    lost = {}
    for name, found in on_all(known, lambda node: _changes(session, node, token)).items():
        if isinstance(found, NightshiftError):
            session.log(f"{name}: what its kubelet runs with now could not be asked: {found}")
            continue
        if found.others:
            session.log(f"{name}: changed with the kubelet's version: {shown(found.others)}")
        if found.lost:
            lost[name] = found.lost
    return lost


def _changes(session: Session, node: NodeFacts, token: str) -> KubeletChanges:
    known = session.store.read_json(_document(session, node)) or {}
    now = session.on(node).kubelet_configz(token)
    return kubelet_changes(_inner(known.get("configz")), _inner(now), known.get("file") or {})


def _inner(answer: object) -> dict[str, object]:
    """The configuration itself, whether or not it stands under its name."""
    document = answer if isinstance(answer, dict) else {}
    return dict(document.get("kubeletconfig") or document)


def _document(session: Session, node: NodeFacts) -> str:
    return f"kubelets/{path_safe(session.run_id)}/{node.name}.json"
