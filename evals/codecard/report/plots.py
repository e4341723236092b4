"""Plots as inline SVG that follows the page: its colours are the page's variables, its text stays text.

Nothing is told by colour alone: series differ in marker or hatch, and the page has the numbers as a table.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from codecard.model import UsageError, Verdict

_COLOURS = {"fg": "#010203", "muted": "#040506", "line": "#070809", "bg": "#0a0b0c"}
_SERIES = [f"#1{i:x}2{i:x}3{i:x}" for i in range(9)]
"""Stand-ins that no palette uses; in the SVG they become `var(--name)`."""
_HATCHES = ("", "///", "\\\\\\", "xxx", "---", "|||", "+++", "//", "--")
VERDICTS = tuple(verdict.value for verdict in Verdict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A point with its interval, and a reported or second value to compare it with."""

    label: str
    value: float
    low: float
    high: float
    reported: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Median and 10th to 90th percentile of one series for one label."""

    label: str
    series: str
    median: float
    low: float
    high: float


def interval_plot(bars: Sequence[Bar], axis: str, name: str) -> str:
    """Values with intervals, one line a label, reported values as hollow diamonds."""

    def draw(axes: Any) -> None:
        for y, bar in enumerate(bars):
            axes.plot([bar.low, bar.high], [y, y], color=_SERIES[0], linewidth=2, solid_capstyle="butt")
            for end in (bar.low, bar.high):
                axes.plot([end, end], [y - 0.16, y + 0.16], color=_SERIES[0], linewidth=1.4)
            axes.plot([bar.value], [y], marker="o", markersize=7, color=_SERIES[0], linestyle="none")
            if bar.reported is not None:
                axes.plot(
                    [bar.reported], [y], marker="D", markersize=9, linestyle="none",
                    markerfacecolor="none", markeredgecolor=_COLOURS["fg"], markeredgewidth=1.4,
                )  # fmt: skip
        _labels(axes, [bar.label for bar in bars])
        axes.set_xlabel(axis)
        top = _top(bars)
        axes.set_xlim(0, top)
        if top <= 1:
            axes.xaxis.set_major_formatter(_percent)

    return _svg(draw, rows=len(bars), name=name)


def difference_plot(bars: Sequence[Bar], margin: float, name: str) -> str:
    """Differences with intervals; a line at zero and a dashed one at minus the margin."""

    def draw(axes: Any) -> None:
        axes.axvline(0, color=_COLOURS["fg"], linewidth=1)
        axes.axvline(-margin, color=_COLOURS["muted"], linewidth=1.2, linestyle=(0, (4, 3)))
        for y, bar in enumerate(bars):
            axes.plot([bar.low, bar.high], [y, y], color=_SERIES[0], linewidth=2, solid_capstyle="butt")
            marker = "<" if bar.value < 0 else ">" if bar.value > 0 else "o"
            axes.plot([bar.value], [y], marker=marker, markersize=8, color=_SERIES[0], linestyle="none")
        _labels(axes, [bar.label for bar in bars])
        axes.xaxis.set_major_formatter(lambda x, _: f"{100 * x:+.0f}" if x else "0")
        axes.set_xlabel("new minus base, points")

    return _svg(draw, rows=len(bars), name=name)


def verdict_plot(shares: Mapping[str, Mapping[str, float]], name: str) -> str:
    """Stacked shares of verdicts, 0 to 1, one bar a label."""

    def draw(axes: Any) -> None:
        left = dict.fromkeys(shares, 0.0)
        for index, verdict in enumerate(VERDICTS):
            widths = [row.get(verdict, 0.0) for row in shares.values()]
            if not any(widths):
                continue
            axes.barh(
                range(len(shares)), widths, left=list(left.values()), height=0.66,
                label=verdict.replace("_", " "),
                facecolor=_SERIES[index], edgecolor=_COLOURS["bg"], hatch=_HATCHES[index], linewidth=1,
            )  # fmt: skip
            for key, width in zip(left, widths, strict=True):
                left[key] += width
        _labels(axes, list(shares))
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(_percent)
        axes.set_xlabel("share of executions")
        _legend(axes)

    return _svg(draw, rows=len(shares), name=name, legend=True)


def spread_plot(spreads: Sequence[Spread], axis: str, name: str, *, log: bool = False) -> str:
    """Medians with the middle 80 %, the series of a label side by side."""
    labels = list(dict.fromkeys(s.label for s in spreads))
    series = list(dict.fromkeys(s.series for s in spreads))
    markers = "osD^v"

    def draw(axes: Any) -> None:
        for spread in spreads:
            index = series.index(spread.series)
            y = labels.index(spread.label) + (index - (len(series) - 1) / 2) * 0.24
            axes.plot([spread.low, spread.high], [y, y], color=_SERIES[index], linewidth=1.6)
            axes.plot([spread.median], [y], marker=markers[index], color=_SERIES[index], linestyle="none")
        for index, title in enumerate(series):
            axes.plot([], [], marker=markers[index], color=_SERIES[index], linewidth=1.6, label=title)
        _labels(axes, labels)
        axes.set_xlabel(axis)
        if log:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
        else:
            axes.set_xlim(left=0)
        if len(series) > 1:
            _legend(axes)

    return _svg(draw, rows=len(labels), name=name, legend=len(series) > 1)


def _percent(value: float, _: object) -> str:
    return f"{value:.0%}"


def _top(bars: Sequence[Bar]) -> float:
    """A little beyond the largest end. Axes start at zero: one cut at both ends exaggerates."""
    top = max([bar.high for bar in bars] + [bar.reported or 0.0 for bar in bars]) * 1.08
    return min(1.0, top) if top <= 1.08 else top


def _labels(axes: Any, labels: Sequence[str]) -> None:
    # matplotlib reads a pair of dollar signs as mathematics.
    axes.set_yticks(range(len(labels)), [label.replace("$", "\\$") for label in labels])
    axes.set_ylim(len(labels) - 0.4, -0.6)


def _legend(axes: Any) -> None:
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1.01), ncols=3, frameon=False, borderaxespad=0,
        handlelength=1.6, columnspacing=1.4,
    )  # fmt: skip


def _svg(draw: Callable[[Any], None], *, rows: int, name: str, legend: bool = False) -> str:
    """Draw one figure of `rows` lines; `name` prefixes its ids, which must be unique in the page."""
    try:
        from matplotlib import rc_context  # an extra, and slow to import
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError("the HTML report needs matplotlib: pip install 'codecard[report]'") from None
    fg, muted, line = _COLOURS["fg"], _COLOURS["muted"], _COLOURS["line"]
    style: dict[Any, Any] = {
        "svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif", "font.size": 10,
        "text.color": fg, "axes.labelcolor": muted, "axes.edgecolor": line, "grid.color": line,
        "xtick.color": muted, "ytick.color": line, "ytick.labelcolor": fg,
        "axes.grid": True, "axes.grid.axis": "x", "axes.axisbelow": True, "hatch.linewidth": 0.6,
        "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False,
    }  # fmt: skip
    with rc_context(style):
        figure = Figure(figsize=(5.4, 0.75 + 0.36 * rows + 0.55 * legend), layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        axes.tick_params(axis="y", length=0)
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    return _themed(buffer.getvalue(), name)


def _themed(svg: str, name: str) -> str:
    """The `<svg>` element alone, with the page's variables for colours and ids of its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.S)
    svg = re.sub(r'(\bid="|url\(#|xlink:href="#)', rf"\g<1>{name}-", svg)
    for variable, colour in _COLOURS.items():
        svg = svg.replace(colour, f"var(--{variable})")
    for index, colour in enumerate(_SERIES):
        svg = svg.replace(colour, f"var(--s{index})")
    svg = re.sub(r' fill="(var[^"]*)"', r' style="fill: \1"', svg)
    svg = re.sub(r"font-family: [^;\"]*;?", "", svg)
    # The page names the figure for screen readers; its inside would be read as loose numbers.
    return re.sub(r"<svg ", '<svg aria-hidden="true" focusable="false" ', svg, count=1)
