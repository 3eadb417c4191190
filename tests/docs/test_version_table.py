"""The versions that are advertised are Apache Kafka 4.3's, and each of its APIs is served or said not to be.

ANSWER is what a broker of Apache Kafka 4.3.1 (combined broker and controller, default settings) answers to
ApiVersions, as key:first-last. With ONCELOG_TEST_BOOTSTRAP naming such a broker (bench/kafka_server.py starts
one) the last test here compares the table with its answer.
"""

from __future__ import annotations

import re

from oncelog.broker.registry import Registry
from oncelog.docs.protocol import DECLINED
from oncelog.wire.messages.api_versions import ApiVersionsRequest
from tests.support.fixtures import Broker
from tests.support.raw import RawConnection

ANSWER = """
0:0-13 1:4-18 2:1-11 3:0-13 8:2-10 9:1-10 10:0-6 11:0-9 12:0-4 13:0-5 14:0-5 15:0-6 16:0-5 17:0-1
18:0-4 19:2-7 20:1-6 21:0-2 22:0-5 23:2-4 24:0-5 25:0-4 26:0-5 27:1-2 28:0-5 29:1-3 30:1-3 31:1-3
32:1-4 33:0-2 34:1-2 35:1-5 36:0-2 37:0-3 38:1-3 39:1-2 40:1-2 41:1-3 42:0-2 43:0-2 44:0-1 45:0-1
46:0-0 47:0-0 48:0-1 49:0-1 50:0-0 51:0-0 55:0-2 57:0-2 60:0-2 61:0-0 64:0-0 65:0-0 66:0-2 68:0-1
69:0-1 74:0-1 75:0-0 76:1-1 77:1-1 78:1-2 79:1-2 80:0-1 81:0-0 83:0-0 84:0-0 85:0-1 86:0-0 87:0-1
88:0-0 89:0-0 90:0-1 91:0-0 92:0-0
"""

KAFKA = {int(key): (int(first), int(last)) for key, first, last in re.findall(r"(\d+):(\d+)-(\d+)", ANSWER)}


def test_each_api_is_advertised_in_kafkas_versions() -> None:
    ours = {key: (first, last) for key, first, last in Registry.load().table}
    assert ours == {key: KAFKA.get(key) for key in ours}


def test_each_api_of_kafka_is_served_or_declined() -> None:
    declined = [key for group in DECLINED for key in group.apis]
    assert len(declined) == len(set(declined)), "an API is declined twice"
    assert set(declined) | Registry.load().routes.keys() == KAFKA.keys()


def test_the_broker_under_test_answers_that_table(broker: Broker, connection: RawConnection) -> None:
    answer = connection.call(ApiVersionsRequest(), 0)
    answered = {row.api_key: (row.min_version, row.max_version) for row in answer.api_keys}
    if broker.is_oncelog:
        assert answered == {key: KAFKA[key] for key in Registry.load().routes}
    else:
        assert answered == KAFKA
