"""Regular expressions of strangers: matched in time that grows with the text and nothing else.

Python's own backtrack, and one request could hold up everybody for hours. This takes what RE2 and Python
mean alike: literals, `.`, classes, groups, alternatives, repetitions, `^`, `$`; all the rest is refused.
A pattern is compiled to an automaton whose sets of states are remembered while they are met. It must not know
what is matched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

CHARACTERS_MAX = 1000
STATES_MAX = 2000
DEPTH_MAX = 50
REPETITIONS_MAX = 1000
STEPS_MAX = 10_000_000
"""Of one pattern over all texts together: a step is a character that was met before, about 0.1 µs."""
STEPS_OF_A_STATE = 16
"""What a state costs that is looked at for a character not met before, in time and in memory."""


class PatternError(ValueError):
    """No pattern, one that isn't known here, or one that costs too much."""


class Set(NamedTuple):
    """One character out of these ranges, or out of none of them."""

    ranges: tuple[tuple[str, str], ...]
    is_negated: bool = False

    def has(self, character: str) -> bool:
        return any(first <= character <= last for first, last in self.ranges) != self.is_negated


class Sequence(NamedTuple):
    parts: tuple[Node, ...]


class Alternatives(NamedTuple):
    choices: tuple[Node, ...]


class Repeated(NamedTuple):
    """most: None without a limit."""

    node: Node
    least: int
    most: int | None


class Edge(NamedTuple):
    """The beginning or the end of the text."""

    is_end: bool


Node = Set | Sequence | Alternatives | Repeated | Edge

DIGITS, SPACES = (("0", "9"),), ((" ", " "), ("\t", "\n"), ("\f", "\r"))
WORDS = (("0", "9"), ("A", "Z"), ("_", "_"), ("a", "z"))
CLASSES = {"d": DIGITS, "s": SPACES, "w": WORDS}
CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v", "a": "\a"}


class _Met:
    """A set of states that was met. after: by character, what was met next; is_end: the text may end here."""

    __slots__ = ("after", "is_end", "states")

    def __init__(self, states: frozenset[int], is_end: bool) -> None:
        self.states = states
        self.is_end = is_end
        self.after: dict[str, _Met] = {}


class Pattern:
    """A compiled pattern. Raises PatternError."""

    def __init__(self, text: str) -> None:
        if len(text) > CHARACTERS_MAX:
            raise PatternError(f"a pattern has at most {CHARACTERS_MAX} characters")
        self._compiled = _Compiled(_Parser(text).node())
        self._steps = 0
        self._met: dict[frozenset[int], _Met] = {}
        self._first = self._meet(self._compiled.beginning(at_end=False))
        self._matches_nothing = 0 in self._compiled.beginning(at_end=True)

    def matches(self, text: str) -> bool:
        """Whether the pattern matches the whole text. Raises PatternError when it has cost too much."""
        if not text:
            return self._matches_nothing
        met, passed = self._first, 0
        for passed, character in enumerate(text, start=1):  # noqa: B007
            following = met.after.get(character)
            if following is None:
                following = met.after[character] = self._go_on(met, character)
            met = following
            if not met.states:
                break
        self._spend(passed)
        return met.is_end

    def _go_on(self, met: _Met, character: str) -> _Met:
        states, looked_at = self._compiled.after(met.states, character)
        self._spend(STEPS_OF_A_STATE * (looked_at + len(states)))
        return self._meet(states)

    def _meet(self, states: frozenset[int]) -> _Met:
        found = self._met.get(states)
        if found is None:
            found = self._met[states] = _Met(states, self._compiled.may_end(states))
        return found

    def _spend(self, steps: int) -> None:
        self._steps += steps
        if self._steps > STEPS_MAX:
            raise PatternError("matching this pattern takes too long")


# --- the automaton ---


class _Compiled:
    """States by number: a set that one character passes, an edge, a fork (a tuple), or the end (None)."""

    def __init__(self, node: Node) -> None:
        self._what: list[Set | Edge | tuple[int, ...] | None] = [None]
        self._next = [0]
        self._visits = 0
        self.first = self._compile(node, 0)

    def _add(self, what: Set | Edge | tuple[int, ...], following: int) -> int:
        self._what.append(what)
        self._next.append(following)
        return len(self._what) - 1

    def _compile(self, node: Node, following: int) -> int:
        """The state where the node begins, `following` being where it goes on."""
        self._visits += 1
        if self._visits > STATES_MAX:
            raise PatternError("the pattern is too large")
        if isinstance(node, (Set, Edge)):
            return self._add(node, following)
        if isinstance(node, Alternatives):
            return self._add(tuple([self._compile(each, following) for each in node.choices]), following)
        if isinstance(node, Sequence):
            for part in reversed(node.parts):
                following = self._compile(part, following)
            return following
        return self._compile_repeated(node, following)

    def _compile_repeated(self, node: Repeated, following: int) -> int:
        end = following
        if node.most is None:
            following = loop = self._add((), end)
            self._what[loop] = (self._compile(node.node, loop), end)
        else:
            for _ in range(node.most - node.least):
                following = self._add((self._compile(node.node, following), end), end)
        for _ in range(node.least):
            following = self._compile(node.node, following)
        return following

    def beginning(self, *, at_end: bool) -> frozenset[int]:
        """The states before the first character; `at_end` where there is none."""
        return self._closure([self.first], at_start=True, at_end=at_end)

    def after(self, states: frozenset[int], character: str) -> tuple[frozenset[int], int]:
        """The states behind that character, and how much was looked at for it."""
        passed, looked_at = [], 0
        for number in states:
            what = self._what[number]
            looked_at += 1
            if isinstance(what, Set):
                looked_at += len(what.ranges)
                if what.has(character):
                    passed.append(self._next[number])
        return self._closure(passed, at_start=False, at_end=False), looked_at

    def may_end(self, states: frozenset[int]) -> bool:
        """Whether a text that is not empty may end in these states."""
        return 0 in self._closure(list(states), at_start=False, at_end=True)

    def _closure(self, states: list[int], *, at_start: bool, at_end: bool) -> frozenset[int]:
        """All states that are reached without a character, edges that can't be passed now included."""
        found, waiting = set(states), list(states)
        while waiting:
            for each in self._reached(waiting.pop(), at_start, at_end):
                if each not in found:
                    found.add(each)
                    waiting.append(each)
        return frozenset(found)

    def _reached(self, number: int, at_start: bool, at_end: bool) -> tuple[int, ...]:
        """Where a state leads to without a character."""
        what = self._what[number]
        if isinstance(what, Edge):
            return (self._next[number],) if (at_end if what.is_end else at_start) else ()
        return () if what is None or isinstance(what, Set) else what


