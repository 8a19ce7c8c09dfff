"""Every exception that the broker raises on purpose, with the exit status that the command line gives it.

    BrokerError                     1   anything that the user should read in one or two lines
     +-- UsageError                 2   the command line, a setting or a target is wrong
     |    +-- ConfigError           2   a setting's value, or a key of the configuration file
     +-- NotRunningError            3   no broker runs on this state directory
     +-- AlreadyRunningError        1   one does, and this would be the second
     +-- StartError                 1   a listener, the state directory or a child could not be had
     +-- JournalDamaged             1   the router's journal holds what cannot have been written so
     +-- ControlError               1   the supervisor refused a request, or did not answer
     +-- ProtocolError              1
          +-- RemoteProtocolError   1   the peer's bytes break the rules: end that peer
          +-- LocalProtocolError    1   ours do: a bug

Expected refusals of the chat (a name in use, an unknown command) are results, not exceptions.
"""

from __future__ import annotations

from typing import Final


class BrokerError(Exception):
    """Something that its reader can act on; `str()` of it is one or two lines for a person."""

    exit_status = 1


class UsageError(BrokerError):
    """The command line, a setting or a target is wrong; says what is allowed."""

    exit_status = 2


class ConfigError(UsageError):
    """A setting's value or a configuration file is wrong."""


class NotRunningError(BrokerError):
    """No broker runs on the state directory that was asked."""

    exit_status = 3


class AlreadyRunningError(BrokerError):
    """A broker runs on this state directory already; names its PID."""


class StartError(BrokerError):
    """The broker could not start: a listener, a directory or a child could not be had."""


DISCARD_JOURNAL: Final = "`broker start --discard-journal` removes it and starts without what it holds"
"""The way out of a damaged journal."""


class JournalDamaged(BrokerError):
    """The router's journal cannot be replayed: a record amid others, or a file amid others, is not what was written.

    `file` is where, `offset_bytes` the first bad byte of it and `record` the number of the bad record in it, counted
    from 1; each None where there is no such thing.
    """

    def __init__(self, file: str, what: str, offset_bytes: int | None = None, record: int | None = None) -> None:
        places = [] if record is None else [f"record {record}"]
        places += [] if offset_bytes is None else [f"byte {offset_bytes}"]
        where = f" ({', '.join(places)})" if places else ""
        super().__init__(f"the journal is damaged: {file}{where}: {what}\n{DISCARD_JOURNAL}")
        self.file = file
        self.offset_bytes = offset_bytes
        self.record = record


class ControlError(BrokerError):
    """The supervisor refused a control request, or did not answer in time.

    `code` is one of the error codes in `docs/control-protocol.md`.
    """

    def __init__(self, message: str, code: str = "failed") -> None:
        super().__init__(message)
        self.code = code


class ProtocolError(BrokerError):
    """Bytes that break the rules of a protocol."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the rules: end that peer, not this process."""


class LocalProtocolError(ProtocolError):
    """This side broke the rules: a bug of ours."""
