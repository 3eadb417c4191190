"""The definition form: a message is a class whose fields say what goes over the wire in which version.

```python
class TopicProduceData(Struct):
    name: str = field(string, versions="0-12")
    topic_id: bytes = field(uuid, versions="13+")
    partition_data: list[PartitionProduceData] = field(array(PartitionProduceData))

class ProduceRequest(Message, api_key=0, versions="3-13", flexible="9+"):
    transactional_id: str | None = field(string, nullable="3+", default=None)
```

Instances are slotted values with keyword constructors in which every field defaults. Codecs are made from the
fields by `codec.py`, per class and version, when they are first used. Must not know what any single message
means.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Self

from oncelog.wire import codec

VERSION_MAX = 32767
ZERO_UUID = bytes(16)
NO_DEFAULT: Any = object()

Buffer = bytes | memoryview


class WireError(ValueError):
    """Bytes that are not what they should be, or a value that its version cannot carry."""


class DecodeError(WireError):
    """Malformed bytes: truncated, too long, an absurd count, not UTF-8."""


class EncodeError(WireError):
    """A value that cannot be encoded: a field that the version lacks, a null that it does not allow."""


class FieldType(NamedTuple):
    """How one value lies on the wire. format: its struct code where its size is fixed."""

    name: str
    format: str
    default: Any
    element: Any = None


bool_ = FieldType("bool", "?", False)
int8 = FieldType("int8", "b", 0)
int16 = FieldType("int16", "h", 0)
uint16 = FieldType("uint16", "H", 0)
int32 = FieldType("int32", "i", 0)
uint32 = FieldType("uint32", "I", 0)
int64 = FieldType("int64", "q", 0)
float64 = FieldType("float64", "d", 0.0)
uuid = FieldType("uuid", "16s", ZERO_UUID)
string = FieldType("string", "", "")
bytes_ = FieldType("bytes", "", b"")
records = FieldType("records", "", None)


def array(element: FieldType | type[Struct]) -> FieldType:
    """A list of scalars or of structs."""
    if isinstance(element, FieldType):
        return FieldType("array", "", None, element)
    return FieldType("array", "", None, struct(element))


def struct(of: type[Struct]) -> FieldType:
    """One nested struct."""
    return FieldType("struct", "", None, of)


class Range(NamedTuple):
    """Versions from first to last, both included; empty when last < first."""

    first: int
    last: int

    def __contains__(self, version: object) -> bool:
        return isinstance(version, int) and self.first <= version <= self.last


NO_VERSIONS = Range(0, -1)


def parse_versions(text: str | None) -> Range:
    """ "3+", "0-12", "5" or None."""
    if text is None:
        return NO_VERSIONS
    if text.endswith("+"):
        return Range(int(text[:-1]), VERSION_MAX)
    first, _, last = text.partition("-")
    return Range(int(first), int(last or first))


class FieldSpec:
    """One declared field."""

    __slots__ = ("default", "ignorable", "name", "nullable", "tag", "tagged", "type", "versions")

    def __init__(
        self,
        type_: FieldType,
        versions: Range,
        nullable: Range,
        default: Any,
        tag: int | None,
        tagged: Range,
        ignorable: bool,
    ) -> None:
        self.name = ""
        self.type = type_
        self.versions = versions
        self.nullable = nullable
        self.default = default
        self.tag = tag
        self.tagged = tagged
        self.ignorable = ignorable


def field(
    type_: FieldType | type[Struct],
    *,
    versions: str = "0+",
    nullable: str | None = None,
    default: Any = NO_DEFAULT,
    tag: int | None = None,
    tagged: str | None = None,
    ignorable: bool = False,
) -> Any:
    """Declare a field: its type, the versions that have it, those where it may be null or is tagged."""
    of = type_ if isinstance(type_, FieldType) else struct(type_)
    return FieldSpec(
        of,
        parse_versions(versions),
        parse_versions(nullable),
        default,
        tag,
        parse_versions(tagged),
        ignorable,
    )


class _Meta(type):
    """Turns declared fields into slots; the rest is done when a class is first used."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> _Meta:
        specs = {key: value for key, value in namespace.items() if isinstance(value, FieldSpec)}
        for key, spec in specs.items():
            spec.name = key
            del namespace[key]
        namespace["__slots__"] = tuple(specs)
        namespace["fields"] = tuple(specs.values())
        namespace["_codecs"] = {}
        made = super().__new__(mcs, name, bases, namespace)
        made._configure(**options)  # type: ignore[attr-defined]
        return made

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **_: Any) -> None:
        super().__init__(name, bases, namespace)


