"""kcat (Debian's package of that name): produce, consume, list, query offsets, transactions, all codecs."""

from __future__ import annotations

import shutil

from tests.tools.calls import Call, Tool

CODECS = ("gzip", "snappy", "lz4", "zstd")
HERE = ("kcat", "-b", "{bootstrap}", "-X", "topic.metadata.refresh.interval.ms=200")


def absence() -> str | None:
    return None if shutil.which("kcat") else "kcat is not installed (apt-get install kcat)"


def read(topic: str, *words: str) -> tuple[str, ...]:
    """Read a topic from its beginning to its end."""
    return (*HERE, "-C", "-t", topic, "-o", "beginning", "-e", "-q", *words)


def _codec(codec: str) -> tuple[Call, Call]:
    lines = "".join(f"{codec} {number} {'x' * 100}\n" for number in range(100))
    topic = f"kcat-{codec}"
    return (
        Call(f"produce, {codec}", (*HERE, "-P", "-t", topic, "-z", codec), stdin=lines),
        Call(f"consume, {codec}", read(topic), says=(rf"\A{codec} 0 x+$", rf"^{codec} 99 x+\n\Z")),
    )


CALLS = (
    Call("produce", (*HERE, "-P", "-t", "kcat", "-K", ":"), stdin="a:one\nb:two\n"),
    Call(
        "produce, idempotent", (*HERE, "-P", "-t", "kcat", "-X", "enable.idempotence=true"), stdin="three\n"
    ),
    Call("produce with headers", (*HERE, "-P", "-t", "kcat", "-H", "colour=red"), stdin="four\n"),
    Call("produce a tombstone", (*HERE, "-P", "-t", "kcat", "-Z", "-K", ":"), stdin="a:\n"),
    Call(
        "consume",
        read("kcat", "-f", r"%o %k %s %h\n"),
        says=(r"^0 a one", r"^1 b two", r"^2  three", r"^3  four colour=red", r"^4 a "),
    ),
    Call("consume as JSON", read("kcat", "-J"), says=(r'"offset":1,.*"payload":"two"',)),
    Call(
        "consume from an offset",
        (*HERE, "-C", "-t", "kcat", "-o", "3", "-c", "1", "-q"),
        says=(r"\Afour\n\Z",),
    ),
    Call("consume the last one", (*HERE, "-C", "-t", "kcat", "-o", "-2", "-c", "1", "-q"), says=(r"\Afour",)),
    Call("list", (*HERE, "-L"), says=('topic "kcat" with 1 partitions', "broker 1 at {bootstrap}")),
    Call("list as JSON", (*HERE, "-L", "-J", "-t", "kcat"), says=('"topic":"kcat"',)),
    Call("query the earliest offset", (*HERE, "-Q", "-t", "kcat:0:-2"), says=(r"offset 0$",)),
    Call("query the latest offset", (*HERE, "-Q", "-t", "kcat:0:-1"), says=(r"offset 5$",)),
    Call("query an offset by time", (*HERE, "-Q", "-t", "kcat:0:1"), says=(r"offset 0$",)),
    Call(
        "consume with a group",
        (*HERE, "-G", "kcat-group", "-X", "auto.offset.reset=earliest", "-c", "5", "kcat"),
        says=(r"^one$", r"^four$"),
    ),
    Call(
        "consume on with the group",
        (*HERE, "-G", "kcat-group", "-X", "auto.offset.reset=earliest", "-e", "kcat"),
        says=("Reached end of topic kcat",),
        keeps_silent_about=(r"^one$", r"^four$"),
    ),
    Call(
        "produce in a transaction",
        (*HERE, "-P", "-t", "kcat-tx", "-X", "transactional.id=kcat"),
        stdin="in one\nin two\n",
    ),
    Call(
        "consume what was committed",
        read("kcat-tx", "-X", "isolation.level=read_committed"),
        says=(r"\Ain one\nin two\n\Z",),
    ),
    Call("query the offset behind the commit", (*HERE, "-Q", "-t", "kcat-tx:0:-1"), says=(r"offset 3$",)),
    *(call for codec in CODECS for call in _codec(codec)),
)

TOOL = Tool("kcat", absence, CALLS)
