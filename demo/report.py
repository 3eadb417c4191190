"""The table at the end, and whether the run has shown what it is to show."""

from __future__ import annotations

from demo.audit import Findings
from demo.orchestrator import Outcome
from demo.strikes import Hit, Victim

WIDTH = 56


def table(findings: Findings, outcome: Outcome, title: str, transactional: bool) -> str:
    right = findings.carriers - len(findings.wrong_totals)
    lines = [
        title,
        _row("records in: departures", findings.records_in),
        _row("records out: delays", findings.records_out),
        _row("  duplicates", findings.duplicates),
        _row("  losses", findings.losses),
        _row("  wrong", findings.wrong),
        _row("carriers whose totals are right", f"{right} of {findings.carriers}"),
        _row("transactions committed" if transactional else "commits of offsets", outcome.committed),
        _row("transactions aborted" if transactional else "commits not made", outcome.aborted),
        _row("transactions whose answer no worker lived to see", outcome.in_doubt) if transactional else "",
        _row(f"fenced, of {outcome.zombies} workers replaced while frozen", outcome.fenced),
        _row("workers that ended by themselves", outcome.ended_by_themselves),
        _row("kill -9 of the broker", outcome.kills[Victim.BROKER]),
        _row("kill -9 of a worker", outcome.kills[Victim.WORKER]),
        *(_row(f"  hit {_name(hit, transactional)}", outcome.hits[hit]) for hit in Hit),
    ]
    return "\n".join(filter(None, lines))


def shortcomings(findings: Findings, outcome: Outcome, limit: int, transactional: bool) -> list[str]:
    """Why this run is a failure, in sentences; empty when it is none."""
    reasons = []
    if findings.records_in != limit:
        reasons.append(f"{findings.records_in:,} departures are in the topic instead of {limit:,}")
    if not findings.nothing_lost:
        reasons.append(f"{findings.losses:,} flights are missing and {findings.wrong:,} records are wrong")
    if not transactional:
        return reasons
    if findings.duplicates:
        reasons.append(f"{findings.duplicates:,} records are there more than once")
    if findings.wrong_totals:
        reasons.append(f"the totals of {', '.join(findings.wrong_totals)} differ from the file's")
    return reasons + [f"no kill hit {hit.value}" for hit in Hit if not outcome.hits[hit]]


def _name(hit: Hit, transactional: bool) -> str:
    if hit is Hit.OPEN and not transactional:
        return "the broker with results written, offsets not committed"
    return hit.value


def _row(name: str, value: int | str) -> str:
    return f"  {name:<{WIDTH}}{value:>12,}" if isinstance(value, int) else f"  {name:<{WIDTH}}{value:>12}"
