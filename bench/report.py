"""The figures of a suite as lines, as a table and as a plot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

Json = dict[str, Any]
WAYS = ("stock", "mitogen", "slipstream")
COLOURS = {"stock": "#9aa0a6", "mitogen": "#d9a441", "slipstream": "#2f7d6d"}
UNITS = {"memory_mb": ("MB", 1.0), "round_trips": ("round trips", 1.0)}
FIGURES = {
    "controller_cpu": ", CPU of the controller",
    "memory_mb": ", memory without ssh",
    "round_trips": ", round trips",
}
_BEGIN = "<!-- bench/suite.py writes from here -->"
_END = "<!-- to here -->"


def line(row: Json) -> str:
    """Return a row for the terminal."""
    return f"{row['name']:10} " + "  ".join(_cells(row)) + "  " + _verdict(row)


def write(results: Json, folder: Path) -> None:
    """Write ``benchmarks.svg``, and the table into ``benchmarks.md`` between its marks."""
    (folder / "benchmarks.svg").write_text(_plot(results["rows"]))
    page = folder / "benchmarks.md"
    text = page.read_text() if page.exists() else f"# Benchmarks\n\n{_BEGIN}\n{_END}\n"
    before, _, rest = text.partition(_BEGIN)
    after = rest.partition(_END)[2]
    page.write_text(f"{before}{_BEGIN}\n\n{_table(results)}\n{_END}{after}")


def _value(row: Json, way: str) -> float | None:
    medians = row["medians"].get(way)
    return None if medians is None else float(medians.get(row["figure"], medians["seconds"]))


def _shown(row: Json, value: float) -> str:
    if row["figure"] in UNITS:
        unit, factor = UNITS[row["figure"]]
        return f"{value * factor:.3g} {unit}"
    return f"{value * 1e3:.1f} ms" if value < 1 else f"{value:.2f} s"


def _cells(row: Json) -> list[str]:
    ways = [way for way in (*WAYS, "scp") if way in row["medians"]]
    return [f"{way} {_shown(row, value)}" for way in ways if (value := _value(row, way)) is not None]


def _ratios(row: Json) -> dict[str, float]:
    ours = _value(row, "slipstream")
    others = {way: _value(row, way) for way in row["medians"] if way != "slipstream"}
    return {way: ours / value for way, value in others.items() if value and ours is not None}


def _verdict(row: Json) -> str:
    ratios = _ratios(row)
    parts = []
    for way, ratio in ratios.items():
        bound = row["bounds"].get(way)
        mark = "" if bound is None else f" (at most {bound:g}{'' if ratio <= bound else ', MISSED'})"
        parts.append(f"{ratio:.2f} of {way}{mark}")
    ours, most = _value(row, "slipstream"), row["most"]
    if most is not None and ours is not None:
        parts.append(f"at most {_shown(row, most)}{'' if ours <= most else ', MISSED'}")
    return ", ".join(parts)


def _table(results: Json) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in results["machine"].items())
    lines = [
        f"Medians of {results['rounds']} interleaved rounds; {machine}.",
        "",
        "| scenario | stock | Mitogen | Slipstream | ratios |",
        "|---|---|---|---|---|",
    ]
    for row in results["rows"]:
        cells = [_shown(row, value) if (value := _value(row, way)) is not None else "" for way in WAYS]
        title = row["title"] + FIGURES.get(row["figure"], "")
        lines.append(f"| {title} | {' | '.join(cells)} | {_verdict(row)} |")
    # A row of another figure of the same runs has no samples of its own.
    rows = [row for row in results["rows"] if row["samples"]]
    lines += _second(rows, "CPU seconds: controller + daemon + ssh and what else stays + target.", _cpu)
    lines += _second(rows, "Memory of the controller's largest process, MB.", _largest)
    lines += _second(rows, "Through the relay: bytes up, bytes down, round trips.", _relayed)
    lines += ["", "![ratios](benchmarks.svg)"]
    return "\n".join(lines) + "\n"


def _second(rows: list[Json], title: str, shown: Callable[[Json], str]) -> list[str]:
    """Return a table of other figures, with the rows that have them."""
    lines = ["", title, "", "| scenario | stock | Mitogen | Slipstream |", "|---|---|---|---|"]
    for row in rows:
        cells = [shown(row["medians"][way]) if way in row["medians"] else "" for way in WAYS]
        if any(cells):
            lines.append(f"| {row['title']} | {' | '.join(cells)} |")
    return lines


def _cpu(medians: Json) -> str:
    parts = [medians[name] for name in ("controller_cpu", "daemon_cpu", "background_cpu", "target_cpu")]
    return " + ".join(f"{part:.3f}" for part in parts)


def _largest(medians: Json) -> str:
    return f"{medians['largest_mb']:.0f}"


def _relayed(medians: Json) -> str:
    if not medians["bytes_up"]:
        return ""
    return f"{medians['bytes_up']:,.0f}, {medians['bytes_down']:,.0f}, {medians['round_trips']:.3g}"


def _plot(rows: list[Json]) -> str:
    """Draw each row's figures as bars, stock's being as long as the page is wide."""
    bar, gap, left, width = 12, 14, 250, 420
    height = sum(len(_bars(row)) * bar + gap for row in rows) + 20
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 110}" height="{height}"']
    parts.append('font-family="sans-serif" font-size="11">')
    y = 10
    for row in rows:
        bars = _bars(row)
        longest = max((value for _, value in bars), default=1) or 1
        parts.append(f'<text x="4" y="{y + 10}">{escape(row["title"])}</text>')
        for way, value in bars:
            length = max(1.0, value / longest * width)
            parts.append(
                f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{bar - 2}" fill="{COLOURS[way]}"/>'
                f'<text x="{left + length + 4:.1f}" y="{y + 9}">{way} {_shown(row, value)}</text>'
            )
            y += bar
        y += gap
    return "\n".join([*parts, "</svg>"]) + "\n"


def _bars(row: Json) -> list[tuple[str, float]]:
    values = ((way, _value(row, way)) for way in WAYS)
    return [(way, value) for way, value in values if value is not None]