# --- reading a pattern ---


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def node(self) -> Node:
        found = self._alternatives(0)
        if self._at < len(self._text):
            raise PatternError("a group ends that did not begin")
        return found

    def _peek(self) -> str:
        """The next character, "" at the end."""
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        character = self._peek()
        if not character:
            raise PatternError("the pattern ends too early")
        self._at += 1
        return character

    def _is_next(self, wanted: str) -> bool:
        """Whether this comes next; if so, it is taken."""
        if not self._text.startswith(wanted, self._at):
            return False
        self._at += len(wanted)
        return True

    def _alternatives(self, depth: int) -> Node:
        if depth > DEPTH_MAX:
            raise PatternError("groups are nested too deep")
        choices = [self._sequence(depth)]
        while self._is_next("|"):
            choices.append(self._sequence(depth))
        return choices[0] if len(choices) == 1 else Alternatives(tuple(choices))

    def _sequence(self, depth: int) -> Node:
        parts: list[Node] = []
        while self._peek() not in ("", "|", ")"):
            parts.append(self._repetition(self._atom(depth)))
        return Sequence(tuple(parts))

    def _repetition(self, node: Node) -> Node:
        simple: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        limits = simple.get(self._peek())
        if limits is not None:
            self._at += 1
        elif self._peek() == "{":
            limits = self._limits()
        if limits is None:
            return node
        # Whether as much or as little as possible is taken is all the same where the whole text must match.
        self._is_next("?")
        if self._peek() in ("*", "+", "?"):
            raise PatternError("a repetition of a repetition")
        return Repeated(node, *limits)

    def _limits(self) -> tuple[int, int | None] | None:
        """{n}, {n,} or {n,m}; a brace that begins none of these stands for itself."""
        end = self._text.find("}", self._at)
        least, comma, most = self._text[self._at + 1 : max(end, 0)].partition(",")
        if end < 0 or not _is_number(least) or (most and not _is_number(most)):
            return None
        self._at = end + 1
        first = int(least)
        last = first if not comma else int(most) if most else None
        if max(first, last or 0) > REPETITIONS_MAX or (last is not None and last < first):
            raise PatternError("a repetition that cannot be")
        return first, last

    def _atom(self, depth: int) -> Node:
        character = self._take()
        atoms: dict[str, Callable[[], Node]] = {
            "(": lambda: self._group(depth),
            "[": self._class,
            "\\": self._escaped,
            ".": lambda: Set((("\n", "\n"),), is_negated=True),
            "^": lambda: Edge(is_end=False),
            "$": lambda: Edge(is_end=True),
        }
        if character in ("*", "+", "?"):
            raise PatternError("nothing to repeat")
        made = atoms.get(character)
        return Set(((character, character),)) if made is None else made()

    def _group(self, depth: int) -> Node:
        if self._peek() == "?" and not self._is_next("?:"):
            raise PatternError("groups with flags, names or conditions are not known here")
        found = self._alternatives(depth + 1)
        if not self._is_next(")"):
            raise PatternError("a group does not end")
        return found

    def _escaped(self) -> Node:
        if self._is_next("A"):
            return Edge(is_end=False)
        if self._is_next("z"):
            return Edge(is_end=True)
        return self._escaped_set()

    def _escaped_set(self) -> Set:
        character = self._take()
        if character.lower() in CLASSES:
            return Set(CLASSES[character.lower()], is_negated=character.isupper())
        if character in CONTROLS:
            return Set(((CONTROLS[character], CONTROLS[character]),))
        if character.isascii() and character.isalnum():
            raise PatternError(f"\\{character} is not known here")
        return Set(((character, character),))

    def _class(self) -> Set:
        is_negated = self._is_next("^")
        ranges: list[tuple[str, str]] = []
        is_first = True
        while is_first or self._peek() != "]":
            is_first = False
            ranges += self._class_item()
        self._at += 1
        return Set(tuple(ranges), is_negated)

    def _class_item(self) -> tuple[tuple[str, str], ...]:
        """A character, a range of them, or a class by its name; of those that exclude, none in here."""
        first = self._class_character()
        if first.is_negated:
            raise PatternError("a class that excludes inside of another one")
        follows = self._text[self._at : self._at + 2]
        if not follows.startswith("-") or follows == "-]" or len(follows) < 2:
            return first.ranges
        self._at += 1
        last = self._class_character()
        low, high = first.ranges[0], last.ranges[0]
        if len(first.ranges + last.ranges) > 2 or low[0] != low[1] or high[0] != high[1] or low > high:
            raise PatternError("a range that is none")
        return ((low[0], high[0]),)

    def _class_character(self) -> Set:
        if self._text.startswith("[:", self._at):
            raise PatternError("classes by POSIX names are not known here")
        character = self._take()
        return self._escaped_set() if character == "\\" else Set(((character, character),))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 4
