"""Values of any declared class for one version: systematic ones, and hypothesis strategies.

A `Limits` callable narrows what a scalar field may hold, for an oracle that can't hold everything.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from oncelog.wire.codec import default_of
from oncelog.wire.definition import FieldSpec, FieldType, Struct
from tests.wire.catalogue import fields_in

EXAMPLES = int(os.environ.get("ONCELOG_WIRE_EXAMPLES", "0"))
"""Generated examples per API and version; 0 stands for the few of the default run."""

Limits = Callable[[type[Struct], FieldSpec], "st.SearchStrategy[Any] | None"]


def generated(examples: int = 8) -> settings:
    """Settings of a property: a few fixed examples by default, many random ones on demand."""
    return settings(
        derandomize=not EXAMPLES,
        max_examples=EXAMPLES or examples,
        database=None,
        deadline=None,
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.large_base_example,
        ],
    )


def no_limits(cls: type[Struct], spec: FieldSpec) -> None:  # noqa: ARG001
    return None


def _integers(bits: int, signed: bool = True) -> st.SearchStrategy[int]:
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return st.sampled_from((low, high, 0, 1, 127, high // 3)) | st.integers(low, high)


_SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "int8": _integers(8),
    "int16": _integers(16),
    "uint16": _integers(16, signed=False),
    "int32": _integers(32),
    "uint32": _integers(32, signed=False),
    "int64": _integers(64),
    "float64": st.floats(allow_nan=False),
    "uuid": st.binary(min_size=16, max_size=16) | st.just(bytes(16)),
    # 126, 127 and 128 bytes lie around the first length that takes two bytes of varint.
    "string": st.text(max_size=8) | st.sampled_from(("", "s" * 126, "s" * 127, "é" * 64, "long " * 100)),
    "bytes": st.binary(max_size=20) | st.sampled_from((b"", bytes(126), bytes(127), bytes(range(256)) * 70)),
}
_SCALARS["records"] = _SCALARS["bytes"]


def values(cls: type[Struct], version: int, limits: Limits = no_limits) -> st.SearchStrategy[Any]:
    """Instances that this version can carry."""
    parts = {}
    for spec in fields_in(cls, version):
        strategy = limits(cls, spec)
        if strategy is None:
            strategy = _of_type(spec.type, version, limits)
        if version in spec.nullable:
            strategy = st.none() | strategy
        if spec.tag is not None and version in spec.tagged:
            strategy = st.builds(_default, st.just(spec)) | strategy
        parts[spec.name] = strategy
    return st.builds(cls, **parts)


def _default(spec: FieldSpec) -> Any:
    default = default_of(spec)
    if spec.type.name == "struct" and default is not None:
        return spec.type.element()
    return list(default) if isinstance(default, list) else default


def _of_type(type_: FieldType, version: int, limits: Limits) -> st.SearchStrategy[Any]:
    if type_.name == "struct":
        return values(type_.element, version, limits)
    if type_.name == "array":
        return st.lists(_of_type(type_.element, version, limits), max_size=3)
    return _SCALARS[type_.name]


# --- systematic values ---


def sparse(cls: type[Struct], version: int) -> Any:
    """Everything absent that may be: nulls, empty lists, defaults."""
    nothing = {spec.name: None for spec in fields_in(cls, version) if version in spec.nullable}
    return cls(**nothing)


def full(cls: type[Struct], version: int, numbers: Iterator[int] | None = None) -> Any:
    """Every field present and different from its neighbours, two elements in each list.

    Numbers are small (1 to 100), so that they are valid error codes, times and durations as well.
    """
    numbers = numbers if numbers is not None else count(1)
    return cls(**{spec.name: _full_value(spec.type, version, numbers) for spec in fields_in(cls, version)})


def _full_value(type_: FieldType, version: int, numbers: Iterator[int]) -> Any:
    number = next(numbers) % 100 + 1
    if type_.name == "struct":
        return full(type_.element, version, numbers)
    if type_.name == "array":
        return [_full_value(type_.element, version, numbers) for _ in range(2)]
    if type_.name == "bool":
        return True
    if type_.name == "string":
        return f"text-{number}-é"
    if type_.name in ("bytes", "records"):
        return b"bytes %d" % number
    if type_.name == "uuid":
        return bytes((number,)) * 16
    return number + 0.5 if type_.name == "float64" else number
