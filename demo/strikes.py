"""The plan of one run: who is killed when, drawn from a seed.

Pure. A kill is aimed at a moment, but what counts is what it hits, which is read off the boards afterwards
(`hits`).
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

from demo.board import Phase


class Victim(Enum):
    BROKER = "broker"
    WORKER = "worker"
    EITHER = "either"
    ZOMBIE = "zombie"
    """A worker that is not killed but frozen, replaced, and woken up: it must find itself fenced."""


class Moment(Enum):
    ANY = "any"
    OPEN = "open"
    SENT = "sent"
    """A worker's last record is sent. For the broker: and records are still on their way to it."""
    REBALANCE = "rebalance"


class Strike(NamedTuple):
    victim: Victim
    moment: Moment
    share: float
    """How much of its part of the work is done before it, 0 to 1. A rebalance is waited for instead."""


class Hit(Enum):
    """What a kill may fall into; one kill can fall into several."""

    OPEN = "the broker with a transaction open"
    SENT = "a worker between its last send and its commit"
    REBALANCE = "a rebalance"


FEWEST_KILLS = 3
KILLS_PER_ZOMBIE = 6

_BLOCKS: tuple[tuple[tuple[Victim, Moment], ...], ...] = (
    ((Victim.BROKER, Moment.OPEN),),
    ((Victim.BROKER, Moment.SENT),),
    ((Victim.BROKER, Moment.ANY),),
    ((Victim.WORKER, Moment.SENT),),
    ((Victim.WORKER, Moment.ANY),),
    ((Victim.WORKER, Moment.SENT), (Victim.EITHER, Moment.REBALANCE)),
)
"""Kills that follow each other directly. There is a rebalance to aim at only after a worker was killed."""
_ALWAYS = (_BLOCKS[0], _BLOCKS[-1])
_AIMED_AT = {Hit.OPEN: _BLOCKS[0], Hit.SENT: ((Victim.WORKER, Moment.SENT),), Hit.REBALANCE: _BLOCKS[-1]}


def plan(chance: random.Random, kills: int) -> list[Strike]:
    """`kills` kills with every moment among them, and a zombie for every six kills."""
    assert kills >= FEWEST_KILLS
    blocks = list(_ALWAYS)
    while (missing := kills - sum(map(len, blocks))) > 0:
        blocks.append(chance.choice([block for block in _BLOCKS if len(block) <= missing]))
    blocks += [((Victim.ZOMBIE, Moment.SENT),)] * (kills // KILLS_PER_ZOMBIE)
    chance.shuffle(blocks)
    return [Strike(victim, moment, chance.uniform(0.1, 0.7)) for block in blocks for victim, moment in block]


def once_more(hit: Hit) -> list[Strike]:
    """Kills that are likely to hit this, for a run whose kills have missed it."""
    return [Strike(victim, moment, 0.0) for victim, moment in _AIMED_AT[hit]]


def hits(victim: Victim, victim_phase: Phase | None, others: Iterable[tuple[Phase, Phase]]) -> set[Hit]:
    """What a kill fell into.

    victim_phase: the phase a killed worker died in; None for the broker. others: the phases of each other
    worker just before and just after the kill. Only one it was in all the time counts.
    """
    lasting = {before for before, after in others if before is after}
    fell_into = set()
    if victim is Victim.BROKER and Phase.ACKNOWLEDGED in lasting:
        fell_into.add(Hit.OPEN)
    if victim_phase in (Phase.SENT, Phase.ACKNOWLEDGED):
        fell_into.add(Hit.SENT)
    if Phase.REBALANCING in lasting or victim_phase is Phase.REBALANCING:
        fell_into.add(Hit.REBALANCE)
    return fell_into