class Struct(metaclass=_Meta):
    """A value made of declared fields."""

    fields: ClassVar[tuple[FieldSpec, ...]] = ()
    _codecs: ClassVar[dict[Any, Any]] = {}

    @classmethod
    def _configure(cls) -> None:
        pass

    def __init__(self, **values: Any) -> None:
        cls = type(self)
        cls.__init__ = codec.make_init(cls)  # type: ignore[method-assign]
        cls.__init__(self, **values)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, spec.name) == getattr(other, spec.name) for spec in self.fields)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        inside = ", ".join(f"{spec.name}={getattr(self, spec.name)!r}" for spec in self.fields)
        return f"{type(self).__name__}({inside})"


class Message(Struct):
    """A whole request, response or record.

    versions: the first and the last that are defined. flexible: the first compact one.
    api_key: -1 for what is no request or response.
    tuned_decoder, tuned_encoder: given a version and its plain codec, what is used instead (see tuned.py).
    """

    api_key: ClassVar[int] = -1
    versions: ClassVar[tuple[int, int]] = (0, 0)
    flexible: ClassVar[int | None] = None
    tuned_decoder: ClassVar[Callable[[int, Any], Any] | None] = None
    tuned_encoder: ClassVar[Callable[[int, Any], Any] | None] = None
    _decoders: ClassVar[dict[int, Any]] = {}
    _encoders: ClassVar[dict[int, Any]] = {}

    @classmethod
    def _configure(cls, api_key: int = -1, versions: str = "0", flexible: str | None = None) -> None:
        cls.api_key = api_key
        cls._decoders, cls._encoders = {}, {}
        parsed = parse_versions(versions)
        cls.versions = (parsed.first, parsed.last)
        cls.flexible = None if flexible is None else parse_versions(flexible).first

    @classmethod
    def is_flexible(cls, version: int) -> bool:
        """Whether that version has compact lengths and tagged fields (KIP-482)."""
        return cls.flexible is not None and version >= cls.flexible

    @classmethod
    def decode(cls, buffer: Buffer, version: int, offset: int = 0, exact: bool = True) -> Self:
        """The message that lies from `offset` to the end of `buffer`. Raises DecodeError.

        Not `exact`: bytes behind the message are ignored, as brokers do with a request (some clients send
        them).
        """
        return codec.decode_message(cls, buffer, version, offset, exact)  # type: ignore[no-any-return]

    def encode(self, version: int) -> bytes:
        """The message's bytes. Raises EncodeError."""
        return b"".join(codec.encode_message(self, version))

    def encode_parts(self, version: int) -> list[Buffer]:
        """The same bytes as buffers, in which records are not copied."""
        return codec.encode_message(self, version)


EVENT_HEADER_BYTES = 7


class Event(Struct):
    """A journaled fact: framed as kind (uint16), version (uint8), length of the fields (uint32), fields."""

    kind: ClassVar[int] = 0
    version: ClassVar[int] = 0

    @classmethod
    def _configure(cls, kind: int = 0, versions: str = "1") -> None:
        cls.kind = kind
        cls.version = parse_versions(versions).last
        cls.first_version = parse_versions(versions).first

    first_version: ClassVar[int] = 0

    def encode(self) -> bytes:
        """The framed event in its newest version."""
        return codec.encode_event(self)
