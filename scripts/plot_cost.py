#!/usr/bin/env python3
"""What nearness to full attention costs: mean KL over the time of a step, and over the bytes that it reads.

  plot_cost.py [-o DIR] [--context N] [--without LINE,...] [--format svg,png] FOLDER ...

A FOLDER is what `arkvale eval fidelity --copy --out` made; several are drawn as one, such as runs of other digests or
with another --kv-type: full attention over it is a star. What several folders have is the first one's. Times are
comparable as far as the folders were made on the same idle machine. `cost`: a line per scheme, a point per budget;
prose above, copied text below; ms a step on the left, MiB of K, V, digests and codes that a step reads on the right.
Dotted: full attention over f16, which is where KL is 0.
Exit codes: 0 drawn, 1 a folder that cannot be drawn, 2 wrong flags.
"""

import collections
import sys

from plot import BadFolder, configure, parser_of, read_summary, save
from plot_charts import (BLACK, BLUE, BROWN, GREEN, GREY, GRID, MARKERS, ORANGE, PINK, RED, SKY, label, legend, panels)

COLOURS = [BLUE, ORANGE, GREEN, PINK, SKY, RED, BROWN, GREY]
KINDS = {"kl_mean": "prose", "kl_copy": "copied text"}
COSTS = {"step_ms_median": (1, "ms a step"), "kv_step_bytes": (1 / (1 << 20), "MiB read by a step, weights apart")}


def read_cells(folders, context):
    """(model, cells of one context length of all folders)."""
    summaries = [read_summary(folder) for folder in folders]
    for folder, summary in zip(folders, summaries):
        if summary.get("task") != "fidelity":
            raise BadFolder(f"{folder}: not what `arkvale eval fidelity` made")
    cells = [c for s in summaries for c in s["cells"]]
    lengths = sorted({c["context_tokens"] for c in cells})
    if context is None and len(lengths) > 1:
        raise BadFolder(f"contexts of {', '.join(map(str, lengths))} tokens: choose one with --context")
    cells = [c for c in cells if context in (None, c["context_tokens"])]
    if not cells:
        raise BadFolder(f"no context of {context} tokens: use one of {', '.join(map(str, lengths))}")
    return summaries[0]["model"], cells


def line_name(cell):
    return label(cell) if cell["kv_type"] == "f16" else f'{label(cell)} {cell["kv_type"]}'


def lines_of(cells, cost, kind):
    """{label: [(cost, KL)] by budget}; cells at KL 0 have no place on a log axis."""
    lines = collections.OrderedDict()
    for c in cells:
        if c.get(kind):
            lines.setdefault(line_name(c), {}).setdefault(c["budget_tokens"] or 0, (COSTS[cost][0] * c[cost], c[kind]))
    return {name: [at for _, at in sorted(points.items())] for name, points in lines.items()}


def draw(cells):
    kinds = [kind for kind in KINDS if any(c.get(kind) for c in cells)]
    names = list(dict.fromkeys(name for kind in kinds for name in lines_of(cells, "kv_step_bytes", kind)))
    figure, axes = panels(2 * len(kinds), width=5.2, height=4.2, columns=2)
    at = iter(axes)
    for kind in kinds:
        for cost, (unit, cost_name) in COSTS.items():
            one = next(at)
            for name, points in lines_of(cells, cost, kind).items():
                i = names.index(name)
                star = name.startswith("full")
                one.plot(*zip(*points), label=name, color=BLACK if star else COLOURS[i % len(COLOURS)], linewidth=1.6,
                         marker="*" if star else MARKERS[i % len(MARKERS)], markersize=9 if star else 4,
                         linestyle="-" if i < len(COLOURS) else "--")
                if star:
                    one.annotate(name, points[-1], fontsize=8, xytext=(6, 3), textcoords="offset points")
            full = [c[cost] for c in cells if c["policy"] == "full" and c["kv_type"] == "f16"]
            one.axvline(unit * full[0], color=BLACK, linewidth=1, linestyle=(0, (1, 3)), label="full, f16")
            one.set_yscale("log")
            one.grid(color=GRID, linewidth=0.6)
            one.set(title=KINDS[kind], xlabel=cost_name, ylabel="mean KL, nats")
    legend(figure, axes)
    return figure


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--context", metavar="N", type=int, help="tokens of context, where there are several")
    parser.add_argument("--without", metavar="LINE,...", type=lambda text: text.split(","), default=[],
                        help="lines left out, by their names in the legend")
    options = parser.parse_args()
    configure()
    try:
        model, cells = read_cells(options.folders, options.context)
        cells = [c for c in cells if line_name(c) not in options.without]
        out = options.output or options.folders[0]
        out.mkdir(parents=True, exist_ok=True)
        save(draw(cells), "cost", f'{model}: {cells[0]["context_tokens"]} tokens', out, options.format)
    except (BadFolder, KeyError, IndexError, OSError) as error:
        print(f"plot_cost: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
