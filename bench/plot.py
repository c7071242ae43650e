"""The medians as a bar chart in SVG: one panel for each workload, each with a scale of its own."""

from html import escape
from typing import Final

from bench.measure import Comparison
from bench.peers import OURS
from bench.report import figure, times
from bench.workloads import Plan

_WIDTH: Final = 800
_LABEL_WIDTH: Final = 170
_BAR_WIDTH: Final = 440
_ROW_HEIGHT: Final = 20
_TITLE_HEIGHT: Final = 34
_MARGIN: Final = 14
_COLOURS: Final = {True: "#1f6f8b", False: "#b8bfc6"}
"""Of pacslite and of the others."""


def svg(comparison: Comparison) -> str:
    """Return the chart; a thin line on each bar shows the range."""
    panels: list[str] = []
    top = _MARGIN
    for plan in comparison.plans:
        panels.append(_panel(comparison, plan, top))
        top += _TITLE_HEIGHT + _ROW_HEIGHT * len(comparison.peers)
    height = top + _MARGIN
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12" fill="#222222">'
    )
    background = f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>'
    return "\n".join([head, background, *panels, "</svg>"]) + "\n"


def _panel(comparison: Comparison, plan: Plan, top: int) -> str:
    direction = "less is better" if plan.is_less_better else "more is better"
    title = escape(f"{plan.title}: {plan.unit}, {direction}")
    summaries = [comparison.summary(plan.name, peer) for peer in comparison.peers]
    highest = max((summary.highest for summary in summaries if summary), default=0.0)
    head = f'<text x="{_MARGIN}" y="{top + 18}" font-weight="bold">{title}</text>'
    first = top + _TITLE_HEIGHT - 8
    rows = range(len(comparison.peers))
    return "\n".join(
        [head, *(_row(comparison, plan, row, first + row * _ROW_HEIGHT, highest) for row in rows)]
    )


def _row(comparison: Comparison, plan: Plan, row: int, top: int, highest: float) -> str:
    peer = comparison.peers[row]
    summary = comparison.summary(plan.name, peer)
    middle = top + _ROW_HEIGHT // 2
    label = f'<text x="{_LABEL_WIDTH - 8}" y="{middle + 4}" text-anchor="end">{escape(peer)}</text>'
    if summary is None:
        return f'{label}\n<text x="{_LABEL_WIDTH}" y="{middle + 4}" fill="#777777">no figure</text>'
    scale = _BAR_WIDTH / highest if highest else 0.0
    width = summary.median * scale
    low, high = (_LABEL_WIDTH + value * scale for value in (summary.lowest, summary.highest))
    bar = (
        f'<rect x="{_LABEL_WIDTH}" y="{top + 3}" width="{width:.1f}" height="{_ROW_HEIGHT - 6}" '
        f'fill="{_COLOURS[peer == OURS]}"/>'
    )
    reach = f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}" stroke="#222222"/>'
    ratio = comparison.ratio(plan.name, peer)
    factor = f" ({OURS}: {times(ratio)})" if ratio else ""
    text = f'<text x="{high + 6:.1f}" y="{middle + 4}">{figure(summary.median)}{factor}</text>'
    return f"{label}\n{bar}\n{reach}\n{text}"
