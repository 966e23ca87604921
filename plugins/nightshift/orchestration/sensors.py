"""The two gates that wait: both give their worker slot back meanwhile.

In the group of gates a verdict is an answer: the task succeeds whatever it says, and `decide` folds it. In
front of a node (a slot or a wave) a refusal fails the task, so that the node and everything behind it stays
untouched.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowSensorTimeout, AirflowSkipException, TaskDeferralError

from nightshift.domain.errors import GateClosedError, TransientError
from nightshift.domain.etcd_window import TOO_FEW, hidden_findings, last_window_start, look_on_seconds
from nightshift.domain.look_again import LookAgain, sentences, together
from nightshift.domain.policy import ClusterPolicy
from nightshift.domain.verdicts import Answer, Outcome
from nightshift.orchestration.operators import (
    ENDED_KEY,
    OPEN,
    VERDICT_KEY,
    Input,
    label,
    night_ends,
    remembered,
    resolve,
)
from nightshift.orchestration.runtime import import_step, open_session
from nightshift.orchestration.triggers import WindowTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

_GRACE_SECONDS = 300  # for the triggerer and the task to come round, beyond the window itself
_RENEW_SECONDS = 10.0
_LOOK_ON_SECONDS = 15.0  # longest step in which a window with too few observations is kept open
_BEGAN_KEY = "began"  # XCom: when a gate in front of a node was first asked, for the ledger
_KEPT_KEY = "kept"  # XCom: what a waiting gate goes on with, e.g. etcd's first sample
_SAMPLE_KEY = "sample"  # XCom: the last sample of an etcd gate that opened


@dataclass(frozen=True)
class Place:
    """A place in the night's order that the plan fills with nodes, or leaves empty.

    Args:
        list_name: "control_plane" (one node per place) or "waves" (a list of nodes per place).
        index: from 0.
    """

    list_name: str
    index: int

    def nodes(self, plan: Mapping[str, Any]) -> list[str]:
        """Return the nodes the plan puts here."""
        places = plan[self.list_name]
        if self.index >= len(places):
            return []
        found = places[self.index]
        return [found["node"]] if self.list_name == "control_plane" else list(found)


class GateSensor(BaseSensorOperator):
    """What both gates share: the question where they stand, and what a verdict leads to.

    Args:
        policy: the cluster's policy.
        place: the slot or wave this gate stands in front of; None in the group of gates.
        plan: input that finds the night's plan (needed with `place`).
    """

    ui_color = "#e6f4ea"

    def __init__(
        self,
        *,
        policy: ClusterPolicy,
        window_seconds: float,
        place: Place | None = None,
        plan: Input | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(mode="poke", timeout=window_seconds + _GRACE_SECONDS, **kwargs)
        self.policy = policy
        self.window_seconds = window_seconds
        self.place = place
        self.plan = plan

    def nodes(self, context: Context) -> list[str]:
        """Return the nodes behind this gate; skip the task when the plan leaves the place empty."""
        if self.place is None:
            return []
        nodes = self.place.nodes(resolve(self.plan, context))
        if not nodes:
            raise AirflowSkipException("The plan needs this place tonight for no node.")
        label(context, ", ".join(nodes))
        return nodes

    def begin(self, context: Context) -> None:
        """Remember that this try begins now; resumed, it runs in a process that knows nothing of it."""
        if self.place is not None:
            context["ti"].xcom_push(key=_BEGAN_KEY, value=time.time())

    def wait(self, context: Context, seconds: float, kept: Any) -> NoReturn:
        """Give the slot back for `seconds`, then go on in `resume`; `kept` is a JSON value for then (see `kept`)."""
        context["ti"].xcom_push(key=_KEPT_KEY, value=kept)
        self.defer(
            trigger=WindowTrigger(
                self.policy.name,
                context["run_id"],
                time.time() + seconds,
                _RENEW_SECONDS,
                asks_brake=self.place is not None,
            ),
            method_name="resume",
            timeout=timedelta(seconds=self.timeout),
        )

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after a wait, or say that it never came to its end.

        Airflow fails such a task outside of `resume`, and without a word of ours the report would take it for killed.

        Raises:
            TransientError: TRIGGERER_FAILED. Nothing was touched meanwhile, so another try may wait again.
        """
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (AirflowSensorTimeout, TaskDeferralError) as error:
            with remembered(self, context):
                raise _lost_wait(error, self.timeout) from error

    def kept(self, context: Context) -> Any:
        """Return what `wait` was given."""
        return self._own(context, _KEPT_KEY)

    def _own(self, context: Context, key: str) -> Any:
        return context["ti"].xcom_pull(task_ids=self.task_id, key=key, map_indexes=-1)

    def conclude(
        self, context: Context, verdict: Mapping[str, Any], asked: Sequence[Mapping[str, Any]] = ()
    ) -> Any:
        """Return the verdict, or in front of a node: let it pass, or stop.

        Args:
            context: the task's.
            verdict: the one that decides.
            asked: all that were asked for here; by default only that one.

        Raises:
            GateClosedError: with the verdict's own code.
        """
        self.log.info("%s: %s", verdict["outcome"], verdict["message"])
        if self.place is None:
            return self._answer(context, dict(verdict))
        nodes = self.nodes(context)
        waited = {"nodes": nodes, "began": self._own(context, _BEGAN_KEY), "ended": time.time()}
        outcomes = {said["gate"]: said["outcome"] for said in asked or [verdict]}
        context["ti"].xcom_push(key=VERDICT_KEY, value={**verdict, **waited, "asked": outcomes})
        if Outcome(verdict["outcome"]) not in OPEN:
            with remembered(self, context):
                remedy = (
                    verdict["resolution"] or "Read the gate's evidence; the next night goes on from here."
                )
                raise GateClosedError(
                    verdict["code"],
                    f"{verdict['message']} {', '.join(nodes)} and all later nodes stay as they are.",
                    cause=verdict["cause"] or "The gate closed after the night had begun.",
                    next_step=f"{remedy} {sentences([verdict])}".rstrip(),
                )
        return nodes[0] if self.place.list_name == "control_plane" else nodes

    def _answer(self, context: Context, verdict: dict[str, Any]) -> dict[str, Any]:
        """Leave the verdict for `decide`; a gate that is shut is skipped, as the marks of all others are (AskOperator)."""
        if Outcome(verdict["outcome"]) in OPEN:
            return verdict
        context["ti"].xcom_push(key="return_value", value=verdict)
        raise AirflowSkipException(f"{self.task_id} is shut: {verdict['message']}")


