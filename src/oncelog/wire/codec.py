"""Flat encode and decode functions, made from the definition form per class and version when first used.

Adjacent fields of fixed size share one struct call, one-byte varints are read inline, and records stay views
of the buffer that they came in. The made source is plain Python: `source_of` shows it. Must not know any
message.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oncelog.wire.definition import Event, FieldSpec, FieldType, Message, Struct

Buffer = bytes | memoryview

TAGS_MAX = 64
TAG_BYTES_MAX = 64 * 1024
STRING_BYTES_MAX = 32767
"""Of a string in a message, compact ones included: what came in the one form must fit into the other."""
ONE_BYTE = tuple(bytes((n,)) for n in range(128))


# --- varints ---


def uvarint(value: int) -> bytes:
    """An unsigned varint: seven bits a byte, low bits first."""
    if value < 128:
        return ONE_BYTE[value]
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def uvarint_rest(buffer: bytes, position: int, first: int) -> tuple[int, int]:
    """Go on with a varint whose first byte was above 127: (value, next position). At most five bytes."""
    value = first & 127
    for shift in (7, 14, 21, 28):
        byte = buffer[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            if value > 0xFFFFFFFF:
                break
            return value, position
    raise _decode_error("a varint does not fit into 32 bits")


def _decode_error(text: str) -> Exception:
    from oncelog.wire.definition import DecodeError

    return DecodeError(text)


def _encode_error(text: str) -> Exception:
    from oncelog.wire.definition import EncodeError

    return EncodeError(text)


# --- entry points ---


def decode_message(cls: type[Message], buffer: Buffer, version: int, offset: int, exact: bool) -> Any:
    """Decode a whole message; `exact` says that every byte must belong to it."""
    decode = cls._decoders.get(version) or _message_decoder(cls, version)
    data = buffer if type(buffer) is bytes else bytes(buffer)
    end = len(data)
    try:
        try:
            message, position = decode(data, memoryview(data), offset, end)
        except (IndexError, struct.error, UnicodeDecodeError):
            if cls.tuned_decoder is None:
                raise
            plain = decoder(cls, version, cls.is_flexible(version), cls.is_flexible(version))
            message, position = plain(data, memoryview(data), offset, end)
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise _decode_error(f"{cls.__name__} v{version} is malformed: {error}") from None
    if exact and position != end:
        raise _decode_error(f"{cls.__name__} v{version} has {end - position} bytes after its end")
    return message


class ElementBudget:
    """How many elements the lists of one message may have together; stands in for the view of its bytes.

    Elements of a byte or two become values of a hundred: bytes alone do not bound what decoding takes.
    """

    __slots__ = ("elements_left", "view")

    def __init__(self, view: memoryview, elements_max: int) -> None:
        self.view = view
        self.elements_left = elements_max

    def take(self, count: int) -> None:
        self.elements_left -= count
        if self.elements_left < 0:
            raise _decode_error("its lists have too many elements")


def decode_bounded(
    cls: type[Message], buffer: bytes, version: int, offset: int, exact: bool, elements_max: int
) -> Any:
    """Like `decode_message`, for what strangers send: its lists have at most so many elements together."""
    flexible = cls.is_flexible(version)
    end = len(buffer)
    if end - offset <= elements_max:
        return decode_message(cls, buffer, version, offset, exact)
    decode = decoder(cls, version, flexible, flexible, counts=True)
    try:
        message, position = decode(buffer, ElementBudget(memoryview(buffer), elements_max), offset, end)
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise _decode_error(f"{cls.__name__} v{version} is malformed: {error}") from None
    if exact and position != end:
        raise _decode_error(f"{cls.__name__} v{version} has {end - position} bytes after its end")
    return message


def encode_message(message: Message, version: int) -> list[Buffer]:
    """Encode a message as a list of buffers."""
    cls = type(message)
    encode = cls._encoders.get(version) or _message_encoder(cls, version)
    out: list[Buffer] = []
    try:
        encode(message, out.append)
    except (struct.error, AttributeError, TypeError, UnicodeEncodeError) as error:
        raise _encode_error(f"{cls.__name__} v{version} cannot be encoded: {error}") from None
    return out


def _message_decoder(cls: type[Message], version: int) -> Callable[..., Any]:
    """What decodes messages of that version: the tuned function where there is one."""
    flexible = cls.is_flexible(version)
    made = decoder(cls, version, flexible, flexible)
    if cls.tuned_decoder is not None:
        made = cls.tuned_decoder(version, made)
    cls._decoders[version] = made
    return made


def _message_encoder(cls: type[Message], version: int) -> Callable[..., Any]:
    flexible = cls.is_flexible(version)
    made = encoder(cls, version, flexible, flexible)
    if cls.tuned_encoder is not None:
        made = cls.tuned_encoder(version, made)
    cls._encoders[version] = made
    return made


_EVENT_HEADER = struct.Struct(">HBI")


def encode_event(event: Event) -> bytes:
    """Frame and fields of an event, in its newest version."""
    cls = type(event)
    out: list[Buffer] = []
    encoder(cls, cls.version, True, False)(event, out.append)
    body = b"".join(out)
    return _EVENT_HEADER.pack(cls.kind, cls.version, len(body)) + body


def decode_event(cls: type[Event], version: int, buffer: bytes, position: int, end: int) -> Any:
    """The event whose fields lie in buffer[position:end]."""
    try:
        event, stop = decoder(cls, version, True, False)(buffer, memoryview(buffer), position, end)
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise _decode_error(f"event {cls.__name__} v{version} is malformed: {error}") from None
    if stop != end:
        raise _decode_error(f"event {cls.__name__} v{version} has {end - stop} bytes too many")
    return event


def decoder(
    cls: type[Struct], version: int, flexible: bool, tags: bool, counts: bool = False
) -> Callable[..., Any]:
    """A function (buffer, view of it, position, end) -> (value, next position).

    Where the buffer goes on behind `end`, the caller must compare the next position with it.
    counts: the one that takes an ElementBudget instead of a memoryview.
    """
    key = ("count" if counts else "decode", version, flexible, tags)
    made = cls._codecs.get(key)
    if made is None:
        made = cls._codecs[key] = _compile(*_decoder_source(cls, version, flexible, tags, counts))
    return made


def encoder(cls: type[Struct], version: int, flexible: bool, tags: bool) -> Callable[..., Any]:
    """A function (value, write) that calls `write` with one buffer after the other."""
    key = ("encode", version, flexible, tags)
    made = cls._codecs.get(key)
    if made is None:
        made = cls._codecs[key] = _compile(*_encoder_source(cls, version, flexible, tags))
    return made


def source_of(cls: type[Struct], version: int, flexible: bool = True, tags: bool = True) -> str:
    """The made source of both directions, for reading."""
    return "\n".join(make(cls, version, flexible, tags)[0] for make in (_decoder_source, _encoder_source))


def make_init(cls: type[Struct]) -> Callable[..., None]:
    """The keyword constructor of a class: every field defaults."""
    source = _Source()
    arguments = []
    body = []
    for spec in cls.fields:
        default = default_of(spec)
        if isinstance(default, list) or (spec.type.name == "struct" and default is not None):
            arguments.append(f"{spec.name}=None")
            made = "[]" if isinstance(default, list) else source.name(spec.type.element) + "()"
            if _may_be_null(spec):
                arguments[-1] = f"{spec.name}={source.name(_UNSET)}"
                test = f"is {source.name(_UNSET)}"
            else:
                test = "is None"
            body.append(f"self.{spec.name} = {made} if {spec.name} {test} else {spec.name}")
        else:
            arguments.append(f"{spec.name}={source.name(default)}")
            body.append(f"self.{spec.name} = {spec.name}")
    star = ", *, " if arguments else ""
    source.line(f"def __init__(self{star}{', '.join(arguments)}):")
    for line in body or ["pass"]:
        source.line("    " + line)
    return _compile(source.text(), source.names, "__init__")


_UNSET = object()


def default_of(spec: FieldSpec) -> Any:
    """What a field holds when nothing is said: its default, or its type's zero."""
    from oncelog.wire.definition import NO_DEFAULT

    if spec.default is not NO_DEFAULT:
        return spec.default
    if spec.type.name == "array":
        return []
    if spec.type.name == "struct":
        return _UNSET
    return spec.type.default


