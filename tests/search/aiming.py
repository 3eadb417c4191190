"""Aiming: what a drawn command meant, so that a script still means it when steps before it are left out.

A retry by the holder of the current epoch, the next batch in order, the fourth batch back: drawn commands
hold numbers that follow from all that came before. `meant` tells each command's numbers as they stand to the
model, and `aimed` finds the numbers again in a shorter script. It must not know the machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from oncelog.machine import commands as c
from tests.search.drawing import SMALL, Crash, Step
from tests.search.model import NOBODY, SEQUENCES, Model, Place

Pair = tuple[int, int]
Relation = tuple[str, int] | None


class Meant(NamedTuple):
    """A step, with what its sender and its batches stand to; None where only the numbers themselves count."""

    step: Step
    sender: Relation = None
    batches: tuple[tuple[Relation, Relation], ...] = ()


def meant(steps: Sequence[Step]) -> list[Meant]:
    model, now_ms, told = Model(SMALL), 0, []
    for step in steps:
        command = step.command
        now_ms += step.after_ms
        sender, batches = None, []
        if isinstance(command, c.Produce):
            for one in command.batches:
                header = one.header
                pair = (header.producer_id, header.producer_epoch)
                place = (one.topic_id, one.partition)
                batches.append(
                    (
                        _standing(model, _owner(model, command, pair[0]), pair),
                        _order(model, place, pair, header.base_sequence, header.record_count),
                    )
                )
        elif isinstance(command, c.AbortOnPartitions):
            pair = (command.producer_id, command.producer_epoch)
            sender = _standing(model, model.owners.get(pair[0]), pair)
        elif hasattr(command, "transactional_id"):
            pair = (command.producer_id, command.producer_epoch)
            sender = _standing(model, command.transactional_id, pair)
        told.append(Meant(step, sender, tuple(batches)))
        if not isinstance(command, Crash):
            model.apply(command, now_ms)
    return told


def aimed(some: Sequence[Meant]) -> list[Step]:
    model, now_ms, steps = Model(SMALL), 0, []
    for each in some:
        command = each.step.command
        now_ms += each.step.after_ms
        if isinstance(command, c.Produce):
            batches = [
                _aimed_batch(model, command, one, *relations)
                for one, relations in zip(command.batches, each.batches, strict=True)
            ]
            command = command._replace(batches=tuple(batches))
        elif each.sender is not None:
            pair = _pair(model, each.sender[0].partition(" ")[2], each.sender)
            if pair is not None:
                command = command._replace(producer_id=pair[0], producer_epoch=pair[1])
        steps.append(Step(each.step.after_ms, command))
        if not isinstance(command, Crash):
            model.apply(command, now_ms)
    return steps


def _aimed_batch(
    model: Model, command: c.Produce, one: c.ProduceBatch, sender: Relation, order: Relation
) -> c.ProduceBatch:
    header = one.header
    pair = (header.producer_id, header.producer_epoch)
    if sender is not None:
        pair = _pair(model, command.transactional_id or sender[0].partition(" ")[2], sender) or pair
    first, count = header.base_sequence, header.record_count
    window = _window(model, (one.topic_id, one.partition), pair)
    if order is not None and window is not None:
        kind, number = order
        if kind == "again" and len(window.batches) >= number:
            first, _, _, count = window.batches[-number]
        elif kind == "after":
            first = (window.batches[-1][1] + 1 + number) % SEQUENCES
    return one._replace(
        header=header._replace(
            producer_id=pair[0],
            producer_epoch=pair[1],
            base_sequence=first,
            record_count=count,
            last_offset_delta=count - 1,
        )
    )


# --- who ---


def _owner(model: Model, command: c.Produce, pid: int) -> str | None:
    return command.transactional_id or model.owners.get(pid)


def _standing(model: Model, name: str | None, pair: Pair) -> Relation:
    """How the pair stands to the transactional id, whose name goes with it for batches in nobody's name."""
    txn = None if name is None else model.txns.get(name)
    if txn is not None:
        if pair == txn.held != NOBODY:
            return f"held {name}", 0
        if pair[0] == txn.pid:
            return f"epoch {name}", pair[1] - txn.epoch
        return None
    free = _free(model)
    if pair[0] in free and name is None:
        return f"free {pair[1]}", free.index(pair[0]) - len(free)
    return None


def _pair(model: Model, name: str | None, relation: tuple[str, int]) -> Pair | None:
    kind, _, rest = relation[0].partition(" ")
    if kind == "free":
        free = _free(model)
        return (free[relation[1]], int(rest)) if len(free) >= -relation[1] else None
    txn = model.txns.get(name or "")
    if txn is None:
        return None
    return txn.held if kind == "held" else (txn.pid, txn.epoch + relation[1])


def _free(model: Model) -> list[int]:
    return [pid for pid in range(model.next_pid) if pid not in model.owners]


# --- in which order ---


def _window(model: Model, place: Place, pair: Pair) -> Any:
    log = model.log(*place)
    window = log.windows.get(pair[0]) if log else None
    return window if window is not None and window.epoch == pair[1] and window.batches else None


def _order(model: Model, place: Place, pair: Pair, first: int, count: int) -> Relation:
    window = _window(model, place, pair)
    if window is None:
        return None
    for back, (its_first, _, _, its_count) in enumerate(reversed(window.batches[-8:])):
        if (its_first, its_count) == (first, count):
            return "again", back + 1
    return "after", (first - window.batches[-1][1] - 1) % SEQUENCES
