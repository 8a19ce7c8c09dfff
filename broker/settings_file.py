"""The configuration file: TOML with no keys but those of settings. Runs in the process of the command.

Knows the form of the file, and of the settings their names only (`broker.settings`).
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Sequence
from pathlib import Path

from broker.errors import ConfigError
from broker.setting_kinds import nearest
from broker.text import clean


def shown(path: Path) -> str:
    """The name of a file, fit for a terminal."""
    return clean(os.fsencode(path).decode(errors="replace"))


def read_document(path: Path, known: Sequence[str]) -> dict[str, object]:
    """The document, with no keys but those that are known; ConfigError saying what is wrong with it, and where."""
    name = shown(path)
    try:
        document = tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise ConfigError(f"cannot read the configuration file {name}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{name} is not TOML: invalid UTF-8 at line {line}") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{name} is not TOML: {clean(str(error))}") from None
    for key in document:
        if key not in known:
            hint = nearest(key, known) or "; `broker config` prints those that there are"
            raise ConfigError(f"{name}: there is no setting {key!r}{hint}")
    return document
