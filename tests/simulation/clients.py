"""Those who chat in a simulation: what each is going to send, in pieces of any size, and how it ends."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from tests.simulation.kernel import Connection

ROOMS = ["lobby", "tea", "kernel"]
ENDINGS = {"stays": 12, "quits": 2, "finishes": 2, "finishes amid a line": 1, "resets": 1}
MAX_LINE_BYTES = 96


@dataclass(eq=False)
class Client:
    """One person: `script` is all that it will ever send, `sent` how much of that its kernel has taken."""

    number: int
    connection: Connection
    script: bytes
    ending: str
    patience: int
    """How many bytes it reads at a time."""
    session: int = 0
    sent: int = 0
    ended: bool = False
    deaf: bool = False
    """It reads nothing until everything is over."""

    def act(self, random: Random) -> None:
        """Send something, or end."""
        if self.sent < len(self.script):
            piece = self.script[self.sent : self.sent + random.choice([1, 7, 40, 40, 400])]
            self.sent += self.connection.client_sends(piece)
        elif not self.ended and self.ending != "stays":
            self.ended = True
            if self.ending.startswith("finishes"):
                self.connection.client_finishes()
            elif self.ending == "resets":
                self.connection.client_resets()

    @property
    def can_act(self) -> bool:
        if self.connection.over:
            return False
        if self.sent < len(self.script):
            return len(self.connection.incoming) < self.connection.room_in
        return not self.ended and self.ending != "stays"

    @property
    def whole_lines(self) -> bytes:
        """What of the script must have been applied in the end: a line that the end of input ends is one too."""
        if self.ending == "finishes amid a line":
            return self.script + b"\n"
        return self.script[: self.script.rfind(b"\n") + 1]


def script_of(number: int, lines: int, random: Random) -> bytes:
    """A name, and then whatever people do."""
    said = [f"n{number}"]
    if random.random() < 0.1:
        said.insert(0, "n0")  # which somebody else may have
    for line in range(lines):
        text = f"{number}.{line} " + "x" * random.choice([0, 0, 5, 60])
        said.append(
            random.choices(
                [text, f"/me {text}", f"/msg n{random.randrange(8)} {text}", f"/join {random.choice(ROOMS)}",
                 f"/lang {random.choice(['zh', 'en'])}", "/who", f"/nick m{number}", "/part",
                 "y" * random.choice([97, 150, 500]) + text],
                [20, 2, 3, 3, 2, 1, 1, 1, 1],
            )[0]
        )  # fmt: skip
    return "".join(f"{line}{random.choice(['', chr(13)])}\n" for line in said).encode()
