"""What the lab says, in English and Chinese. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Language = Literal["en", "zh", "both"]


@dataclass(frozen=True, slots=True)
class Words:
    """One thing said in both languages."""

    en: str
    zh: str

    def lines(self, language: Language) -> list[str]:
        """In the language that is wanted, or in both."""
        return {"en": [self.en], "zh": [self.zh], "both": [self.en, self.zh]}[language]

    def format(self, **values: object) -> Words:
        """With values in the places for them."""
        return Words(self.en.format(**values), self.zh.format(**values))


STATES: Final = {
    "R": Words(
        "running, or ready and waiting for a CPU: it counts and never stops (under SCHED_IDLE, to be in nobody's way)",
        "运行态，包含就绪态：它一直在空转（用 SCHED_IDLE 调度，不妨碍别人）",
    ),
    "S": Words(
        "sleeping until something happens; any signal wakes it", "可中断的等待：在等事件发生，任何信号都能叫醒它"
    ),
    "D": Words(
        "in a sleep that no signal but KILL gets through to, here: vfork, waiting for its child",
        "不可中断的等待：除了 KILL 谁也叫不醒，这里是 vfork 之后在等子进程",
    ),
    "T": Words("stopped by a signal; CONT lets it go on", "暂停：收到了 STOP 信号，CONT 让它继续"),
    "Z": Words(
        "a zombie: dead, and its parent has not asked yet how it ended",
        "僵尸：已经死了，父进程还没有来问它是怎么结束的",
    ),
}
"""The letters, by themselves."""

FLAGS: Final = {
    "<": Words("nice below 0: more of the CPU than others", "nice 小于 0，优先级较高，分到的 CPU 更多"),
    "N": Words("nice above 0: less of the CPU than others", "nice 大于 0，优先级较低，分到的 CPU 更少"),
    "L": Words("has memory locked in RAM (mlock)", "有内存页锁在 RAM 里（mlock）"),
    "s": Words("leads its session (setsid)", "会话组组长（setsid）"),
    "l": Words("has several threads; it does not mean children", "有多个线程；不是“有子进程”的意思"),
    "+": Words(
        "in the foreground of its terminal, here a terminal of its own", "终端的前台进程，这里用的是它自己的终端"
    ),
}

NOT_PERMITTED: Final = Words("not permitted here: {reason}", "这里没有权限：{reason}")
CHECK: Final = Words("check it with:", "用这一行来核对：")
WATCH: Final = Words(
    "`broker top` shows it under {name} for {seconds:g} s; Enter or Ctrl-C ends it",
    "`broker top` 里 {name} 下面就能看到，共 {seconds:g} 秒；按回车或 Ctrl-C 提前结束",
)
NO_BROKER: Final = Words(
    "no broker runs on {state_dir}, so only ps shows it; it lasts {seconds:g} s, Enter or Ctrl-C ends it",
    "{state_dir} 上没有运行中的 broker，只能用 ps 看；共 {seconds:g} 秒，按回车或 Ctrl-C 提前结束",
)
GONE: Final = Words("All of them are gone.", "全部清理干净了。")