def _lost_wait(error: Exception, seconds: float) -> TransientError:
    """Airflow's triggerer, which waits for a gate, did not come back in time or gave the wait up."""
    said = (
        f"did not come back within {seconds:.0f} s"
        if isinstance(error, AirflowSensorTimeout)
        else "gave the wait up"
    )
    return TransientError(
        "TRIGGERER_FAILED",
        f"The gate was not asked to its end: the triggerer {said}.",
        cause=f"Airflow's triggerer is down, too busy, or cannot load Nightshift's trigger ({error}).",
        next_step="Start the triggerer, or read its log; then clear this task with downstream.",
    )


class EtcdLatencySensor(GateSensor):
    """Samples every etcd member, waits until the policy's window has passed, samples again and compares.

    The window begins at the last sample of the gate before, when the members are still the same processes and that is
    at most one window ago: it becomes no longer than one that begins now. Such a window may open the gate and never
    closes it, because the night's own work (staging, another node's upgrade) lies in it; then a window of the gate's own decides.

    In front of a slot or wave it stands for all gates that are asked there: once etcd's window is good, the others are
    asked in one round, and the first that is shut refuses like etcd does.

    An idle cluster writes little: when only observations are missing, the same window is kept open longer, up to
    the policy's longest one, before the answer is "blind". Such a window opens the gate only when its last part, as long
    as the policy's window, is not slow when it is judged alone. With `etcd_latency.active_probe` we write a little ourselves
    meanwhile (and keep the worker slot for it).

    Args:
        choice: input that finds what `detect_target` said (needed with `place`).
        earlier: task ids of the etcd gates before this one.
        enders: task ids before this one that may have ended the night.
        is_dry: whether the run only says what it would do, or the input that finds it: nothing is written then.
    """

    def __init__(
        self,
        *,
        policy: ClusterPolicy,
        choice: Input | None = None,
        earlier: Sequence[str] = (),
        enders: Sequence[str] = (),
        is_dry: Any = False,
        **kwargs: Any,
    ) -> None:
        longest = max(policy.etcd_latency.window_seconds, policy.etcd_latency.longest_window_seconds)
        super().__init__(policy=policy, window_seconds=longest, **kwargs)
        self.choice = choice
        self.earlier = tuple(earlier)
        self.enders = tuple(enders)
        self.is_dry = is_dry

    def execute(self, context: Context) -> Any:
        """Take the first sample and wait for what is left of the window."""
        self.nodes(context)
        self.begin(context)
        before = self._last_sample(context)
        with remembered(self, context), self._session(context) as session:
            now = import_step("gates:gather_etcd_samples")(session)
            is_continued = before is not None and import_step("gates:continues_window")(session, before, now)
        if not is_continued:
            self.wait(context, self.policy.etcd_latency.window_seconds, {"before": now, "own": None})
        opened = {"before": before, "own": now}
        left = self._left(self.policy.etcd_latency.window_seconds, before, now)
        if left > 0:
            self.wait(context, left, opened)
        return self._judge(context, opened, now)

    def resume(self, context: Context, event: Mapping[str, Any]) -> Any:
        """Take the second sample and judge; a wait that the owner's word cut short ends before that."""
        self.nodes(context)
        with remembered(self, context), self._session(context) as session:
            after = import_step("gates:gather_etcd_samples")(session)
        return self._judge(context, self.kept(context), after)

    def _judge(self, context: Context, opened: Mapping[str, Any], after: Mapping[str, Any]) -> Any:
        """Conclude, or look on: `opened` has the window's first sample, and the gate's own if that was another's."""
        nodes = super().nodes(context)
        with remembered(self, context), self._session(context) as session:
            check = import_step("gates:check_etcd_latency")
            verdict = check(session, opened["before"], after, nodes)
            seconds = self.policy.etcd_latency.window_seconds
            recent = last_window_start(opened.get("looks", []), float(after["taken"]), seconds)
            last = check(session, recent, after, nodes) if recent is not None else verdict
        if hidden := hidden_findings(verdict, last):
            self.log.info("The longer window hides it; its last part decides.")
            return self.conclude(context, {**last, **_told_together(hidden)})
        if Outcome(verdict["outcome"]) in OPEN:
            context["ti"].xcom_push(key=_SAMPLE_KEY, value=after)
            return self.conclude(context, *self._ask_others(context, verdict, nodes))
        left = self._left(self.window_seconds, opened["before"], after)
        if verdict["code"] == TOO_FEW and left > 0:
            self.log.info("%s Looking on, for %.0f s at most.", verdict["message"], left)
            looks = [*opened.get("looks", []), after]
            enough = self.policy.etcd_latency.minimum_samples
            pause = min(left, look_on_seconds(verdict, enough, _LOOK_ON_SECONDS, len(looks)))
            self.wait(context, pause - self._probe(context, pause), {**opened, "looks": looks})
        if opened["own"] is not None:
            self.log.info(
                "%s The night's own work lies in that window; a fresh one decides.", verdict["message"]
            )
            left = self._left(self.policy.etcd_latency.window_seconds, opened["own"], after)
            self.wait(context, max(left, 0.0), {"before": opened["own"], "own": None})
        return self.conclude(context, verdict)

    def _ask_others(
        self, context: Context, verdict: Mapping[str, Any], nodes: Sequence[str]
    ) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
        """The verdict that decides, etcd's unless another gate is shut, and all of them."""
        if self.place is None:
            return verdict, [verdict]
        choice = resolve(self.choice, context)
        with remembered(self, context), self._session(context) as session:
            others = import_step("gates:ask_place")(session, nodes, choice)["verdicts"]
        shut = [other for other in others if Outcome(other["outcome"]) not in OPEN]
        return (_told_together(shut) if shut else verdict), [verdict, *others]

    def nodes(self, context: Context) -> list[str]:
        """Return the nodes behind this gate; skip it when its place is empty, or when the night ends in front of it.

        Brake, window and frozen dates are asked again, before the window of samples and after it, and whether the
        nodes will be done before the window closes. Once the night has ended it stays so, whoever lifts the brake: no
        worker before a control plane that was left out.
        """
        nodes = super().nodes(context)
        if self.place is None:
            return nodes
        ended = next(iter(night_ends(context, self.enders)), None)
        if ended is None:
            with remembered(self, context), self._session(context) as session:
                said = import_step("brake:may_go_on")(session, nodes)
            if said["answer"] == Answer.GO:
                return nodes
            ended = {**said, "place": self.place.list_name, "index": self.place.index}
            context["ti"].xcom_push(key=ENDED_KEY, value=ended)
        raise AirflowSkipException(f"{', '.join(nodes)} continue on the next night: {ended['sentence']}")

    def _probe(self, context: Context, seconds: float) -> float:
        """Give etcd something to do for so long, if the policy says so; return the seconds that went by."""
        if not self.policy.etcd_latency.active_probe or resolve(self.is_dry, context):
            return 0.0
        began = time.time()
        with remembered(self, context), self._session(context) as session:
            import_step("etcd_probe:write_a_little")(session, seconds)
        return min(seconds, time.time() - began)

    def _last_sample(self, context: Context) -> Any:
        """The newest sample that a gate before this one opened with; None when there is none."""
        found = (
            context["ti"].xcom_pull(task_ids=list(self.earlier), key=_SAMPLE_KEY) if self.earlier else None
        )
        return max((s for s in found or [] if s), key=lambda s: float(s["taken"]), default=None)

    def _left(self, window_seconds: float, before: Mapping[str, Any], after: Mapping[str, Any]) -> float:
        """Seconds until `window_seconds` have passed since the window's first sample."""
        return float(window_seconds - (after["taken"] - before["taken"]))

    def _session(self, context: Context) -> Any:
        return open_session(self.policy, context["run_id"], self.log.info)


