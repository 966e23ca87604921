"""Virtual time, and processes that can be killed between any two calls: greenlets instead of threads.

Only what runs in the hub moves time. A killed process never goes on: not even its `finally` blocks run, as with SIGKILL.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from greenlet import getcurrent, greenlet

START = 1_800_000_000.0


class Gone(BaseException):
    """Unwinds what is left of a simulation when it is over; nothing outside the hub is reached any more."""


class Process:
    """Fibers that live and die together: one operating-system process with its threads.

    Args:
        step: what it does, for the plan of faults; "" for what belongs to the model itself.
        node: the node it works on, when there is one.
    """

    def __init__(self, name: str, step: str = "", node: str | None = None) -> None:
        self.name, self.step, self.node = name, step, node
        self.owner = ""
        self.began = 0.0
        self.is_alive = True
        self.is_killed = False
        self.frozen_until = 0.0
        self.frozen_last = -1e9  # when it last stood still
        self.frozen_longest = 0.0  # how long it stood still, at most
        self.is_out_of_reach = False  # Airflow cannot end it
        self.has_lease = False  # it claimed or renewed the Lease for its run, once at least
        self.after: str | None = None  # a fault that strikes when the call at hand was done
        self.delay = 0.0
        self.airflow: Any = None
        self.ti: Any = None
        self.own: str | None = None  # a recovery's: the run it was started for
        self.fibers: list[Fiber] = []
        self.on_exit: Callable[[Any, BaseException | None], None] | None = None

    @property
    def is_frozen(self) -> bool:
        """Tell whether it stands still; set and cleared by the hub."""
        return self.frozen_until > 0.0

    def kill(self) -> None:
        """It dies now."""
        self.is_killed = self.is_killed or self.is_alive
        self.is_alive = False

    def end(self) -> None:
        """Airflow kills it, where it can."""
        if not self.is_out_of_reach:
            self.kill()


class Fiber:
    """One thread of a process."""

    __slots__ = ("done", "error", "glet", "is_done", "process", "result", "ticket", "work")

    def __init__(self, process: Process) -> None:
        self.process = process
        self.ticket = 0  # only the newest wake-up counts
        self.is_done = False
        self.result: Any = None
        self.error: BaseException | None = None
        self.done: Event | None = None
        self.work: Callable[[], Any] | None = None  # until it begins
        self.glet: greenlet | None = None  # from then on


class Hub:
    """The scheduler: always goes on with whatever is due first."""

    def __init__(self) -> None:
        self.now = START
        self.events = 0
        self.current: Fiber | None = None
        self.on_event: Callable[[], None] = lambda: None
        self.on_error: Callable[[Process, Exception], None] = lambda process, error: None
        self._heap: list[tuple[float, int, Any, int]] = []
        self._sequence = 0
        self._main = getcurrent()
        self._is_over = False
        self._all: list[Fiber] = []

    # -- for everybody -------------------------------------------------------------------------------------

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something later; it must not wait."""
        self._push(self.now + seconds, action, -1)

    def spawn(self, process: Process, work: Callable[[], Any], delay: float = 0.0) -> Fiber:
        """Add a thread to a process."""
        fiber = Fiber(process)
        fiber.work = work
        process.fibers.append(fiber)
        self._all.append(fiber)
        self._wake(fiber, self.now + delay)
        return fiber

    def sleep(self, seconds: float) -> None:
        """Let time pass for the fiber that asks; others work meanwhile."""
        fiber = self.current
        if self._is_over or fiber is None:
            raise Gone
        when = self.now + seconds
        process = fiber.process
        if process.is_alive and process.frozen_until <= 0.0 and self._heap and self._heap[0][0] > when:
            self.now = when  # nobody else is due before: no need to switch
            self.events += 1
            self.on_event()
            return
        self._wake(fiber, when)
        self._main.switch()
        if self._is_over:
            raise Gone

    def wait(self, event: Event, seconds: float | None) -> bool:
        """Wait for an event; False when the time is up."""
        fiber = self.current
        if self._is_over or fiber is None:
            raise Gone
        if event.is_on:
            return True
        event.waiting.append(fiber)
        if seconds is None:
            fiber.ticket += 1
        else:
            self._wake(fiber, self.now + seconds)
        self._main.switch()
        if self._is_over:
            raise Gone
        return event.is_on

    def wake_all(self, fibers: Iterable[Fiber]) -> None:
        """Let fibers go on now."""
        for fiber in fibers:
            if not fiber.is_done:
                self._wake(fiber, self.now)

    # -- the loop ------------------------------------------------------------------------------------------

    def run(self, is_over: Callable[[], bool], limit: float) -> bool:
        """Go on until `is_over`; False when virtual time `limit` came first."""
        while self._heap:
            when, _, what, ticket = heapq.heappop(self._heap)
            if ticket >= 0:
                process = what.process
                if ticket != what.ticket or not process.is_alive:
                    continue
                if process.frozen_until > 0.0:
                    if process.frozen_until > when:
                        self._push(process.frozen_until, what, ticket)
                        continue
                    process.frozen_until, process.frozen_last = 0.0, when
            self.now = max(self.now, when)
            self.events += 1
            if ticket >= 0:
                self.current = what
                if what.glet is None:
                    self._begin(what)
                else:
                    what.glet.switch()
                self.current = None
            else:
                what()
            self.on_event()
            if is_over():
                return True
            if self.now > limit:
                return False
        return is_over()

    def close(self) -> None:
        """Unwind everything that is left."""
        self._is_over = True
        for fiber in self._all:
            if fiber.glet is not None:
                fiber.glet.throw(Gone)
        self._all.clear()
        self._heap.clear()

    def _begin(self, fiber: Fiber) -> None:
        """Let it run for the first time, on a greenlet that an earlier fiber has left, where there is one."""
        carrier = _IDLE.pop() if _IDLE else greenlet(_carry, self._main)
        fiber.glet = carrier
        carrier.switch(self, fiber)

    def _live(self, fiber: Fiber) -> None:
        work, fiber.work = fiber.work, None
        assert work is not None
        try:
            fiber.result = work()
        except Gone:
            return
        except Exception as error:  # noqa: BLE001  # what a thread raises is its caller's business
            fiber.error = error
            self.on_error(fiber.process, error)
        fiber.is_done = True
        if fiber.done is not None:
            fiber.done.set()
        process = fiber.process
        if process.on_exit is not None and fiber is process.fibers[0] and process.is_alive:
            process.is_alive = False
            process.on_exit(fiber.result, fiber.error)

    def _wake(self, fiber: Fiber, when: float) -> None:
        fiber.ticket += 1
        self._push(when, fiber, fiber.ticket)

    def _push(self, when: float, what: Any, ticket: int) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (when, self._sequence, what, ticket))


