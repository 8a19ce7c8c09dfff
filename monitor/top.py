"""The loop of `broker top`: waits for keys, signals and the next look, and draws; owns the terminal while it runs.

The terminal is entered and left through context managers only, and signals do no more than wake the loop, so it is
given back whole however this ends: by a key, Ctrl-C, SIGTERM, Ctrl-Z or an exception. Nothing is drawn but after a key,
a look or a resize, and no look waits for the supervisor longer than `CONTROL_TIMEOUT_SECONDS`. What a key means is
`monitor.bindings`' business, what it looks like `monitor.dashboard`'s, and what it does `monitor.actions`'.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from rich.console import Console, ConsoleDimensions
from rich.control import Control
from rich.live import Live

from broker.errors import BrokerError, NotRunningError
from monitor.actions import carry_out
from monitor.bindings import press
from monitor.dashboard import draw
from monitor.details import read_details
from monitor.keys import Keyboard
from monitor.left_behind import events_after
from monitor.sampler import Sampler
from monitor.view import Quit, Redraw, Renice, Signal, View, elapse, lose, observe, say, selected_line
from monitor.wakeups import Wakeups

CONTROL_TIMEOUT_SECONDS: Final = 0.2
SECOND_LOOK_SECONDS: Final = 0.3
"""After the first look, which cannot know any growth, and after an action, whose outcome one wants to see."""

LEAVING_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(state_dir: Path, refresh_seconds: float, keyboard_fd: int) -> int:
    """Show the broker of `state_dir` until the user leaves; returns the exit status, 130 after Ctrl-C.

    NotRunningError, before the screen is touched, if there is no broker to begin with. SIGTERM and SIGHUP end the
    process as they would have without the dashboard, once the terminal is restored.
    """
    with Sampler(state_dir, CONTROL_TIMEOUT_SECONDS) as sampler:
        view = observe(View(), sampler.sample())
        with Wakeups((*LEAVING_SIGNALS, signal.SIGWINCH, signal.SIGTSTP)) as wakeups:
            ended_by = Dashboard(sampler, view, refresh_seconds, Keyboard(keyboard_fd), wakeups).run()
    if ended_by in (None, signal.SIGINT):
        return 0 if ended_by is None else 128 + signal.SIGINT
    signal.signal(ended_by, signal.SIG_DFL)
    signal.raise_signal(ended_by)
    return 128 + ended_by


class Dashboard:
    """The dashboard on a terminal."""

    def __init__(
        self, sampler: Sampler, view: View, refresh_seconds: float, keyboard: Keyboard, wakeups: Wakeups
    ) -> None:
        self.sampler = sampler
        self.view = view
        self.refresh_seconds = refresh_seconds
        self.keyboard = keyboard
        self.wakeups = wakeups
        self.console = Console(force_interactive=True, highlight=False, markup=False, emoji=False, legacy_windows=False)
        self._next_look = time.monotonic() + min(SECOND_LOOK_SECONDS, refresh_seconds)

    def run(self) -> signal.Signals | None:
        """Show it until a key (None) or a signal (that one) ends it; Ctrl-Z suspends it in between."""
        while True:
            try:
                with self.keyboard, self._live() as live:
                    ended_by = self._serve(live)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                return signal.SIGHUP  # the terminal hung up, before the signal that says so has come
            if ended_by != signal.SIGTSTP:
                return ended_by
            self.wakeups.stop_here(signal.SIGTSTP)

    def _live(self) -> Live:
        return Live(
            console=self.console,
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )

    def _serve(self, live: Live) -> signal.Signals | None:
        while True:
            self._draw(live)
            keys, caught = self._wait()
            ending = [number for number in caught if number != signal.SIGWINCH]
            if ending:  # whoever wants it to end is not served by a suspended dashboard
                return min(ending, key=lambda number: number == signal.SIGTSTP)
            for key in keys:
                if self._press(key, live):
                    return None
            if time.monotonic() >= self._next_look:
                self._look()

    def _wait(self) -> tuple[list[str], list[signal.Signals]]:
        """Sleep until there are keys or signals, or the next look is due."""
        while True:
            flush_at = self.keyboard.flush_at
            wake_at = self._next_look if flush_at is None else min(self._next_look, flush_at)
            timeout_seconds = max(wake_at - time.monotonic(), 0.0)
            ready, _, _ = select.select([self.keyboard.fd, self.wakeups.fd], [], [], timeout_seconds)
            caught = self.wakeups.take() if self.wakeups.fd in ready else []
            keys: list[str] | None = []
            if self.keyboard.fd in ready:
                keys = self.keyboard.read()
            elif flush_at is not None and time.monotonic() >= flush_at:
                keys = self.keyboard.flush()
            if keys is None:
                return [], [*caught, signal.SIGHUP]
            if keys or caught or time.monotonic() >= self._next_look:
                return keys, caught

    def _press(self, key: str, live: Live) -> bool:
        """Do what a key asks for; whether it asks to leave."""
        selected, showed = self.view.selected, self.view.show_details
        self.view, action = press(elapse(self.view, time.time()), key, live.console.width, live.console.height)
        if isinstance(action, Quit):
            return True
        if isinstance(action, Redraw):
            live.console.control(Control.clear())
        elif action is not None:
            self._carry_out(action)
        if (self.view.selected, self.view.show_details) != (selected, showed):
            self._read_details()
        return False

    def _look(self) -> None:
        """Look at the broker, unless the display is paused."""
        started_at = time.monotonic()
        if self.view.paused:
            self.view = elapse(self.view, time.time())
        else:
            try:
                self.view = observe(self.view, self.sampler.sample())
            except NotRunningError as error:
                self.view = lose(self.view, str(error), self._last_events(), time.time())
            self._read_details()
        # A steady rate, but never one look right after the other: that would leave no time for keys.
        self._next_look = max(self._next_look, started_at) + self.refresh_seconds

    def _last_events(self) -> tuple[dict[str, Any], ...]:
        known = self.view.snapshot.events if self.view.snapshot is not None else ()
        return events_after(self.sampler.state_dir, known[-1]["at"]) if known else ()

    def _read_details(self) -> None:
        line = selected_line(self.view) if self.view.show_details else None
        pid = line.row.pid if line is not None and not line.departed else None
        self.view = replace(self.view, details=None if pid is None else read_details(pid))

    def _carry_out(self, action: Renice | Signal) -> None:
        rows = self.view.snapshot.rows if self.view.snapshot is not None else ()
        try:
            text = carry_out(action, self.sampler.state_dir, rows)
            self.view = say(self.view, text)
        except BrokerError as error:
            self.view = say(self.view, str(error), is_error=True)
        self._next_look = min(self._next_look, time.monotonic() + SECOND_LOOK_SECONDS)

    def _draw(self, live: Live) -> None:
        size = os.get_terminal_size(self.console.file.fileno())
        width, height = size.columns or 80, size.lines or 24
        # Not left to rich, which trusts $COLUMNS and $LINES: they are those of the shell before the resize.
        self.console.size = ConsoleDimensions(width, height)
        live.update(draw(self.view, width, height, self.refresh_seconds), refresh=True)