def _may_be_null(spec: FieldSpec) -> bool:
    return spec.nullable.last >= spec.nullable.first


# --- making source ---


class _Source:
    """Lines of a function that is being made, and the objects that it names."""

    def __init__(self, counts: bool = False) -> None:
        self.counts = counts
        self.lines: list[str] = []
        self.names: dict[str, Any] = {
            "uvarint": uvarint,
            "rest": uvarint_rest,
            "ONE": ONE_BYTE,
            "error": _decode_error,
            "unencodable": _encode_error,
            "unpack_from": struct.unpack_from,
            "pack": struct.pack,
        }

    def line(self, text: str) -> None:
        self.lines.append(text)

    def name(self, value: Any) -> str:
        """A name or literal by which the source can say `value`."""
        if value is None or isinstance(value, (bool, int, str, bytes)):
            return repr(value)
        for known, held in self.names.items():
            if held is value:
                return known
        made = f"k{len(self.names)}"
        self.names[made] = value
        return made

    def text(self) -> str:
        return "\n".join(self.lines) + "\n"


def _compile(text: str, names: dict[str, Any], wanted: str) -> Callable[..., Any]:
    scope = dict(names)
    exec(compile(text, f"<oncelog codec {wanted}>", "exec"), scope)
    return scope[wanted]  # type: ignore[no-any-return]


