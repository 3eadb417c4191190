"""The options of a broker: one table, which gives the command line, the environment, the file and the docs.

A value comes from the command line, else the environment, else the TOML file, else it is the default. It must
not start anything: `oncelog serve` and embedding programs hand an `Options` to the broker.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, NamedTuple

from oncelog.broker.groups import GroupOptions
from oncelog.broker.housekeeping import HousekeepingOptions
from oncelog.broker.limits import ConnectionLimits
from oncelog.machine.limits import Limits

ENVIRONMENT_PREFIX = "ONCELOG_"
CONFIG_OPTION = "config"


MEMORY_BYTES_MIN, MEMORY_BYTES_MAX = 1 << 20, 1 << 30
MEMORY_RESERVE_SHARE = 8
REQUEST_BYTES_MAX = 100 << 20
ENTRY_BYTES, ENTRY_BYTES_MIN = 1 << 20, 4096

OF_SERVE_ALONE = ("dev", "admin", "metrics_rows", "log_level", "log_format")
"""Options of the process, which an embedding program has in its own hands."""

UNROUTABLE = ("0.0.0.0", "::")
"""Hosts to listen on that are no addresses to connect to."""


class UsageError(Exception):
    """What somebody asked for cannot be done; the message is a sentence for them."""


class Address(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Listener(NamedTuple):
    """Where to listen, and what clients that come in there are told to connect to; None is the same address.

    Port 0 of `advertised` is the port that is listened on.
    """

    address: Address
    advertised: Address | None = None

    def __str__(self) -> str:
        return str(self.address) if self.advertised is None else f"{self.address}={self.advertised}"


# --- kinds of values ---


@dataclass(frozen=True, slots=True)
class Kind:
    """How the text of an option becomes its value. parse raises ValueError with the rest of a sentence.

    is_list: the option may be repeated, and its text is a list with commas. bare: what the flag means without
    a value, where it may stand alone.
    """

    metavar: str
    parse: Callable[[str], Any]
    show: Callable[[Any], str] = str
    is_list: bool = False
    bare: str | None = None


def _text(text: str) -> str:
    if not text:
        raise ValueError("must not be empty")
    return text


def _switch(text: str) -> bool:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    raise ValueError("is neither true nor false")


def _whole(minimum: int, maximum: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError("is not a whole number") from None
        if not minimum <= value <= maximum:
            raise ValueError(f"is not between {minimum} and {maximum}")
        return value

    return parse


_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def _bytes(minimum: int, maximum: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        number, unit = (text[:-3].strip(), _UNITS[text[-3:]]) if text[-3:] in _UNITS else (text, 1)
        try:
            value = int(number) * unit
        except ValueError:
            raise ValueError("is not a number of bytes, such as 1048576 or 1MiB") from None
        if not minimum <= value <= maximum:
            raise ValueError(f"is not between {show_bytes(minimum)} and {show_bytes(maximum)}")
        return value

    return parse


def show_bytes(value: int) -> str:
    """In the largest unit that divides it."""
    for unit, size in reversed(_UNITS.items()):
        if value and value % size == 0:
            return f"{value // size}{unit}"
    return str(value)


def parse_address(text: str) -> Address:
    """HOST:PORT, with an IPv6 host in brackets. Raises ValueError."""
    host, separator, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    is_bracketed = host == f"[{bare}]"
    well_formed = separator and bare and port.isdecimal() and port.isascii() and int(port) <= 65535
    if not well_formed or (":" in bare and not is_bracketed):
        raise ValueError("is not HOST:PORT, for example 127.0.0.1:9092")
    return Address(bare, int(port))


def parse_listeners(text: str) -> tuple[Listener, ...]:
    """HOST:PORT or HOST:PORT=HOST:PORT, several with commas. Raises ValueError."""
    listeners = []
    for part in text.split(","):
        address, separator, advertised = part.strip().partition("=")
        listeners.append(Listener(parse_address(address), parse_address(advertised) if separator else None))
    return tuple(listeners)


def _show_listeners(listeners: Sequence[Listener]) -> str:
    return ",".join(map(str, listeners))


def _choice(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text in allowed:
            return text
        raise ValueError(f"is none of {', '.join(allowed)}")

    return parse


_INT_MAX = 2**31 - 1
_TEXT = Kind("TEXT", _text)
_DIRECTORY = Kind("DIR", _text)
_ADDRESS = Kind("HOST:PORT", parse_address)
_LISTENERS = Kind("HOST:PORT[=HOST:PORT]", parse_listeners, _show_listeners, is_list=True)
_SWITCH = Kind("true|false", _switch, lambda value: "true" if value else "false", bare="true")
_COUNT = Kind("N", _whole(1, _INT_MAX))
_MS = Kind("MS", _whole(1, _INT_MAX))
_MS_OR_NONE = Kind("MS", _whole(0, _INT_MAX))
_DURABILITY = Kind("fsync", _choice("fsync"))
_LEVEL = Kind("LEVEL", _choice("debug", "info", "warning", "error"))


_LOOP = Kind("auto|uvloop|asyncio", _choice("auto", "uvloop", "asyncio"))
_LOG_FORMAT = Kind("key=value|json", _choice("key=value", "json"))


def _bytes_kind(minimum: int, maximum: int) -> Kind:
    return Kind("BYTES", _bytes(minimum, maximum), show_bytes)


# --- the table ---


@dataclass(frozen=True, slots=True)
class Option:
    """One row of the table.

    name: as in Python and in TOML. default_text: the default for people. kafka: Kafka's config of the same
    meaning.
    """

    name: str
    kind: Kind
    default: Any
    default_text: str
    is_required: bool
    group: str
    help: str
    kafka: str | None

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def environment(self) -> str:
        return ENVIRONMENT_PREFIX + self.name.upper()


def _option(
    kind: Kind,
    help: str,
    *,
    group: str,
    default: Any = dataclasses.MISSING,
    default_text: str | None = None,
    kafka: str | None = None,
) -> Any:
    if default_text is None:
        default_text = "required" if default is dataclasses.MISSING else kind.show(default)
    return field(
        default=default,
        metadata={
            "kind": kind,
            "default_text": default_text,
            "group": group,
            "help": help,
            "kafka": kafka,
        },
    )


_PLACE, _TOPICS, _GROUPS, _TRANSACTIONS, _MEMORY, _CONNECTIONS = (
    "Where",
    "Topics",
    "Groups and offsets",
    "Transactions",
    "Storage and memory",
    "Connections",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a broker is started with; every field is one option, declared once."""

    data: str = _option(
        _DIRECTORY, "The data directory; made when it is not there. One process owns it.", group=_PLACE
    )
    listen: tuple[Listener, ...] = _option(
        _LISTENERS,
        "Where clients connect and, behind =, what those who do are told to connect to. May be repeated. "
        "Port 0 lets the system pick one, which the ready line names; behind =, it is the one listened on.",
        default=(Listener(Address("127.0.0.1", 9092)),),
        group=_PLACE,
    )
    dev: bool = _option(
        _SWITCH,
        "For trying things: an empty group's first rebalance waits for nobody, and without --data everything "
        "is kept in memory, at most 1GiB, and gone at the end. What is set besides counts more.",
        default=False,
        group=_PLACE,
    )
    admin: Address | None = _option(  # noqa: RUF009 (it makes a dataclasses.field)
        _ADDRESS,
        "Where health, metrics and the lives of transactional ids are served over HTTP.",
        default=None,
        group=_PLACE,
        default_text="nowhere",
    )
    metrics_rows: int = _option(
        _COUNT,
        "Topics, and groups, that /metrics tells of one by one, the oldest first; totals are of all.",
        default=100,
        group=_PLACE,
    )
    log_level: str = _option(
        _LEVEL, "The least severe log lines that are written.", default="info", group=_PLACE
    )
    log_format: str = _option(
        _LOG_FORMAT, "How log lines are written, one for each record.", default="key=value", group=_PLACE
    )
    loop: str = _option(
        _LOOP,
        "The event loop: uvloop where it is installed and Python's own else, or one of the two.",
        default="auto",
        group=_PLACE,
    )
    durability: str = _option(
        _DURABILITY,
        "When a write is acknowledged: after it was synced to the disk. There is no other choice yet.",
        default="fsync",
        group=_MEMORY,
    )
    journal_file_bytes: int = _option(
        _bytes_kind(1 << 20, 1 << 40),
        "A journal file of this size is followed by the next one.",
        default=256 << 20,
        group=_MEMORY,
    )
    entry_bytes: int = _option(
        _bytes_kind(ENTRY_BYTES_MIN, 1 << 30),
        "Produce requests wait for the next journal entry once the open one holds this much.",
        default=ENTRY_BYTES,
        group=_MEMORY,
    )
    payload_cache_bytes: int = _option(
        _bytes_kind(0, 1 << 40),
        "Newest record batches kept in memory for readers at the end of the log.",
        default=64 << 20,
        group=_MEMORY,
    )
    disk_reserve_bytes: int = _option(
        _bytes_kind(0, 1 << 50),
        "With less free on the disk, Produce and InitProducerId are refused, retriably; with less than "
        "half of it (64 MiB at most), whatever else makes the log grow.",
        default=512 << 20,
        group=_MEMORY,
    )
    num_partitions: int = _option(
        _COUNT,
        "Partitions of a topic that is created without saying how many.",
        default=1,
        group=_TOPICS,
        kafka="num.partitions",
    )
    auto_create_topics_enable: bool = _option(
        _SWITCH,
        "Whether a client that asks for a missing topic by name creates it.",
        default=True,
        group=_TOPICS,
        kafka="auto.create.topics.enable",
    )
    delete_topic_enable: bool = _option(
        _SWITCH, "Whether topics may be deleted.", default=True, group=_TOPICS, kafka="delete.topic.enable"
    )
    max_partitions: int = _option(
        _COUNT,
        "Partitions of all topics together; creating more is refused with POLICY_VIOLATION.",
        default=Limits().partitions_max,
        group=_TOPICS,
    )
    group_initial_rebalance_delay_ms: int = _option(
        _MS_OR_NONE,
        "How long an empty group waits for more members before its first generation.",
        default=3000,
        group=_GROUPS,
        kafka="group.initial.rebalance.delay.ms",
    )
    group_min_session_timeout_ms: int = _option(
        _MS,
        "The shortest session timeout that a member may ask for.",
        default=6000,
        group=_GROUPS,
        kafka="group.min.session.timeout.ms",
    )
    group_max_session_timeout_ms: int = _option(
        _MS,
        "The longest session timeout that a member may ask for.",
        default=1_800_000,
        group=_GROUPS,
        kafka="group.max.session.timeout.ms",
    )
    group_max_size: int = _option(
        _COUNT,
        "Members of one group; more are refused with GROUP_MAX_SIZE_REACHED.",
        default=Limits().group_members_max,
        group=_GROUPS,
        kafka="group.max.size",
    )
    max_groups: int = _option(
        _COUNT,
        "Groups in all; one more is refused with COORDINATOR_LOAD_IN_PROGRESS.",
        default=Limits().groups_max,
        group=_GROUPS,
    )
    offsets_retention_minutes: int = _option(
        _COUNT,
        "How long the offsets of an empty group are kept.",
        default=10_080,
        group=_GROUPS,
        kafka="offsets.retention.minutes",
    )
    offsets_retention_check_interval_ms: int = _option(
        _MS,
        "How often offsets are looked through for those to forget.",
        default=600_000,
        group=_GROUPS,
        kafka="offsets.retention.check.interval.ms",
    )
    offset_metadata_max_bytes: int = _option(
        _COUNT,
        "The longest text that may be committed with an offset.",
        default=4096,
        group=_GROUPS,
        kafka="offset.metadata.max.bytes",
    )
    transaction_max_timeout_ms: int = _option(
        _MS,
        "The longest transaction timeout that a producer may ask for.",
        default=900_000,
        group=_TRANSACTIONS,
        kafka="transaction.max.timeout.ms",
    )
    max_producers: int = _option(
        _COUNT,
        "Producers that partitions remember, counted in each partition that they write to. Near it, those "
        "that are idle for longest, and for 15 minutes, are forgotten early; beyond it, new ones are "
        "refused, retriably.",
        default=Limits().producers_max,
        group=_TRANSACTIONS,
    )
    max_transactional_ids: int = _option(
        _COUNT,
        "Transactional ids that are remembered. Near it and beyond it goes as with producers.",
        default=Limits().transactional_ids_max,
        group=_TRANSACTIONS,
    )
    producer_id_expiration_ms: int = _option(
        _MS,
        "A partition forgets a producer that has not written to it for so long.",
        default=86_400_000,
        group=_TRANSACTIONS,
        kafka="producer.id.expiration.ms",
    )
    transactional_id_expiration_ms: int = _option(
        _MS,
        "A transactional id that nobody has used for so long is forgotten.",
        default=604_800_000,
        group=_TRANSACTIONS,
        kafka="transactional.id.expiration.ms",
    )
    expiry_check_interval_ms: int = _option(
        _MS,
        "How often producers and transactional ids are looked through for those to forget.",
        default=600_000,
        group=_TRANSACTIONS,
    )
    socket_request_max_bytes: int = _option(
        _bytes_kind(4096, _INT_MAX),
        "A client that announces a larger request is disconnected.",
        default=REQUEST_BYTES_MAX,
        group=_CONNECTIONS,
        kafka="socket.request.max.bytes",
    )
    max_connections: int = _option(
        _COUNT,
        "Connections at the same time; more are closed at once.",
        default=20_000,
        group=_CONNECTIONS,
        kafka="max.connections",
    )
    connections_max_idle_ms: int = _option(
        _MS,
        "A connection without requests for so long is closed.",
        default=600_000,
        group=_CONNECTIONS,
        kafka="connections.max.idle.ms",
    )
    unanswered_requests: int = _option(
        _COUNT,
        "Requests of one connection that may be unanswered; beyond it, the connection is not read.",
        default=256,
        group=_CONNECTIONS,
    )
    unanswered_bytes: int = _option(
        _bytes_kind(4096, 1 << 40),
        "Bytes of one connection's unanswered requests; beyond it, the connection is not read.",
        default=8 << 20,
        group=_CONNECTIONS,
    )
    request_elements: int = _option(
        _COUNT,
        "Elements of all lists in one request; a client that sends more is disconnected.",
        default=128 * 1024,
        group=_CONNECTIONS,
    )
    write_buffer_bytes: int = _option(
        _bytes_kind(4096, 1 << 40),
        "Replies that a client has not read; beyond it, nothing more is started for it.",
        default=8 << 20,
        group=_CONNECTIONS,
    )
    held_bytes: int = _option(
        _bytes_kind(1 << 20, 1 << 50),
        "Bytes of requests and replies of all connections; beyond it, those that hold most are closed.",
        default=1 << 30,
        group=_CONNECTIONS,
    )
    frame_deadline_ms: int = _option(
        _MS,
        "A client that needs longer than this to send one request is disconnected.",
        default=30_000,
        group=_CONNECTIONS,
    )
    write_stall_ms: int = _option(
        _MS,
        "A client that leaves a full buffer of replies unread for so long is disconnected.",
        default=60_000,
        group=_CONNECTIONS,
    )

    closed_connections_logged: int = _option(
        _COUNT,
        "Log lines of one kind in a second, those about closed connections above all; others are counted.",
        default=10,
        group=_CONNECTIONS,
    )

    def __post_init__(self) -> None:
        for listener in self.listen:
            told = listener.advertised or listener.address
            if told.host in UNROUTABLE:
                raise UsageError(
                    f"clients cannot connect to {told.host}: tell them where to with "
                    f"--listen {listener.address}=HOST:PORT (port 0 for the port that is listened on)"
                )
        fixed = [listener.address for listener in self.listen if listener.address.port]
        if len(set(fixed)) < len(fixed):
            raise UsageError(f"--listen names an address twice: {_show_listeners(self.listen)}")
        if self.group_min_session_timeout_ms > self.group_max_session_timeout_ms:
            raise UsageError(
                f"group_min_session_timeout_ms ({self.group_min_session_timeout_ms}) is larger than "
                f"group_max_session_timeout_ms ({self.group_max_session_timeout_ms})"
            )

    # --- what the parts of the broker are given ---

    @property
    def is_in_memory(self) -> bool:
        return not self.data

    @property
    def journal_file_bytes_max(self) -> int:
        return self.journal_file_bytes

    @property
    def entry_bytes_max(self) -> int:
        return self.entry_bytes

    @property
    def payload_cache_bytes_max(self) -> int:
        return self.payload_cache_bytes

    def connection_limits(self) -> ConnectionLimits:
        return ConnectionLimits(
            connections_max=self.max_connections,
            frame_bytes_max=self.socket_request_max_bytes,
            unanswered_requests_max=self.unanswered_requests,
            unanswered_bytes_max=self.unanswered_bytes,
            request_elements_max=self.request_elements,
            write_buffer_bytes_max=self.write_buffer_bytes,
            held_bytes_max=self.held_bytes,
            frame_deadline_s=self.frame_deadline_ms / 1000,
            write_stall_s=self.write_stall_ms / 1000,
            idle_s=self.connections_max_idle_ms / 1000,
            refusals_logged_per_s=self.closed_connections_logged,
        )

    def machine_limits(self) -> Limits:
        return Limits(
            transaction_max_timeout_ms=self.transaction_max_timeout_ms,
            transactional_ids_max=self.max_transactional_ids,
            producers_max=self.max_producers,
            partitions_max=self.max_partitions,
            groups_max=self.max_groups,
            group_members_max=self.group_max_size,
            offset_metadata_characters_max=self.offset_metadata_max_bytes,
        )

    def housekeeping_options(self) -> HousekeepingOptions:
        return HousekeepingOptions(
            producer_id_expiration_ms=self.producer_id_expiration_ms,
            transactional_id_expiration_ms=self.transactional_id_expiration_ms,
            check_interval_ms=self.expiry_check_interval_ms,
        )

    def group_options(self) -> GroupOptions:
        return GroupOptions(
            group_min_session_timeout_ms=self.group_min_session_timeout_ms,
            group_max_session_timeout_ms=self.group_max_session_timeout_ms,
            group_initial_rebalance_delay_ms=self.group_initial_rebalance_delay_ms,
            offsets_retention_ms=self.offsets_retention_minutes * 60_000,
            offsets_retention_check_interval_ms=self.offsets_retention_check_interval_ms,
        )

    def kafka_configs(self) -> dict[str, str]:
        """The values of Kafka's configs that options stand for."""
        return {
            option.kafka: _plain(getattr(self, option.name)) for option in OPTIONS if option.kafka is not None
        }


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if type(value) in (tuple, list):
        return ",".join(map(_plain, value))
    return str(value)


