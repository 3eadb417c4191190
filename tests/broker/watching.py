"""Watching transactions from everywhere while they end: what an answer says must have been so at one moment.

Watchers ask on connections of their own, between any two callbacks of the broker's loop: fetches with and
without sessions and with byte limits, ListOffsets, OffsetFetch. What an answer says is compared with what the
journal said after each of its events, which a second machine works out from the durable entries alone. An
answer must fit one of these moments, with all that it says, and no request that is sent later may be answered
with an earlier one. Must not know the engine or the published view.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from oncelog.machine import pending_offsets
from oncelog.machine.events import REGISTRY, decode_events
from oncelog.machine.evolve import evolve
from oncelog.machine.internal_topics import partition_of
from oncelog.machine.moment import At
from oncelog.machine.state import State
from oncelog.wire.definition import Message
from oncelog.wire.messages.add_offsets_to_txn import AddOffsetsToTxnRequest
from oncelog.wire.messages.add_partitions_to_txn import AddPartitionsToTxnRequest, AddPartitionsToTxnTopic
from oncelog.wire.messages.end_txn import EndTxnRequest
from oncelog.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic, ForgottenTopic
from oncelog.wire.messages.list_offsets import ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic
from oncelog.wire.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopics,
)
from oncelog.wire.messages.txn_offset_commit import (
    TxnOffsetCommitRequest,
    TxnOffsetCommitRequestPartition,
    TxnOffsetCommitRequestTopic,
)
from tests.support.batches import batch
from tests.support.one_process import Client, OneProcess
from tests.support.speaking import batches_in, init_producer_id, produce_request

TOPIC, GROUP = "watched", "watching"
OFFSETS_TOPIC, OFFSETS_PARTITION = "__consumer_offsets", partition_of("watching")
PARTITIONS = range(20)
READ_COMMITTED = 1
LATEST, OLD_MS = -1, 1
UNSTABLE_OFFSET_COMMIT = 88
NO_SESSION_EPOCH, NEW_SESSION_EPOCH = -1, 0

ASKS = 0.08
"""How likely a watcher that may ask does so between two callbacks."""

Said = dict[tuple[str, int], int]
"""What was said of partitions: by ("end" | "stable" | "committed" | "pending" | "offsets end", partition).