def _runs(specs: Iterable[FieldSpec]) -> list[list[FieldSpec]]:
    """Neighbours of fixed size together, all others alone."""
    runs: list[list[FieldSpec]] = []
    for spec in specs:
        if runs and spec.type.format and runs[-1][-1].type.format:
            runs[-1].append(spec)
        else:
            runs.append([spec])
    return runs


def _split(
    cls: type[Struct], version: int, tags: bool
) -> tuple[list[FieldSpec], list[FieldSpec], list[FieldSpec]]:
    """Fields in the body, in the tagged section, and those that this version lacks."""
    body: list[FieldSpec] = []
    tagged: list[FieldSpec] = []
    absent: list[FieldSpec] = []
    for spec in cls.fields:
        if spec.tag is not None and version in spec.tagged:
            (tagged if tags else absent).append(spec)
        elif version in spec.versions:
            body.append(spec)
        else:
            absent.append(spec)
    tagged.sort(key=lambda spec: spec.tag or 0)
    return body, tagged, absent


def _set_default(source: _Source, spec: FieldSpec) -> str:
    default = default_of(spec)
    if isinstance(default, list):
        return f"o.{spec.name} = []"
    if default is _UNSET:
        return f"o.{spec.name} = {source.name(spec.type.element)}()"
    return f"o.{spec.name} = {source.name(default)}"


# --- decoding ---


def minimum_size(type_: FieldType, version: int, flexible: bool, tags: bool) -> int:
    """The fewest bytes that a value of this type takes; bounds what a count can promise."""
    if type_.format:
        return struct.calcsize(">" + type_.format)
    if type_.name == "struct":
        body, _, _ = _split(type_.element, version, tags)
        size = sum(
            1
            if version in spec.nullable and spec.type.name == "struct"
            else minimum_size(spec.type, version, flexible, tags)
            for spec in body
        )
        return max(1, size + (1 if tags else 0))
    if flexible:
        return 1
    return 2 if type_.name == "string" else 4


