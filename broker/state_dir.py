"""The state directory: where it is, who may enter, and the lock that makes a broker the only one on it.

The pidfile is held under `flock` for as long as the supervisor lives, so the kernel itself forgets a supervisor that
was killed: a pidfile without a lock is stale, whatever it says. Children close their copy of the descriptor at once.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Mapping
from pathlib import Path

from broker.errors import AlreadyRunningError, StartError, UsageError

PIDFILE = "broker.pid"
CONTROL_SOCKET = "control.sock"
CHAT_SOCKET = "chat.sock"
EVENT_FILE = "events.jsonl"
JOURNAL_DIR = "journal"
LOG_FILE = "broker.log"

_TRIES = 10
_PROBE_SECONDS = 0.02


def default_state_dir(environ: Mapping[str, str]) -> Path:
    """`$BROKER_STATE_DIR`, else `$XDG_RUNTIME_DIR/broker`, else `~/.local/state/broker`."""
    if environ.get("BROKER_STATE_DIR"):
        return Path(environ["BROKER_STATE_DIR"]).expanduser().absolute()
    if environ.get("XDG_RUNTIME_DIR"):
        return Path(environ["XDG_RUNTIME_DIR"]).absolute() / "broker"
    try:
        return Path("~/.local/state/broker").expanduser()
    except RuntimeError:
        raise UsageError("there is no home directory to keep the state in; name a directory with --state-dir") from None


def make_state_dir(path: Path) -> None:
    """Make the directory with mode 0700, or check that one that is there will do; StartError if it cannot be had.

    The mode of a directory that somebody else made is theirs to choose, but where others may write, they could put
    their socket in the place of ours: that is refused.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        if not path.is_dir():
            raise FileExistsError
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o022:
            raise StartError(
                f"others may write to the state directory {path} (mode {mode:o}); `chmod 700` it, or name another with "
                "--state-dir"
            )
    except FileExistsError:
        raise StartError(f"the state directory {path} is not a directory; name another with --state-dir") from None
    except OSError as error:
        raise StartError(
            f"cannot use the state directory {path}: {error.strerror}; name another with --state-dir"
        ) from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise StartError(f"the state directory {path} is not writable; name another with --state-dir")


class PidLock:
    """The pidfile, locked while this object is held; `fd` must not survive in a child."""

    def __init__(self, state_dir: Path) -> None:
        """Take the lock; AlreadyRunningError if a broker has it, StartError if there can be no such file."""
        self.path = state_dir / PIDFILE
        for last_try in (*[False] * _TRIES, True):
            self.fd = self._open()
            if self._locked():
                break
            pid = os.pread(self.fd, 32, 0).decode(errors="replace").strip()
            os.close(self.fd)
            if last_try or _is_alive(pid):
                raise AlreadyRunningError(
                    f"a broker runs on {state_dir} already, PID {pid or 'unknown'}; "
                    "`broker stop` ends it, --state-dir names another place"
                )
            time.sleep(_PROBE_SECONDS)  # somebody is only asking whether one runs
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, f"{os.getpid()}\n".encode(), 0)

    def _open(self) -> int:
        try:
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartError(f"cannot open {self.path}: {error.strerror}") from None

    def _locked(self) -> bool:
        """True if the lock is ours, and on the file that is there: a broker that ends removes its file."""
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.path.samestat(os.fstat(self.fd), os.stat(self.path))
        except (BlockingIOError, FileNotFoundError):
            return False

    def release(self) -> None:
        """Remove the pidfile, then unlock it."""
        self.path.unlink(missing_ok=True)
        os.close(self.fd)


def _is_alive(pid: str) -> bool:
    """Whether the process that a pidfile names is there: then it is not only somebody asking who holds the lock."""
    return pid.isdigit() and os.path.exists(f"/proc/{pid}")


def running_pid(state_dir: Path) -> int | None:
    """PID of the supervisor that runs on this directory, without asking it; None if none does."""
    try:
        fd = os.open(state_dir / PIDFILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(fd, 32, 0).strip()
        return int(text) if text.isdigit() else None
    finally:
        os.close(fd)
    return None


def clear_stale_socket(path: Path) -> None:
    """Remove a socket file that nobody listens on; StartError for one in use, or for anything but a socket."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise StartError(f"cannot look at {path}: {error.strerror}") from None
    if not stat.S_ISSOCK(mode):
        raise StartError(f"{path} exists and is not a socket; it is left alone, name another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        code = probe.connect_ex(str(path))
    if code == errno.ECONNREFUSED:
        path.unlink(missing_ok=True)
    elif code != errno.ENOENT:
        raise StartError(f"another process listens on {path}; stop it, or name another path")
