"""What every child process has in common, from the first instruction after the fork to its last words.

A child is born inside the supervisor's memory and with all its descriptors: it first ties its life to its parent's,
closes all that is not its own, and only then starts its loop. It beats from that loop, so that a heartbeat proves that
the loop turns; it ends in good order when it is told to, or when the control Pipe says that the supervisor is gone.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import multiprocessing.queues
import os
import queue
import signal
import traceback
from collections.abc import Container
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import setproctitle

from broker.channel import ChannelClosed, ChannelOverflow, watch
from broker.custody import Held
from broker.errors import JournalDamaged
from broker.ledger import Ledger
from broker.linux import die_with_parent, make_room_for_descriptors
from broker.listeners import Listener
from broker.loop import READ, WRITE
from broker.messages import REPORT_BEAT, REPORT_BYTES, REPORT_LAST_WORDS, REPORT_LOG, REPORT_READY, STOP
from broker.settings import Settings
from broker.watchdog import until_beat
from workers.platform import LINUX, Platform

_FEW_DESCRIPTORS: Final = 256
_COLLECTIONS: Final = (700, 10, 100)
"""After how many new objects, and collections of these, the garbage collector looks: as always, but for the last. With
10,000 sessions a look at everything took 10 ms, six times in a storm of connections, and found nothing: a session that
is closed takes part in no cycle."""


@dataclass(frozen=True)
class Birth:
    """Everything that a child gets from the supervisor; its descriptors are the child's to keep."""

    name: str
    index: int
    nice: int
    settings: Settings
    listeners: tuple[Listener, ...]
    supervisor_pid: int
    control_fd: int
    stack_fd: int
    run: bytes  # of the broker: the same for all from its start to its end
    clock_offset: float  # Unix time less time.monotonic(), the same for all
    ledger: Ledger
    held: tuple[Held, ...]  # a worker's sessions, which it is born with
    elsewhere: Container[int]  # sessions that others had then
    last_session: int  # the latest one that there was then
    reports: multiprocessing.queues.Queue[dict[str, Any]]
    longest_line_bytes: int | None = None  # of any protocol that is spoken, without its end; None: max_line_bytes
    journal_void: bool = False  # the last router's journal is not all that it knew
    on_probation: bool = False  # the router's code is new, and may soon be taken back
    platform: Platform = LINUX


class ChildProcess:
    """The base of acceptor, router and worker: a loop, the control Pipe, the report Queue, the heartbeat."""

    inherits_listeners: ClassVar[bool] = False

    def __init__(self, birth: Birth) -> None:
        self.birth = birth
        self.settings = birth.settings
        self.platform = birth.platform
        self.loop = self.platform.loop()
        self.loop.after_wake_up = self.after_wake_up
        self.control = self.platform.control_pipe(birth.control_fd)
        self.loop.register(self.control.fileno(), READ, self._on_control)

    # What a role fills in.

    def on_message(self, message: tuple[Any, ...]) -> None:
        """A message of the supervisor (see `broker.messages`)."""
        raise NotImplementedError

    def counters(self) -> dict[str, int]:
        """What the heartbeat reports."""
        raise NotImplementedError

    def after_wake_up(self) -> None:
        """Called once at the end of each turn of the loop."""

    def beat(self) -> None:
        """Called with each heartbeat."""

    @classmethod
    def descriptors(cls, settings: Settings) -> int:
        """At most how many it may have open at once, about."""
        return _FEW_DESCRIPTORS

    # What a role may call.

    def tell_supervisor(self, message: tuple[Any, ...], descriptors: list[int] | None = None) -> None:
        """Send on the control Pipe; what the kernel does not take now is sent when it does."""
        try:
            self.control.send(message, descriptors)
        except ChannelClosed:
            self.loop.stop()
        watch(self.loop, self.control)

    def report(self, kind: str, **content: Any) -> None:
        """Put a report on the Queue; it is dropped when the supervisor has not read the earlier ones."""
        with contextlib.suppress(queue.Full):
            self.birth.reports.put_nowait({"kind": kind, **content})

    def log(self, level: str, text: str) -> None:
        """Report a log record."""
        self.report(REPORT_LOG, level=level, text=clip(text))

    # The life.

    def serve(self) -> None:
        """The whole of it, from being ready until told to stop."""
        self.begin()
        self.loop.run()
        self.finish()

    def begin(self) -> None:
        """Report ready, and go on to beat."""
        self.report(REPORT_READY)
        self._beat()

    def finish(self) -> None:
        """Called when it was told to stop, after the loop."""

    def _beat(self) -> None:
        self.beat()
        self.loop.call_later(until_beat(self.platform.monotonic(), self.settings.heartbeat_seconds), self._beat)
        self.report(REPORT_BEAT, counters=self.counters())

    def _on_control(self, events: int) -> None:
        try:
            if events & WRITE:
                self.control.flush()
                watch(self.loop, self.control)
            for message in self.control.receive():
                if message[0] == STOP:
                    self.stop()
                else:
                    self.on_message(message)
        except ChannelClosed:
            self.stop()

    def stop(self) -> None:
        """End in good order at the end of this turn."""
        self.loop.stop()