def _decoder_source(
    cls: type[Struct], version: int, flexible: bool, tags: bool, counts: bool = False
) -> tuple[str, dict[str, Any], str]:
    source = _Source(counts)
    body, tagged, absent = _split(cls, version, tags)
    source.line("def decode(b, mv, p, end):")
    source.line(f"    o = new({source.name(cls)})")
    source.names["new"] = object.__new__
    for run in _runs(body):
        if run[0].type.format:
            layout = struct.Struct(">" + "".join(spec.type.format for spec in run))
            targets = ", ".join(f"o.{spec.name}" for spec in run)
            unpack = source.name(layout.unpack_from)
            source.line(f"    {targets}{',' if len(run) == 1 else ''} = {unpack}(b, p)")
            source.line(f"    p += {layout.size}")
        else:
            _decode_value(source, run[0], version, flexible, tags, "    ")
    for spec in absent + tagged:
        source.line("    " + _set_default(source, spec))
    if tags:
        source.line("    n = b[p]; p += 1")
        source.line("    if n:")
        source.line("        if n > 127: n, p = rest(b, p, n)")
        source.line("        p = read_tags(o, b, mv, p, end, n)")
    source.line("    if p > end: raise error('it ends too early')")
    source.line("    return o, p")
    if tags:
        _decode_tags(source, tagged, version)
    return source.text(), source.names, "decode"


def _decode_tags(source: _Source, tagged: list[FieldSpec], version: int) -> None:
    source.line("def read_tags(o, b, mv, p, end, count):")
    source.line(f"    if count > {TAGS_MAX}: raise error('too many tagged fields')")
    source.line("    last = -1")
    source.line("    total = 0")
    source.line("    for _ in range(count):")
    source.line("        tag = b[p]; p += 1")
    source.line("        if tag > 127: tag, p = rest(b, p, tag)")
    source.line("        size = b[p]; p += 1")
    source.line("        if size > 127: size, p = rest(b, p, size)")
    source.line("        if tag <= last: raise error('tags must ascend')")
    source.line("        last = tag")
    source.line("        stop = p + size")
    source.line("        if stop > end: raise error('a tagged field ends too early')")
    for index, spec in enumerate(tagged):
        source.line(f"        {'if' if index == 0 else 'elif'} tag == {spec.tag}:")
        if spec.type.format:
            layout = struct.Struct(">" + spec.type.format)
            source.line(f"            o.{spec.name}, = {source.name(layout.unpack_from)}(b, p)")
            source.line(f"            p += {layout.size}")
        else:
            _decode_value(source, spec, version, True, True, "            ")
        source.line("            if p != stop: raise error('a tagged field has another size than it says')")
    indent = "            " if tagged else "        "
    if tagged:
        source.line("        else:")
    source.line(f"{indent}total += size")
    source.line(f"{indent}if total > {TAG_BYTES_MAX}: raise error('unknown tagged fields are too long')")
    source.line(f"{indent}p = stop")
    source.line("    return p")


def _read_length(source: _Source, type_: FieldType, flexible: bool, tags: bool, pad: str) -> None:
    """Leave the length in n, -1 for null."""
    if flexible:
        source.line(f"{pad}n = b[p] - 1; p += 1")
        source.line(f"{pad}if n > 126:")
        source.line(f"{pad}    n, p = rest(b, p, n + 1); n -= 1")
        if tags and type_.name == "string":
            source.line(f"{pad}    if n > {STRING_BYTES_MAX}: raise error('a string is too long')")
    else:
        layout = struct.Struct(">h" if type_.name == "string" else ">i")
        source.line(f"{pad}n, = {source.name(layout.unpack_from)}(b, p); p += {layout.size}")


def _decode_value(
    source: _Source, spec: FieldSpec, version: int, flexible: bool, tags: bool, pad: str
) -> None:
    """Decode a field of variable size into o.NAME, null included."""
    type_ = spec.type
    target = f"o.{spec.name}"
    nullable = version in spec.nullable
    if type_.name == "struct":
        inner = source.name(decoder(type_.element, version, flexible, tags, source.counts))
        if nullable:
            source.line(f"{pad}n = b[p]; p += 1")
            source.line(f"{pad}if n == 255: {target} = None")
            source.line(f"{pad}elif n != 1: raise error('{spec.name} is neither there nor null')")
            source.line(f"{pad}else: {target}, p = {inner}(b, mv, p, end)")
        else:
            source.line(f"{pad}{target}, p = {inner}(b, mv, p, end)")
        return
    _read_length(source, type_, flexible, tags, pad)
    source.line(f"{pad}if n < 0:")
    if nullable:
        source.line(f"{pad}    if n != -1: raise error('{spec.name} has a negative length')")
        source.line(f"{pad}    {target} = None")
    else:
        source.line(f"{pad}    raise error('{spec.name} must not be null or have a negative length')")
    source.line(f"{pad}else:")
    _decode_present(source, type_, target, version, flexible, tags, pad + "    ", spec.name)