"offsets end" is the end of the partition of __consumer_offsets that tells of the group.
"""


# -- what there is to be seen --


class Moments:
    """What could be seen after each event of the durable entries, in their order."""

    def __init__(self, process: OneProcess) -> None:
        self._entries = process.journal.confirmed
        self._entries_read = 0
        self._state = State(process.broker.options.machine_limits())
        self.said: list[Said] = []

    def catch_up(self) -> None:
        """Read the entries that have become durable since."""
        for entry in self._entries[self._entries_read :]:
            at = At(entry.position, entry.wall_ms, entry.age_ms)
            for event in decode_events(REGISTRY, entry.events):
                evolve(self._state, event, at)
                self.said.append(self._now())
        self._entries_read = len(self._entries)

    def _now(self) -> Said:
        topic = self._state.topic_named(TOPIC)
        if topic is None:
            return {}
        group = self._state.groups.get(GROUP)
        offsets = self._state.internal.consumer_offsets.partition(OFFSETS_PARTITION)
        said: Said = {("offsets end", OFFSETS_PARTITION): offsets.log_end_offset}
        for partition in topic.partitions:
            index = partition.index
            committed = None if group is None else group.offsets.get((topic.id, index))
            said["end", index] = partition.log_end_offset
            said["stable", index] = partition.last_stable_offset
            said["committed", index] = -1 if committed is None else committed.offset
            said["pending", index] = int(pending_offsets.is_pending(self._state, GROUP, topic.id, index))
        return said

    def first_that_fits(self, said: Said, since: int) -> int | None:
        for moment in range(since, len(self.said)):
            there = self.said[moment]
            if all(there.get(key) == value for key, value in said.items()):
                return moment
        return None


# -- those who watch --


class Watcher:
    """Asks one question at a time on a connection of its own."""

    def __init__(self, client: Client, chance: random.Random) -> None:
        self.client = client
        self.chance = chance
        self.is_waiting = False
        self.asked_since = 0
        """The newest moment that anybody had been shown when the request was sent."""

    def question(self) -> tuple[Message, int]:
        raise NotImplementedError

    def said(self, answer: Any) -> Said:
        raise NotImplementedError

    def some(self) -> list[int]:
        """All partitions, or some."""
        return sorted(self.chance.sample(PARTITIONS, self.chance.choice([2, 7, len(PARTITIONS)])))


class FetchWatcher(Watcher):
    """Fetches without a session, anything from anywhere; may be parked until there is enough.

    topic_id: given, the topic is named by it, as from version 13 on.
    """

    def __init__(self, client: Client, chance: random.Random, topic_id: bytes | None = None) -> None:
        super().__init__(client, chance)
        self.version = 12 if topic_id is None else 17
        self._name: dict[str, Any] = {"topic": TOPIC} if topic_id is None else {"topic_id": topic_id}

    def question(self) -> tuple[Message, int]:
        request = self._request(self.some(), NO_SESSION_EPOCH, 0)
        if self.version < 13:
            offsets = FetchPartition(partition=OFFSETS_PARTITION, fetch_offset=0, partition_max_bytes=1 << 20)
            request.topics.append(FetchTopic(topic=OFFSETS_TOPIC, partitions=[offsets]))
        return request, self.version

    def _request(self, partitions: list[int], epoch: int, session_id: int) -> FetchRequest:
        isolation = self.chance.choice([READ_COMMITTED, READ_COMMITTED, 0])
        return FetchRequest(
            max_wait_ms=self.chance.choice([0, 0, 40]),
            min_bytes=self.chance.choice([1, 3000]),
            max_bytes=self.chance.choice([1, 300, 1 << 20]),
            isolation_level=isolation,
            session_id=session_id,
            session_epoch=epoch,
            topics=[
                FetchTopic(
                    **self._name,
                    partitions=[
                        FetchPartition(
                            partition=index,
                            fetch_offset=0,
                            partition_max_bytes=self.chance.choice([1, 200, 1 << 20]),
                        )
                        for index in partitions
                    ],
                )
            ]
            if partitions
            else [],
        )

    def said(self, answer: Any) -> Said:
        assert answer.error_code == 0, answer
        said: Said = {}
        for topic in answer.responses:
            for partition in topic.partitions:
                assert partition.error_code == 0, partition
                if topic.topic == OFFSETS_TOPIC:
                    said["offsets end", partition.partition_index] = partition.high_watermark
                else:
                    said["end", partition.partition_index] = partition.high_watermark
                    said["stable", partition.partition_index] = partition.last_stable_offset
                limit = partition.high_watermark
                if partition.aborted_transactions is not None:
                    limit = partition.last_stable_offset
                for header, _ in batches_in(partition.records):
                    assert header.base_offset + header.last_offset_delta < limit, "shown, and not told of"
        return said


class SessionWatcher(FetchWatcher):
    """Keeps a session whose partitions come and go; what an answer leaves out is as it was."""

    def __init__(self, client: Client, chance: random.Random, topic_id: bytes | None = None) -> None:
        super().__init__(client, chance, topic_id)
        self._session_id = 0
        self._epoch = NEW_SESSION_EPOCH
        self._known: Said = {}
        self._partitions: list[int] = []

    def question(self) -> tuple[Message, int]:
        wanted = self.some() if not self._partitions or self.chance.random() < 0.2 else self._partitions
        gone = [index for index in self._partitions if index not in wanted]
        new = [index for index in wanted if index not in self._partitions]
        self._partitions = wanted
        request = self._request(new, self._epoch, self._session_id)
        request.forgotten_topics_data = [ForgottenTopic(**self._name, partitions=gone)] if gone else []
        for index in gone:
            del self._known["end", index], self._known["stable", index]
        self._epoch += 1
        return request, self.version

    def said(self, answer: Any) -> Said:
        self._session_id = answer.session_id
        self._known.update(super().said(answer))
        assert {index for _, index in self._known} == set(self._partitions)
        return dict(self._known)


class ListOffsetsWatcher(Watcher):
    """Asks where partitions end, for readers of committed records or for all.

    Perhaps searches one of them by time besides, for which the broker has to read.
    """

    def question(self) -> tuple[Message, int]:
        self._is_committed = self.chance.random() < 0.8
        self._searched = self.chance.choice([-1, *PARTITIONS])
        wanted = [
            ListOffsetsPartition(
                partition_index=index, timestamp=OLD_MS if index == self._searched else LATEST
            )
            for index in self.some()
        ]
        topics = [ListOffsetsTopic(name=TOPIC, partitions=wanted)]
        level = READ_COMMITTED if self._is_committed else 0
        return ListOffsetsRequest(replica_id=-1, isolation_level=level, topics=topics), 7

    def said(self, answer: Any) -> Said:
        partitions = answer.topics[0].partitions
        assert {each.error_code for each in partitions} == {0}
        what = "stable" if self._is_committed else "end"
        return {
            (what, each.partition_index): each.offset
            for each in partitions
            if each.partition_index != self._searched
        }


class OffsetFetchWatcher(Watcher):
    """Asks for the group's offsets, of all partitions or some, stable ones or those that there are."""

    def question(self) -> tuple[Message, int]:
        self._is_stable = self.chance.random() < 0.5
        topics = None
        if self.chance.random() < 0.7:
            topics = [OffsetFetchRequestTopics(name=TOPIC, partition_indexes=self.some())]
        group = OffsetFetchRequestGroup(group_id=GROUP, topics=topics)
        return OffsetFetchRequest(groups=[group], require_stable=self._is_stable), 8

    def said(self, answer: Any) -> Said:
        said: Said = {}
        for topic in answer.groups[0].topics:
            for each in topic.partitions:
                assert each.error_code in (0, UNSTABLE_OFFSET_COMMIT)
                if self._is_stable:
                    said["pending", each.partition_index] = int(each.error_code != 0)
                if not each.error_code:
                    said["committed", each.partition_index] = each.committed_offset
        return said


