"""`oncelog txn`: the transactions of any cluster that speaks the Kafka protocol: list, describe, abort them.

Each command asks the brokers what it needs and gives rows, which are printed as a table or as JSON. It must
not know how brokers are asked (`cluster.py`), nor what a broker of ours does beyond the protocol; `explain`
alone needs one's admin address or data directory, and is a module of its own.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from oncelog.broker.options import UsageError
from oncelog.cli.cluster import Cluster, ClusterError, Leader, error_name, parse_address
from oncelog.cli.printing import as_table, as_time
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.describe_producers import DescribeProducersRequest, TopicRequest
from oncelog.wire.messages.describe_transactions import DescribeTransactionsRequest
from oncelog.wire.messages.init_producer_id import InitProducerIdRequest
from oncelog.wire.messages.list_offsets import ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic
from oncelog.wire.messages.list_transactions import ListTransactionsRequest
from oncelog.wire.messages.write_txn_markers import (
    WritableTxnMarker,
    WritableTxnMarkerTopic,
    WriteTxnMarkersRequest,
)

EXIT_OK = 0
EXIT_FAILED = 1

BOOTSTRAP = "127.0.0.1:9092"
TIMEOUT_S = 30.0
HAPPENINGS = 100
LATEST = -1
"""ListOffsets: the end of what the isolation level lets be read."""
FIRST_WITH_ISOLATION = 2
FIRST_WITH_DURATION, FIRST_WITH_PATTERN = 1, 2
NO_COORDINATOR = 0
"""The coordinator epoch of a marker that no coordinator sent, where the partition knows none either."""
STATES = (
    "Empty",
    "Ongoing",
    "PrepareCommit",
    "PrepareAbort",
    "CompleteCommit",
    "CompleteAbort",
    "PrepareEpochFence",
)

ENDED = frozenset({"Empty", "CompleteCommit", "CompleteAbort", "Dead"})
"""In the other states a transaction is open, or about to end."""

Row = dict[str, Any]
Place = tuple[str, int]
"""A topic and a partition."""


# --- the command line ---


def add_arguments(parser: argparse.ArgumentParser, parser_class: type[argparse.ArgumentParser]) -> None:
    """Declare the subcommands; each sets `command` to what runs it."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=parser_class)

    def command(name: str, does: Callable[[Cluster, argparse.Namespace], list[Row]], help_: str) -> Any:
        made = _command(commands, name, help_)
        made.add_argument("--bootstrap", default=BOOTSTRAP, metavar="HOST:PORT", help=f"({BOOTSTRAP})")
        made.add_argument(
            "--timeout-s",
            type=_seconds,
            default=TIMEOUT_S,
            metavar="S",
            help=f"for all of it ({TIMEOUT_S:g})",
        )
        made.set_defaults(command=run, txn=does)
        return made

    listing = command("list", list_transactions, "list transactional ids, their producers and states")
    listing.add_argument(
        "--state", action="append", default=[], choices=STATES, help="only these; repeatable"
    )
    listing.add_argument("--producer-id", action="append", default=[], type=_number, metavar="N")
    listing.add_argument(
        "--open-longer-than-s", type=_seconds, metavar="S", help="only transactions this old"
    )
    listing.add_argument("--pattern", metavar="REGEX", help="only ids that match this as a whole")

    describing = command("describe", describe, "tell all that coordinators know of transactional ids")
    describing.add_argument("ids", nargs="+", metavar="TRANSACTIONAL_ID")

    producing = command("producers", producers, "list the producers that partitions remember")
    producing.add_argument("topic", metavar="TOPIC")
    producing.add_argument("--partition", type=_number, metavar="N")

    aborting = command("abort", abort, "abort an open transaction, and fence its producer")
    aborting.add_argument("id", nargs="?", metavar="TRANSACTIONAL_ID", help="abort it by its coordinator")
    aborting.add_argument("--topic", help="or abort what is open in a partition, whoever coordinates it")
    aborting.add_argument("--partition", type=_number, metavar="N")
    aborting.add_argument(
        "--producer-id", type=_number, metavar="N", help="whose transaction in that partition"
    )

    being_stuck = command("stuck", stuck, "tell what holds last stable offsets back, and since when")
    being_stuck.add_argument("--topic", action="append", help="only of this topic; repeatable")

    explaining = _command(
        commands,
        "explain",
        "tell the life of a transactional id: who fenced whom, and what was refused since",
    )
    explaining.add_argument("id", metavar="TRANSACTIONAL_ID")
    source = explaining.add_mutually_exclusive_group(required=True)
    source.add_argument("--admin", metavar="HOST:PORT", help="a running broker's admin address")
    source.add_argument("--data", metavar="DIR", help="or a stopped broker's data directory")
    explaining.add_argument(
        "--last",
        type=_count,
        default=HAPPENINGS,
        metavar="N",
        help=f"of a directory, at most so much of it ({HAPPENINGS})",
    )
    explaining.add_argument(
        "--producer-id", type=_number, metavar="N", help="tell since when this producer is refused"
    )
    explaining.add_argument("--epoch", type=_number, metavar="N", help="the epoch that it sent")
    explaining.set_defaults(command=explain)