def _decode_present(
    source: _Source,
    type_: FieldType,
    target: str,
    version: int,
    flexible: bool,
    tags: bool,
    pad: str,
    name: str,
) -> None:
    """Decode n bytes or n elements at p into target."""
    if type_.name in ("string", "bytes", "records"):
        source.line(f"{pad}e = p + n")
        source.line(f"{pad}if e > end: raise error('{name} ends too early')")
        value = {"string": "b[p:e].decode()", "bytes": "b[p:e]", "records": "mv[p:e]"}[type_.name]
        if source.counts and type_.name == "records":
            value = "mv.view[p:e]"
        source.line(f"{pad}{target} = {value}")
        source.line(f"{pad}p = e")
        return
    element: Any = type_.element
    least = minimum_size(element, version, flexible, tags)
    source.line(f"{pad}if n * {least} > end - p: raise error('{name} cannot have that many elements')")
    if source.counts:
        source.line(f"{pad}mv.take(n)")
    if element.format:
        if element.format == "16s":
            source.line(f"{pad}{target} = [b[i:i + 16] for i in range(p, p + 16 * n, 16)]")
        else:
            source.line(f"{pad}{target} = list(unpack_from(f'>{{n}}{element.format}', b, p))")
        source.line(f"{pad}p += {least} * n")
        return
    source.line(f"{pad}items = []")
    source.line(f"{pad}{target} = items")
    source.line(f"{pad}for _ in range(n):")
    if element.name == "struct":
        inner = source.name(decoder(element.element, version, flexible, tags, source.counts))
        source.line(f"{pad}    item, p = {inner}(b, mv, p, end)")
    else:
        _read_length(source, element, flexible, tags, pad + "    ")
        source.line(f"{pad}    if n < 0: raise error('an element of {name} must not be null')")
        _decode_present(source, element, "item", version, flexible, tags, pad + "    ", name)
    source.line(f"{pad}    items.append(item)")


# --- encoding ---


def _encoder_source(
    cls: type[Struct], version: int, flexible: bool, tags: bool
) -> tuple[str, dict[str, Any], str]:
    source = _Source()
    body, tagged, absent = _split(cls, version, tags)
    source.line("def encode(o, w):")
    for run in _runs(body):
        if run[0].type.format:
            layout = struct.Struct(">" + "".join(spec.type.format for spec in run))
            values = ", ".join(f"o.{spec.name}" for spec in run)
            source.line(f"    w({source.name(layout.pack)}({values}))")
        else:
            _encode_value(source, run[0], version, flexible, tags, "    ", "w")
    for spec in absent:
        if not spec.ignorable:
            _refuse_unless_default(source, cls, spec, version)
    if tags:
        _encode_tags(source, tagged, version)
    if len(source.lines) == 1:
        source.line("    pass")
    return source.text(), source.names, "encode"


def _differs(source: _Source, spec: FieldSpec, value: str) -> str:
    default = default_of(spec)
    if isinstance(default, list):
        return f"{value} != []" if _may_be_null(spec) else value
    if default is _UNSET:
        # Field by field: comparing with a fresh default value took longer than all the rest.
        inner = [_differs(source, each, f"{value}.{each.name}") for each in spec.type.element.fields]
        return " or ".join(inner) or "False"
    if default is None:
        return f"{value} is not None"
    return f"{value} != {source.name(default)}"


