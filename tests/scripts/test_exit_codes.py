"""One table of exit codes in three places: the scripts, the client, the README."""

from __future__ import annotations

import re

from tests.scripts.conftest import NODE_SCRIPTS, REPOSITORY

from nightshift.clients.node_ssh import ExitCode
from nightshift.domain.diagnosis.jobs import ENDS

CLIENT = {name: code for name, code in vars(ExitCode).items() if name.isupper()}


def test_scripts_and_client_agree():
    text = (NODE_SCRIPTS / "lib" / "common.sh").read_text()
    scripts = {name: int(code) for name, code in re.findall(r"^readonly EX_([A-Z_]+)=(\d+)$", text, re.M)}
    # OK and TIMED_OUT are systemd's and the shell's own; the other two are said before any script runs.
    assert {**scripts, "OK": 0, "NOT_ENROLLED": 90, "TAMPERED": 91, "TIMED_OUT": 124} == CLIENT


def test_the_diagnosis_knows_how_a_job_may_end():
    """One that it does not know is "the job failed", which hardly any cause explains."""
    own = {
        str(code) for code in CLIENT.values() if 20 <= code < 70
    }  # said by jobs; the others by the dispatcher
    assert own <= set(ENDS)


def test_readme_documents_every_code():
    text = (REPOSITORY / "include" / "scripts" / "README.md").read_text()
    documented = {name: int(code) for code, name in re.findall(r"^\| (\d+) \| `([A-Z_]+)` \|", text, re.M)}
    assert documented == CLIENT
