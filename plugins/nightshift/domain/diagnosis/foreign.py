"""Which kubeadm, that is not ours, the recorder saw beginning while the job was at work (recorder/processes.jsonl)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from nightshift.domain.diagnosis.samples import number, objects
from nightshift.domain.diagnosis.signs import QUOTE_LIMIT, Sign, Signs

FOREIGN = "recorder.foreign_kubeadm"
_PATH = "recorder/processes.jsonl"
_CHANGING = re.compile(r"^\S*kubeadm (?:init(?! phase)|join|reset|upgrade (?:apply|node)|certs renew)\b")
_OURS = "/upgrade-configuration.yaml"  # jobs/kubeadm-upgrade: CONFIG_FILE
_SUBJECT_LIMIT = 80


def read_foreign(files: Mapping[str, str]) -> Signs:
    """Each kubeadm that changes a node and is not a job's; unread without the recorder's list of processes.

    The job's own has our configuration among its arguments; a phase of init is what other jobs and looks of ours run.
    """
    rows = list(objects(files.get(_PATH, "")))
    if not rows:
        return Signs(unread={FOREIGN: f"{_PATH} is not in the evidence"})
    signs = []
    for line, data in rows:
        args = data.get("args")
        if not isinstance(args, str) or not _CHANGING.match(args) or _OURS in args:
            continue
        at = number(data, "t")
        signs.append(
            Sign(
                FOREIGN,
                subject=args[:_SUBJECT_LIMIT],
                quote=args[:QUOTE_LIMIT],
                source=f"{_PATH}:{line}",
                first=at,
                last=at,
            )
        )
    return Signs(tuple(signs), looked=frozenset({FOREIGN}))
