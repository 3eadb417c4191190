"""The fuzzer itself: atheris drives fuzz/targets.py for a number of seconds, from seeds that it writes first.

`make fuzz` (FUZZ_SECONDS). What it finds lies in build/fuzz/ and is printed; `python -m fuzz.decoders FILE`
runs it again. Each finding gets a test in tests/wire that fails before it is fixed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["oncelog.wire", "oncelog.machine.events"]):
    from fuzz import targets
    from oncelog.wire import codec

WORK = Path("build/fuzz")


def _instrument_made_codecs() -> None:
    """Codecs are made when they are first used, so that no import shows them to the fuzzer."""
    plain_compile = codec._compile

    def compile_and_instrument(text: str, names: dict[str, Any], wanted: str) -> Callable[..., Any]:
        made = plain_compile(text, names, wanted)
        for part in (made, made.__globals__.get("read_tags")):
            if part is not None:
                atheris.instrument_func(part)
        return made

    codec._compile = compile_and_instrument


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("inputs", nargs="*", type=Path, help="run these inputs once, instead of searching")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0, help="0: another search each time")
    options = parser.parse_args()
    if options.inputs:
        for path in options.inputs:
            targets.run(path.read_bytes())
        return
    corpus = WORK / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    seeds = WORK / "seeds"
    seeds.mkdir(exist_ok=True)
    _instrument_made_codecs()
    for name, data in targets.seeds():
        (seeds / name).write_bytes(data)
        targets.run(data)  # makes the codecs, which would otherwise take the time of the search
    arguments = [
        sys.argv[0],
        str(corpus),
        str(seeds),
        f"-max_total_time={options.seconds}",
        f"-artifact_prefix={WORK}/",
        "-max_len=4096",
        "-timeout=5",
        "-rss_limit_mb=1024",
        "-print_final_stats=1",
    ]
    if options.seed:
        arguments.append(f"-seed={options.seed}")
    atheris.Setup(arguments, targets.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
