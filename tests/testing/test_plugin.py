"""The plugin under pytest itself: what its fixtures, settings and factories do, and how a test fails."""

from __future__ import annotations

import pytest

from oncelog.testing import cluster
from tests.support.fixtures import Broker

pytest_plugins = "pytester"

NO_CACHE = ("-p", "no:cacheprovider")


def test_a_fault_that_did_not_happen_fails_the_test_with_a_sentence(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_unused(oncelog_faults):
            oncelog_faults.refuse("EndTxn", error="NOT_COORDINATOR", transactional_id="t")

        def test_none_asked_for(oncelog_faults):
            pass

        def test_that_asks_late(request):
            request.getfixturevalue("oncelog_faults").refuse("Heartbeat", error="NOT_COORDINATOR")

        def test_that_fails_by_itself(oncelog_faults):
            oncelog_faults.drop_answer("EndTxn")
            assert False, "its own reason"
        """
    )
    result = pytester.runpytest_subprocess(*NO_CACHE)
    result.assert_outcomes(failed=3, passed=1)
    result.stdout.fnmatch_lines(
        [
            "the test ended, and the 1st EndTxn request of transactional id 't' was to be refused with "
            "NOT_COORDINATOR; no such request came",
            "the test ended, and the 1st Heartbeat request was to be *",
            "*its own reason*",
        ]
    )
    result.stdout.no_fnmatch_line("*and its answer lost*")


def test_the_broker_is_one_for_the_session_and_a_topic_is_new_for_each_test(
    pytester: pytest.Pytester,
) -> None:
    pytester.makeini("[pytest]\noncelog_partitions = 3\n")
    pytester.makepyfile(
        """
        import pytest
        from confluent_kafka.admin import AdminClient

        seen = []

        def topics(broker):
            found = AdminClient({"bootstrap.servers": broker.bootstrap}).list_topics(timeout=10).topics
            return {name: len(topic.partitions) for name, topic in found.items() if name[0] != "_"}

        @pytest.mark.parametrize("strange", ["a b/c", "\\u20ac" * 300], ids=["words", "long"])
        def test_each(oncelog_broker, oncelog_topic, strange):
            seen.append((oncelog_broker, oncelog_topic))
            assert topics(oncelog_broker) == {oncelog_topic: 3}, "and those of earlier tests are gone"

        def test_all(oncelog_broker):
            assert [broker for broker, _ in seen] == [oncelog_broker] * 2
            assert len({topic for _, topic in seen}) == 2
            assert topics(oncelog_broker) == {}
        """
    )
    pytester.runpytest_subprocess(*NO_CACHE).assert_outcomes(passed=3)


def test_the_command_line_wins_over_the_file_and_a_factory_over_both(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\noncelog_partitions = 3\noncelog_host = 127.0.0.2\n")
    pytester.makeconftest(
        """
        from oncelog.testing import factories

        one_partition = factories.topic(partitions=1)
        elsewhere = factories.broker(host="127.0.0.4", topics={"there": 2})
        """
    )
    pytester.makepyfile(
        """
        from confluent_kafka.admin import AdminClient

        def partitions(broker, topic):
            admin = AdminClient({"bootstrap.servers": broker.bootstrap})
            return len(admin.list_topics(topic, timeout=10).topics[topic].partitions)

        def test_them(oncelog_broker, oncelog_topic, one_partition, elsewhere):
            assert oncelog_broker.bootstrap.startswith("127.0.0.3:")
            assert partitions(oncelog_broker, oncelog_topic) == 3
            assert partitions(oncelog_broker, one_partition) == 1
            assert elsewhere.bootstrap.startswith("127.0.0.4:")
            assert partitions(elsewhere, "there") == 2
        """
    )
    pytester.runpytest_subprocess("--oncelog-host=127.0.0.3", *NO_CACHE).assert_outcomes(passed=1)


def test_on_a_cluster_every_broker_is_that_and_topics_are_deleted(
    pytester: pytest.Pytester, broker: Broker
) -> None:
    pytester.makeconftest(
        """
        from oncelog.testing import factories

        another = factories.broker(data="tmp", topics={"given-by-a-factory": 2})
        cluster = factories.nobroker()
        """
    )
    pytester.makepyfile(
        f"""
        def test_same(oncelog_broker, another, cluster, oncelog_topic):
            for each in (oncelog_broker, another, cluster):
                assert each.bootstrap == "{broker.bootstrap}"
            open("topic", "w").write(oncelog_topic)

        def test_gone(oncelog_broker):
            from confluent_kafka.admin import AdminClient
            topics = AdminClient({{"bootstrap.servers": oncelog_broker.bootstrap}}).list_topics().topics
            assert open("topic").read() not in topics
            assert len(topics["given-by-a-factory"].partitions) == 2

        def test_faults(oncelog_faults):
            pass
        """
    )
    result = pytester.runpytest_subprocess(f"--oncelog-bootstrap={broker.bootstrap}", "-rs", *NO_CACHE)
    result.assert_outcomes(passed=2, skipped=1)
    result.stdout.fnmatch_lines(
        [f"oncelog: tests run on the cluster at {broker.bootstrap}", "*faults need a broker in this process*"]
    )


def test_a_cluster_that_is_not_there_is_told(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        from oncelog.testing import factories

        cluster = factories.nobroker()
        """
    )
    pytester.makepyfile(
        """
        def test_topic(oncelog_topic):
            pass

        def test_none_named(cluster):
            pass
        """
    )
    result = pytester.runpytest_subprocess("--oncelog-bootstrap=127.0.0.1:1", "-k", "topic", *NO_CACHE)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*ClusterError: cannot connect to 127.0.0.1:1*"])
    result = pytester.runpytest_subprocess("-k", "named", *NO_CACHE)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["no cluster is named; do so with --oncelog-bootstrap HOST:PORT"])


