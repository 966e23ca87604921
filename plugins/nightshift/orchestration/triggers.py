"""What waits in the triggerer: nothing but time, with the Lease kept alive meanwhile."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent


class WindowTrigger(BaseTrigger):
    """Waits for a moment and renews the cluster's Lease on the way, when this run holds it.

    The arguments are stored as plain JSON in Airflow's database: a name and numbers, never a secret.

    Args:
        cluster: name of the cluster; its policy and connections are read in the triggerer.
        run_id: Airflow's run id of the run that holds the Lease.
        until: when to go on, seconds since the epoch; a triggerer restart does not start the wait anew.
        renew_seconds: pause between two renewals.
        asks_brake: go on at once when the owner's word (brake, window, frozen date) ends the night meanwhile.
    """

    def __init__(
        self, cluster: str, run_id: str, until: float, renew_seconds: float, asks_brake: bool = False
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow leaves it unannotated
        self.cluster = cluster
        self.run_id = run_id
        self.until = until
        self.renew_seconds = renew_seconds
        self.asks_brake = asks_brake

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments."""
        return (
            "nightshift.orchestration.triggers.WindowTrigger",
            {
                "cluster": self.cluster,
                "run_id": self.run_id,
                "until": self.until,
                "renew_seconds": self.renew_seconds,
                "asks_brake": self.asks_brake,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then say so."""
        import asyncio

        from asgiref.sync import sync_to_async

        while (left := self.until - time.time()) > 0:
            await asyncio.sleep(min(left, self.renew_seconds))
            is_early = (
                self.until - time.time() > self.renew_seconds / 2
            )  # else the resumed task does it itself
            if is_early and await sync_to_async(self._renew)():
                break
        yield TriggerEvent({"until": self.until})

    def _renew(self) -> bool:
        """Renew once; True when the night ends meanwhile, and nobody need wait any more.

        Failing is no reason to stop waiting: the step that comes next claims the Lease itself.
        """
        from nightshift.domain.errors import NightshiftError
        from nightshift.orchestration.runtime import open_session, policy_named
        from nightshift.steps.brake import held
        from nightshift.steps.hold import renew_if_ours

        try:
            with open_session(policy_named(self.cluster), self.run_id, self.log.info) as session:
                renew_if_ours(session)
                return self.asks_brake and held(session) is not None
        except NightshiftError as error:
            self.log.warning("The Lease could not be renewed: %s", error)
            return False
