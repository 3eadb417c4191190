"""`oncelog doctor`: what each check makes of what a machine may be like, and the command as a whole."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oncelog.broker.process import NO_LIMIT, OpenFiles
from oncelog.cli import doctor
from oncelog.cli.doctor import Finding, Verdict
from oncelog.cli.main import main
from oncelog.disk.real import RealDisk

FIT, DOUBTFUL, UNFIT = Verdict.FIT, Verdict.DOUBTFUL, Verdict.UNFIT
MOUNTINFO = (
    "22 1 0:1 / / rw,relatime shared:1 - {root} /dev/sda1 rw\n"
    "24 22 0:3 / /data/fast\\040disk rw - ext4 /dev/sdb rw\n"
    "23 22 0:2 / /data rw - nfs4 server:/x rw\n"
    "25 22 0:4 / /d rw - tmpfs tmpfs rw\n"
)


@pytest.mark.parametrize(
    ("place", "root", "verdict", "kind"),
    [
        ("/var/lib/oncelog", "ext4", FIT, "ext4"),
        ("/var/lib/oncelog", "overlay", DOUBTFUL, "overlay"),
        ("/var/lib/oncelog", "minix", DOUBTFUL, "minix"),
        ("/var/lib/oncelog", "fuse.sshfs", UNFIT, "fuse.sshfs"),
        ("/data/x", "xfs", UNFIT, "nfs4"),
        ("/data/fast disk/x", "xfs", FIT, "ext4"),
        ("/d/x", "xfs", UNFIT, "tmpfs"),
        ("/d", "xfs", UNFIT, "tmpfs"),
        ("/database", "xfs", FIT, "xfs"),
    ],
)
def test_the_filesystem_is_the_innermost_mount(place: str, root: str, verdict: Verdict, kind: str) -> None:
    finding = doctor.filesystem(Path(place), MOUNTINFO.format(root=root))
    assert (finding.verdict, finding.values["kind"]) == (verdict, kind)


def test_a_filesystem_that_cannot_be_told_is_doubtful() -> None:
    assert doctor.filesystem(Path("/x"), None).verdict is DOUBTFUL


@pytest.mark.parametrize(
    ("finding", "verdict", "text"),
    [
        (doctor.sync_times([1.0] * 49 + [80.0]), FIT, "takes 1.00 ms, the slowest of 50 80.00"),
        (doctor.sync_times([30.0] * 50), DOUBTFUL, "every acknowledgement waits"),
        (doctor.sync_times([0.01] * 50), DOUBTFUL, "no disk is that fast"),
        (doctor.open_files(OpenFiles(100, 65_536), 20_000), FIT, "65536 may be open"),
        (doctor.open_files(None, 20_000), FIT, "no limit"),
        (doctor.open_files(OpenFiles(1024, NO_LIMIT), 20_000), FIT, "no limit"),
        (doctor.open_files(OpenFiles(100, 4096), 20_000), DOUBTFUL, "LimitNOFILE="),
        (doctor.open_files(OpenFiles(100, 100), 20_000), UNFIT, "raise the hard limit"),
        (doctor.clock(1.8e9, 1.8e9 + 0.1, True), FIT, "2027-01-15 08:00:00 UTC, synchronized"),
        (doctor.clock(1.8e9, None, None), FIT, "not known here"),
        (doctor.clock(1.8e9, 1.8e9, False), DOUBTFUL, "no NTP"),
        (doctor.clock(1.8e9, 1.8e9 - 60, True), DOUBTFUL, "-60.0 s"),
        (doctor.clock(5.0, 5.0, True), UNFIT, "1970-01-01 00:00:05 UTC: it was never set"),
        (doctor.space(2 << 30, 1 << 30), FIT, "2048 MiB are free"),
        (doctor.space(1 << 20, 1 << 30), UNFIT, "Produce is soon refused"),
        (doctor.memory(8 << 30, None), FIT, "8192 MiB"),
        (doctor.memory(8 << 30, 256 << 20), DOUBTFUL, "256 MiB"),
        (doctor.memory(64 << 20, 8 << 30), UNFIT, "64 MiB"),
        (doctor.memory(None, None), DOUBTFUL, "cannot be told"),
    ],
)
def test_what_a_check_makes_of_what_it_finds(finding: Finding, verdict: Verdict, text: str) -> None:
    assert finding.verdict is verdict
    assert text in finding.text


def test_the_command_looks_and_leaves_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["doctor", str(tmp_path), "--format", "json"])
    told = json.loads(capsys.readouterr().out)
    assert list(tmp_path.iterdir()) == []
    assert [check["check"] for check in told["checks"]] == [
        "filesystem",
        "sync",
        "open files",
        "clock",
        "free space",
        "memory",
    ]
    sync = told["checks"][1]
    assert 0 < sync["median_ms"] <= sync["slowest_ms"]
    assert told["fit"] is (code == 0)
    assert main(["doctor", str(tmp_path)]) == code
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    assert lines[-1].startswith("all in all: ")


def test_measuring_syncs_leaves_nothing_behind(tmp_path: Path) -> None:
    assert doctor.syncs(tmp_path).values.keys() == {"median_ms", "slowest_ms"}
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_not_there_yet_is_judged_by_where_it_would_be(tmp_path: Path) -> None:
    (found, *_) = doctor.examine(tmp_path / "not there")
    assert found == next(doctor.examine(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_serve_would_not_make_is_unfit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", str(tmp_path / "not" / "there")]) == 1
    told = capsys.readouterr().out
    assert told.startswith(
        f"unfit     directory   {tmp_path}/not is not there; serve makes the last directory"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_directory_without_a_name_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", ""]) == 2
    assert "name the directory" in capsys.readouterr().err


def test_one_unfit_thing_is_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_disk: Any, path: str) -> None:
        raise OSError(errno.EROFS, "Read-only file system", path)

    monkeypatch.setattr(RealDisk, "create", refuse)
    assert main(["doctor", str(tmp_path)]) == 1
    told = capsys.readouterr().out
    assert f"unfit     sync        {tmp_path} cannot be written: Read-only file system" in told
    assert told.endswith("all in all: unfit\n")


@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to("nowhere")])
def test_what_is_no_directory_is_a_mistake(
    tmp_path: Path, make: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "file")
    assert main(["doctor", str(tmp_path / "file")]) == 2
    assert "is no directory" in capsys.readouterr().err
