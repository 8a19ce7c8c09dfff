"""Coverage-guided fuzzing of the IRC protocol with atheris: `make test-slow`.

The fuzzer changes the process that it runs in for good, so it has one of its own.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SECONDS = 60

FUZZ = """
import sys
import atheris

with atheris.instrument_imports(include=["broker"]):
    from broker.chat import Chat
from tests.irc_stage import IrcClient, IrcStage

SEEDS = sys.argv.pop()

def one_input(data):
    stage = IrcStage(ping_seconds=30.0)
    ann = IrcClient(stage)
    ann.send("CAP REQ :message-tags batch draft/multiline labeled-response echo-message draft/message-redaction")
    ann.send("NICK ann", "USER ann 0 * :A", "CAP END", "JOIN #a")
    bob = IrcClient(stage, 1)
    bob.send("NICK bob", "USER bob 0 * :B", "JOIN #a")
    eve = stage.join("eve", language="en")
    people = [ann.person, bob.person, eve]
    for line in data.split(b"\\n")[:20]:
        person = people[len(line) % 3]
        if not person.closed:
            stage.send(person, line + b"\\n")
    for client in (ann, bob):
        client.read()

atheris.Setup(sys.argv + [SEEDS], one_input)
atheris.Fuzz()
"""

SEEDS = [
    b"PRIVMSG #a :hi\nNOTICE bob :x\n@+typing=active TAGMSG #a\nMODE #a +ovbeI bob bob *!*@* x y\nTOPIC #a :t\n",
    b"BATCH +1 draft/multiline #a\n@batch=1 PRIVMSG #a :x\nBATCH -1\nKICK #a bob :z\nWHO %tcuihsnfdlaor,1\nWHOIS bob\n",
    b"CAP LS 302\nCAP REQ :-batch\nNICK carl\nAWAY :x\nLIST >1,C<5\nMONITOR + x,y\nMARKREAD #a\nREDACT #a r-1\n",
]


@pytest.mark.slow
def test_no_bytes_raise(tmp_path: Path) -> None:
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    for number, seed in enumerate(SEEDS):
        (seeds / str(number)).write_bytes(seed)
    done = subprocess.run(
        [sys.executable, "-c", FUZZ, f"-max_total_time={SECONDS}", "-max_len=600", f"-artifact_prefix={tmp_path}/",
         str(seeds)],
        cwd=ROOT, capture_output=True, text=True, timeout=SECONDS * 5, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "Done" in done.stderr, "it ran to its end"