def _refuse_unless_default(source: _Source, cls: type[Struct], spec: FieldSpec, version: int) -> None:
    text = f"{cls.__name__}.{spec.name} does not exist in version {version}"
    source.line(f"    if {_differs(source, spec, f'o.{spec.name}')}: raise unencodable({text!r})")


def _encode_tags(source: _Source, tagged: list[FieldSpec], version: int) -> None:
    if not tagged:
        source.line("    w(b'\\0')")
        return
    conditions = [f"({_differs(source, spec, f'o.{spec.name}')})" for spec in tagged]
    source.line(f"    if not ({' or '.join(conditions)}): w(b'\\0'); return")
    source.line("    parts = []; count = 0")
    for spec, condition in zip(tagged, conditions, strict=True):
        source.line(f"    if {condition}:")
        source.line("        data = []; add = data.append")
        if spec.type.format:
            layout = struct.Struct(">" + spec.type.format)
            source.line(f"        add({source.name(layout.pack)}(o.{spec.name}))")
        else:
            _encode_value(source, spec, version, True, True, "        ", "add")
        tag = uvarint(spec.tag or 0)
        source.line("        data = b''.join(data); count += 1")
        source.line(f"        parts += {tag!r}, uvarint(len(data)), data")
    source.line("    w(uvarint(count))")
    source.line("    for part in parts: w(part)")


def _write_length(
    source: _Source, type_: FieldType, flexible: bool, pad: str, length: str, write: str
) -> None:
    if flexible:
        source.line(f"{pad}n = {length} + 1; {write}(ONE[n] if n < 128 else uvarint(n))")
    else:
        layout = struct.Struct(">h" if type_.name == "string" else ">i")
        source.line(f"{pad}{write}({source.name(layout.pack)}({length}))")


def _encode_value(
    source: _Source, spec: FieldSpec, version: int, flexible: bool, tags: bool, pad: str, write: str
) -> None:
    type_ = spec.type
    nullable = version in spec.nullable
    source.line(f"{pad}v = o.{spec.name}")
    source.line(f"{pad}if v is None:")
    if not nullable:
        source.line(f"{pad}    raise unencodable('{spec.name} must not be null')")
    elif type_.name == "struct":
        source.line(f"{pad}    {write}(b'\\xff')")
    elif flexible:
        source.line(f"{pad}    {write}(b'\\0')")
    else:
        null = b"\xff\xff" if type_.name == "string" else b"\xff\xff\xff\xff"
        source.line(f"{pad}    {write}({null!r})")
    source.line(f"{pad}else:")
    if type_.name == "struct":
        if nullable:
            source.line(f"{pad}    {write}(b'\\1')")
        inner = source.name(encoder(type_.element, version, flexible, tags))
        source.line(f"{pad}    {inner}(v, {write})")
        return
    _encode_present(source, type_, "v", version, flexible, tags, pad + "    ", write)


def _encode_present(
    source: _Source,
    type_: FieldType,
    value: str,
    version: int,
    flexible: bool,
    tags: bool,
    pad: str,
    write: str,
) -> None:
    if type_.name == "string":
        source.line(f"{pad}d = {value}.encode()")
        _write_length(source, type_, flexible, pad, "len(d)", write)
        source.line(f"{pad}{write}(d)")
        return
    _write_length(source, type_, flexible, pad, f"len({value})", write)
    if type_.name in ("bytes", "records"):
        source.line(f"{pad}{write}({value})")
        return
    element: Any = type_.element
    if element.format:
        if element.format == "16s":
            source.line(f"{pad}for i in {value}: {write}({source.name(struct.Struct('16s').pack)}(i))")
        else:
            source.line(f"{pad}{write}(pack(f'>{{len({value})}}{element.format}', *{value}))")
        return
    source.line(f"{pad}for i in {value}:")
    if element.name == "struct":
        inner = source.name(encoder(element.element, version, flexible, tags))
        source.line(f"{pad}    {inner}(i, {write})")
    else:
        _encode_present(source, element, "i", version, flexible, tags, pad + "    ", write)
