"""The terminal: an input line with a status bar below it, and the conversation scrolling by above.

Used by the process of `broker chat` when it has a terminal on both sides. prompt_toolkit owns the terminal while `run`
runs, and gives it back as it was, however that ends. Printing is batched: whatever was painted since the last drawing
is written in one go just before the input line is drawn again, at most REDRAWS_PER_SECOND times a second; so neither a
flood of messages nor a slow terminal gets in the way of the keyboard. It knows no protocol: what is typed goes to a
handler, what is shown comes as painted text.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Protocol

from prompt_toolkit.application import Application
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.data_structures import Size
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout import (
    BufferControl,
    CompletionsMenu,
    Dimension,
    Float,
    FloatContainer,
    FormattedTextControl,
    HSplit,
    Layout,
    Window,
)
from prompt_toolkit.layout.processors import BeforeInput
from prompt_toolkit.output.vt100 import Vt100_Output

from broker.client.completion import Vocabulary, candidates

REDRAWS_PER_SECOND = 25
MENU_ROWS = 6
INPUT_ROWS = 8
"""How high a long or pasted text may make the input line before it scrolls."""


class Handler(Protocol):
    """What the screen asks and tells."""

    def prompt(self) -> str:
        """What stands before the input line; asked at every drawing."""

    def status(self, leaving_next: bool) -> str:
        """What the status bar says; asked at every drawing. `leaving_next`: another Ctrl-C leaves."""

    def vocabulary(self) -> Vocabulary:
        """What Tab can complete; asked when it is pressed."""

    def typed(self, text: str) -> bool:
        """Take an entered line. False: it was not taken, and stays in the input line."""

    def leave(self) -> None:
        """The person wants to go."""


class _ChatCompleter(Completer):
    """Shows `candidates` to prompt_toolkit."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        word, choices = candidates(document.text_before_cursor, self._handler.vocabulary())
        return [Completion(choice, start_position=-len(word), display=choice.strip()) for choice in choices]


class Screen:
    """Input line, status bar, and the text that scrolls by above them."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._unprinted: list[str] = []
        self._leaving_next = False
        self._output = Vt100_Output(sys.stdout, _terminal_size, term=os.environ.get("TERM"), enable_cpr=False)
        self.input_line = Buffer(
            completer=_ChatCompleter(handler),
            history=InMemoryHistory(),
            multiline=False,
            accept_handler=self._accept,
            on_text_changed=self._on_text_changed,
        )
        self._application: Application[None] = Application(
            layout=self._layout(),
            key_bindings=self._key_bindings(),
            output=self._output,
            erase_when_done=True,
            min_redraw_interval=1 / REDRAWS_PER_SECOND,
            before_render=self._print_all,
        )

    @property
    def width(self) -> int:
        """Columns of the terminal now."""
        return self._output.get_size().columns

    async def run(self) -> None:
        """Own the terminal until `close` is called or the terminal goes away."""
        try:
            await self._application.run_async(set_exception_handler=False, handle_sigint=False)
        except EOFError:
            self._handler.leave()  # the terminal was closed under us

    def close(self) -> None:
        """Let `run` return; what is not printed yet is printed first."""
        if self._application.is_running and not self._application.is_done:
            self._application.exit()

    def print(self, painted: str) -> None:
        """Show painted text, whole lines, above the input line."""
        self._unprinted.append(painted)
        self._application.invalidate()

    def refresh(self) -> None:
        """Draw again, because the prompt or the status has changed."""
        self._application.invalidate()

    def suggest(self, text: str) -> None:
        """Put a text into an empty input line, for the person to accept or to change."""
        if not self.input_line.text:
            self.input_line.document = Document(text)

    def _print_all(self, _: Application[None]) -> None:
        # Runs before every drawing, so the gap in which there is no input line is never seen.
        if not self._unprinted:
            return
        self._application.renderer.erase()
        self._output.write_raw("".join(self._unprinted))
        self._unprinted.clear()

    def _accept(self, buffer: Buffer) -> bool:
        keep = not self._handler.typed(buffer.text)
        self._application.invalidate()
        return keep

    def _on_text_changed(self, _: Buffer) -> None:
        self._leaving_next = False

    def _layout(self) -> Layout:
        control = BufferControl(self.input_line, input_processors=[BeforeInput(self._handler.prompt, style="bold")])
        input_window = Window(
            control,
            wrap_lines=True,
            dont_extend_height=True,
            height=lambda: Dimension(min=MENU_ROWS + 1 if self.input_line.complete_state else 1, max=INPUT_ROWS),
        )
        status_bar = Window(
            FormattedTextControl(lambda: f" {self._handler.status(self._leaving_next)}"),
            height=1,
            style="reverse",
            wrap_lines=False,
        )
        return Layout(
            FloatContainer(
                HSplit([input_window, status_bar]),
                floats=[Float(CompletionsMenu(max_height=MENU_ROWS), xcursor=True, ycursor=True, transparent=True)],
            ),
            focused_element=input_window,
        )

    def _key_bindings(self) -> KeyBindings:
        keys = KeyBindings()
        empty = Condition(lambda: not self.input_line.text)

        @keys.add("c-c")
        def interrupt(_: KeyPressEvent) -> None:
            if self._leaving_next:
                self._handler.leave()
                return
            self.input_line.reset()
            self._leaving_next = True

        @keys.add("c-d", filter=empty)
        def end_of_input(_: KeyPressEvent) -> None:
            self._handler.leave()

        @keys.add("c-z")
        def suspend(event: KeyPressEvent) -> None:
            event.app.suspend_to_background()

        return keys


def _terminal_size() -> Size:
    size = os.get_terminal_size(sys.stdout.fileno())
    return Size(rows=size.lines or 24, columns=size.columns or 80)  # a serial line does not know its size