# -- those who write --


class Writer:
    """A transactional producer that sends request after request without waiting for answers.

    whole: each transaction writes one record to every partition in one request and commits an offset of each.
    speaks: "v1" adds partitions and ends by EndTxn v4; "v2" has them added and ends by v5 (KIP-890).
    """

    def __init__(self, client: Client, name: str, chance: random.Random, *, speaks: str, whole: bool) -> None:
        self.client = client
        self.transactions_ended = 0
        self._name = name
        self._chance = chance
        self._is_v2 = speaks == "v2"
        self._is_whole = whole
        answer = init_producer_id(client, name)  # type: ignore[arg-type]
        assert answer.error_code == 0
        self._producer_id, self._epoch = answer.producer_id, answer.producer_epoch
        self._sequences: dict[int, int] = {}
        self._requests = self._write()

    def send_next(self) -> None:
        self.client.send(*next(self._requests))

    def _write(self) -> Iterator[tuple[Message, int]]:
        while True:
            for _ in range(1 if self._is_whole else self._chance.randint(1, 3)):
                partitions = self._some()
                if not self._is_v2:
                    yield self._add_partitions(partitions), 3
                yield self._produce(partitions), (12 if self._is_v2 else 11)
            if self._is_whole or self._chance.random() < 0.7:
                if not self._is_v2:
                    yield self._add_offsets(), 3
                yield self._commit_offsets(self._some()), (5 if self._is_v2 else 3)
            # Counted when it is sent: whoever sees it sees it later.
            self.transactions_ended += 1
            yield self._end(commit=self._is_whole or self._chance.random() < 0.7), (5 if self._is_v2 else 4)
            if self._is_v2:
                self._epoch += 1
                self._sequences.clear()

    def _some(self) -> list[int]:
        if self._is_whole:
            return list(PARTITIONS)
        return sorted(self._chance.sample(PARTITIONS, self._chance.choice([1, 5, len(PARTITIONS)])))

    def _add_partitions(self, partitions: list[int]) -> Message:
        return AddPartitionsToTxnRequest(
            v3_and_below_transactional_id=self._name,
            v3_and_below_producer_id=self._producer_id,
            v3_and_below_producer_epoch=self._epoch,
            v3_and_below_topics=[AddPartitionsToTxnTopic(name=TOPIC, partitions=partitions)],
        )

    def _produce(self, partitions: list[int]) -> Message:
        parts = []
        for index in partitions:
            sequence = self._sequences.get(index, 0)
            self._sequences[index] = sequence + 1
            records = batch(
                [b"of a transaction"],
                producer_id=self._producer_id,
                epoch=self._epoch,
                sequence=sequence,
                transactional=True,
            )
            parts.append((TOPIC, index, records))
        return produce_request(parts, transactional_id=self._name)

    def _add_offsets(self) -> Message:
        return AddOffsetsToTxnRequest(
            transactional_id=self._name,
            producer_id=self._producer_id,
            producer_epoch=self._epoch,
            group_id=GROUP,
        )

    def _commit_offsets(self, partitions: list[int]) -> Message:
        offset = self.transactions_ended + 1 if self._is_whole else self._chance.randrange(1000)
        wanted = [
            TxnOffsetCommitRequestPartition(
                partition_index=index, committed_offset=offset, committed_metadata=""
            )
            for index in partitions
        ]
        return TxnOffsetCommitRequest(
            transactional_id=self._name,
            group_id=GROUP,
            producer_id=self._producer_id,
            producer_epoch=self._epoch,
            topics=[TxnOffsetCommitRequestTopic(name=TOPIC, partitions=wanted)],
        )

    def _end(self, *, commit: bool) -> Message:
        return EndTxnRequest(
            transactional_id=self._name,
            producer_id=self._producer_id,
            producer_epoch=self._epoch,
            committed=commit,
        )


