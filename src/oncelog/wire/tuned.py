"""Hand-tuned codecs of Produce and Fetch, which brokers and clients spend their days with.

Each stands beside the plain codec that is made from the declarations and does exactly what that one does,
only faster for the form that clients really send: no nested calls, one struct call for what lies together.
Anything else (tagged fields, very many topics, a null where it is rare) is left to the plain codec, which
also names what is wrong: a tuned decoder may fail with IndexError or struct.error on what it didn't expect,
and the plain one is asked. Classes are handed in, so that the modules of the messages can use this one.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any

from oncelog.wire.codec import uvarint, uvarint_rest

Decode = Callable[[bytes, memoryview, int, int], tuple[Any, int]]
Encode = Callable[[Any, Callable[[Any], None]], None]
MakeDecoder = Callable[[int, Decode], Decode]
MakeEncoder = Callable[[int, Encode], Encode]

ZERO_UUID = bytes(16)
HIGH_WATERMARK_UNKNOWN = (1 << 63) - 1
_new = object.__new__


# --- Produce ---


def produce_request_decoder(request: type[Any], topic: type[Any], partition: type[Any]) -> MakeDecoder:
    """For batches that are there; before v9 for one of them, as a producer that hardly lingers sends it."""

    def make(version: int, plain: Decode) -> Decode:
        if version < 9:
            return _produce_request_before_compact(request, topic, partition, plain)
        return _produce_request_compact(request, topic, partition, plain, by_id=version >= 13)

    return make


def _produce_request_before_compact(
    request: type[Any], topic: type[Any], partition: type[Any], plain: Decode
) -> Decode:
    read_head = Struct(">hiih").unpack_from
    read_partition = Struct(">iii").unpack_from

    def decode(b: bytes, mv: memoryview, start: int, end: int) -> tuple[Any, int]:
        transactional_id = None
        size = b[start] << 8 | b[start + 1]
        p = start + 2
        if size != 0xFFFF:
            if size > 0x7FFF:
                return plain(b, mv, start, end)
            transactional_id = b[p : p + size].decode()
            p += size
        acks, timeout_ms, topics, size = read_head(b, p)
        if topics != 1 or size < 0:
            return plain(b, mv, start, end)
        p += 12 + size
        count, index, length = read_partition(b, p)
        if count != 1 or length != end - p - 12:
            return plain(b, mv, start, end)
        data = _new(partition)
        data.index = index
        data.records = mv[p + 12 : end]
        of = _new(topic)
        of.name = b[p - size : p].decode()
        of.topic_id = ZERO_UUID
        of.partition_data = [data]
        message = _new(request)
        message.transactional_id = transactional_id
        message.acks = acks
        message.timeout_ms = timeout_ms
        message.topic_data = [of]
        return message, end

    return decode


def _produce_request_compact(
    request: type[Any], topic: type[Any], partition: type[Any], plain: Decode, by_id: bool
) -> Decode:
    read_head = Struct(">hiB").unpack_from
    read_partition = Struct(">iB").unpack_from

    def decode(b: bytes, mv: memoryview, start: int, end: int) -> tuple[Any, int]:
        message = _new(request)
        message.transactional_id = None
        size = b[start]
        p = start + 1
        if size:
            if size > 127:
                return plain(b, mv, start, end)
            p += size - 1
            message.transactional_id = b[start + 1 : p].decode()
        message.acks, message.timeout_ms, topics = read_head(b, p)
        p += 7
        if not 0 < topics < 128:
            return plain(b, mv, start, end)
        message.topic_data = found = []
        for _ in range(topics - 1):
            of = _new(topic)
            if by_id:
                of.name = ""
                of.topic_id = b[p : p + 16]
                p += 16
            else:
                size = b[p]
                if not 0 < size < 128:
                    return plain(b, mv, start, end)
                of.name = b[p + 1 : p + size].decode()
                of.topic_id = ZERO_UUID
                p += size
            count = b[p]
            p += 1
            if not 0 < count < 128:
                return plain(b, mv, start, end)
            of.partition_data = partitions = []
            for _ in range(count - 1):
                each = _new(partition)
                each.index, size = read_partition(b, p)
                p += 5
                if size > 127:
                    size, p = uvarint_rest(b, p, size)
                # Behind the records and each list: no tagged fields.
                e = p + size - 1
                if not size or b[e]:
                    return plain(b, mv, start, end)
                each.records = mv[p:e]
                p = e + 1
                partitions.append(each)
            if b[p]:
                return plain(b, mv, start, end)
            p += 1
            found.append(of)
        if b[p]:
            return plain(b, mv, start, end)
        return message, p + 1

    return decode


def produce_response_encoder(plain_partition: Callable[[int], Encode]) -> MakeEncoder:
    """For partitions that took their batches; one that has more to tell is encoded by `plain_partition`."""

    def make(version: int, plain: Encode) -> Encode:
        if version < 9:
            return plain
        return _produce_response_compact(plain, plain_partition(version), by_id=version >= 13)

    return make


def _produce_response_compact(plain: Encode, plain_partition: Encode, by_id: bool) -> Encode:
    # No record errors, no message, no tagged fields: lengths 1, 0 and 0.
    partition_form = Struct(">ihqqqBBB").pack
    tail_form = Struct(">iB").pack

    def encode(o: Any, w: Callable[[Any], None]) -> None:
        topics = o.responses
        if o.node_endpoints:
            plain(o, w)
            return
        w(uvarint(len(topics) + 1))
        for topic in topics:
            partitions = topic.partition_responses
            _write_topic(w, topic.topic_id if by_id else topic.name, by_id, len(partitions))
            for each in partitions:
                leader = each.current_leader
                if (
                    each.record_errors != []
                    or each.error_message is not None
                    or leader.leader_id != -1
                    or leader.leader_epoch != -1
                ):
                    plain_partition(each, w)
                else:
                    w(
                        partition_form(
                            each.index,
                            each.error_code,
                            each.base_offset,
                            each.log_append_time_ms,
                            each.log_start_offset,
                            1,
                            0,
                            0,
                        )
                    )
            w(b"\0")
        w(tail_form(o.throttle_time_ms, 0))

    return encode


def _write_topic(w: Callable[[Any], None], name_or_id: Any, by_id: bool, partitions: int) -> None:
    """A topic up to its first partition, with compact lengths."""
    if by_id:
        w(_UUID(name_or_id))
    else:
        raw = name_or_id.encode()
        w(uvarint(len(raw) + 1))
        w(raw)
    w(uvarint(partitions + 1))


_UUID = Struct("16s").pack


# --- Fetch ---


def fetch_request_decoder(
    request: type[Any], topic: type[Any], partition: type[Any], replica_state: type[Any]
) -> MakeDecoder:
    """For consumers (v12 and later), with any number of partitions and nothing forgotten."""

    def make(version: int, plain: Decode) -> Decode:
        if version < 12:
            return plain
        head = Struct(">iiibii" if version >= 15 else ">iiiibii")
        by_id = version >= 13
        return _fetch_request(head, request, topic, partition, replica_state, plain, by_id)

    return make


def _fetch_request(
    head: Struct,
    request: type[Any],
    topic: type[Any],
    partition: type[Any],
    replica_state: type[Any],
    plain: Decode,
    by_id: bool,
) -> Decode:
    read_head = head.unpack_from
    names_replica = len(head.format) == len(">iiiibii")
    read_partition = Struct(">iiqiqiB").unpack_from

    def decode(b: bytes, mv: memoryview, start: int, end: int) -> tuple[Any, int]:
        message = _new(request)
        if names_replica:
            (
                message.replica_id,
                message.max_wait_ms,
                message.min_bytes,
                message.max_bytes,
                message.isolation_level,
                message.session_id,
                message.session_epoch,
            ) = read_head(b, start)
        else:
            message.replica_id = -1
            (
                message.max_wait_ms,
                message.min_bytes,
                message.max_bytes,
                message.isolation_level,
                message.session_id,
                message.session_epoch,
            ) = read_head(b, start)
        p = start + head.size
        topics = b[p]
        p += 1
        message.topics = found = []
        if not 0 < topics < 128:
            return plain(b, mv, start, end)
        for _ in range(topics - 1):
            of = _new(topic)
            if by_id:
                of.topic = ""
                of.topic_id = b[p : p + 16]
                p += 16
            else:
                size = b[p]
                if not 0 < size < 128:
                    return plain(b, mv, start, end)
                of.topic = b[p + 1 : p + size].decode()
                of.topic_id = ZERO_UUID
                p += size
            count = b[p]
            p += 1
            if not 0 < count < 128:
                return plain(b, mv, start, end)
            of.partitions = partitions = []
            for _ in range(count - 1):
                each = _new(partition)
                (
                    each.partition,
                    each.current_leader_epoch,
                    each.fetch_offset,
                    each.last_fetched_epoch,
                    each.log_start_offset,
                    each.partition_max_bytes,
                    tags,
                ) = read_partition(b, p)
                if tags:
                    return plain(b, mv, start, end)
                p += 33
                each.replica_directory_id = ZERO_UUID
                each.high_watermark = HIGH_WATERMARK_UNKNOWN
                partitions.append(each)
            if b[p]:
                return plain(b, mv, start, end)
            p += 1
            found.append(of)
        # Nothing is forgotten, a short rack id, and no tagged fields behind it.
        size = b[p + 1]
        if b[p] != 1 or not 0 < size < 128 or p + size + 2 != end or b[end - 1]:
            return plain(b, mv, start, end)
        message.forgotten_topics_data = []
        message.rack_id = b[p + 2 : end - 1].decode()
        message.cluster_id = None
        message.replica_state = replica_state()
        return message, end

    return decode


def fetch_response_encoder(plain_partition: Callable[[int], Encode]) -> MakeEncoder:
    """For partitions whose leader is where the client believes it to be; others by `plain_partition`."""

    def make(version: int, plain: Encode) -> Encode:
        if version < 11:
            return plain
        if version == 11:
            return _fetch_response_before_compact(plain, plain_partition(version))
        return _fetch_response_compact(plain, plain_partition(version), by_id=version >= 13)

    return make


def _leaves_defaults(each: Any) -> bool:
    """Whether none of a fetched partition's tagged fields says anything."""
    leader = each.current_leader
    diverging = each.diverging_epoch
    snapshot = each.snapshot_id
    return bool(
        leader.leader_id == -1
        and leader.leader_epoch == -1
        and diverging.epoch == -1
        and diverging.end_offset == -1
        and snapshot.end_offset == -1
        and snapshot.epoch == -1
    )


