"""Patterns that strangers send: they mean what Python's and RE2's mean, and cost no more than their text."""

from __future__ import annotations

import random
import re

import pytest

from oncelog.broker.api import _pattern
from oncelog.broker.api._pattern import Pattern, PatternError

PATTERNS = [
    "",
    "abc",
    "a*",
    "a+b?",
    "(ab|a)(c|bcd)*",
    "a{2}",
    "a{1,}b{0,2}",
    "a{x",
    "(a|b)*abb",
    "[a-c]+",
    "[^a]b",
    "[]a]+",
    "[a-]+",
    r"[\d_-]*",
    r"\w+\.\d+",
    r"\D\S\W",
    "^a$",
    "(^a|b)*$",
    "a^b",
    "(?:ab)+?",
    "((a*)*)*",
    "a||b",
    "()*",
    ".",
    r"\.\*\\",
    "order-[0-9]+",
    r"\Aab",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_means_what_it_means_to_python(pattern: str) -> None:
    ours, theirs = Pattern(pattern), re.compile(pattern, re.ASCII)
    rng = random.Random(pattern)
    texts = ["", "order-17", "order-", "a", "ab", "abb", "\n", ".*\\", "a{,2}", "a{,", "w_1.9", "x-.", "aab"]
    texts += ["".join(rng.choices("abcd-_.1\n", k=rng.randrange(7))) for _ in range(400)]
    for text in texts:
        assert ours.matches(text) == (theirs.fullmatch(text) is not None), text


@pytest.mark.parametrize(
    "pattern",
    ["(", ")", "a)", "*", "a**", "a+*", "[a", "[", "[b-a]", r"\p{L}", r"\1", r"a\b", "(?i)a", "(?=a)",
     "(?P<n>a)", "a{3,2}", "a{1001}", "\\", r"[\d-z]", r"[\D]", "[[:alpha:]]", "a" * 1001,
     "(" * 60 + ")" * 60],
)  # fmt: skip
def test_what_is_no_pattern_or_not_known_is_refused(pattern: str) -> None:
    with pytest.raises(PatternError):
        Pattern(pattern)


@pytest.mark.parametrize("pattern", ["((a{1000}){1000}){1000}", "(((){1000}){1000}){1000}", "(a{500}){5}"])
def test_a_pattern_that_grows_is_refused(pattern: str) -> None:
    with pytest.raises(PatternError):
        Pattern(pattern)


def test_a_pattern_that_would_backtrack_forever_does_not() -> None:
    assert not Pattern("(a*)*b").matches("a" * 5000)
    assert not Pattern("(a|a|aa)+$b").matches("a" * 5000)


def test_what_costs_too_much_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pattern, "STEPS_MAX", 1000)
    pattern = Pattern("(a|b)*a(a|b){30}")
    rng = random.Random(1)
    with pytest.raises(PatternError):
        pattern.matches("".join(rng.choices("ab", k=1000)))
