"""The broker's parts put together around one state and one journal.

Handlers reach everything through it. It owns no sockets (server.py) and no process (serve.py); it starts and
stops the background work that sends commands of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from oncelog.broker.api.api_versions import API as API_VERSIONS
from oncelog.broker.api.api_versions import unsupported_version_response
from oncelog.broker.clock import Clock
from oncelog.broker.config_notices import ConfigNotices, Notice
from oncelog.broker.deadlines import Deadlines
from oncelog.broker.disk_space import DiskSpace
from oncelog.broker.engine import Engine
from oncelog.broker.eviction import Eviction
from oncelog.broker.faults import Faults
from oncelog.broker.fetch_sessions import FetchSessions
from oncelog.broker.groups import GroupCoordinator
from oncelog.broker.housekeeping import Housekeeping
from oncelog.broker.metadata_cache import MetadataCache
from oncelog.broker.metrics import ErrorCounts
from oncelog.broker.options import Options
from oncelog.broker.overtaken import Overtaken
from oncelog.broker.published import Published
from oncelog.broker.refusal_history import Refusals
from oncelog.broker.refused_batches import RefusedBatches
from oncelog.broker.registry import Registry
from oncelog.broker.remembered import Producers, TransactionalIds
from oncelog.broker.room import Tier
from oncelog.broker.turns import Turns
from oncelog.journal import Journal, Written
from oncelog.machine.state import State
from oncelog.store.level0 import Reader
from oncelog.wire.messages.api_versions import ApiVersionsResponse

if TYPE_CHECKING:
    from oncelog.broker.connection import Connection
    from oncelog.broker.context import Context

NODE_ID = 1


class Broker:
    """One broker; `state` has been replayed and everything in it is durable.

    age_ms: where the service age of the data directory stands.
    random_bytes: the source of topic ids and member ids.
    on_failure: called once when the engine has stopped for good.
    """

    def __init__(
        self,
        options: Options,
        state: State,
        journal: Journal,
        reader: Reader,
        registry: Registry,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        *,
        cluster_id: str,
        age_ms: int,
        random_bytes: Callable[[int], bytes],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self.options = options
        self.state = state
        self.reader = reader
        self.registry = registry
        self.cluster_id = cluster_id
        self.node_id = NODE_ID
        self.published = Published()
        self.published.publish_all(state)
        self.engine = Engine(
            state,
            journal,
            clock,
            self.published,
            loop,
            age_ms=age_ms,
            entry_bytes_max=options.entry_bytes_max,
            on_failure=on_failure,
            on_durable=self._keep_hot,
        )
        self.deadlines = Deadlines(loop, self.engine.stop_for_good)
        self.turns = Turns(self.deadlines)
        self._journal = journal
        self.disk_space = DiskSpace(
            journal.free_bytes, options.disk_reserve_bytes, self.deadlines, is_memory=not options.data
        )
        self.engine.has_room = self._has_room
        self._seen_durable_bytes = 0
        self.fetch_sessions = FetchSessions(random_bytes)
        self.random_bytes = random_bytes
        self.groups = GroupCoordinator(self.engine, self.deadlines, self.random_uuid, options.group_options())
        self.metadata_cache = MetadataCache()
        self.config_notices = ConfigNotices()
        self.overtaken = Overtaken()
        self.refusals = Refusals()
        self.errors = ErrorCounts((route.name, route.api.response) for route in registry.routes.values())
        self.faults: Faults | None = None
        self.housekeeping = Housekeeping(self.engine, self.deadlines, options.housekeeping_options())
        self.evictions = [
            Eviction(self.engine, self.deadlines, remembered)
            for remembered in (Producers(self.engine), TransactionalIds(self.engine))
        ]
        self.refused_batches = RefusedBatches(
            state, self.engine.age_ms, self.housekeeping.producer_id_expiration_ms
        )

    def journal_bytes(self) -> int:
        """What the journal holds."""
        return self._journal.size_bytes

    def random_uuid(self) -> bytes:
        """16 random bytes with the marks of a version 4 UUID."""
        raw = bytearray(self.random_bytes(16))
        raw[6] = raw[6] & 0x0F | 0x40
        raw[8] = raw[8] & 0x3F | 0x80
        return bytes(raw)

    def unsupported_version_response(self) -> ApiVersionsResponse:
        """What an ApiVersions request of an unknown version is told, in the form of v0."""
        route = self.registry.routes[API_VERSIONS.key]
        return unsupported_version_response(route.min_version, route.max_version)

    def close_connection(self, context: Context, reason: str) -> None:
        """Close the connection that a request came by (a failed acks=0 has no other answer)."""
        connection: Connection = context.connection  # type: ignore[assignment]
        connection.abort(reason)

    def warn_of_configs(self, names: Sequence[str]) -> None:
        """Say which of these configs, just set, are not acted on, once it is durable that they are set."""
        self.engine.hold(Notice(self.config_notices, names), self.engine.stamp())

    async def close(self) -> None:
        """Stop the background work, and wait until what was decided is durable."""
        self.deadlines.close()
        await self.engine.close()

    def _has_room(self, tier: Tier, size_bytes: int) -> bool:
        return self.disk_space.has_room(tier, size_bytes + self.engine.undurable_bytes)

    def _keep_hot(self, written: Written) -> None:
        self.reader.cache.put(written.position, written.payload)
        durable_bytes = self.engine.durable_bytes
        self.disk_space.wrote(durable_bytes - self._seen_durable_bytes)
        self._seen_durable_bytes = durable_bytes
        if self.faults is not None:
            self.faults.durable(written.position)
