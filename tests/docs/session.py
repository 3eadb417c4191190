"""Types a page of the documents as its reader would: two terminals, one directory, block after block.

- `sh`: run in the second terminal; one that begins with `oncelog serve` in the first, until Ctrl-C.
- `python`: saved as the file that its first line names.
- `text`: what the block before it prints; `...` is anything.
- `yaml`: saved as the file that its first line names.

The ports of the page are others here, so that runs side by side don't meet. Must not know single pages.
"""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from tests.crash.real_server import free_address
from tests.docs.blocks import STOP, Block, all_blocks
from tests.support.waiting import wait_for

PORTS = ("9092", "9094", "9644")
TIMEOUT_S = 60
DEFAULT_ADDRESS = "127.0.0.1:9092"
SHIM = """\
#!/bin/sh
# `oncelog`, whose default address is this session's.
case "$*" in
  *--config*|*--listen*|*--bootstrap*|"txn explain"*) exec {program} "$@" ;;
  txn*) exec {program} "$@" --bootstrap {address} ;;
  serve*) exec {program} "$@" --listen {address} ;;
  *) exec {program} "$@" ;;
esac
"""


class Session:
    """What has been typed so far, and what runs in the first terminal."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "reader"
        self.directory.mkdir()
        self._ports = {port: free_address().rpartition(":")[2] for port in PORTS}
        scripts = Path(sys.executable).parent
        programs = directory / "programs"
        programs.mkdir()
        shim = programs / "oncelog"
        shim.write_text(SHIM.format(program=scripts / "oncelog", address=self.here(DEFAULT_ADDRESS)))
        shim.chmod(0o755)
        self._environment = {"PATH": f"{programs}:{scripts}:/usr/bin:/bin", "HOME": str(directory)}
        self._server: subprocess.Popen[bytes] | None = None
        self._server_says = directory / "terminal-1"
        self._printed = ""

    def here(self, text: str) -> str:
        """The page's ports as they are here. Nothing listens to other machines."""
        for port, instead in self._ports.items():
            text = text.replace(port, instead)
        return text.replace("0.0.0.0", "127.0.0.1")

    def _on_the_page(self, text: str) -> str:
        for port, instead in self._ports.items():
            text = text.replace(instead, port)
        return text

    def run(self, file: str) -> None:
        for block in all_blocks(file):
            if block.is_run:
                self.type(block)
        self.stop()

    def type(self, block: Block) -> None:
        where = f"{block.file}:{block.line}"
        if block.language == STOP:
            self.stop()
        elif block.language in ("python", "yaml"):
            named = re.match(r"# (\S+)\n", block.text)
            assert named, f"{where}: a block does not say which file it is"
            (self.directory / named[1]).write_text(self.here(block.text))
        elif block.language == "text":
            self._compare(block.text, where)
        elif block.text.startswith("oncelog serve"):
            self.start(block.text)
        else:
            assert block.language == "sh", f"{where}: what is to be done with {block.language!r}?"
            self._run(block, where)

    def start(self, command: str) -> None:
        """In the first terminal; returns when it is ready."""
        assert self._server is None, "a broker runs in the first terminal already"
        with self._server_says.open("wb") as output:
            self._server = subprocess.Popen(
                shlex.split(self.here(command)),
                cwd=self.directory,
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

        def is_ready() -> bool:
            self._printed = self._server_says.read_text()
            assert self._server is not None
            assert self._server.poll() is None, self._printed
            return "oncelog ready" in self._printed

        wait_for(is_ready, "a ready broker", TIMEOUT_S)

    def stop(self) -> None:
        """Ctrl-C in the first terminal."""
        if self._server is not None:
            self._server.send_signal(signal.SIGINT)
            assert self._server.wait(TIMEOUT_S) == 0, self._server_says.read_text()
            self._server = None

    def close(self) -> None:
        """For when something went wrong."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()

    def _run(self, block: Block, where: str) -> None:
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", self.here(block.text)],
            cwd=self.directory,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        self._printed = done.stdout
        if block.note is None:
            assert done.returncode == 0, f"{where}: {done.stdout}{done.stderr}"

    def _compare(self, expected: str, where: str) -> None:
        wanted = re.escape(expected.strip()).replace(re.escape("..."), ".*")
        said = "\n".join(line.rstrip() for line in self._on_the_page(self._printed).strip().splitlines())
        assert re.fullmatch(wanted, said, re.DOTALL), f"{where}: printed was\n{said}\nand not\n{expected}"
