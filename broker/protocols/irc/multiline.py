"""BATCH: a message of several lines as one (IRCv3 draft multiline). Runs in the router; pure.

The lines between `BATCH +reference draft/multiline target` and `BATCH -reference` are kept in the session, within the
limits that the capability's value tells, and delivered at the end as one message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.occasions import Recited, Stamp
from broker.protocols.irc import numerics as n
from broker.protocols.irc.capabilities import BATCH, MESSAGE_TAGS, MULTILINE, MULTILINE_BYTES, MULTILINE_LINES
from broker.protocols.irc.message import shortened
from broker.protocols.irc.messaging import client_tags, deliver
from broker.protocols.irc.render import text_bytes
from broker.protocols.irc.request import Request, echo
from broker.protocols.irc.state import OpenBatch

if TYPE_CHECKING:
    from broker.occasions import Message

CONCAT: Final = "draft/multiline-concat"
KIND: Final = "draft/multiline"


def batch(request: Request) -> None:
    """BATCH (+|-)<reference> [<type> [<parameter>...]] (batch; multiline)."""
    if not request.has(MULTILINE):
        request.numeric(n.ERR_UNKNOWNCOMMAND, "BATCH")
        return
    word = request.parameters[0]
    if word.startswith("+") and len(word) > 1:
        _open(request, word[1:])
    elif word.startswith("-") and request.state.batch is not None and word[1:] == request.state.batch.reference:
        _close(request, request.state.batch)
    else:
        request.fail("INVALID_REF", echo(word), text="There is no open batch of that reference")


def _open(request: Request, reference: str) -> None:
    if request.state.batch is not None:
        request.state.batch = None
        request.fail("MULTILINE_INVALID", text="One message of several lines at a time")
    elif request.parameter(1) != KIND:
        request.fail("UNKNOWN_TYPE", echo(reference), echo(request.parameter(1)), text="Only draft/multiline is known")
    elif not request.parameter(2) or "," in request.parameter(2):
        request.fail("MULTILINE_INVALID", text="One target is needed")
    else:
        request.state.batch = OpenBatch(reference, request.parameter(2), request.label, client_tags(request))
        request.label = ""  # the answer to the whole has it


def take_line(request: Request) -> bool:
    """Whether the line belonged to the open batch, and has been taken for it."""
    opened = request.state.batch
    reference = request.tags.get("batch")
    if reference is None:
        return False
    if opened is None:
        request.fail("INVALID_REF", echo(reference), text="There is no open batch of that reference", command="BATCH")
        return True
    if reference != opened.reference:
        _refuse(request, opened, "MULTILINE_INVALID", text="A line of another batch came between")
        return True
    if request.command not in ("PRIVMSG", "NOTICE"):
        _refuse(request, opened, "MULTILINE_INVALID", text="Only PRIVMSG and NOTICE can have several lines")
        return True
    if opened.refused:
        return True
    target, text = request.parameter(0), request.parameter(1)
    goes_on = CONCAT in request.tags
    notice = request.command == "NOTICE"
    if target != opened.target:
        _refuse(request, opened, "MULTILINE_INVALID_TARGET", opened.target, target, text="All lines go to one target")
    elif (goes_on and not text) or (opened.lines and notice is not opened.notice):
        _refuse(request, opened, "MULTILINE_INVALID", text="A line is of another kind, or goes on with nothing")
    else:
        opened.size_bytes += len(text.encode()) + (0 if goes_on or not opened.lines else 1)
        if opened.size_bytes > MULTILINE_BYTES:
            limit = str(MULTILINE_BYTES)
            _refuse(request, opened, "MULTILINE_MAX_BYTES", limit, text=f"At most {limit} bytes")
        elif len(opened.lines) >= MULTILINE_LINES:
            limit = str(MULTILINE_LINES)
            _refuse(request, opened, "MULTILINE_MAX_LINES", limit, text=f"At most {limit} lines")
        else:
            opened.notice = notice
            room = text_bytes(request.session.source, request.command, target)
            opened.lines.append((shortened(text, room), goes_on))
    return True


def _refuse(request: Request, opened: OpenBatch, code: str, *context: str, text: str) -> None:
    """Say once what is wrong; the rest of the batch is swallowed."""
    if not opened.refused:
        opened.refused = True
        opened.lines.clear()
        request.label, opened.label = opened.label, ""
        request.fail(code, *map(echo, context), text=text, command="BATCH")


def _close(request: Request, opened: OpenBatch) -> None:
    request.state.batch = None
    request.label = opened.label
    if opened.refused:
        return
    if not any(text for text, _ in opened.lines):
        _refuse(request, opened, "MULTILINE_INVALID", text="There is nothing in it")
        return
    source, lines = request.session.source, tuple(opened.lines)

    def make(target: str, private: bool, stamp: Stamp) -> Message:
        return Recited(source, target, lines, opened.notice, stamp, opened.tags, private)

    request.session.spoke_at = request.chat.now
    deliver(request, "notice" if opened.notice else "text", opened.target, make)
    whole = BATCH | MESSAGE_TAGS
    request.whole_batch = bool(request.lines) and request.state.capabilities & whole == whole
