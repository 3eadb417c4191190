"""One member of a classic consumer group in a raw test, on a connection of its own, since its requests wait.

Knows the group requests; what a test should see is the test's affair. Errors are returned, not raised.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from oncelog.wire.messages.heartbeat import HeartbeatRequest
from oncelog.wire.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from oncelog.wire.messages.leave_group import LeaveGroupRequest, MemberIdentity
from oncelog.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from oncelog.wire.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment
from tests.support.raw import OpenConnection
from tests.support.speaking import GROUP_KEY, find_coordinator, settled

MEMBER_ID_REQUIRED = 79


def subscription(user_data: bytes) -> bytes:
    """A consumer's subscription to no topic, as JoinGroup carries it; Kafka reads that of a consumer."""
    return struct.pack(">hii", 0, 0, len(user_data)) + user_data


class GroupMember:
    """Remembers its member id and generation; each verb sends one request of the version asked for."""

    def __init__(
        self,
        open_connection: OpenConnection,
        group_id: str,
        *,
        instance: str | None = None,
        protocols: Sequence[tuple[str, bytes]] = (("range", subscription(b"")),),
        protocol_type: str = "consumer",
        session_timeout_ms: int = 10_000,
        rebalance_timeout_ms: int = 10_000,
    ) -> None:
        self.connection = open_connection()
        find_coordinator(self.connection, group_id, GROUP_KEY)
        self.group_id = group_id
        self.instance = instance
        self.protocols = protocols
        self.protocol_type = protocol_type
        self.session_timeout_ms = session_timeout_ms
        self.rebalance_timeout_ms = rebalance_timeout_ms
        self.member_id = ""
        self.generation = -1
        # A coordinator that is found may still be loading.
        settled(lambda: self.heartbeat(0), int)

    def send_join(self, version: int = 7) -> None:
        protocols = [
            JoinGroupRequestProtocol(name=name, metadata=metadata) for name, metadata in self.protocols
        ]
        request = JoinGroupRequest(
            group_id=self.group_id,
            session_timeout_ms=self.session_timeout_ms,
            rebalance_timeout_ms=self.rebalance_timeout_ms,
            member_id=self.member_id,
            protocol_type=self.protocol_type,
            protocols=protocols,
        )
        if version >= 5:
            request.group_instance_id = self.instance
        self.connection.send(request, version)

    def joined(self) -> Any:
        """The answer to the join that was sent; member id and generation are taken from it."""
        answer = self.connection.receive()
        if answer.error_code in (0, MEMBER_ID_REQUIRED):
            self.member_id = answer.member_id
        if answer.error_code == 0:
            self.generation = answer.generation_id
        return answer

    def start_join(self, version: int = 7) -> None:
        """Send a join; a newcomer that must first be given an id has it afterwards."""
        if version >= 4 and not self.member_id and self.instance is None:
            self.send_join(version)
            assert self.joined().error_code == MEMBER_ID_REQUIRED
        self.send_join(version)

    def join(self, version: int = 7) -> Any:
        self.start_join(version)
        return self.joined()

    def send_sync(
        self,
        assignments: Mapping[str, bytes] | None = None,
        version: int = 5,
        *,
        generation: int | None = None,
        protocol: str | None = None,
        protocol_type: str | None = None,
    ) -> None:
        each = [SyncGroupRequestAssignment(member_id=m, assignment=a) for m, a in (assignments or {}).items()]
        request = SyncGroupRequest(
            group_id=self.group_id,
            generation_id=self.generation if generation is None else generation,
            member_id=self.member_id,
            protocol_type=protocol_type or self.protocol_type,
            protocol_name=protocol or self.protocols[0][0],
            assignments=each,
        )
        if version >= 3:
            request.group_instance_id = self.instance
        self.connection.send(request, version)

    def synced(self) -> Any:
        return self.connection.receive()

    def sync(self, assignments: Mapping[str, bytes] | None = None, version: int = 5, **options: Any) -> Any:
        self.send_sync(assignments, version, **options)
        return self.synced()

    def heartbeat(self, version: int = 4, *, generation: int | None = None) -> int:
        """The error code."""
        request = HeartbeatRequest(
            group_id=self.group_id,
            generation_id=self.generation if generation is None else generation,
            member_id=self.member_id,
        )
        if version >= 3:
            request.group_instance_id = self.instance
        return int(self.connection.call(request, version).error_code)

    def leave(self, version: int = 5) -> int:
        """The error code: of the request, or else of this member."""
        if version < 3:
            request = LeaveGroupRequest(group_id=self.group_id, member_id=self.member_id, members=[])
            return int(self.connection.call(request, version).error_code)
        identity = MemberIdentity(member_id=self.member_id, group_instance_id=self.instance)
        request = LeaveGroupRequest(group_id=self.group_id, member_id="", members=[identity])
        answer = self.connection.call(request, version)
        return int(answer.error_code or answer.members[0].error_code)

    def commit(self, topic: str, offset: int, version: int = 8, *, generation: int | None = None) -> int:
        """Commit an offset of partition 0; the error code."""
        partition = OffsetCommitRequestPartition(
            partition_index=0, committed_offset=offset, committed_metadata=""
        )
        request = OffsetCommitRequest(
            group_id=self.group_id,
            generation_id_or_member_epoch=self.generation if generation is None else generation,
            member_id=self.member_id,
            topics=[OffsetCommitRequestTopic(name=topic, partitions=[partition])],
        )
        if version >= 7:
            request.group_instance_id = self.instance
        return int(self.connection.call(request, version).topics[0].partitions[0].error_code)