def _fetch_response_before_compact(plain: Encode, plain_partition: Encode) -> Encode:
    head_form = Struct(">ihii").pack
    partition_form = Struct(">ihqqqiii").pack
    count_form = Struct(">i").pack
    size_form = Struct(">h").pack

    def encode(o: Any, w: Callable[[Any], None]) -> None:
        if o.node_endpoints:
            plain(o, w)
            return
        w(head_form(o.throttle_time_ms, o.error_code, o.session_id, len(o.responses)))
        for topic in o.responses:
            raw = topic.topic.encode()
            w(size_form(len(raw)))
            w(raw)
            w(count_form(len(topic.partitions)))
            for each in topic.partitions:
                aborted = each.aborted_transactions
                records = each.records
                if aborted or not _leaves_defaults(each):
                    plain_partition(each, w)
                    continue
                w(
                    partition_form(
                        each.partition_index,
                        each.error_code,
                        each.high_watermark,
                        each.last_stable_offset,
                        each.log_start_offset,
                        -1 if aborted is None else 0,
                        each.preferred_read_replica,
                        -1 if records is None else len(records),
                    )
                )
                if records is not None:
                    w(records)

    return encode


def _fetch_response_compact(plain: Encode, plain_partition: Encode, by_id: bool) -> Encode:
    head_form = Struct(">ihi").pack
    partition_form = Struct(">ihqqqBi").pack

    def encode(o: Any, w: Callable[[Any], None]) -> None:
        if o.node_endpoints:
            plain(o, w)
            return
        w(head_form(o.throttle_time_ms, o.error_code, o.session_id))
        w(uvarint(len(o.responses) + 1))
        for topic in o.responses:
            partitions = topic.partitions
            _write_topic(w, topic.topic_id if by_id else topic.topic, by_id, len(partitions))
            for each in partitions:
                aborted = each.aborted_transactions
                records = each.records
                if aborted or not _leaves_defaults(each):
                    plain_partition(each, w)
                    continue
                w(
                    partition_form(
                        each.partition_index,
                        each.error_code,
                        each.high_watermark,
                        each.last_stable_offset,
                        each.log_start_offset,
                        0 if aborted is None else 1,
                        each.preferred_read_replica,
                    )
                )
                if records is None:
                    w(b"\0\0")
                else:
                    w(uvarint(len(records) + 1))
                    w(records)
                    w(b"\0")
            w(b"\0")
        w(b"\0")

    return encode