def _table() -> Iterator[Option]:
    for declared in dataclasses.fields(Options):
        is_required = declared.default is dataclasses.MISSING
        default = None if is_required else declared.default
        yield Option(name=declared.name, default=default, is_required=is_required, **declared.metadata)


OPTIONS: tuple[Option, ...] = tuple(_table())


# --- reading them ---


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser every option, in the groups of the table; their values stay text until `read_options`."""
    parser.add_argument(
        f"--{CONFIG_OPTION}",
        metavar="FILE",
        help=f"Read options from this TOML file. Environment: {ENVIRONMENT_PREFIX}{CONFIG_OPTION.upper()}.",
    )
    for group in dict.fromkeys(option.group for option in OPTIONS):
        section = parser.add_argument_group(group)
        for option in OPTIONS:
            if option.group == group:
                default = option.default_text.replace("%", "%%")
                how: dict[str, Any] = {"metavar": option.kind.metavar}
                if option.kind.is_list:
                    how["action"] = "append"
                if option.kind.bare is not None:
                    how |= {"nargs": "?", "const": option.kind.bare}
                section.add_argument(option.flag, help=f"{option.help} ({default})", **how)


def read_options(arguments: Mapping[str, Any], environment: Mapping[str, str]) -> Options:
    """Put the options together from the command line, the environment and the file that either names.

    Raises UsageError.
    """
    path = arguments.get(CONFIG_OPTION) or environment.get(f"{ENVIRONMENT_PREFIX}{CONFIG_OPTION.upper()}")
    from_file = read_file(path) if path else {}
    values: dict[str, Any] = {}
    missing: list[Option] = []
    for option in OPTIONS:
        for text, where in (
            (_joined(arguments.get(option.name)), option.flag),
            (environment.get(option.environment), option.environment),
            (from_file.get(option.name), f"{option.name} in {path}"),
        ):
            if text is not None:
                values[option.name] = _parse(option, text, where)
                break
        else:
            if option.is_required:
                missing.append(option)
    if values.get("dev"):
        values = dev_defaults(has_data="data" in values) | values
    for option in missing:
        if option.name not in values:
            raise UsageError(
                f"{option.flag} {option.kind.metavar} is missing (or {option.environment} in the "
                f"environment, or {option.name} in the file of --{CONFIG_OPTION})"
            )
    return Options(**values)


def dev_defaults(*, has_data: bool) -> dict[str, Any]:
    """What --dev changes of the defaults."""
    defaults: dict[str, Any] = {"group_initial_rebalance_delay_ms": 0}
    return defaults if has_data else defaults | {"data": ""} | memory_defaults(MEMORY_BYTES_MAX)


def memory_defaults(memory_bytes_max: int) -> dict[str, Any]:
    """What a journal in memory changes of the defaults: some is kept for what must go on when it is full,
    such as ends of transactions. No request may be larger than half of that, and no entry, of many requests,
    is filled much beyond an eighth: what is under way when the reserve is reached must still fit.
    """
    reserve_bytes = memory_bytes_max // MEMORY_RESERVE_SHARE
    return {
        "disk_reserve_bytes": reserve_bytes,
        "socket_request_max_bytes": min(REQUEST_BYTES_MAX, reserve_bytes // 2),
        "entry_bytes": max(ENTRY_BYTES_MIN, min(ENTRY_BYTES, reserve_bytes // 8)),
    }


def check_value(name: str, value: Any) -> None:
    """That an option given in Python is what its text would be. Raises UsageError."""
    kind: Kind = next(each for each in dataclasses.fields(Options) if each.name == name).metadata["kind"]
    try:
        is_right = kind.parse(kind.show(value)) == value
    except (ValueError, TypeError) as wrong:
        raise UsageError(f"{name}={value!r} {wrong}") from None
    if not is_right:
        raise UsageError(f"{name}={value!r} is not what the option takes: {kind.metavar}")


def _joined(given: str | Sequence[str] | None) -> str | None:
    """A repeated flag's values as one text, as the environment would have it."""
    return given if given is None or isinstance(given, str) else ",".join(given)


