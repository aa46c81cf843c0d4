#!/usr/bin/env python3
"""Draws what `arkvale bench --json` printed as an SVG, with Python's standard library alone.

  plot_bench.py [-o OUT.svg] [--title TEXT] [--batch N] [FILE.jsonl ...]    (no file: standard input)
  plot_bench.py --self-test

Left: ms per step over the depth, one line per engine and policy. Right: where the time of a step goes at the largest
depth, stacked. Where a line was measured in several files, the last one counts.
"""

import argparse
import json
import math
import sys
import xml.etree.ElementTree
from html import escape

COLOURS = ["#4c78a8", "#f28e2b", "#59a14f", "#b07aa1", "#e15759", "#76b7b2", "#9c755f", "#bab0ac"]
PARTS = {"other": "#bab0ac", "attention": "#4c78a8", "recall": "#e15759", "select": "#f28e2b", "estimate": "#b07aa1"}
INK, GRID = "#333", "#dddddd"
WIDTH, HEIGHT, TOP, BOTTOM = 860, 360, 56, 48
LINES_X, LINES_WIDTH, BARS_X, BARS_WIDTH = 60, 420, 570, 250


def name(row):
    if row["engine"] != "arkvale":
        return row["engine"]
    if row["policy"] == "full":
        return "full attention"
    return f'{row["policy"]}, {row.get("plan") or "budget %s" % row["budget_tokens"]}'


def read_rows(files, batch):
    """{name: {depth: row}} of the decode rows of one batch, in the order of their first row."""
    lines = {}
    for file in files:
        for number, text in enumerate(file, 1):
            try:
                row = json.loads(text)
            except json.JSONDecodeError as error:
                raise SystemExit(f"{file.name}:{number}: not JSON: {error}")
            if row.get("decode_ms_median") is not None and row["batch"] == batch:
                lines.setdefault(name(row), {})[row["depth_tokens"]] = row
    return lines


def tick_step(largest):
    """A round step that makes four to eight ticks."""
    power = 10 ** math.floor(math.log10(largest / 4))
    return next(power * m for m in (1, 2, 2.5, 5, 10) if largest / (power * m) <= 8)


def depth_text(depth):
    return f"{depth // 1024}k" if depth >= 1024 and depth % 1024 == 0 else str(depth)


class Svg:
    def __init__(self):
        self.parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
                      'font-family="sans-serif" font-size="12">', '<rect width="100%" height="100%" fill="#ffffff"/>']

    def text(self, x, y, content, **attributes):
        self.add("text", escape(content), x=x, y=y, **{"fill": INK, **attributes})

    def add(self, tag, content=None, **attributes):
        def value(v):
            return f"{v:.1f}" if isinstance(v, float) else escape(str(v))
        fields = "".join(f' {k.replace("_", "-")}="{value(v)}"' for k, v in attributes.items())
        self.parts.append(f"<{tag}{fields}/>" if content is None else f"<{tag}{fields}>{content}</{tag}>")

    def __str__(self):
        return "\n".join([*self.parts, "</svg>"]) + "\n"


def y_axis(svg, x, width, largest, unit):
    """Ticks and grid from 0 to a little above `largest`; returns value -> y."""
    step = tick_step(largest)
    top_value = step * math.ceil(largest / step)
    def y_of(value):
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top_value
    for i in range(round(top_value / step) + 1):
        y = y_of(i * step)
        svg.add("line", x1=x, y1=y, x2=x + width, y2=y, stroke=GRID if i else INK)
        svg.text(x - 6, y + 4, f"{i * step:g}", text_anchor="end", font_size=11)
    svg.text(x - 40, TOP - 12, unit, font_size=11)
    return y_of


def draw_lines(svg, lines):
    depths = sorted({depth for rows in lines.values() for depth in rows})
    low, high = math.log2(depths[0]), math.log2(depths[-1])
    def x_of(depth):
        return LINES_X + 14 + (LINES_WIDTH - 28) * ((math.log2(depth) - low) / (high - low) if high > low else 0.5)
    y_of = y_axis(svg, LINES_X, LINES_WIDTH, max(r["decode_ms_median"] for rows in lines.values() for r in rows.values()),
                  "ms per step")
    last_x = -math.inf
    for depth in depths:
        if x_of(depth) - last_x < 30:
            continue
        last_x = x_of(depth)
        svg.text(last_x, HEIGHT - BOTTOM + 16, depth_text(depth), text_anchor="middle", font_size=11)
    svg.text(LINES_X + LINES_WIDTH / 2, HEIGHT - 12, "tokens in the context", text_anchor="middle", font_size=11)
    for i, (label, rows) in enumerate(lines.items()):
        colour = COLOURS[i % len(COLOURS)]
        points = [(x_of(d), y_of(rows[d]["decode_ms_median"])) for d in sorted(rows)]
        svg.add("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), fill="none", stroke=colour,
                stroke_width=2)
        for x, y in points:
            svg.add("circle", cx=x, cy=y, r=3, fill=colour)
        svg.add("rect", x=LINES_X + 14, y=TOP + 4 + 16 * i, width=10, height=10, rx=2, fill=colour)
        svg.text(LINES_X + 30, TOP + 13 + 16 * i, label)