def errors_in(answer: Any) -> list[int]:
    """Every error code of an answer, wherever it stands."""
    found: list[int] = []
    for name in getattr(type(answer), "__annotations__", {}):
        value = getattr(answer, name)
        if name.endswith("error_code"):
            found.append(value)
        elif isinstance(value, list):
            found += [code for each in value for code in errors_in(each)]
    return found


# -- all of it together --


class Watch:
    """Watchers that ask between any two callbacks of the broker's loop, and what they were told wrongly."""

    def __init__(self, process: OneProcess, chance: random.Random, *, agree: bool = False) -> None:
        self.wrong: list[str] = []
        self.answers = 0
        self.moments = Moments(process)
        self._process = process
        self._chance = chance
        self._agree = agree
        self._newest_shown = 0
        topic = process.broker.state.topic_named(TOPIC)
        assert topic is not None
        self.watchers: list[Watcher] = [
            FetchWatcher(process.connect(), chance),
            FetchWatcher(process.connect(), chance, topic.id),
            SessionWatcher(process.connect(), chance),
            SessionWatcher(process.connect(), chance, topic.id),
            ListOffsetsWatcher(process.connect(), chance),
            OffsetFetchWatcher(process.connect(), chance),
            OffsetFetchWatcher(process.connect(), chance),
        ]

    def begin(self) -> None:
        self.moments.catch_up()
        self._newest_shown = len(self.moments.said) - 1
        self._process.loop.between = self._between

    def end(self) -> None:
        """Take the answers that are still due. Nothing is asked any more."""
        self._process.loop.between = lambda: None
        self._process.advance(1.0, step_s=0.1)
        self._take_answers()
        assert not any(watcher.is_waiting for watcher in self.watchers), "a question was never answered"

    def _between(self) -> None:
        """In the loop, between two callbacks; nothing may be raised here."""
        try:
            self._take_answers()
            for watcher in self.watchers:
                if not watcher.is_waiting and self._chance.random() < ASKS:
                    watcher.is_waiting = True
                    watcher.asked_since = self._newest_shown
                    watcher.client.send(*watcher.question())
                    watcher.client.transport.deliver_next()
            self._take_answers()
        except Exception as error:
            self.wrong.append(f"{type(error).__name__}: {error}")

    def _take_answers(self) -> None:
        for watcher in self.watchers:
            for answer in watcher.client.come():
                watcher.is_waiting = False
                self.answers += 1
                self._look_at(watcher, watcher.said(answer))

    def _look_at(self, watcher: Watcher, said: Said) -> None:
        self.moments.catch_up()
        moment = self.moments.first_that_fits(said, watcher.asked_since)
        if moment is None:
            self.wrong.append(f"{type(watcher).__name__} was told what never was so at once: {said}")
        else:
            self._newest_shown = max(self._newest_shown, moment)
        for what in ("stable", "committed") if self._agree else ():
            values = {value for (kind, _), value in said.items() if kind == what}
            if len(values) > 1:
                self.wrong.append(f"{type(watcher).__name__} was told of half a transaction: {said}")
