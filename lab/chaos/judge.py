"""From a journal to a verdict. Pure: the same journal is judged the same way, whoever reads it, whenever.

Fails closed: what was not seen is no proof. A node whose journal names no job, an observer that saw nothing, a moment
that never came, a strike whose end is missing are all problems.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from chaos.catalogue import KILLS_THE_TRY, OUTAGES, WHOLE_HOST, Case, Expect, Fault, Strike
from chaos.scene import JOBS, KUBEADM_JOB, KUBELET_JOB
from chaos.timeline import Event, of

WATCHED = ("cordons", "lease", "gauge", "api", "node", "unit", "command")
_GRACE = 2.0  # seconds a watch may lag behind a person's kubectl
_SETUP = "claim"  # the night's setup task
_STARTING = 5.0  # seconds in which a job that was on its way at the death still begins
_ON_TARGET = ("upgraded", "nothing")
_API_AWAY = "API_UNREACHABLE"  # code of a night that could not ask the Kubernetes API


@dataclass(frozen=True)
class Outcome:
    """What came of one strike.

    Args:
        how: "went on", "attached", "resumed", "recovered", "refused", "blind" or "not reached".
        seconds: what its bound is about; None where there was nothing to measure.
    """

    strike: Strike
    how: str
    seconds: float | None = None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What came of a case: its strikes, and promises broken at any time of it."""

    outcomes: tuple[Outcome, ...]
    breaches: tuple[str, ...]

    @property
    def problems(self) -> list[str]:
        """Everything that is wrong, in words."""
        told = [f"{o.strike.fault}, {o.strike.moment}: {p}" for o in self.outcomes for p in o.problems]
        return [*self.breaches, *told]

    @property
    def has_passed(self) -> bool:
        """Tell whether nothing is wrong."""
        return not self.problems


def judge(case: Case, events: Sequence[Event]) -> Verdict:
    """Judge one case by its whole journal."""
    outcomes = tuple(_outcome(number, strike, case, events) for number, strike in enumerate(case.strikes))
    return Verdict(outcomes, tuple(breaches(events)))


# Promises that hold at every instant


def breaches(events: Sequence[Event]) -> Iterator[str]:
    """Everything that must never be, and what could not be told."""
    yield from _unseen(events)
    yield from jobs_at_once(events)
    yield from kubeadm_at_once(events)
    yield from control_planes_at_once(events)
    yield from foreign_cordons_lifted(events)
    yield from token_that_fell(events)
    yield from _bad_end(events)


def jobs_at_once(events: Sequence[Event]) -> Iterator[str]:
    """Two jobs at once on one node, or on two control-plane nodes, by the nodes' own journals."""
    active: dict[str, set[str]] = {}
    boots: dict[str, str] = {}
    for event in of(events, "unit"):
        node, unit = event["node"], event["unit"]
        if boots.get(node, event["boot"]) != event["boot"]:
            active[node] = set()  # they went with the power
        boots[node] = event["boot"]
        mine = active.setdefault(node, set())
        if event["what"] == "ended":
            mine.discard(unit)
            continue
        if mine:
            yield f"{_clock(event)} {node}: {unit} was started while {', '.join(sorted(mine))} ran"
        others = [n for n, units in active.items() if n != node and _is_control_plane(n) and _upgrades(units)]
        if _is_control_plane(node) and _upgrades({unit}) and others:
            yield f"{_clock(event)} {node}: {unit} was started while {', '.join(others)} was being upgraded"
        mine.add(unit)


def kubeadm_at_once(events: Sequence[Event]) -> Iterator[str]:
    """Two `kubeadm upgrade` processes on one node, or one each on two control-plane nodes."""
    now: dict[str, int] = {}
    for event in of(events, "node"):
        now[event["node"]] = len(event["kubeadm"])
        if now[event["node"]] > 1:
            yield f"{_clock(event)} {event['node']}: kubeadm ran {now[event['node']]} times at once"
        busy = [name for name, count in sorted(now.items()) if count and _is_control_plane(name)]
        if len(busy) > 1:
            yield f"{_clock(event)} kubeadm ran on {', '.join(busy)} at once"


def control_planes_at_once(events: Sequence[Event]) -> Iterator[str]:
    """More than one control-plane node cordoned."""
    for event in of(events, "cordons"):
        off = [name for name in event["names"] if _is_control_plane(name)]
        if len(off) > 1:
            yield f"{_clock(event)} {', '.join(sorted(off))} were cordoned at once"