def _command(commands: Any, name: str, help_: str) -> Any:
    made = commands.add_parser(name, help=help_, description=help_, allow_abbrev=False)
    made.add_argument("--format", choices=("table", "json"), default="table", help="(table)")
    return made


def _seconds(text: str) -> float:
    seconds = float(text)
    if not math.isfinite(seconds) or not 0 < seconds < 1e9:
        raise argparse.ArgumentTypeError("must be more than 0")
    return seconds


def _number(text: str) -> int:
    number = int(text)
    if not 0 <= number < 1 << 63:
        raise argparse.ArgumentTypeError("must be a whole number from 0 on")
    return number


def _count(text: str) -> int:
    number = _number(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def run(arguments: argparse.Namespace, write: Callable[[str], object] = print) -> int:
    """Ask the cluster, print, and return the exit code. Raises UsageError."""
    try:
        for address in arguments.bootstrap.split(","):
            parse_address(address.strip())
    except ClusterError as wrong:
        raise UsageError(f"--bootstrap: {wrong}") from None
    try:
        with Cluster(arguments.bootstrap, arguments.timeout_s) as cluster:
            rows = arguments.txn(cluster, arguments)
    except ClusterError as failed:
        print(f"oncelog txn: {failed}", file=sys.stderr)
        return EXIT_FAILED
    write(json.dumps(rows, indent=2) if arguments.format == "json" else as_table(rows))
    return EXIT_OK


def explain(arguments: argparse.Namespace) -> int:
    """`oncelog txn explain`"""
    # Imported here: the other commands do without disks and journals.
    from oncelog.cli.explain import run as run_explain

    return run_explain(arguments)


# --- list, describe ---


def list_transactions(cluster: Cluster, arguments: argparse.Namespace) -> list[Row]:
    """Every broker tells of those that it coordinates."""
    request = ListTransactionsRequest(
        state_filters=arguments.state, producer_id_filters=arguments.producer_id
    )
    at_least = 0
    if arguments.open_longer_than_s is not None:
        request.duration_filter, at_least = round(arguments.open_longer_than_s * 1000), FIRST_WITH_DURATION
    if arguments.pattern:
        request.transactional_id_pattern, at_least = arguments.pattern, FIRST_WITH_PATTERN
    return [
        {"transactional_id": each.transactional_id, "producer_id": each.producer_id,
         "state": each.transaction_state, "coordinator": node_id}
        for node_id, each in sorted(_listed(cluster, request, at_least), key=_by_transactional_id)
        if arguments.open_longer_than_s is None or each.transaction_state not in ENDED
    ]  # fmt: skip


def _by_transactional_id(found: tuple[int, Any]) -> str:
    return str(found[1].transactional_id)


def _listed(cluster: Cluster, request: ListTransactionsRequest, at_least: int) -> Iterator[tuple[int, Any]]:
    for node_id in cluster.brokers():
        answer = cluster.settled(
            partial(cluster.ask, node_id, request, at_least=at_least),
            lambda answer: [answer.error_code],
        )
        if answer.error_code:
            raise ClusterError(f"broker {node_id} lists nothing: {error_name(answer.error_code)}")
        yield from ((node_id, each) for each in answer.transaction_states)


def describe(cluster: Cluster, arguments: argparse.Namespace) -> list[Row]:
    """A row for each id; `error` where there is nothing to tell."""
    return [_described(each) for each in _descriptions(cluster, arguments.ids)]


def _descriptions(cluster: Cluster, names: Sequence[str]) -> list[Any]:
    """What coordinators say of each, in the order asked."""
    by_coordinator: dict[int, list[str]] = {}
    for name, node_id in cluster.coordinators(list(dict.fromkeys(names))).items():
        by_coordinator.setdefault(node_id, []).append(name)
    found = {
        told.transactional_id: told
        for node_id, its_names in by_coordinator.items()
        for told in _told_by(cluster, node_id, its_names)
    }
    return [found[name] for name in names if name in found]


def _told_by(cluster: Cluster, node_id: int, names: Sequence[str]) -> list[Any]:
    """What one coordinator says of these transactional ids."""
    request = DescribeTransactionsRequest(transactional_ids=list(names))
    answer = cluster.settled(
        partial(cluster.ask, node_id, request),
        lambda answer: [each.error_code for each in answer.transaction_states],
    )
    return list(answer.transaction_states)


def _described(told: Any) -> Row:
    if told.error_code:
        return {"transactional_id": told.transactional_id, "error": error_name(told.error_code)}
    # Coordinators go on to tell when the last one began.
    since_ms = -1 if told.transaction_state in ENDED else told.transaction_start_time_ms
    return {
        "transactional_id": told.transactional_id,
        "state": told.transaction_state,
        "producer_id": told.producer_id,
        "producer_epoch": told.producer_epoch,
        "timeout_ms": told.transaction_timeout_ms,
        "open_since": as_time(since_ms),
        "open_s": _seconds_since(since_ms),
        "partitions": [
            f"{topic.topic}-{index}" for topic in sorted(told.topics, key=lambda each: str(each.topic))
            for index in sorted(topic.partitions)
        ],
    }  # fmt: skip


# --- producers ---


def producers(cluster: Cluster, arguments: argparse.Namespace) -> list[Row]:
    """A row for each producer of each partition."""
    leaders = cluster.leaders([arguments.topic])
    if arguments.partition is not None:
        leaders = [each for each in leaders if each.partition == arguments.partition]
        if not leaders:
            raise ClusterError(f"topic {arguments.topic} has no partition {arguments.partition}")
    return [
        {"topic": place[0], "partition": place[1], "producer_id": each.producer_id,
         "producer_epoch": each.producer_epoch, "last_sequence": each.last_sequence,
         "last_timestamp": as_time(each.last_timestamp), "coordinator_epoch": each.coordinator_epoch,
         "open_from_offset": each.current_txn_start_offset if each.current_txn_start_offset >= 0 else None}
        for place, found in _producers(cluster, leaders).items()
        for each in sorted(found, key=_by_producer_id)
    ]  # fmt: skip


def _by_producer_id(producer: Any) -> int:
    return int(producer.producer_id)


def _producers(
    cluster: Cluster, leaders: Sequence[Leader], *, only_open: bool = False
) -> dict[Place, list[Any]]:
    """The producers that each of these partitions remembers; with only_open, perhaps the open ones alone."""
    found: dict[Place, list[Any]] = {}
    for node_id, topics in _by_leader(leaders):
        for topic, each in _told_of_producers(cluster, node_id, topics):
            place = (topic, each.partition_index)
            is_too_much = each.error_code == ErrorCode.POLICY_VIOLATION
            if is_too_much and len(leaders) > 1:
                # Of one partition there may be room for all, and is for the first that are open.
                found |= _producers(cluster, [Leader(*place, node_id)], only_open=only_open)
            elif each.error_code and not (is_too_much and only_open):
                raise ClusterError(f"{topic}-{each.partition_index}: {error_name(each.error_code)}")
            else:
                found[place] = each.active_producers
    return dict(sorted(found.items()))


def _told_of_producers(
    cluster: Cluster, node_id: int, topics: dict[str, list[int]]
) -> Iterator[tuple[str, Any]]:
    """What one broker says of each of these partitions."""
    request = DescribeProducersRequest(
        topics=[TopicRequest(name=name, partition_indexes=indexes) for name, indexes in topics.items()]
    )
    answer = cluster.settled(
        partial(cluster.ask, node_id, request),
        lambda answer: [each.error_code for topic in answer.topics for each in topic.partitions],
    )
    for topic in answer.topics:
        yield from ((topic.name, each) for each in topic.partitions)


def _by_leader(leaders: Sequence[Leader]) -> Iterator[tuple[int, dict[str, list[int]]]]:
    """For each broker, the partitions that it leads, by topic. Raises ClusterError where nobody leads."""
    by_node: dict[int, dict[str, list[int]]] = {}
    for each in leaders:
        if each.node_id < 0:
            raise ClusterError(f"{each.topic}-{each.partition} has no leader now")
        by_node.setdefault(each.node_id, {}).setdefault(each.topic, []).append(each.partition)
    yield from by_node.items()


# --- abort ---


def abort(cluster: Cluster, arguments: argparse.Namespace) -> list[Row]:
    """By transactional id, through its coordinator; or by partition, with a marker."""
    is_by_partition = arguments.topic is not None and arguments.partition is not None
    if (arguments.id is None) != is_by_partition:
        raise UsageError("abort takes a TRANSACTIONAL_ID, or --topic and --partition")
    if arguments.id is not None:
        return [_abort_id(cluster, arguments.id)]
    return [_abort_place(cluster, (arguments.topic, arguments.partition), arguments.producer_id)]


def _abort_id(cluster: Cluster, name: str) -> Row:
    """As a new producer of this id would: what is open is aborted, and whoever had the id is fenced."""
    (told,) = _descriptions(cluster, [name])
    if told.error_code:
        raise ClusterError(f"{name}: {error_name(told.error_code)}")
    if told.transaction_state != "Ongoing":
        raise ClusterError(f"{name} has no open transaction, its state is {told.transaction_state}")
    node_id = cluster.coordinators([name])[name]
    request = InitProducerIdRequest(transactional_id=name, transaction_timeout_ms=told.transaction_timeout_ms)
    answer = cluster.settled(partial(cluster.ask, node_id, request), lambda answer: [answer.error_code])
    if answer.error_code:
        raise ClusterError(f"{name} was not aborted: {error_name(answer.error_code)}")
    return {
        "transactional_id": name,
        "aborted_producer_id": told.producer_id,
        "aborted_producer_epoch": told.producer_epoch,
        "next_producer_id": answer.producer_id,
        "next_producer_epoch": answer.producer_epoch,
    }


def _abort_place(cluster: Cluster, place: Place, producer_id: int | None) -> Row:
    """The transaction of this producer that is open in the partition; without one, the oldest."""
    leaders = [each for each in cluster.leaders([place[0]]) if each.partition == place[1]]
    if not leaders:
        raise ClusterError(f"topic {place[0]} has no partition {place[1]}")
    chosen = _first_open(_producers(cluster, leaders, only_open=True)[place], producer_id)
    if chosen is None:
        whose = "" if producer_id is None else f" of producer {producer_id}"
        raise ClusterError(f"no transaction{whose} is open in {place[0]}-{place[1]}")
    marker = WritableTxnMarker(
        producer_id=chosen.producer_id,
        producer_epoch=chosen.producer_epoch,
        topics=[WritableTxnMarkerTopic(name=place[0], partition_indexes=[place[1]])],
        coordinator_epoch=max(chosen.coordinator_epoch, NO_COORDINATOR),
    )
    answer = cluster.ask(leaders[0].node_id, WriteTxnMarkersRequest(markers=[marker]))
    error = answer.markers[0].topics[0].partitions[0].error_code
    if error:
        raise ClusterError(f"{place[0]}-{place[1]}: not aborted: {error_name(error)}")
    return {
        "topic": place[0],
        "partition": place[1],
        "aborted_producer_id": chosen.producer_id,
        "aborted_producer_epoch": chosen.producer_epoch,
        "open_from_offset": chosen.current_txn_start_offset,
    }


def _first_open(found: Iterable[Any], producer_id: int | None = None) -> Any | None:
    """The producer whose transaction began first among those that are open."""
    is_open = [
        each
        for each in found
        if each.current_txn_start_offset >= 0 and producer_id in (None, each.producer_id)
    ]
    return min(is_open, key=lambda each: int(each.current_txn_start_offset), default=None)


# --- stuck ---


class Ends(NamedTuple):
    """Where committed and where all records of a partition end."""

    last_stable_offset: int
    high_watermark: int


def stuck(cluster: Cluster, arguments: argparse.Namespace) -> list[Row]:
    """A row for each partition whose last stable offset is behind its high watermark, the oldest first."""
    leaders = [each for each in cluster.leaders(arguments.topic) if each.node_id >= 0]
    stable, all_ = (_ends(cluster, leaders, isolation_level) for isolation_level in (1, 0))
    behind = {
        place: Ends(stable[place], high_watermark)
        for place, high_watermark in all_.items()
        if stable.get(place, high_watermark) < high_watermark
    }
    if not behind:
        return []
    blocked = [each for each in leaders if (each.topic, each.partition) in behind]
    first = _holders(cluster, blocked)
    if not first:
        return []
    owners = _owners(cluster, [holder.producer_id for holder in first.values()])
    # Asked again: what coordinators said is of a transaction only if it was open before they said it and is
    # still. One that has ended meanwhile would look as if nobody were to end it.
    still = _holders(cluster, [each for each in blocked if (each.topic, each.partition) in first])
    rows = [
        _stuck_row(place, behind[place], holder, owners.get(holder.producer_id))
        for place, holder in first.items()
        if place in still and _transaction_of(still[place]) == _transaction_of(holder)
    ]
    return sorted(rows, key=lambda row: (row["since"] or "", row["topic"], row["partition"]))


def _holders(cluster: Cluster, leaders: Sequence[Leader]) -> dict[Place, Any]:
    """Whose transaction holds each of these partitions back now; without those that nobody holds back."""
    held = _producers(cluster, leaders, only_open=True)
    return {place: holder for place, found in held.items() if (holder := _first_open(found)) is not None}


def _transaction_of(holder: Any) -> tuple[int, int, int]:
    """What tells the open transaction of a producer in a partition from its next one."""
    return holder.producer_id, holder.producer_epoch, holder.current_txn_start_offset


def _stuck_row(place: Place, ends: Ends, holder: Any, owner: Any | None) -> Row:
    """owner: what its coordinator says of the transactional id; None where none knows the producer."""
    is_open = owner is not None and owner.transaction_state not in ENDED
    since_ms = owner.transaction_start_time_ms if owner is not None and is_open else holder.last_timestamp
    timeout_ms = owner.transaction_timeout_ms if owner is not None else None
    age_s = _seconds_since(since_ms)
    left_s = None if timeout_ms is None or age_s is None else round(timeout_ms / 1000 - age_s, 1)
    return {
        "topic": place[0],
        "partition": place[1],
        "last_stable_offset": ends.last_stable_offset,
        "records_held": ends.high_watermark - ends.last_stable_offset,
        "transactional_id": None if owner is None else owner.transactional_id,
        "producer_id": holder.producer_id,
        "producer_epoch": holder.producer_epoch,
        "since": as_time(since_ms),
        "open_s": age_s,
        "times_out_in_s": left_s if is_open else None,
        "verdict": _verdict(owner, is_open, left_s),
    }


def _verdict(owner: Any | None, is_open: bool, left_s: float | None) -> str:
    if owner is None:
        return "hanging: no coordinator knows this producer; abort it by its partition"
    if not is_open:
        return f"hanging: its coordinator says {owner.transaction_state}; abort it by its partition"
    if left_s is not None and left_s < 0:
        return "past its timeout"
    return "open"


def _ends(cluster: Cluster, leaders: Sequence[Leader], isolation_level: int) -> dict[Place, int]:
    """Where each partition ends for readers of this isolation level; those that can't tell are left out."""
    found: dict[Place, int] = {}
    for node_id, topics in _by_leader(leaders):
        request = ListOffsetsRequest(
            replica_id=-1,
            isolation_level=isolation_level,
            topics=[
                ListOffsetsTopic(
                    name=name,
                    partitions=[
                        ListOffsetsPartition(partition_index=index, timestamp=LATEST) for index in indexes
                    ],
                )
                for name, indexes in topics.items()
            ],
        )
        answer = cluster.ask(node_id, request, at_least=FIRST_WITH_ISOLATION)
        for topic in answer.topics:
            for each in topic.partitions:
                if each.error_code == ErrorCode.NONE:
                    found[topic.name, each.partition_index] = each.offset
    return found


def _owners(cluster: Cluster, producer_ids: Iterable[int]) -> dict[int, Any]:
    """What coordinators say of the transactional ids that these producers have, by producer id."""
    by_coordinator: dict[int, list[str]] = {}
    request = ListTransactionsRequest(producer_id_filters=sorted(set(producer_ids)))
    for node_id, each in _listed(cluster, request, 0):
        by_coordinator.setdefault(node_id, []).append(each.transactional_id)
    return {
        told.producer_id: told
        for node_id, names in by_coordinator.items()
        for told in _told_by(cluster, node_id, names)
        if told.error_code == ErrorCode.NONE
    }


def _seconds_since(milliseconds: int) -> float | None:
    """By this machine's clock."""
    return None if milliseconds < 0 else round(time.time() - milliseconds / 1000, 1)