def _parse(option: Option, text: str, where: str) -> Any:
    try:
        return option.kind.parse(text.strip())
    except ValueError as wrong:
        raise UsageError(f"{where}: {text!r} {wrong}") from None


def read_file(path: str) -> dict[str, str]:
    """The options in a TOML file as texts by name. Raises UsageError."""
    try:
        with open(path, "rb") as file:
            document = tomllib.load(file)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from None
    found: dict[str, str] = {}
    for key, value in _flat(document):
        name = key.replace(".", "_").replace("-", "_")
        if name not in _NAMES:
            raise UsageError(f"{path}: there is no option {key!r}{suggestion(name, _NAMES)}")
        if name in found:
            raise UsageError(f"{path}: {name} is set twice")
        found[name] = _toml_text(path, key, value)
    return found


_NAMES = [option.name for option in OPTIONS]


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested tables by dotted keys, so that Kafka's own names may be written as they are."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _toml_text(path: str, key: str, value: Any) -> str:
    if isinstance(value, (bool, int, str)):
        return _plain(value)
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return _plain(value)
    raise UsageError(f"{path}: {key} must be a string, a whole number or a boolean, not {value!r}")


def suggestion(wrong: str, known: Sequence[str]) -> str:
    """ "; did you mean ...?" where something is near, else nothing."""
    near = get_close_matches(wrong, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """A sentence about each variable that looks like an option and is none."""
    known = [option.environment for option in OPTIONS] + [f"{ENVIRONMENT_PREFIX}{CONFIG_OPTION.upper()}"]
    return [
        f"the environment variable {name} is no option{suggestion(name, known)}"
        for name in sorted(environment)
        if name.startswith(ENVIRONMENT_PREFIX) and name not in known
    ]


# --- documentation ---


def options_markdown() -> str:
    """The documentation's table."""
    lines = [
        "| option | environment | TOML | default | Kafka's name | meaning |",
        "|---|---|---|---|---|---|",
    ]
    for option in OPTIONS:
        kafka = f"`{option.kafka}`" if option.kafka else ""
        metavar = option.kind.metavar.replace("|", "\\|")
        lines.append(
            f"| `{option.flag} {metavar}` | `{option.environment}` | `{option.name}` "
            f"| {option.default_text} | {kafka} | {option.help} |"
        )
    return "\n".join(lines) + "\n"


def options_json() -> str:
    """The same table for programs."""
    rows = [
        {
            "option": option.flag,
            "environment": option.environment,
            "toml": option.name,
            "value": option.kind.metavar,
            "required": option.is_required,
            "default": None if option.default is None else _plain(option.default),
            "kafka": option.kafka,
            "help": option.help,
        }
        for option in OPTIONS
    ]
    return json.dumps(rows, indent=2) + "\n"