def foreign_cordons_lifted(events: Sequence[Event]) -> Iterator[str]:
    """A person's cordon that went before the person lifted it."""
    placed: dict[str, float] = {}
    for event in of(events, "foreign", "cordons"):
        if event.kind == "foreign" and event["what"] == "placed":
            placed[event["node"]] = event.at
        elif event.kind == "foreign":
            placed.pop(event["node"], None)
        else:
            for node in [n for n, at in placed.items() if event.at > at + _GRACE and n not in event["names"]]:
                yield f"{_clock(event)} {node} was uncordoned, and not by the person who had cordoned it"
                del placed[node]


def token_that_fell(events: Sequence[Event]) -> Iterator[str]:
    """The Lease's fencing token must only grow."""
    highest = 0
    for event in of(events, "lease"):
        if event["token"] < highest:
            yield f"{_clock(event)} the Lease's token fell from {highest} to {event['token']}"
        highest = max(highest, event["token"])


def _unseen(events: Sequence[Event]) -> Iterator[str]:
    """Without observations nothing is proven."""
    for kind in WATCHED:
        if not of(events, kind):
            yield f"could not tell: nothing of kind {kind!r} was seen"
    ended = of(events, "target")
    started = {(e["node"], e["unit"]) for e in of(events, "unit") if e["what"] == "started"}
    for node in ended[-1]["versions"] if ended else ():
        if (node, KUBELET_JOB) not in started:
            yield f"could not tell: the journal of {node} names no {KUBELET_JOB}"


def _bad_end(events: Sequence[Event]) -> Iterator[str]:
    """The last night was left alone: it must have ended on target, and left nothing."""
    ended = of(events, "target")
    if not ended or not ended[-1]["reached"]:
        said = ended[-1]["versions"] if ended else "it was not reached"
        yield f"the case did not end on target: {said}"
    if _safe_since(events, 0.0, float("inf")) is None:
        yield "the case did not end safe: a cordon, a holder of the Lease or in_flight is left"


# One strike


def _outcome(number: int, strike: Strike, case: Case, events: Sequence[Event]) -> Outcome:
    struck = _numbered(events, "strike", number)
    if struck is None:
        return Outcome(strike, "not reached", None, ("its moment did not come",))
    over = _numbered(events, "over", number)
    if over is None and strike.fault in OUTAGES:
        return Outcome(strike, "not over", None, ("what was taken away did not come back",))
    since = over.at if over is not None and strike.fault in OUTAGES else struck.at
    if strike.expect is Expect.REFUSE:
        outcome = _refused(strike, struck, number, events)
    elif strike.expect is Expect.ATTACH or (strike.fault in WHOLE_HOST and _next_try(struck, events)):
        outcome = _attached(strike, struck, since, events)
    else:
        return _recovered(strike, struck, since, events)
    if strike.fault in WHOLE_HOST or _is_ended_by_a_later_one(number, case, struck, events):
        return outcome
    return Outcome(
        strike, outcome.how, outcome.seconds, (*outcome.problems, *_run_problems(struck["run"], events))
    )


def _attached(strike: Strike, struck: Event, since: float, events: Sequence[Event]) -> Outcome:
    """The run goes on; where its try was lost, the next one attaches in time."""
    again = _next_try(struck, events)
    if again is None:
        lost = ("no other try followed",) if strike.fault in KILLS_THE_TRY else ()
        return Outcome(strike, "went on", None, lost)
    how = "resumed" if strike.fault in WHOLE_HOST else "attached"
    job = JOBS.get(strike.moment)
    attached = _attaches(job, struck["node"], again.at, events) if job else again.at
    if attached is None:
        return Outcome(strike, how, None, (f"its next try never asked the node for {job}",))
    if strike.fault is Fault.CLEAR:
        since = max([since, *_waits_of_setup(struck, again, events)])
    seconds = max(0.0, attached - since)
    return Outcome(strike, how, seconds, _too_late(strike, seconds))


def _attaches(job: str, node: str, since: float, events: Sequence[Event]) -> float | None:
    """When a try that began then has hold of its job: it asks to start it, or follows it without.

    A look at it from its begin alone is no following: another one that goes on from there must come after it.
    """
    commands = [e for e in of(events, "command") if (e["step"], e["node"]) == (job, node) and e.at >= since]
    polls = [e for e in commands if e["verb"] == "job-poll" and e.get("cursor")]
    looked = next((e.at for e in polls if e["cursor"] == "-"), float("inf"))
    followed = [e.at for e in polls if e["cursor"] != "-" and e.at > looked]
    return min([*(e.at for e in commands if e["verb"] == "start-job"), *followed], default=None)


