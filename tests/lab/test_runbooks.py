"""Every command that a runbook tells a person to type at 3 a.m. runs, where and as its page says."""

from __future__ import annotations

import pytest
from tests.lab.runbook_scenes import NOT_RUN
from tests.lab.runbook_world import RunbookWorld, to_run
from tests.lab.runbooks import pages
from tests.lab.world import World


@pytest.fixture(scope="module")
def runbook_world(world: World, tmp_path_factory: pytest.TempPathFactory) -> RunbookWorld:
    """The pages share one cluster as long as each leaves it whole."""
    return RunbookWorld(world, tmp_path_factory.mktemp("runbooks"))


@pytest.mark.parametrize("page", [page for page in pages() if to_run(page)])
def test_the_commands_of_a_page_run(runbook_world: RunbookWorld, page: str) -> None:
    wrong = runbook_world.play(page)
    assert not wrong, "\n\n".join(["", *wrong])


def test_what_is_not_run_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print("", *(f"not run: {command} ({why})" for command, why in NOT_RUN.items()), sep="\n")
