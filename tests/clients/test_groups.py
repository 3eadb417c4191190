"""Consumer groups: who joins, leaves, comes back, and goes on where the group was."""

from __future__ import annotations

import pytest

from tests.clients.adapters.base import Client, Consumer
from tests.clients.scenario import drive, partitions_of, read_some, share_out
from tests.support.fixtures import MakeTopic
from tests.support.waiting import wait_for


def fill(client: Client, topic: str, partitions: int, count: int, prefix: str) -> None:
    producer = client.producer(idempotent=True)
    for number in range(count):
        producer.send(topic, f"{prefix} {number}".encode(), partition=number % partitions)
    producer.flush()
    producer.close()


def test_members_join_and_leave_and_every_record_is_read(
    client: Client, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic(partitions=6)
    partitions = partitions_of(topic, 6)
    seen: set[bytes | None] = set()
    members: list[Consumer] = []

    def drive_until_shared(sizes: list[int]) -> None:
        records = drive(members, lambda: share_out(members, partitions, sizes), f"a group of {len(sizes)}")
        seen.update(record.value for record in records)

    def drive_until_seen(prefix: str) -> None:
        expected = {f"{prefix} {number}".encode() for number in range(60)}
        fill(client, topic, 6, 60, prefix)

        def all_there() -> bool:
            for member in members:
                seen.update(record.value for record in member.poll(0.05))
            return expected <= seen

        wait_for(all_there, f"the records called {prefix!r}", timeout_s=30.0)

    for count, sizes in [(1, [6]), (2, [3, 3]), (3, [2, 2, 2])]:
        members.append(client.consumer(topics=[topic], group_id=unique_name))
        drive_until_shared(sizes)
        drive_until_seen(f"with {count}")
    members.pop(0).close()
    drive_until_shared([3, 3])
    drive_until_seen("after one left")
    members.pop().close()
    drive_until_shared([6])
    drive_until_seen("alone again")


def test_a_successor_goes_on_at_the_committed_offset(
    client: Client, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic()
    fill(client, topic, 1, 10, "record")
    first = client.consumer(topics=[topic], group_id=unique_name)
    read_some(first, 10, "ten records")
    first.commit({(topic, 0): 4})
    first.close()
    second = client.consumer(topics=[topic], group_id=unique_name)
    again = read_some(second, 6, "the other six")
    assert [record.offset for record in again] == [4, 5, 6, 7, 8, 9]
    assert client.admin().group_offsets(unique_name, [(topic, 0)]) == {(topic, 0): 4}


@pytest.mark.needs("static membership")
def test_a_static_member_comes_back_to_its_partitions(
    client: Client, make_topic: MakeTopic, unique_name: str
) -> None:
    """Restarted within its session timeout, it gets what it had, and the others are not disturbed."""
    topic = make_topic(partitions=4)
    partitions = partitions_of(topic, 4)

    def join(instance: str) -> Consumer:
        return client.consumer(
            topics=[topic], group_id=unique_name, group_instance_id=instance, session_timeout_ms=30_000
        )

    one, two = join("one"), join("two")
    drive([one, two], lambda: share_out([one, two], partitions, [2, 2]), "two static members")
    assignment_of_one, assignment_of_two = one.assignment(), two.assignment()
    one.close()
    disturbed: list[bool] = []

    def is_back(member: Consumer) -> bool:
        disturbed.append(two.assignment() != assignment_of_two)
        return member.assignment() == assignment_of_one

    returned = join("one")
    drive([returned, two], lambda: is_back(returned), "the old assignment")
    assert not any(disturbed)
    assert client.admin().describe_group(unique_name) == ("stable", 2)


@pytest.mark.needs("static membership")
def test_a_static_member_that_stays_away_keeps_its_place(
    client: Client, make_topic: MakeTopic, unique_name: str
) -> None:
    topic = make_topic(partitions=2)
    gone = client.consumer(
        topics=[topic], group_id=unique_name, group_instance_id="gone", session_timeout_ms=30_000
    )
    drive([gone], lambda: share_out([gone], partitions_of(topic, 2), [2]), "the static member")
    gone.close()
    assert client.admin().describe_group(unique_name) == ("stable", 1)


@pytest.mark.needs("cooperative rebalancing")
def test_members_share_out_cooperatively(client: Client, make_topic: MakeTopic, unique_name: str) -> None:
    """KIP-429: a rebalance takes two generations, and what a member keeps it never loses meanwhile."""
    topic = make_topic(partitions=6)
    partitions = partitions_of(topic, 6)

    def join() -> Consumer:
        return client.consumer(topics=[topic], group_id=unique_name, cooperative=True)

    members = [join()]
    drive(members, lambda: share_out(members, partitions, [6]), "a group of one")
    fewest = [6]

    def shared() -> bool:
        fewest.append(len(members[0].assignment()))
        return share_out(members, partitions, [3, 3])

    members.append(join())
    drive(members, shared, "a group of two")
    assert min(fewest) == 3, "the first member kept what it was to keep"
    members.pop(0).close()
    drive(members, lambda: share_out(members, partitions, [6]), "the other one alone")
