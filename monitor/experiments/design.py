"""The layout of an experiment: its arms, what is measured in each, and the order of the trials. Pure.

A randomised complete block design: each repetition is a block in which every arm has one trial, in an order that is
drawn anew for each block. What changes slowly (a warm machine, a neighbour's load) so falls on all arms alike.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Factor: TypeAlias = int | float | str | bool | None


@dataclass(frozen=True, slots=True)
class Arm:
    """One condition under which trials are made; `skipped` is why none is made, in a few words."""

    name: str
    factors: Mapping[str, Factor] = field(default_factory=dict)
    predicted: Mapping[str, float] = field(default_factory=dict)
    skipped: str | None = None


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure of each trial. `unit` is what stands behind the number, `scale` what it is multiplied by for that.

    `better` says in which direction people want it to go, None where neither is better.
    """

    key: str
    label: str
    unit: str
    definition: str
    scale: float = 1.0
    digits: int = 1
    better: Literal["higher", "lower"] | None = None
    in_table: bool = True


@dataclass(frozen=True, slots=True)
class Chart:
    """One picture of a result: a measure, arm by arm; `logarithmic` where the arms differ by orders of magnitude."""

    measure: str
    title: str
    logarithmic: bool = False


@dataclass(frozen=True, slots=True)
class Slot:
    """A trial to be made: which arm, in which repetition (from 1), and its own seed."""

    arm: Arm
    repetition: int
    seed: int


def schedule(arms: Sequence[Arm], repetitions: int, seed: int) -> list[Slot]:
    """Every trial in its order; arms that are skipped have none."""
    generator = random.Random(seed)
    slots = []
    for repetition in range(1, repetitions + 1):
        block = [arm for arm in arms if arm.skipped is None]
        generator.shuffle(block)
        slots += [Slot(arm, repetition, generator.randrange(1 << 32)) for arm in block]
    return slots
