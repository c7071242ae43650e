"""The comparison as Markdown and JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from bench.measure import Comparison, Summary
from bench.peers import OURS
from bench.workloads import Plan

_NONE: Final = "\N{EN DASH}"
_TIMES: Final = "\N{MULTIPLICATION SIGN}"


_FORMS: Final = ((100, ",.0f"), (10, ".1f"), (0.1, ".2f"))
"""From which value on a figure is written how."""


@dataclass(frozen=True)
class Setting:
    """What the reader must know beside the figures."""

    facts: dict[str, str]
    peers: dict[str, str]
    missing: dict[str, str]
    rounds: int
    is_quick: bool


def figure(value: float) -> str:
    """Return `value` with about three digits: 4,600, 418, 21.3, 0.04."""
    for lowest, form in _FORMS:
        if value >= lowest:
            return format(value, form)
    return f"{value:.2g}"


def span(summary: Summary | None) -> str:
    """Return the range of a summary."""
    return _NONE if summary is None else f"{figure(summary.lowest)} to {figure(summary.highest)}"


def times(ratio: Summary | None) -> str:
    """Return a ratio's median as a factor."""
    return _NONE if ratio is None else f"{figure(ratio.median)} {_TIMES}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, text_columns: int = 1) -> str:
    """Return a Markdown table whose columns after the first `text_columns` are right-aligned."""
    lines = [header, ["---"] * text_columns + ["---:"] * (len(header) - text_columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def markdown(comparison: Comparison, setting: Setting) -> str:
    """Return the whole report."""
    parts = [
        "# pacslite beside other receivers",
        _introduction(setting),
        table(["setting", "value"], list(setting.facts.items()), text_columns=2),
        table(["peer", "what it is"], list(setting.peers.items()), text_columns=2),
        *_missing(setting),
        "## Overview",
        "Medians; in brackets pacslite ÷ peer.",
        overview(comparison),
        "## Each workload",
        *(part for plan in comparison.plans for part in _section(comparison, plan)),
    ]
    return "\n\n".join(parts) + "\n"


def _introduction(setting: Setting) -> str:
    if setting.is_quick:
        return "**A quick run: it shows that everything works; its figures say nothing.**"
    return (
        f"{setting.rounds} alternating rounds, each run with a freshly started receiver and a warm-up "
        "that is not counted. Ratios are taken round by round. Sender and receiver share one machine, "
        "so that the absolute figures say little. How to read this: docs/benchmarks.md."
    )


def _missing(setting: Setting) -> list[str]:
    if not setting.missing:
        return []
    return ["Not installed, hence left out: " + ", ".join(setting.missing) + "."]


def overview(comparison: Comparison) -> str:
    """Return one row for each workload and one column for each peer."""
    rows = [
        [f"{plan.title} ({plan.unit})", *(_cell(comparison, plan, peer) for peer in comparison.peers)]
        for plan in comparison.plans
    ]
    return table(["work", *comparison.peers], rows)


def _cell(comparison: Comparison, plan: Plan, peer: str) -> str:
    summary, ratio = comparison.summary(plan.name, peer), comparison.ratio(plan.name, peer)
    if summary is None:
        return _NONE
    return figure(summary.median) + (f" ({times(ratio)})" if ratio else "")


def _section(comparison: Comparison, plan: Plan) -> list[str]:
    direction = "less is better" if plan.is_less_better else "more is better"
    header = ["peer", f"median, {plan.unit}", "range", f"{OURS} ÷ peer", "range", f"runs {_TIMES} operations"]
    parts = [
        f"### {plan.title}",
        f"`{plan.name}`, {plan.unit}; {direction}.",
        table(header, [_row(comparison, plan, peer) for peer in comparison.peers]),
    ]
    remarks = [remark for peer in comparison.peers for remark in _remarks(comparison, plan, peer)]
    return [*parts, "\n".join(remarks)] if remarks else parts


def _row(comparison: Comparison, plan: Plan, peer: str) -> list[str]:
    summary, ratio = comparison.summary(plan.name, peer), comparison.ratio(plan.name, peer)
    runs = comparison.measured(plan.name, peer)
    size = f"{len(runs)} {_TIMES} {runs[0].count}" if runs else _NONE
    median = figure(summary.median) if summary else _NONE
    return [peer, median, span(summary), times(ratio), span(ratio), size]


def _remarks(comparison: Comparison, plan: Plan, peer: str) -> list[str]:
    """Return what the figures of a peer do not say."""
    remarks = []
    runs, failure = comparison.measured(plan.name, peer), comparison.failure(plan.name, peer)
    if runs and runs[0].count < plan.counts.full:
        remarks.append(
            f"- {peer}: {runs[0].count} instead of {plan.counts.full} operations, since it is slow."
        )
    if notes := "; ".join(dict.fromkeys(run.note for run in runs if run.note)):
        remarks.append(f"- {peer}: {notes}.")
    if failure:
        remarks.append(f"- {peer}: left out after {len(runs)} runs: {failure.reason}.")
    return remarks


def as_json(comparison: Comparison, setting: Setting) -> dict[str, Any]:
    """Return everything measured and what it comes to, for machines."""
    return {
        **asdict(setting),
        "workloads": [
            {
                "name": plan.name,
                "title": plan.title,
                "unit": plan.unit,
                "is_less_better": plan.is_less_better,
                "results": [_result(comparison, plan, peer) for peer in comparison.peers],
            }
            for plan in comparison.plans
        ],
    }


def _result(comparison: Comparison, plan: Plan, peer: str) -> dict[str, Any]:
    summary, ratio = comparison.summary(plan.name, peer), comparison.ratio(plan.name, peer)
    failure = comparison.failure(plan.name, peer)
    return {
        "peer": peer,
        "runs": [asdict(measured) for measured in comparison.measured(plan.name, peer)],
        "summary": asdict(summary) if summary else None,
        "pacslite_divided_by_peer": asdict(ratio) if ratio else None,
        "failure": failure.reason if failure else None,
    }
