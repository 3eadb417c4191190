"""Consumer groups as the state holds them: the last completed generation and the committed offsets.

Everything between two generations (who has joined, left or timed out) is the coordinator's soft state and
unknown here. Only evolve writes these objects (groups.py); this module must not know why they change.
"""

from __future__ import annotations

from typing import NamedTuple


class MemberProtocol(NamedTuple):
    """A protocol that a member supports (an assignor, for consumers), with what it says under it.

    metadata: opaque; for consumers the ConsumerProtocolSubscription.
    """

    name: str
    metadata: bytes


class Member(NamedTuple):
    """A member of a completed generation; its protocols are in the member's order of preference."""

    member_id: str
    group_instance_id: str | None
    client_id: str
    client_host: str
    session_timeout_ms: int
    rebalance_timeout_ms: int
    protocols: tuple[MemberProtocol, ...]


class CommittedOffset(NamedTuple):
    """A committed offset of one partition.

    committed_age_ms drives expiry; committed_wall_ms dates the commit for people.
    expires_age_ms: when to forget it whatever else is true (OffsetCommit up to version 4), or -1.
    record: where its record in __consumer_offsets lies (internal_topics.py).
    """

    offset: int
    leader_epoch: int
    metadata: str
    committed_wall_ms: int
    committed_age_ms: int
    expires_age_ms: int
    record: int


class Group:
    """A group: Empty without members, CompletingRebalance without assignments, else Stable.

    protocol_type: "" for a simple group, one that only ever had offsets committed.
    generation: 0 before the first.
    members: by member id, in the order in which they joined.
    static_members: the member ids by group instance id; always those of `members`.
    assignments: by member id, exactly those of `members`; None until the leader has sent them.
    empty_since_age_ms: when the generation without members began; offsets expire from then.
    internal_partition: of __consumer_offsets, the one that tells of the group.
    record: where the record of its generation lies there, or -1 while there is none.
    changed_wall_ms: when the last one was written.
    """

    __slots__ = (
        "assignments",
        "changed_wall_ms",
        "empty_since_age_ms",
        "generation",
        "id",
        "internal_partition",
        "leader",
        "members",
        "offsets",
        "protocol",
        "protocol_type",
        "record",
        "static_members",
    )

    def __init__(self, group_id: str, age_ms: int, internal_partition: int) -> None:
        self.id = group_id
        self.internal_partition = internal_partition
        self.record = -1
        self.changed_wall_ms = -1
        self.protocol_type = ""
        self.generation = 0
        self.protocol: str | None = None
        self.leader: str | None = None
        self.members: dict[str, Member] = {}
        self.static_members: dict[str, str] = {}
        self.assignments: dict[str, bytes] | None = None
        self.empty_since_age_ms = age_ms
        self.offsets: dict[tuple[bytes, int], CommittedOffset] = {}

    @property
    def is_empty(self) -> bool:
        return not self.members

    @property
    def is_completing(self) -> bool:
        """The generation waits for its leader's assignment."""
        return bool(self.members) and self.assignments is None

    def __repr__(self) -> str:
        return (
            f"<Group {self.id!r} generation {self.generation} with {len(self.members)} members"
            f" and {len(self.offsets)} offsets>"
        )