def _told_together(shut: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The gravest of several verdicts, with the words of all of them: who repairs one should not meet the next tomorrow."""
    first = max(shut, key=lambda verdict: Outcome(verdict["outcome"]).severity)
    words = ("message", "cause", "resolution")
    rest = [verdict for verdict in shut if verdict is not first]
    again = together(LookAgain.from_dict(v.get("look_again")) for v in (first, *rest))
    return {
        **first,
        "look_again": again.to_dict() if again else None,
        **{
            word: " ".join(dict.fromkeys(text for v in (first, *rest) if (text := str(v[word]))))
            for word in words
        },
    }


class DiskUsageSensor(GateSensor):
    """Compares every mount's forecast with its kubelet's live thresholds; a refusal is asked again.

    Image garbage collection or a log rotation may be under way, so one look alone refuses nobody's night.

    Args:
        choice: input that finds what `detect_target` said: what will be downloaded depends on it.
        recheck_seconds: pause before a refusal is asked again.
        rechecks: how often.
    """

    def __init__(
        self,
        *,
        policy: ClusterPolicy,
        choice: Input | None = None,
        recheck_seconds: float = 15.0,
        rechecks: int = 2,
        **kwargs: Any,
    ) -> None:
        super().__init__(policy=policy, window_seconds=recheck_seconds * rechecks, **kwargs)
        self.choice = choice
        self.recheck_seconds = recheck_seconds
        self.rechecks = rechecks

    def execute(self, context: Context) -> Any:
        """Look for the first time."""
        self.begin(context)
        return self._look(context, self.rechecks)

    def resume(self, context: Context, event: Mapping[str, Any]) -> Any:
        """Look again."""
        return self._look(context, self.kept(context))

    def _look(self, context: Context, left: int) -> Any:
        with (
            remembered(self, context),
            open_session(self.policy, context["run_id"], self.log.info) as session,
        ):
            verdict = import_step("gates:check_disk_usage")(session, choice=resolve(self.choice, context))
        if Outcome(verdict["outcome"]) not in OPEN and left > 0:
            self.log.info("%s Asking again in %.0f s.", verdict["message"], self.recheck_seconds)
            self.wait(context, self.recheck_seconds, left - 1)
        return self.conclude(context, verdict)
