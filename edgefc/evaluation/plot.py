"""An SVG chart of several runs: a bar for each category and run with its confidence interval, and risk by coverage."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from edgefc.evaluation.measures import risk_coverage
from edgefc.evaluation.report import ALL, labels, rates
from edgefc.evaluation.results import EvalRun

# Okabe and Ito's colours, which colour-blind people can tell apart.
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999", "#f0e442")
_LEFT, _RIGHT, _WIDTH, _BAR, _GAP, _LEGEND, _AXIS = 190, 70, 480, 14, 12, 20, 44
_RISK_HEIGHT, _RISK_GAP = 240, 56


def svg(runs: Sequence[EvalRun]) -> str:
    """Draw the chart, self-contained."""
    columns = [rates(run.results.values()) for run in runs]
    names = [name for name in dict.fromkeys(name for column in columns for name in column) if name != ALL]
    parts: list[str] = []
    y = 16.0
    for number, label in enumerate(labels(runs)):
        parts.append(f'<rect x="{_LEFT}" y="{y - 10}" width="12" height="12" fill="{_colour(number)}"/>')
        parts.append(_text(_LEFT + 18, y, label))
        y += _LEGEND
    top = y
    for name in [*names, ALL]:
        group = [(number, column[name]) for number, column in enumerate(columns) if name in column]
        parts.append(_text(_LEFT - 8, y + len(group) * _BAR / 2 + 4, name, anchor="end", bold=name == ALL))
        for number, rate in group:
            low, high = rate.interval
            middle = y + _BAR / 2
            parts.append(
                f'<rect x="{_LEFT}" y="{y + 1:g}" width="{_WIDTH * rate.share:.1f}" height="{_BAR - 2}" '
                f'fill="{_colour(number)}"><title>{escape(f"{name}: {rate}, {rate.cases} cases")}</title></rect>'
            )
            ends = _LEFT + _WIDTH * low, _LEFT + _WIDTH * high
            parts.append(
                f'<path d="M{ends[0]:.1f} {middle:g}H{ends[1]:.1f}M{ends[0]:.1f} {middle - 3:g}v6'
                f'M{ends[1]:.1f} {middle - 3:g}v6" stroke="#222" fill="none"/>'
            )
            parts.append(_text(ends[1] + 6, middle + 4, f"{rate.share:.0%}", size=10))
            y += _BAR
        y += _GAP
    for tick in range(0, 101, 20):
        x = _LEFT + _WIDTH * tick / 100
        parts.insert(0, f'<path d="M{x:g} {top - 4:g}V{y:g}" stroke="#ddd"/>')
        parts.append(_text(x, y + 16, f"{tick} %", anchor="middle", size=10))
    caption = "share of right answers; lines are 95 % confidence intervals"
    parts.append(_text(_LEFT + _WIDTH / 2, y + 32, caption, anchor="middle", size=10))
    curves = [risk_coverage(run.results.values()) for run in runs]
    if any(curves):
        y += _AXIS + _RISK_GAP
        parts += _risk_chart(curves, y)
        y += _RISK_HEIGHT + _AXIS
    width, height = _LEFT + _WIDTH + _RIGHT, y + _AXIS
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height:g}" '
        f'viewBox="0 0 {width} {height:g}" font-family="sans-serif">\n'
        f'<rect width="100%" height="100%" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _risk_chart(curves: Sequence[Sequence[tuple[float, float]]], top: float) -> list[str]:
    """Draw the share of wrong answers among the surest ones, by their share of all answers."""
    highest = max(risk for curve in curves for _, risk in curve)
    scale = next(limit for limit in (0.05, 0.1, 0.2, 0.5, 1.0) if highest <= limit)
    bottom = top + _RISK_HEIGHT
    parts = [
        _text(_LEFT, top - 14, "wrong among the surest answers, by the share of answers that these are", bold=True)
    ]
    for number in range(6):
        x, y = _LEFT + _WIDTH * number / 5, bottom - _RISK_HEIGHT * number / 5
        parts.append(f'<path d="M{x:g} {top:g}V{bottom:g}M{_LEFT} {y:g}H{_LEFT + _WIDTH}" stroke="#ddd"/>')
        parts.append(_text(x, bottom + 16, f"{20 * number} %", anchor="middle", size=10))
        parts.append(_text(_LEFT - 8, y + 4, f"{20 * scale * number:g} %", anchor="end", size=10))
    parts.append(_text(_LEFT + _WIDTH / 2, bottom + 34, "coverage", anchor="middle"))
    for number, curve in enumerate(curves):
        points = " ".join(f"{_LEFT + _WIDTH * c:.1f},{bottom - _RISK_HEIGHT * r / scale:.1f}" for c, r in curve)
        if points:
            parts.append(f'<polyline points="{points}" fill="none" stroke="{_colour(number)}" stroke-width="2"/>')
    return parts


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}"{weight}>{escape(text)}</text>'