def clip(text: str) -> str:
    """Shorten a text so that its report stays one atomic write."""
    data = text.encode()
    return text if len(data) <= REPORT_BYTES - 500 else data[: REPORT_BYTES - 500].decode(errors="ignore") + "…"


def live(child_class: type[ChildProcess], birth: Birth) -> None:
    """The whole life of a child: the target of its `multiprocessing.Process`. Ends the process."""
    if not die_with_parent(birth.supervisor_pid):
        os._exit(1)
    _close_inherited(birth, child_class.inherits_listeners)
    with contextlib.suppress(OSError):  # it can do without
        make_room_for_descriptors(birth.control_fd, child_class.descriptors(birth.settings))
    _reset_signals()
    faulthandler.register(signal.SIGUSR1, file=birth.stack_fd, all_threads=True)
    setproctitle.setproctitle(f"broker: {birth.name}")
    # The title's first 15 bytes, which it has put here, are "broker: worker-"; and a zombie has no more than this.
    setproctitle.setthreadtitle(birth.name)
    _set_nice(birth)
    gc.freeze()  # what the supervisor built is not garbage: leave its pages shared
    gc.set_threshold(*_COLLECTIONS)
    child: ChildProcess | None = None
    try:
        child = child_class(birth)
        child.serve()
    except JournalDamaged as error:
        child_report(birth, str(error), hopeless=True)
        raise SystemExit(1) from None
    except ChannelOverflow as error:
        child_report(birth, f"cannot go on: {error}")
        raise SystemExit(1) from None
    except Exception:
        child_report(birth, traceback.format_exc())
        raise SystemExit(1) from None


def _set_nice(birth: Birth) -> None:
    try:
        os.setpriority(os.PRIO_PROCESS, 0, birth.nice)
    except PermissionError:  # the supervisor's own value has been raised since it promised this one
        text = f"{birth.name} keeps nice {os.getpriority(os.PRIO_PROCESS, 0)}: {birth.nice} is not permitted"
        birth.reports.put_nowait({"kind": REPORT_LOG, "level": "warning", "text": text})


def child_report(birth: Birth, text: str, hopeless: bool = False) -> None:
    """Last words: why this process ends, for the supervisor's log; `hopeless` if a replacement would fare no better."""
    # The end of a traceback says more than its beginning.
    tail = text.encode()[-(REPORT_BYTES - 500) :].decode(errors="ignore")
    with contextlib.suppress(queue.Full):
        birth.reports.put_nowait({"kind": REPORT_LAST_WORDS, "text": tail, "hopeless": hopeless})


def _close_inherited(birth: Birth, inherits_listeners: bool) -> None:
    """Close every descriptor but the child's own: above all the custodian's duplicates and other children's Pipes."""
    reader = getattr(birth.reports, "_reader")  # noqa: B009 - not in the type stubs
    reader.close()  # by its owner, so that it does not close the number again when somebody else has it
    writer = getattr(birth.reports, "_writer")  # noqa: B009
    keep = {0, 1, 2, birth.control_fd, birth.stack_fd, writer.fileno(), *(held.fd for held in birth.held)}
    if inherits_listeners:
        keep.update(listener.fd for listener in birth.listeners)
    low = 0
    for fd in sorted(keep):
        if low < fd:  # closerange(0, 0) would close everything (cpython's end is inclusive inside, and unsigned)
            os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))


def _reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    # Ctrl-C goes to the whole foreground group; the supervisor decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