@pytest.mark.parametrize(
    ("bootstrap", "address"),
    [
        ("kafka.example", ("kafka.example", 9092)),
        ("one:1, two:2", ("one", 1)),
        ("[::1]", ("::1", 9092)),
        ("[::1]:5", ("::1", 5)),
    ],
)
def test_a_cluster_is_named_as_clients_have_it(bootstrap: str, address: tuple[str, int]) -> None:
    assert cluster._address(bootstrap) == address


@pytest.mark.parametrize("partitions", ["many", "0", "-1"])
def test_what_is_no_number_of_partitions_is_told(pytester: pytest.Pytester, partitions: str) -> None:
    pytester.makepyfile("def test_it(oncelog_topic): pass")
    result = pytester.runpytest_subprocess(f"--oncelog-partitions={partitions}", *NO_CACHE)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"oncelog_partitions: '{partitions}' is no number of partitions"])


def test_the_broker_is_imported_as_it_is_and_pytest_goes_on_rewriting(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        helper="def check(value):\n    assert value == 1\n",
        test_it="""
        import sys
        import pytest

        pytest.register_assert_rewrite("helper")

        def test_it(oncelog_broker, oncelog_topic, oncelog_faults):
            loaders = {
                type(module.__loader__).__name__
                for name, module in sys.modules.items()
                if name.startswith("oncelog.") and not name.startswith("oncelog.testing")
            }
            assert loaders == {"SourceFileLoader"}
            import helper
            with pytest.raises(AssertionError, match="assert 2 == 1"):
                helper.check(2)
        """,
    )
    pytester.runpytest_subprocess(*NO_CACHE).assert_outcomes(passed=1)


def test_a_run_that_uses_no_fixture_loads_no_broker(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_it():
            loaded = [name for name in sys.modules if name.startswith("oncelog")]
            assert set(loaded) == {
                "oncelog",
                "oncelog.testing",
                "oncelog.testing.factories",
                "oncelog.testing.loading",
                "oncelog.testing.plugin",
                "oncelog.testing.settings",
            }
        """
    )
    pytester.runpytest_subprocess(*NO_CACHE).assert_outcomes(passed=1)