def _waits_of_setup(struck: Event, again: Event, events: Sequence[Event]) -> Iterator[float]:
    """Returns of the Kubernetes API for which the setup task had to wait that Airflow cleared along with the task.

    It may take several tries: the API that is back after etcd's step goes away again in that of the API server. An API
    that answers requests before it calls itself ready has returned, at the latest, when the setup task was through.
    """
    tries = [
        e
        for e in of(events, "attempt")
        if e["task"] == _SETUP and e["run"] == struck["run"] and struck.at < e.at <= again.at
    ]
    end = max((e["ended"] for e in tries if e["ended"] is not None), default=struck.at)
    yield from (at for at in _api_returns(events) if struck.at < at <= end)
    seen = [event["ready"] for event in of(events, "api") if event.at <= end]
    if seen and not seen[-1]:
        yield end


def _recovered(strike: Strike, struck: Event, since: float, events: Sequence[Event]) -> Outcome:
    """The run is over; the cluster is safe in time."""
    until = next(
        (e.at for e in of(events, "night") if e["what"] == "began" and e.at > struck.at), float("inf")
    )
    safe = _safe_since(events, struck.at, until)
    if safe is None:
        return Outcome(strike, "recovered", None, ("the cluster was not safe before the next night began",))
    waited_for = [*_outliving(struck, events), *_api_returns(events)]
    raised = _raises(struck, events) if strike.fault is Fault.JOB else []
    base = max([since, *raised, *(at for at in waited_for if struck.at < at <= safe)])
    seconds = max(0.0, safe - base)
    return Outcome(strike, "recovered", seconds, _too_late(strike, seconds))


def _refused(strike: Strike, struck: Event, number: int, events: Sequence[Event]) -> Outcome:
    """The second run ends green with the reason, and held nothing while the first was at work.

    A second Airflow that asked while the API was away may end blind instead: then it knows of nobody to name.
    """
    seconds_ = [e for e in of(events, "second") if e["number"] == number]
    ended = next((e for e in seconds_ if e["what"] == "ended"), None)
    if ended is None:
        return Outcome(strike, "refused", None, ("the second run did not end",))
    is_blind = strike.fault is Fault.SECOND_AIRFLOW and _was_rightly_blind(struck, ended, events)
    problems = [] if is_blind else list(_impolite(strike, struck, ended))
    first_end = next(
        (e.at for e in of(events, "night") if e["what"] == "ended" and e["run"] == struck["run"]),
        float("inf"),
    )
    if strike.fault is Fault.DUPLICATE and any(e["what"] == "at work" and e.at < first_end for e in seconds_):
        problems.append("a task of the second run ran beside the first run")
    holders = {e["holder"] for e in of(events, "lease") if struck.at <= e.at < min(first_end, ended.at)}
    problems += [f"it took the Lease: {h}" for h in sorted(holders) if ended["owner"] in h]
    return Outcome(strike, "blind" if is_blind else "refused", ended.at - struck.at, tuple(problems))


def _impolite(strike: Strike, struck: Event, ended: Event) -> Iterator[str]:
    """What a second run's end should have said and did not."""
    wanted = ("held",) if strike.fault is Fault.SECOND_AIRFLOW else ("held", "nothing")
    if ended["state"] != "success" or ended["answer"] not in wanted:
        yield f"the second run ended {ended['state']}, its answer was {ended['answer']}: {ended['note']}"
    elif ended["answer"] == "held" and struck["run"] not in (ended["note"] or ""):
        yield f"its note does not say who is at the cluster: {ended['note']}"


def _was_rightly_blind(struck: Event, ended: Event, events: Sequence[Event]) -> bool:
    """Tell whether a run could not look because the Kubernetes API was away, and says so."""
    if ended["answer"] != "blind" or _API_AWAY not in (ended["note"] or ""):
        return False
    seen = [e for e in of(events, "api") if e.at <= ended.at]
    before = [e for e in seen if e.at <= struck.at]
    return any(not e["ready"] for e in (*before[-1:], *seen[len(before) :]))


