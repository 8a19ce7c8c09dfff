"""The supervisor: spawns the children, hears of their deaths, replaces them, and keeps what must outlive them.

Owns the child specs, the listening sockets, custody of the clients' sockets, the event log and the control socket.
Single-threaded, so that it may fork at any time; never blocks; never reads or writes one byte of a client; knows
no chat.

Theory of operation. Children are started role by role, each role when the one before is ready, and stopped in reverse.
All that happens comes through the loop: reports on a child's Queue, messages on its control Pipe, its death on its
pidfd, signals on the wake-up descriptor, requests on the control socket. A router and each worker are joined by a Pipe
of their own, which the supervisor makes anew whenever either of them is: it keeps neither end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from broker.channel import ChannelClosed, ChannelOverflow, pipe_pair, watch
from broker.child import CONTEXT, Child, ChildSpec, Death, Reports
from broker.child_state import Event, State
from broker.code import Code
from broker.custodian import Custodian
from broker.custody import Descriptors
from broker.errors import LocalProtocolError
from broker.event_log import EventLog
from broker.heartbeats import HeartbeatWatch
from broker.kicks import Kicks
from broker.listeners import Listener
from broker.loop import READ, WRITE, Handler, Loop
from broker.messages import (
    ANSWER,
    CHILD_ROLES,
    GIVEN_UP,
    KICKED,
    LINK,
    REPORT_BEAT,
    REPORT_LAST_WORDS,
    REPORT_LOG,
    REPORT_READY,
    REPORT_RECOVERED,
    REQUEST,
    SHUTDOWN,
    STAFF,
    STOP,
    Role,
)
from broker.reload import Load
from broker.renewal import Renewal
from broker.requests import Requests
from broker.restart import RestartPolicy, add_restart
from broker.settings import Settings
from broker.workforce import Workforce

_log = logging.getLogger("broker")


class Supervisor:
    """The broker's parent process. `code` is what the children run; `load` loads it anew, for a reload."""

    def __init__(
        self,
        code: Code,
        listeners: list[Listener],
        events: EventLog,
        on_running: Callable[[], None],
        load: Load,
    ) -> None:
        self.settings = settings = code.settings
        self.listeners = listeners
        self.events = events
        self.loop = Loop()
        self.custodian = Custodian(
            self, listeners, settings.max_connections, events, self._on_released, Descriptors(), self.loop.call_later
        )
        self.custody = self.custodian.custody
        self.children: dict[str, Child] = {}
        self.started_at = time.time()
        self.state = "starting"
        self.failure: str | None = None
        self.journal_damaged = False
        """By the router's account: then the files are evidence, and whoever starts next has to decide about them."""
        self.workforce = Workforce(self, self.loop, events, self.custodian, settings.workers)
        self._on_running = on_running
        self._policy = RestartPolicy(settings.restart_intensity, settings.restart_period_seconds)
        self._nice = os.getpriority(os.PRIO_PROCESS, 0)
        self.kicks = Kicks(self)
        self.renewal = Renewal(self, self.loop, events, load, code)
        self._requests = Requests(self.loop, settings.state_dir, self.renewal.begin)
        self._goodbye_said = False
        self._journal_void = False  # the router has said that its journal is not to be trusted
        self._messages = {"messages_in": 0, "messages_out": 0}
        self._messages_of_router = dict(self._messages)
        self._run = os.urandom(16)
        self._clock_offset = time.time() - time.monotonic()
        self._wake_up_pair = socket.socketpair()

    # The life of the broker.

    def run(self) -> int:
        """Serve until stopped; returns the exit status."""
        self._catch_signals()
        gc.freeze()  # a look for garbage writes to all that there is, and would copy its pages, here and in each child
        own_nice = self.settings.nice.get("supervisor")
        if own_nice is not None:
            os.setpriority(os.PRIO_PROCESS, 0, own_nice)
        self.events.record("info", "starting", "the broker starts", "supervisor", os.getpid())
        self._add_child("router", 0)
        for index in range(self.workforce.wanted):
            self._add_child("worker", index)
        self._add_child("acceptor", 0)
        self._start_next_role()
        self._watch = HeartbeatWatch(self.loop, self.events, self.children, self.settings)
        try:
            self.loop.run()
        except Exception as error:
            _log.exception("the supervisor failed")
            self.failure = f"a bug in the supervisor: {error!r}"
            self._end_at_once()
        self.events.record("info", "stopped", "the broker has stopped", "supervisor", os.getpid())
        return 1 if self.failure else 0

    def stop(self, why: str, timeout_seconds: float | None = None) -> None:
        """Begin to stop: no new clients, goodbye to those who are here, then the children in reverse order."""
        if self.state == "stopping":
            return
        self.state = "stopping"
        self.events.record("info", "stopping", f"the broker stops: {why}", "supervisor", os.getpid())
        for child in self.of_role("acceptor"):
            self.tell_to_stop(child)
        self._close_listeners()
        self.custodian.closing = self.workforce.closing = True
        self.custodian.turn_away_undecided()
        timeout = self.settings.stop_timeout_seconds if timeout_seconds is None else timeout_seconds
        self.loop.call_later(timeout, self._stop_by_force)
        self._go_on_stopping()

    def _go_on_stopping(self) -> None:
        """Take the next step of the stop for which everything before it is done."""
        if any(child.alive for child in self.of_role("acceptor")):
            return
        if not self._goodbye_said:
            self._goodbye_said = True
            for child in self.of_role("router"):
                self.tell(child, (SHUTDOWN,))
        # Without a router there is nobody to say goodbye for; none is started any more.
        if len(self.custody) and all(any(c.alive for c in self.of_role(role)) for role in ("router", "worker")):
            return
        for role in ("worker", "router"):
            children = list(self.of_role(role))
            for child in children:
                self.tell_to_stop(child)
            if any(child.alive for child in children):
                return
        self.custody.release_all()
        self.loop.stop()

    def _stop_by_force(self) -> None:
        for child in self.children.values():
            if child.alive:
                self.events.record(
                    "warning", "killed", f"{child.name} did not stop in time: killed", child.name, child.pid
                )
                child.told_to_stop = True
                child.happen(Event.TOLD_TO_STOP)
                child.kill(signal.SIGKILL)
        self.custody.release_all()
        self._go_on_stopping()

    def _end_at_once(self) -> None:
        """No child may outlive the loop that looks after it."""
        for child in self.children.values():
            if child.process is not None:
                child.kill(signal.SIGKILL)
                child.process.join()
        self.custody.release_all()
        self._close_listeners()

    def _close_listeners(self) -> None:
        for listener in self.listeners:
            listener.close()

    # Children begin.

    def of_role(self, role: str) -> Iterator[Child]:
        """The children of a role."""
        return (child for child in list(self.children.values()) if child.spec.role == role)

    def _add_child(self, role: Role, index: int) -> Child:
        name = "router" if role == "router" else f"{role}-{index}"
        child = Child(ChildSpec(name, role, index), self.settings.nice.get(role, self._nice), self.renewal.code)
        self.children[name] = child
        return child

    def hire(self, index: int, retiring: bool) -> None:
        """Start one more worker; `retiring`: only until it has given away the sessions that it finds."""
        child = self._add_child("worker", index)
        child.retiring = retiring
        self._tell_staff()
        self._spawn(child)

    def _start_next_role(self) -> None:
        """Start the first role that has not all its children; once every role has, the broker is running."""
        for role in CHILD_ROLES:
            children = list(self.of_role(role))
            for child in children:
                if child.state is State.WAITING and child.incarnation == 0:
                    self._spawn(child)
            if any(child.state is not State.READY for child in children):
                return
        if self.state == "starting":
            self.state = "running"
            urls = " ".join(str(listener.url) for listener in self.listeners)
            self.events.record("info", "running", f"the broker listens on {urls}", "supervisor", os.getpid())
            self._on_running()

    def _spawn(self, child: Child) -> None:
        if child.state is not State.WAITING:
            return
        try:
            child.spawn(self._make_birth)
        except OSError as error:
            self.events.record("error", "log", f"cannot start {child.name}: {error.strerror}", child.name)
            self._restart_or_give_up(child, 0.0)
            return
        except Exception as error:
            if not self.renewal.is_on_probation(child):
                raise
            self.renewal.take_back(child, f"{child.name} cannot be started: {error!r}")
            return
        assert child.channel is not None
        self.loop.register(child.pidfd, READ, lambda _events: self._on_death(child))
        self.loop.register(child.report_fd(), READ, self._guarded(child, lambda _events: self._on_reports(child)))
        self.loop.register(child.channel.fileno(), READ, self._guarded(child, partial(self._on_message, child)))
        self.events.record("info", "started", f"{child.name} started, PID {child.pid}", child.name, child.pid)
        if child.spec.role == "acceptor":
            self.custodian.brief_acceptor(child)
        elif child.spec.role == "router":
            self.kicks.begin_again(child)
            self._tell_staff()
        self._link(child)
        if child.spec.role == "worker":
            self.custodian.workers_changed()

    def _guarded(self, child: Child, handler: Handler) -> Handler:
        """What a child says can at worst cost its own life."""

        def guarded(events: int) -> None:
            try:
                handler(events)
            except Exception:
                _log.exception("what %s said could not be handled", child.name)
                self._condemn(child, "what it said could not be handled; the log has the details")

        return guarded

    def _make_birth(self, child: Child, control_fd: int, stack_fd: int, reports: Reports) -> Any:
        settings = dataclasses.replace(child.code.settings, workers=self.workforce.wanted)
        index, is_worker = child.spec.index, child.spec.role == "worker"
        return child.code.birth(
            name=child.name, index=index, nice=child.nice, settings=settings, listeners=tuple(self.listeners),
            supervisor_pid=os.getpid(), control_fd=control_fd, stack_fd=stack_fd, run=self._run,
            journal_void=self._journal_void, clock_offset=self._clock_offset, ledger=self.custodian.ledger,
            held=tuple(self.custody.held_of(index)) if is_worker else (),
            elsewhere=self.custody.elsewhere(index) if is_worker else (), last_session=self.custody.last_session,
            reports=reports, on_probation=self.renewal.is_on_probation(child),
        )  # fmt: skip

    def _tell_staff(self) -> None:
        for router in self.of_role("router"):
            self.tell(router, (STAFF, [worker.spec.index for worker in self.of_role("worker")]))

    def _link(self, child: Child) -> None:
        """Join a new router with every worker, or a new worker with the router, by fresh Pipes."""
        if child.spec.role == "router":
            for worker in self.of_role("worker"):
                self._join(child, worker)
        elif child.spec.role == "worker":
            for router in self.of_role("router"):
                self._join(router, child)

    def _join(self, router: Child, worker: Child) -> None:
        if not (router.alive and worker.alive):
            return
        try:
            router_end, worker_end = pipe_pair(CONTEXT)
        except OSError as error:
            self._condemn(worker, f"there is no pipe to join it to the router: {error.strerror}")
            return
        link = (LINK, worker.spec.index, worker.incarnation)
        self.tell(router, link, [router_end])
        self.tell(worker, link, [worker_end])

    # Children speak.

    def tell(self, child: Child, message: tuple[Any, ...], descriptors: list[int] | None = None) -> None:
        """Send to a child. If its Pipe is gone its death will follow; if it does not read, it is helped to die."""
        if child.channel is None:
            for fd in descriptors or ():
                os.close(fd)
            return
        try:
            child.channel.send(message, descriptors)
            watch(self.loop, child.channel)
        except ChannelClosed:
            pass
        except ChannelOverflow as error:
            self._condemn(child, f"it does not read its control pipe: {error}")

    def _on_message(self, child: Child, events: int) -> None:
        assert child.channel is not None
        try:
            if events & WRITE:
                child.channel.flush()
                watch(self.loop, child.channel)
            for message in child.channel.receive():
                self._apply(child, message)
        except ChannelClosed:
            # It ends, or it has closed what it must not: its pidfd tells. Until then there is nothing to read.
            if child.channel is not None:
                self.loop.unregister(child.channel.fileno())
        except LocalProtocolError as error:
            self._condemn(child, f"it broke the rules of its control pipe: {error}")

    def _apply(self, child: Child, message: tuple[Any, ...]) -> None:
        code = message[0]
        if self.custodian.handles(code):
            self.custodian.apply(child, message)
        elif code == GIVEN_UP:
            worker = self.children.get(f"worker-{message[1]}")
            if worker is not None and worker.incarnation == message[2] and worker.alive:
                self._condemn(worker, "the router has given it up")
        elif code == REQUEST:
            _, number, kind, arguments = message
            self._requests.begin(number, kind, tuple(arguments), partial(self._answer, number))
        elif code == KICKED:
            self.kicks.answered(*message[1:])
        else:
            raise LocalProtocolError(f"{child.name} sent a message {code!r} that there is not")

    def _answer(self, number: int, answer: Any) -> None:
        for router in self.of_role("router"):
            self.tell(router, (ANSWER, number, answer))

    def _on_released(self, workers: set[int]) -> None:
        """These workers have fewer sessions than before."""
        self.workforce.released(workers)
        if self.state == "stopping":
            self._go_on_stopping()

    def _on_reports(self, child: Child) -> None:
        fd = child.report_fd()
        reports, ended = child.read_reports()
        if ended:
            self.loop.unregister(fd)
        for report in reports:
            self._apply_report(child, report)

    def _apply_report(self, child: Child, report: dict[str, Any]) -> None:
        kind = report["kind"]
        if kind == REPORT_BEAT:
            child.last_beat = time.monotonic()
            if child.spec.role == "router":
                self._count_messages(report["counters"])
                self._journal_void = report["counters"]["journal"].startswith("suspended")
            child.counters = report["counters"]
            child.look = child.verdict = None
        elif kind == REPORT_READY:
            self._on_ready(child)
        elif kind == REPORT_LOG:
            self.events.record(report["level"], "log", report["text"], child.name, child.pid)
        elif kind == REPORT_RECOVERED:
            self._record_recovery(child, report)
        elif kind == REPORT_LAST_WORDS:
            child.last_words = report["text"]
            child.hopeless = report.get("hopeless", False)

    def _record_recovery(self, child: Child, report: dict[str, Any]) -> None:
        """A child has found everything as its predecessor left it."""
        more = {key: value for key, value in report.items() if key != "kind"}
        milliseconds = more["seconds"] * 1000
        if child.spec.role == "router":
            how = f"records replayed: {more['records']}"
        else:
            how = f"batches replayed: {more['batches']}, bytes sent again: {more['bytes']}"
        text = f"{child.name} took over {more['sessions']} sessions in {milliseconds:.0f} ms ({how})"
        self.events.record("info", "recovered", text, child.name, child.pid, **more)

    def _count_messages(self, now: dict[str, Any]) -> None:
        """A router that has taken over goes on counting where the other one stopped; a new one begins at 0."""
        for key in self._messages:
            if now[key] < self._messages_of_router[key]:
                self._messages_of_router[key] = 0
            self._messages[key] += now[key] - self._messages_of_router[key]
            self._messages_of_router[key] = now[key]

    def _on_ready(self, child: Child) -> None:
        child.happen(Event.READY)
        child.ready_since = child.last_beat = time.monotonic()
        took = child.ready_since - child.spawned
        self.events.record("info", "ready", f"{child.name} is ready after {took:.3f} s", child.name, child.pid)
        if child.spec.role == "worker":
            self.workforce.worker_ready()
        if self.state == "starting":
            self._start_next_role()
        self.renewal.ready(child)

    # Children end.

    def _on_death(self, child: Child) -> None:
        """Its pidfd says that it has ended: hear its last words, reap it, see to what it leaves behind."""
        assert child.channel is not None
        pid = child.pid
        # What it said before it died is true still: connections that it accepted or closed, why it ended.
        with contextlib.suppress(ChannelClosed, LocalProtocolError):
            while messages := child.channel.receive():
                for message in messages:
                    self._apply(child, message)
        for report in child.read_reports()[0]:
            self._apply_report(child, report)
        for fd in (child.pidfd, child.report_fd(), child.channel.fileno()):
            with contextlib.suppress(KeyError):
                self.loop.unregister(fd)
        useful_seconds = 0.0 if child.ready_since is None else time.monotonic() - child.ready_since
        child.counters = {}
        death = child.bury()
        self._record_death(child, pid, death)
        if child.spec.role == "worker":
            self.custodian.workers_changed()
        if self.state == "stopping" and child.spec.role == "worker":
            self.custodian.release_all_of(child.spec.index)  # nobody will come to take them over
        if child.state is State.GONE:
            self._forget(child)
            self.workforce.reconcile()
        elif self.state == "stopping":
            child.happen(Event.TOLD_TO_STOP)
            self._forget(child)
        elif self.renewal.has_failed(child, death):
            self.renewal.take_back(child, f"{child.name} {death}{_reason_of(child)}")
        else:
            if self.renewal.change(child, death):
                self.spawn_again(child)
            else:
                killed = death.signal == "SIGKILL" and child.condemned_for is None
                self._restart_or_give_up(child, useful_seconds, killed)
        if self.state == "stopping":
            self._go_on_stopping()

    def _record_death(self, child: Child, pid: int | None, death: Death) -> None:
        planned = child.told_to_stop or child.being_replaced
        more: dict[str, Any] = dataclasses.asdict(death)
        if child.last_words:
            more["last_words"] = child.last_words
        self.events.record(
            "info" if planned else "warning",
            "died" if death.signal else "exited",
            f"{child.name} (PID {pid}) {death}{_reason_of(child)}",
            child.name, pid, **more,
        )  # fmt: skip

    def _restart_or_give_up(self, child: Child, useful_seconds: float, killed: bool = False) -> None:
        if child.hopeless:
            self.failure = f"{child.name} cannot go on: {child.last_words}"
            self.journal_damaged = True
            in_one_line = self.failure.replace("\n", "; ")
            self.events.record("error", "gave-up", f"giving up: {in_one_line}", child.name)
            self.stop(in_one_line)
            return
        decision = add_restart(self._policy, child.history, time.monotonic(), useful_seconds, killed)
        child.history = decision.history
        if decision.delay_seconds is None:
            self.failure = f"{child.name} had to be replaced too often within {self._policy.period_seconds:g} s"
            if not killed and self.renewal.take_back_late(child, self.failure):
                self.failure = None
                return
            self.events.record("error", "gave-up", f"giving up: {self.failure}", child.name)
            self.stop(self.failure)
            return
        child.restarts += 1
        after = f" in {decision.delay_seconds:g} s" if decision.delay_seconds else ""
        self.events.record(
            "info", "restarting", f"{child.name} is restarted{after}", child.name,
            delay_seconds=decision.delay_seconds,
        )  # fmt: skip
        if decision.delay_seconds:
            self.loop.call_later(decision.delay_seconds, partial(self.spawn_again, child))
        else:
            self.spawn_again(child)

    def spawn_again(self, child: Child) -> None:
        """Start the next incarnation of a child, unless there is to be none."""
        if self.state != "stopping" and self.children.get(child.name) is child:
            self._spawn(child)

    def tell_to_stop(self, child: Child) -> None:
        """Have a child end, for good."""
        if child.told_to_stop and child.state in (State.STOPPING, State.GONE):
            return
        child.told_to_stop = True
        child.happen(Event.TOLD_TO_STOP)
        if child.state is State.GONE:
            self._forget(child)
        else:
            self.tell(child, (STOP,))

    def _forget(self, child: Child) -> None:
        """There will be no further incarnation of it."""
        del self.children[child.name]
        if child.spec.role == "worker":
            self._tell_staff()
        if self.state != "stopping":
            self.renewal.gone(child)

    def _condemn(self, child: Child, reason: str) -> None:
        if child.condemned_for is None:
            child.happen(Event.CONDEMNED)
            child.condemned_for = reason
            self.events.record("error", "killed", f"{child.name}: {reason}; it is killed", child.name, child.pid)
            child.kill(signal.SIGKILL)

    def use(self, settings: Settings) -> None:
        """These are in force from now on."""
        self.settings = settings
        self._policy = RestartPolicy(settings.restart_intensity, settings.restart_period_seconds)
        self._watch.settings = settings

    # What others may ask.

    def remember_nice(self, name: str, old: int, new: int, by: str) -> None:
        """A child was reniced: its further incarnations get the new value."""
        child = self.children.get(name)
        if child is not None:
            child.nice = new
        self.events.record(
            "info", "reniced", f"{name}: nice {old} → {new} by {by}", name, child.pid if child else os.getpid(),
            old=old, new=new, by=by,
        )  # fmt: skip

    def messages(self, key: str) -> int:
        """Lines applied or deliveries ordered since the start, as of the router's last beat."""
        return self._messages[key]

    def of_router(self, counter: str) -> Any:
        """A counter of the router as of its last beat; None until its first one."""
        return next((child.counters.get(counter) for child in self.of_role("router")), None)

    def rooms(self) -> int:
        """Rooms, as of the router's last beat."""
        return sum(child.counters.get("rooms", 0) for child in self.of_role("router"))

    # Signals.

    def _catch_signals(self) -> None:
        """Handlers only wake the loop: the number of the signal arrives as a byte on the wake-up descriptor."""
        for end in self._wake_up_pair:
            end.setblocking(False)
        signal.set_wakeup_fd(self._wake_up_pair[1].fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda _number, _frame: None)
        self.loop.register(self._wake_up_pair[0].fileno(), READ, self._on_signals)

    def _on_signals(self, _events: int) -> None:
        for number in self._wake_up_pair[0].recv(64):
            if self.state == "stopping" and number == signal.SIGINT:
                self._stop_by_force()  # asked twice
            elif number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                self.stop(f"{signal.Signals(number).name} received")


def _reason_of(child: Child) -> str:
    """Why it has ended, by others' account and the line of its own that says most: to be put behind other words."""
    reason = f" ({child.condemned_for})" if child.condemned_for else ""
    if child.last_words:
        lines = child.last_words.strip().splitlines()
        reason += f"; its last words: {lines[0 if child.hopeless else -1]}"
    return reason