_IDLE: list[greenlet] = []  # a new one costs a mapping of memory; a seed has hundreds of fibers


def _carry(hub: Hub, fiber: Fiber) -> None:
    """Carry one fiber after the other, of this hub and of later ones."""
    while True:
        hub._live(fiber)
        carrier, fiber.glet = fiber.glet, None
        assert carrier is not None
        _IDLE.append(carrier)
        hub, fiber = hub._main.switch()


class Event:
    """threading.Event, in virtual time."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.is_on = False
        self.waiting: list[Fiber] = []

    def set(self) -> None:
        """Let everybody go on."""
        self.is_on = True
        waiting, self.waiting = self.waiting, []
        self._hub.wake_all(waiting)

    def is_set(self) -> bool:
        """Tell."""
        return self.is_on

    def wait(self, timeout: float | None = None) -> bool:
        """Wait."""
        return self._hub.wait(self, timeout)


class Thread:
    """threading.Thread, as a fiber of the process that starts it."""

    def __init__(self, hub: Hub, target: Callable[..., None], args: tuple[Any, ...] = ()) -> None:
        self._hub, self._target, self._args = hub, target, args
        self._fiber: Fiber | None = None

    def start(self) -> None:
        """Begin."""
        assert self._hub.current is not None
        self._fiber = self._hub.spawn(self._hub.current.process, lambda: self._target(*self._args))
        self._fiber.done = Event(self._hub)

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end."""
        assert self._fiber is not None
        assert self._fiber.done is not None
        self._fiber.done.wait(timeout)


class Executor:
    """concurrent.futures.ThreadPoolExecutor, as fibers of the process that asks."""

    def __init__(self, hub: Hub, max_workers: int | None = None) -> None:
        self._hub, self._max_workers = hub, max_workers
        self._fibers: list[Fiber] = []

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *error: object) -> None:
        for fiber in self._fibers:
            _join(fiber)

    def map(self, work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """As the real one: as many as may begin now, results in order, the first error is raised where it is reached."""
        process = self._hub.current.process  # type: ignore[union-attr]  # called by a fiber
        todo, begun = list(items), list[Fiber]()
        if len(todo) == 1:  # nobody to be beside: no need to switch
            return iter([work(todo[0])])

        def one(index: int, item: Any) -> Any:
            if self._max_workers is not None and index >= self._max_workers:
                _join(begun[index - self._max_workers])
            return work(item)

        for index, item in enumerate(todo):
            fiber = self._hub.spawn(process, lambda index=index, item=item: one(index, item))  # type: ignore[misc]
            fiber.done = Event(self._hub)
            begun.append(fiber)
        self._fibers += begun
        return (_join(fiber, must_raise=True) for fiber in begun)


def _join(fiber: Fiber, *, must_raise: bool = False) -> Any:
    if not fiber.is_done and fiber.done is not None:
        fiber.done.wait()
    if must_raise and fiber.error is not None:
        raise fiber.error
    return fiber.result