def draw_bars(svg, lines):
    """Stacked parts at the largest depth; an engine that does not tell its parts has a bar of one colour."""
    depth = max(d for rows in lines.values() for d in rows)
    bars = {label: rows[depth] for label, rows in lines.items() if depth in rows}
    def parts(row):
        return row["breakdown_ms"] or {"other": row["decode_ms_median"]}
    y_of = y_axis(svg, BARS_X, BARS_WIDTH, max(sum(parts(row).values()) for row in bars.values()), "ms per step")
    pitch = BARS_WIDTH / len(bars)
    for i, (label, row) in enumerate(bars.items()):
        x, width, base = BARS_X + pitch * (i + 0.2), pitch * 0.6, 0.0
        for part, colour in PARTS.items():
            value = parts(row).get(part, 0)
            if value > 0:
                svg.add("rect", x=x, y=y_of(base + value), width=width, height=y_of(base) - y_of(base + value),
                        fill=colour)
            base += max(value, 0)
        for j, word in enumerate(label.split(", ")):
            svg.text(x + width / 2, HEIGHT - BOTTOM + 14 + 12 * j, word, text_anchor="middle", font_size=10)
    svg.text(BARS_X, HEIGHT - 6, f"at {depth} tokens", font_size=10)
    for i, (part, colour) in enumerate(PARTS.items()):
        svg.add("rect", x=BARS_X - 14 + 57 * i, y=TOP - 30, width=8, height=8, fill=colour)
        svg.text(BARS_X - 3 + 57 * i, TOP - 22, part, font_size=9)


def draw(lines, title):
    svg = Svg()
    svg.add("title", escape(title))
    svg.text(LINES_X - 40, 22, title, font_weight="bold", font_size=14)
    draw_lines(svg, lines)
    draw_bars(svg, lines)
    return str(svg)


def self_test():
    def row(policy, depth, ms, parts):
        return json.dumps({"engine": "arkvale" if parts else "llama.cpp", "policy": policy, "budget_tokens": 1024,
                           "depth_tokens": depth, "batch": 1, "decode_ms_median": ms, "breakdown_ms": parts})
    class Rows(list):
        name = "rows"
    parts = {"estimate": 1.0, "select": 0.5, "recall": 0.0, "attention": 2.0, "other": 3.0}
    rows = Rows([row("full", 1024, 5.0, None), row("arkvale", 1024, 6.5, parts), row("arkvale", 8192, 6.5, parts),
                 json.dumps({"decode_ms_median": None, "batch": 1}), json.dumps({"ratios": [], "machine": {}})])
    lines = read_rows([rows], 1)
    assert {label: sorted(rows) for label, rows in lines.items()} == {
        "llama.cpp": [1024], "arkvale, budget 1024": [1024, 8192]}, lines
    assert not read_rows([rows], 4)
    root = xml.etree.ElementTree.fromstring(draw(lines, "a < b & c"))
    space = "{http://www.w3.org/2000/svg}"
    heights = {r.get("fill"): float(r.get("height")) for r in root.iter(space + "rect") if float(r.get("x") or 0) > BARS_X
               and r.get("height") != "8"}
    assert abs(heights[PARTS["attention"]] - 2 * heights[PARTS["estimate"]]) < 0.3, heights
    assert PARTS["recall"] not in heights, "nothing is drawn for 0 ms"
    xs = [float(c.get("cx")) for c in root.iter(space + "circle")]
    assert xs[0] == xs[1] < xs[2], xs
    assert (tick_step(7), tick_step(30), tick_step(0.9)) == (1, 5, 0.2), (tick_step(7), tick_step(30), tick_step(0.9))
    assert (depth_text(2048), depth_text(2000)) == ("2k", "2000")
    print("plot_bench: self-test passed")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", metavar="FILE.jsonl")
    parser.add_argument("-o", "--output", metavar="OUT.svg", help="default: standard output")
    parser.add_argument("--title", default="Decode time per token")
    parser.add_argument("--batch", type=int, default=1, help="rows of this batch (default: 1)")
    parser.add_argument("--self-test", action="store_true")
    options = parser.parse_args()
    if options.self_test:
        return self_test()
    files = [open(path, encoding="utf-8") for path in options.files] or [sys.stdin]
    lines = read_rows(files, options.batch)
    if not lines:
        raise SystemExit(f"plot_bench: no decode rows of batch {options.batch}")
    svg = draw(lines, options.title)
    if options.output:
        with open(options.output, "w", encoding="utf-8") as f:
            f.write(svg)
    else:
        sys.stdout.write(svg)


if __name__ == "__main__":
    main()
