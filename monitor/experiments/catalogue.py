"""Every experiment by its name; `broker experiment NAME` runs it. A new one is a module and a line here."""

from __future__ import annotations

import importlib
from typing import Final

from monitor.experiments.experiment import Experiment

EXPERIMENTS: Final = {
    "nice": "monitor.experiments.nice:NiceExperiment",
    "io": "monitor.experiments.io:IOExperiment",
    "workers": "monitor.experiments.workers:WorkersExperiment",
    "fork": "monitor.experiments.fork:ForkExperiment",
}


def experiment_class(name: str) -> type[Experiment]:
    """The class of that name; imported only now, as each needs things of its own."""
    module, _, attribute = EXPERIMENTS[name].partition(":")
    found: type[Experiment] = getattr(importlib.import_module(module), attribute)
    return found
