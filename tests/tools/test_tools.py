"""The harness of `make tools`, and of the tools the one that needs nothing installed: kafka-python's."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Iterator

import pytest
from kafka.cli.admin import DEFAULT_COMMAND_GROUPS
from kafka.cli.admin import run_cli as run_admin
from kafka.cli.producer import run_cli as run_producer

import oncelog
from tests.tools import kafka_python_cli
from tests.tools.calls import Call, Outcome, Tool, make, run_process
from tests.tools.run import DOCUMENT, outcomes_of, report, with_table

# --- kafka-python's command line ---


def run_here(command: list[str], stdin: bytes) -> tuple[int, str]:
    """`python -m kafka...` without the process, which would take most of the time."""
    _, _, module, *words = command
    run = {"kafka.admin": run_admin, "kafka.producer": run_producer}[module]
    output = io.StringIO()
    handler = logging.StreamHandler(output)
    handler.setLevel(logging.CRITICAL)
    logging.getLogger().addHandler(handler)
    kept_stdin, sys.stdin = sys.stdin, io.StringIO(stdin.decode())
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            status = run(words)
    finally:
        sys.stdin = kept_stdin
        logging.getLogger().removeHandler(handler)
    return status, output.getvalue()


@pytest.fixture
def bootstrap() -> Iterator[str]:
    with oncelog.Broker() as broker:
        yield broker.bootstrap


def test_every_call_of_kafka_pythons_command_line_ends_as_the_table_says(bootstrap: str) -> None:
    outcomes = list(outcomes_of(kafka_python_cli.TOOL, bootstrap, run_here))
    assert [outcome.wrong for outcome in outcomes if outcome.wrong] == []
    assert {outcome.word for outcome in outcomes} == {"pass", "explained"}


def test_every_verb_of_its_admin_client_is_called() -> None:
    verbs = {f"{group.GROUP} {verb.COMMAND}" for group in DEFAULT_COMMAND_GROUPS for verb in group.COMMANDS}
    called = {call.name.partition(" (")[0] for call in kafka_python_cli.CALLS}
    assert called - {"produce"} == verbs


def test_it_works_as_a_process_of_its_own(bootstrap: str) -> None:
    create, produce, list_topics, *_ = kafka_python_cli.CALLS
    memory = {"bootstrap": bootstrap}
    outcomes = [make(kafka_python_cli.TOOL, call, memory) for call in (create, produce, list_topics)]
    assert [outcome.wrong for outcome in outcomes] == ["", "", ""]


# --- the harness ---


def judged(status: int, output: str, call: Call) -> Outcome:
    tool = Tool("a tool", lambda: None, (call,))
    return make(tool, call, {"bootstrap": "here:9092"}, lambda _, __: (status, output))


@pytest.mark.parametrize(
    ("call", "status", "output", "word", "reason"),
    [
        (Call("c", (), says=("^one$",)), 0, "zero\none\n", "pass", ""),
        (Call("c", (), says=("^one$",)), 0, "zero\n", "fail", "'^one$' is missing"),
        (Call("c", (), says=("one",)), 3, "one", "fail", "exit status 3"),
        (Call("c", (), keeps_silent_about=("one",)), 0, "one", "fail", "'one' should not be there"),
        (Call("c", (), says=("at {bootstrap}",)), 0, "at here:9092", "pass", ""),
        (Call("c", (), says=("no",), fails_because="why"), 1, "no", "explained", "why"),
        (Call("c", (), says=("no",), fails_because="why"), 1, "other", "fail", "'no' is missing"),
        (Call("c", (), fails_because="why"), 0, "", "fail", "works now; the table says it cannot"),
        (Call("c", (), says=("no",), fails_because="why", hides_failure=True), 0, "no", "explained", "why"),
        (
            Call("c", (), says=("no",), fails_because="why", hides_failure=True),
            0,
            "",
            "fail",
            "'no' is missing",
        ),
    ],
)
def test_how_a_call_is_judged(call: Call, status: int, output: str, word: str, reason: str) -> None:
    outcome = judged(status, output, call)
    assert (outcome.word, outcome.reason) == (word, reason)
    assert bool(outcome.wrong) == (word == "fail")


def test_a_tool_that_is_absent_did_not_pass() -> None:
    tool = Tool("a tool", lambda: "it is not here", (Call("c", ("true",)),))
    assert list(outcomes_of(tool, "here:9092")) == [Outcome("a tool", "1 calls", "absent", "it is not here")]


def test_a_failure_decides_the_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    fine = [
        Outcome("t", "c", "pass", ""),
        Outcome("t", "d", "explained", "why"),
        Outcome("u", "", "absent", ""),
    ]
    assert report(fine) == 0
    assert "1 passed, 0 failed, 1 fail as docs/tools.md explains; absent: u" in capsys.readouterr().out
    assert report([*fine, Outcome("t", "e", "fail", "short", "at length")]) == 1
    assert "at length" in capsys.readouterr().out


def test_a_process_is_given_its_input_and_its_output_is_kept() -> None:
    script = "import sys; sys.stderr.write(sys.stdin.read()); sys.exit(3)"
    assert run_process([sys.executable, "-c", script], b"input") == (3, "input")


def test_the_document_holds_the_calls() -> None:
    document = DOCUMENT.read_text()
    assert with_table(document) == document, "python -m tests.tools.run --write"
