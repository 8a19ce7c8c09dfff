"""`broker lab exit`: ways to end, each seen from the parent's side with waitid. Runs in the process of the command.

Each way is a small program of its own, run by the same Python, so that what it does at its end is what Python does.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import Final

from monitor.lab.show import Show
from monitor.lab.stage import LabError, Stage
from monitor.lab.words import Words

_END_SECONDS: Final = 20
"""By then each of them has ended, or its alarm has ended it."""
_CORE_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Way:
    """One way to end: the program, and what it is an example of."""

    program: str
    words: Words


_FINALLY: Final = "try:\n    {}\nfinally:\n    print('finally')"
WAYS: Final = (
    Way("pass", Words("The program comes to its end: status 0.", "程序执行完毕：退出状态为 0。")),
    Way(
        _FINALLY.format("import sys; sys.exit(3)"),
        Words(
            "sys.exit raises SystemExit: `finally` is run, buffers are written, then the process ends with this "
            "status.",
            "sys.exit 抛出 SystemExit：先执行 finally，把缓冲区写出去，再以这个状态退出。",
        ),
    ),
    Way(
        "import sys\ntry:\n    sys.exit(3)\nexcept SystemExit as error:\n    print('caught', error)\nprint('goes on')",
        Words("SystemExit can be caught: then nothing ends at all.", "SystemExit 可以被捕获：那样程序就不会退出。"),
    ),
    Way(
        "import sys; sys.exit('what went wrong')",
        Words("A text instead of a number is printed, and the status is 1.", "参数是字符串：打印出来，退出状态为 1。"),
    ),
    Way(
        _FINALLY.format("import os; print('in the buffer'); os._exit(3)"),
        Words(
            "os._exit ends the process at once: no `finally`, and what was in the buffer is lost.",
            "os._exit 立即结束进程：不执行 finally，缓冲区里的内容也丢了。",
        ),
    ),
    Way(
        "import sys; sys.exit(256 + 7)",
        Words("Of a status only the lowest 8 bits get through: 263 is 7.", "退出状态只保留最低 8 位：263 变成 7。"),
    ),
    Way("1 / 0", Words("An exception that nobody catches: status 1.", "没有人捕获的异常：退出状态为 1。")),
    Way(
        "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
        Words(
            "A signal ended it, not an exit: there is no status, but a signal's number. The shell says 128 + 15.",
            "是信号结束了它，不是 exit：没有退出状态，只有信号的编号。shell 里显示 128 + 15。",
        ),
    ),
    Way(
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        Words("KILL cannot be caught: not even Python notices.", "KILL 无法捕获：连 Python 自己都来不及知道。"),
    ),
    Way(
        "import os; os.abort()",
        Words(
            "abort is a signal too, and one that leaves a core, an image of the memory, if the limit allows that "
            "(ulimit -c, here {core_bytes} bytes) and core_pattern says where to.",
            "abort 也是信号，而且会留下 core，即内存的映像：前提是限额允许（ulimit -c，这里是 {core_bytes} 字节），"
            "去处由 core_pattern 决定。",
        ),
    ),
)
_ABOUT = Words(
    "The parent learns with waitid how a child ended: by exit and with which status (CLD_EXITED), by a signal and "
    "which "
    "one (CLD_KILLED), or with a core as well (CLD_DUMPED). $? is what a shell makes of it.",
    "父进程用 waitid 得知子进程是怎么结束的：调用了 exit，状态是多少（CLD_EXITED）；被信号结束，是哪个信号"
    "（CLD_KILLED）；或者还留下了 core（CLD_DUMPED）。$? 是 shell 里看到的值。",
)
_CODES: Final = {os.CLD_EXITED: "CLD_EXITED", os.CLD_KILLED: "CLD_KILLED", os.CLD_DUMPED: "CLD_DUMPED"}


def run(stage: Stage, show: Show) -> None:
    """End in each way once."""
    show.say(_ABOUT)
    core_bytes = _core_limit()
    with tempfile.TemporaryDirectory(prefix="broker-lab-") as directory:
        for way in WAYS:
            show.line("")
            for line in way.program.splitlines():
                show.line(f"  >>> {line}" if line == way.program.splitlines()[0] else f"  ... {line}")
            told, output = _end(stage, way, directory, core_bytes)
            for line in output.splitlines()[-3:]:
                show.line(f"  {line}")
            name = "" if told.si_code == os.CLD_EXITED else f" ({signal.Signals(told.si_status).name})"
            shell = told.si_status if told.si_code == os.CLD_EXITED else 128 + told.si_status
            show.line(f"  waitid: {_CODES[told.si_code]}, si_status {told.si_status}{name}; $? {shell}")
            show.say(way.words.format(core_bytes=core_bytes))


def _end(stage: Stage, way: Way, directory: str, core_bytes: int) -> tuple[os.waitid_result, str]:
    """Run it to its end; how it ended, and what it wrote to both of its outputs."""

    def prepare() -> None:
        signal.alarm(_END_SECONDS)
        resource.setrlimit(resource.RLIMIT_CORE, (core_bytes, core_bytes))

    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, "-E", "-c", way.program], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            cwd=directory, preexec_fn=prepare,
        )  # fmt: skip
        stage.know(process.pid, "lab-exit")
        told = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        process.wait()
        stage.forget(process.pid)
        if told is None:
            raise LabError(f"PID {process.pid} did not tell how it ended")
        output.seek(0)
        return told, output.read().decode(errors="replace")


def _core_limit() -> int:
    """As much as is allowed, up to what a small Python takes."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    return _CORE_BYTES if hard == resource.RLIM_INFINITY else min(hard, _CORE_BYTES)
