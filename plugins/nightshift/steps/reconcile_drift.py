"""Write into kubeadm-config what runs on the control planes and would else be lost: kubeadm writes manifests from there.

Nothing is undone afterwards, also when the night fails: the ConfigMap then says what has been running all the time
(docs/adr/0020). What it said before is kept in the store and on the node.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from nightshift.clients.questions.drift import configuration_text
from nightshift.domain.drift import Setting, Uploads, lost_flags, merged, other_kubeadm, own_flags, uploads
from nightshift.domain.errors import BlindError, NightshiftError, VerificationError
from nightshift.domain.facts import Confidential, NodeFacts, NodeProbe
from nightshift.domain.facts.drift import CONTROL_PLANE_CONFIG, ControlPlaneConfig
from nightshift.domain.round import Moment, NotRead, Unread
from nightshift.domain.store_paths import path_safe
from nightshift.steps.brake import require_may_begin
from nightshift.steps.evidence import evidence_first
from nightshift.steps.hold import hold
from nightshift.steps.look import GATHERERS
from nightshift.steps.look.gathering import gather
from nightshift.steps.session import Session, node_log

JOB = "upload-config"


def reconcile_drift(session: Session) -> dict[str, Any]:
    """Answer {"uploaded": ["kube-apiserver: --oidc-client-id=…", ...], "node", "path", "sentence"}.

    Begins with "is it already so?"; a second time it finds nothing to do. Also notes which flags are the owner's, so
    that `verify_node` proves that they still run after the upgrade.

    Raises:
        BlindError: a control plane could not be read.
        RemoteJobError: JOB_FAILED and relatives, kubeadm could not write it, or somebody else had changed it meanwhile.
        VerificationError: VERIFY_FAILED, kubeadm was content and the ConfigMap still lacks something.
        HeldError: brake or window.
    """
    require_may_begin(session)
    configs = read_configs(session)
    wanted = uploads(configs)
    node = None
    if wanted.settings and session.policy.drift.reconcile == "upload-config":
        node = _writer(session, configs)
        _remember(session, former=dict(configs[node.name].configuration), uploaded=_texts(wanted.settings))
        _upload(session, node, configs[node.name], wanted.settings)
        configs = read_configs(session)
        _require_written(uploads(configs))
    path = _remember(session, flags={name: own_flags(config, ()) for name, config in configs.items()})
    uploaded = _texts(wanted.settings) if node else []
    sentence = _sentence(wanted, uploaded)
    session.log(sentence)
    return {"uploaded": uploaded, "node": node.name if node else None, "path": path, "sentence": sentence}


def read_configs(session: Session) -> Mapping[str, ControlPlaneConfig]:
    """What every control plane has and its kubeadm would write, by node.

    Raises:
        BlindError: one of them could not be read; half a picture would leave a node's settings behind.
    """
    round_ = gather(session, [CONTROL_PLANE_CONFIG], GATHERERS, Moment.PLACE)
    try:
        configs = round_.by_node(CONTROL_PLANE_CONFIG)
        silent = round_.silent(CONTROL_PLANE_CONFIG)
    except NotRead as error:
        raise _blind(error.unread) from error
    for unread in silent.values():
        raise _blind(unread)
    return configs


def configuration_to_be(session: Session) -> str | None:
    """What kubeadm-config will say once its drift is reconciled, as text; None: what it says now.

    Raises:
        BlindError: a control plane could not be read.
    """
    if session.policy.drift.reconcile != "upload-config":
        return None
    configs = read_configs(session)
    wanted = uploads(configs)
    if not wanted.settings:
        return None
    return configuration_text(merged(configs[_writer(session, configs).name].configuration, wanted.settings))


def encoded_configuration(text: str) -> Confidential:
    """A ClusterConfiguration as a job's argument; that of a proxy, a webhook or OIDC may have a secret in it."""
    return Confidential(base64.b64encode(text.encode()).decode())


def lost_settings(session: Session, probe: NodeProbe) -> list[str]:
    """Which of the owner's flags that `reconcile_drift` noted this node's processes lack, for people."""
    known = session.store.read_json(_document(session)) or {}
    wanted = (known.get("flags") or {}).get(probe.node) or {}
    return lost_flags(wanted, {process.name: process.argv for process in probe.processes})


def _writer(session: Session, configs: Mapping[str, ControlPlaneConfig]) -> NodeFacts:
    """The control plane whose kubeadm writes: any that is of the running minor will do; the first by name."""
    return session.node(min(name for name, config in configs.items() if not other_kubeadm(config)))


def _upload(
    session: Session, node: NodeFacts, config: ControlPlaneConfig, settings: Sequence[Setting]
) -> None:
    """The node-side job; it refuses when the ConfigMap is not what was read."""
    for text in _texts(settings):
        session.log(f"Into kubeadm-config: {text}")
    content = configuration_text(merged(config.configuration, settings))
    with hold(session, [node]) as held, evidence_first(session, node, JOB, session.clock()):
        session.on(node).run_job(
            JOB,
            held.token,
            session.owner,
            [config.fingerprint, encoded_configuration(content)],
            session.policy.limits.package_job_seconds,
            node_log(session, node.name),
            held.check,
        )


def _require_written(left: Uploads) -> None:
    """Read back: kubeadm would now write what runs."""
    if left.settings:
        raise VerificationError(
            "VERIFY_FAILED",
            f"kubeadm would still not write {'; '.join(_texts(left.settings))}.",
            cause="kubeadm stored a configuration that does not say what it was given.",
            next_step="Compare ConfigMap kubeadm-config with the job's log, correct it, then clear this task.",
        )


def _remember(session: Session, **values: Any) -> str:
    """Add to this run's document in the store; what an earlier try noted about the time before stays."""
    known = session.store.read_json(_document(session)) or {}
    former = {"former": known["former"]} if "former" in known else {}
    uploaded = [*known.get("uploaded", ()), *values.pop("uploaded", ())]
    noted = {**known, **values, **former, "uploaded": list(dict.fromkeys(uploaded))}
    return session.store.write_json(_document(session), noted)


def _document(session: Session) -> str:
    return f"drift/{path_safe(session.run_id)}.json"


def _sentence(wanted: Uploads, uploaded: Sequence[str]) -> str:
    left_out = (
        f" Half upgraded: {', '.join(wanted.unclear)}; nothing was taken from there, as other settings may be another "
        "kubeadm's defaults."
        if wanted.unclear
        else ""
    )
    return _outcome(wanted, uploaded) + left_out


def _outcome(wanted: Uploads, uploaded: Sequence[str]) -> str:
    if uploaded:
        return f"kubeadm-config now says what runs: {'; '.join(uploaded)}."
    if wanted.settings:
        return f"Left as it is by policy: kubeadm-config lacks {'; '.join(_texts(wanted.settings))}."
    if wanted.unclear:
        return "Nothing to reconcile that is known to be somebody's setting."
    return "kubeadm-config says everything that runs; nothing to reconcile."


def _texts(settings: Sequence[Setting]) -> list[str]:
    return [f"{setting.component}: {setting}" for setting in settings]


def _blind(unread: Unread) -> NightshiftError:
    return BlindError(unread.code, unread.message, cause=unread.cause, next_step=unread.resolution)
