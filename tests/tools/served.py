"""Why a call must fail for what the broker does not serve; nothing, once it does."""

from __future__ import annotations

from oncelog.broker.registry import Registry

_SERVED = frozenset(route.name for route in Registry.load().routes.values())


def lacking(api: str) -> str:
    """The reason, "" where this API is served or none is needed."""
    return f"oncelog does not serve {api} yet" if api and api not in _SERVED else ""
