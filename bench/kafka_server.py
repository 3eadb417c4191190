"""Apache Kafka from Maven Central as one combined broker and controller, for comparison.

Needs Java 17 and, once, Maven. The settings are Kafka's defaults; what is set is where it listens, where its
data lies, and that the internal topics of a single node have one replica. The JVM's options are those of
Kafka's own start script. Knows nothing of oncelog.

    python bench/kafka_server.py start --port 29092   # returns when it answers; data in a temporary directory
    python bench/kafka_server.py stop --port 29092    # ends it and removes its data
    python bench/kafka_server.py run --port 29092     # in the foreground, until Ctrl-C
"""

from __future__ import annotations

import argparse
import base64
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

HERE = Path(__file__).resolve().parent
DEFAULT_JARS = HERE.parent / "build" / "kafka-jars"
START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 60.0

# bin/kafka-run-class.sh and bin/kafka-server-start.sh of Kafka 4.3.
JVM_OPTIONS = (
    "-Xmx1G",
    "-Xms1G",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
)

SERVER_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
offsets.topic.replication.factor=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
"""


class KafkaServer:
    """One broker process and its directory; `start` returns when it answers, `stop` leaves nothing behind."""

    def __init__(self, port: int, jars: Path | None = None, directory: Path | None = None) -> None:
        self.port = port
        self.bootstrap = f"127.0.0.1:{port}"
        self.jars = jars or Path(os.environ.get("KAFKA_JARS", DEFAULT_JARS))
        self.directory = directory or Path(tempfile.mkdtemp(prefix="oncelog-bench-kafka-"))
        self._properties = self.directory / "server.properties"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def prepare(self) -> None:
        """What an installation does once: fetch the jars, format the storage."""
        fetch_jars(self.jars)
        self.directory.mkdir(parents=True, exist_ok=True)
        self._properties.write_text(
            SERVER_PROPERTIES.format(
                port=self.port, controller_port=free_port(), data=self.directory / "data"
            )
        )
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # With "=", for an id may begin with "-".
        identity = f"--cluster-id={cluster_id}"
        self._run("kafka.tools.StorageTool", "format", "--standalone", identity, "-c", str(self._properties))

    def start(self) -> None:
        """Start the broker on its formatted storage, wait until it answers ApiVersions."""
        with (self.directory / "output.log").open("wb") as output:
            self._process = subprocess.Popen(
                [*self._java(), *JVM_OPTIONS, "kafka.Kafka", str(self._properties)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        (self.directory / "pid").write_text(str(self._process.pid))
        self._wait_until_it_answers()

    def stop(self) -> None:
        """End the broker as an operator would (SIGTERM), then remove its directory."""
        if self._process is not None:
            self._process.terminate()
            self._process.send_signal(signal.SIGCONT)  # paused processes do not hear it otherwise
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        shutil.rmtree(self.directory, ignore_errors=True)

    def _java(self) -> list[str]:
        return [
            "java",
            "-cp",
            f"{self.jars}/*",
            f"-Dlog4j2.configurationFile={HERE / 'kafka' / 'log4j2.properties'}",
            f"-Dkafka.logs.dir={self.directory}",
        ]

    def _run(self, *arguments: str) -> None:
        done = subprocess.run([*self._java(), *arguments], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")

    def _wait_until_it_answers(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while not answers_api_versions(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                output = (self.directory / "output.log").read_text(errors="replace")[-2000:]
                self._process.kill()
                raise SystemExit(f"Kafka did not start; see {self.directory}\n{output}")
            time.sleep(0.01)


def fetch_jars(jars: Path) -> None:
    """Let Maven copy Kafka's jars there, unless they are there already."""
    if any(jars.glob("kafka_2.13-*.jar")):
        return
    print(f"fetching Kafka's jars into {jars}", file=sys.stderr)
    command = ["mvn", "-B", "-q", "-f", str(HERE / "kafka" / "pom.xml"), "dependency:copy-dependencies"]
    try:
        subprocess.run([*command, f"-DoutputDirectory={jars}", "-DincludeScope=runtime"], check=True)
    except FileNotFoundError:
        raise SystemExit("Maven (mvn) is needed once, to fetch Kafka's jars") from None


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def answers_api_versions(port: int, timeout_s: float = 2.0, host: str = "127.0.0.1") -> bool:
    """Whether a broker at this address answers ApiVersions (key 18, v0) without an error."""
    request = struct.pack(">ihhih", 10, 18, 0, 1, -1)
    try:
        with socket.create_connection((host, port), timeout_s) as connection:
            connection.sendall(request)
            reply = connection.recv(10, socket.MSG_WAITALL)
    except OSError:
        return False
    return len(reply) == 10 and struct.unpack(">iih", reply)[1:] == (1, 0)


def detached_directory(port: int) -> Path:
    """Where `start` leaves the process id for `stop`."""
    return Path(tempfile.gettempdir()) / f"oncelog-bench-kafka-port-{port}"


def stop_detached(port: int) -> None:
    """End the broker that `start` began on this port and remove its directory."""
    directory = detached_directory(port)
    try:
        process_id = int((directory / "pid").read_text())
    except FileNotFoundError:
        raise SystemExit(f"no broker was started on port {port}") from None
    try:
        os.kill(process_id, signal.SIGTERM)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while is_running(process_id) and time.monotonic() < deadline:
            time.sleep(0.05)
        if is_running(process_id):
            os.kill(process_id, signal.SIGKILL)
    except ProcessLookupError:
        pass
    shutil.rmtree(directory, ignore_errors=True)


def is_running(process_id: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def main() -> None:
    """Start, stop or run one broker."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("start", "stop", "run"))
    parser.add_argument("--port", type=int, default=29092)
    parser.add_argument("--jars", type=Path, help=f"where Kafka's jars are or go (default: {DEFAULT_JARS})")
    options = parser.parse_args()
    if options.action == "stop":
        stop_detached(options.port)
        return
    directory = detached_directory(options.port) if options.action == "start" else None
    if directory is not None and directory.exists():
        stop_detached(options.port)
    server = KafkaServer(options.port, options.jars, directory)
    try:
        server.prepare()
        server.start()
        print(f"{server.bootstrap} (process {server.pid}, {server.directory})", flush=True)
        if options.action == "run":
            signal.sigwait({signal.SIGINT, signal.SIGTERM})
    except BaseException:
        server.stop()
        raise
    if options.action == "run":
        server.stop()


if __name__ == "__main__":
    main()
