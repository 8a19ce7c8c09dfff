"""The keyboard: puts a terminal into cbreak mode and turns the bytes that it sends into names of keys.

Owns the terminal's input settings while it is entered and gives them back, whatever happens. The decoder is pure and
knows no terminal: bytes go in as they come, torn anywhere, and keys come out. It refuses to know what a key means;
that is `monitor.bindings`. Runs in the process of `broker top`.

A key is one printable character, or one of the names in `NAMES` and `SEQUENCES`. An escape byte alone is the Escape
key only if nothing follows it soon (ECMA-48 sequences start with the same byte), so whoever reads waits
`ESCAPE_SECONDS` and then calls `flush`. Sequences that nobody knows are swallowed whole: they must not turn into the
letters that they contain, one of which is the key that kills.
"""

from __future__ import annotations

import codecs
import os
import re
import termios
import time
from types import TracebackType
from typing import Any, Final

ESCAPE_SECONDS: Final = 0.05
"""How long an escape byte may wait for the rest of its sequence. Terminals send them in one write."""

SEQUENCE_BYTES: Final = 64
"""A sequence longer than this is noise, and is dropped."""

NAMES: Final[dict[str, str]] = {
    "\r": "enter",
    "\n": "enter",
    "\t": "tab",
    "\x7f": "backspace",
    "\x08": "backspace",
    "\x0c": "redraw",  # Ctrl-L, as everywhere
    "\x15": "erase",  # Ctrl-U, likewise
}
"""Control characters that mean something; the others are ignored."""

SEQUENCES: Final[dict[str, str]] = {
    "A": "up",
    "B": "down",
    "C": "right",
    "D": "left",
    "H": "home",
    "F": "end",
    "1~": "home",
    "7~": "home",
    "4~": "end",
    "8~": "end",
    "3~": "delete",
    "5~": "page-up",
    "6~": "page-down",
}
"""Ends of the sequences after `ESC [` or `ESC O`, without modifiers (xterm's ctlseqs, "PC-Style Function Keys")."""

# ESC [ parameters intermediates final (ECMA-48 5.4), or ESC O and one character (SS3, the cursor keys of application
# mode). Linux' console alone sends ESC [ [ A for its function keys.
_SEQUENCE: Final = re.compile(r"\x1b(?:\[\[[A-E]|\[(?!\[)([0-?]*)[ -/]*([@-~])|O([0-9;]*)([A-Za-z]))")
_UNFINISHED: Final = re.compile(r"\x1b(?:\[\[?[0-?]*[ -/]*|O[0-9;]*)?\Z")


class Decoder:
    """Bytes of a terminal in, keys out; keeps what is not finished yet."""

    def __init__(self) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="ignore")
        self._text = ""

    @property
    def pending(self) -> bool:
        """Whether an escape byte waits for what follows: then call `flush` after `ESCAPE_SECONDS` without input."""
        return bool(self._text)

    def feed(self, data: bytes) -> list[str]:
        """Return the keys that are complete with `data`, in order."""
        self._text += self._utf8.decode(data)
        keys: list[str] = []
        while self._text:
            if self._text[0] != "\x1b":
                _append(keys, _plain_key(self._text[0]))
                self._text = self._text[1:]
            elif match := _SEQUENCE.match(self._text):
                _append(keys, _sequence_key(match))
                self._text = self._text[match.end() :]
            elif _UNFINISHED.match(self._text):
                if len(self._text) > SEQUENCE_BYTES:
                    self._text = ""
                break
            elif self._text[1] == "\x1b":
                keys.append("escape")
                self._text = self._text[1:]
            elif self._text[1] in "[O":  # a sequence torn by a character that has no place in it
                self._text = self._text[2:]
            else:  # ESC and a character: Alt and that key, which nobody asked for
                self._text = self._text[2:]
        return keys

    def flush(self) -> list[str]:
        """Nothing followed: an escape byte alone was the Escape key, half a sequence is dropped."""
        keys = ["escape"] if self._text == "\x1b" else []
        self._text = ""
        return keys


def _plain_key(character: str) -> str | None:
    return NAMES.get(character, character if character.isprintable() else None)


def _sequence_key(match: re.Match[str]) -> str | None:
    parameters, final = match[1] or match[3] or "", match[2] or match[4]
    if final is None:  # a function key of the Linux console
        return None
    # The first parameter is the key's number with `~`, and 1 with a letter; a second one holds the modifiers.
    return SEQUENCES.get(parameters.partition(";")[0] + final if final == "~" else final)


def _append(keys: list[str], key: str | None) -> None:
    if key is not None:
        keys.append(key)


class Keyboard:
    """A terminal whose keys come at once and are not echoed, while this context is entered.

    Signals stay on the keys that they are on (Ctrl-C, Ctrl-Z). `fd` must be a terminal; OSError or `termios.error`
    otherwise. Entering again after leaving is allowed: so a suspended dashboard comes back.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.flush_at: float | None = None
        """When `flush` is due, as monotonic seconds; None if nothing is pending."""
        self._decoder = Decoder()
        self._saved: list[Any] | None = None

    def __enter__(self) -> Keyboard:
        self._saved = termios.tcgetattr(self.fd)
        attributes = termios.tcgetattr(self.fd)
        attributes[3] &= ~(termios.ECHO | termios.ICANON)
        attributes[6][termios.VMIN] = 1
        attributes[6][termios.VTIME] = 0
        termios.tcsetattr(self.fd, termios.TCSANOW, attributes)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._saved is None:
            return
        saved, self._saved = self._saved, None
        try:
            # Keys that were typed and not read are dropped: the shell must not get half a command of the dashboard.
            # Not TCSAFLUSH, which would wait for a terminal that was stopped with Ctrl-S.
            termios.tcflush(self.fd, termios.TCIFLUSH)
            termios.tcsetattr(self.fd, termios.TCSANOW, saved)
        except termios.error:
            pass  # the terminal is gone, and its settings with it

    def read(self) -> list[str] | None:
        """Return the keys in what can be read now; None at the end of input, when the terminal is gone."""
        try:
            data = os.read(self.fd, 4096)
        except BlockingIOError:
            return []
        except OSError:  # EIO: the terminal hung up
            return None
        if not data:
            return None
        keys = self._decoder.feed(data)
        self.flush_at = time.monotonic() + ESCAPE_SECONDS if self._decoder.pending else None
        return keys

    def flush(self) -> list[str]:
        """What is pending has waited long enough; see `flush_at`."""
        self.flush_at = None
        return self._decoder.flush()