def _too_late(strike: Strike, seconds: float) -> tuple[str, ...]:
    if strike.bound is None or seconds <= strike.bound:
        return ()
    return (f"after {seconds:.1f} s, and {strike.bound} s were allowed",)


def _run_problems(run: str, events: Sequence[Event]) -> tuple[str, ...]:
    """The run that was struck ends green and says that it upgraded."""
    ended = next((e for e in of(events, "night") if e["what"] == "ended" and e["run"] == run), None)
    if ended is None:
        return ("its run did not end",)
    if ended["state"] != "success" or ended["answer"] not in _ON_TARGET:
        return (f"its run ended {ended['state']}, answer {ended['answer']}: {ended['note']}",)
    return ()


def _is_ended_by_a_later_one(number: int, case: Case, struck: Event, events: Sequence[Event]) -> bool:
    """Tell whether a later strike was meant to end this very run."""
    later = [_numbered(events, "strike", n) for n in range(number + 1, len(case.strikes))]
    ends = [e for e in later if e is not None and case.strikes[e["number"]].ends_the_run]
    return any(e["run"] == struck["run"] for e in ends)


def _next_try(struck: Event, events: Sequence[Event]) -> Event | None:
    """The first try of the struck task that began after the strike."""
    same = ("run", "task", "map")
    return next(
        (
            e
            for e in of(events, "attempt")
            if e.at > struck.at
            and e["number"] > struck["attempt"]
            and all(e[key] == struck[key] for key in same)
        ),
        None,
    )


def _raises(struck: Event, events: Sequence[Event]) -> list[float]:
    """When the struck try ended by itself; until then its task is at work: on other nodes, or saving evidence."""
    same = ("run", "task", "map")
    return [
        e["ended"]
        for e in of(events, "attempt")
        if e["number"] == struck["attempt"]
        and all(e[key] == struck[key] for key in same)
        and e["ended"] is not None
    ]


def _outliving(struck: Event, events: Sequence[Event]) -> Iterator[float]:
    """Ends of the jobs that were at work when the strike came."""
    open_: dict[tuple[str, str], float] = {}
    for event in of(events, "unit"):
        key = event["node"], event["unit"]
        if event["what"] == "started":
            open_[key] = event.at
        elif open_.pop(key, float("inf")) <= struck.at + _STARTING and event.at > struck.at:
            yield event.at


def _api_returns(events: Sequence[Event]) -> Iterator[float]:
    """When the Kubernetes API became ready after it was not."""
    was_ready = True
    for event in of(events, "api"):
        if event["ready"] and not was_ready:
            yield event.at
        was_ready = event["ready"]


def _safe_since(events: Sequence[Event], after: float, until: float) -> float | None:
    """Since when (not before `after`) the cluster is safe and stays so until `until`; None: it is not."""
    cordons: set[str] | None = None
    holder: str | None = None
    in_flight: float | None = None
    foreign: set[str] = set()
    since: float | None = None
    for event in of(events, "cordons", "lease", "gauge", "foreign"):
        if event.at >= until:
            break
        if event.kind == "cordons":
            cordons = set(event["names"])
        elif event.kind == "lease":
            holder = event["holder"]
        elif event.kind == "gauge":
            in_flight = event["value"] if event["known"] else None
        else:
            (foreign.add if event["what"] == "placed" else foreign.discard)(event["node"])
        is_safe = cordons is not None and cordons <= foreign and holder == "" and in_flight == 0
        since = (since if since is not None else event.at) if is_safe else None
    return None if since is None else max(since, after)


def _numbered(events: Sequence[Event], kind: str, number: int) -> Event | None:
    return next((e for e in of(events, kind) if e["number"] == number), None)


def _is_control_plane(node: str) -> bool:
    return node.startswith("cp")


def _upgrades(units: set[str]) -> bool:
    return bool(units & {KUBEADM_JOB, KUBELET_JOB})


def _clock(event: Event) -> str:
    return datetime.fromtimestamp(event.at, UTC).strftime("%H:%M:%S")


def summary(verdict: Verdict) -> list[Mapping[str, object]]:
    """The outcomes as plain rows, for the file of results."""
    return [
        {
            "fault": o.strike.fault.value,
            "moment": o.strike.moment.value,
            "place": o.strike.place,
            "expect": o.strike.expect.name,
            "bound": o.strike.bound,
            "how": o.how,
            "seconds": None if o.seconds is None else round(o.seconds, 1),
            "problems": list(o.problems),
        }
        for o in verdict.outcomes
    ]
