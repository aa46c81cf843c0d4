"""What the figures of plot.py are made of: colours, lines over a budget, heat maps, legends."""

import collections
import math
import sys

try:
    import matplotlib
except ModuleNotFoundError:
    sys.exit("plot: matplotlib is missing: apt-get install python3-matplotlib, or pip install matplotlib")
matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

from plot_bench import GRID, INK, depth_text  # noqa: E402

# Okabe and Ito's colours, which colour-blind readers tell apart; a policy has the same one in every figure.
BLACK, BLUE, SKY, GREY, ORANGE, PINK, GREEN, RED, BROWN = (
    "#000000", "#0072b2", "#56b4e9", "#999999", "#e69f00", "#cc79a7", "#009e73", "#d55e00", "#7f5539")
POLICY_COLOURS = {"full": BLACK, "arkvale": BLUE, "quest": SKY, "streaming": GREY, "h2o": ORANGE, "tova": PINK,
                  "snapkv": GREEN, "pyramidkv": RED, "xkv": BROWN}
DIGEST_COLOURS = {"centroid": GREY, "sphere-max": PINK, "sphere-center": ORANGE, "sphere-mean": BROWN,
                  "cuboid-max": SKY, "cuboid-center": GREEN, "cuboid-mean": BLUE, "code1": RED, "code2": BLACK}
DIGEST_LINES = {"cuboid-mean": "-", "code1": ":", "code2": "--"}
MARKERS = "osv^D<>pXh*P"
HEAT = "cividis"

def label(cell):
    """A line's name: what tells cells apart beside their budget. Only arkvale's digest matters."""
    parts = [cell["policy"]]
    if cell["policy"] == "arkvale" and cell.get("digest"):
        parts.append(cell["digest"])
    if cell.get("zone"):
        parts.append(f'zone {cell["zone"]}')
    if cell["policy"] != "full" and cell.get("page_tokens") not in (None, 32):
        parts.append(f'p {cell["page_tokens"]}')
    if cell.get("plan"):
        parts.append("plan")  # of any total: plans make one line, as budgets do
    return " ".join(parts)


def line_style(name, index):
    policy, *rest = name.split()
    return {"color": POLICY_COLOURS.get(policy, BROWN), "marker": MARKERS[index % len(MARKERS)], "markersize": 4,
            "linewidth": 1.6, "linestyle": DIGEST_LINES.get(rest[0] if rest else "", "-")}


def group(cells, *keys):
    """{(value of each key): cells} in the order of their first cell."""
    groups = collections.OrderedDict()
    for cell in cells:
        groups.setdefault(tuple(key(cell) if callable(key) else cell[key] for key in keys), []).append(cell)
    return groups


def lines_over_budget(cells, value):
    """{label: [(budget, value)]} of the cells that have a budget; one point a budget."""
    lines = collections.OrderedDict()
    for cell in cells:
        if cell["budget_tokens"] is not None and cell.get(value) is not None:
            lines.setdefault(label(cell), {})[cell["budget_tokens"]] = cell[value]
    return {name: sorted(points.items()) for name, points in lines.items()}


def budget_axis(axes, budgets):
    axes.set_xscale("log", base=2)
    axes.set_xticks(budgets, [depth_text(b) for b in budgets])
    axes.minorticks_off()
    axes.set_xlabel("budget, tokens per layer")
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)


def draw_over_budget(axes, cells, value, dense=None, scale=1.0):
    """One line per policy, and full attention as a flat one."""
    lines = lines_over_budget(cells, value)
    for i, (name, points) in enumerate(lines.items()):
        axes.plot([x for x, _ in points], [y * scale for _, y in points], label=name, **line_style(name, i))
    if dense is not None:
        axes.axhline(dense * scale, color=BLACK, linewidth=1, label="full")
    budget_axis(axes, sorted({x for points in lines.values() for x, _ in points}))


def panels(n, width=4.2, height=3.4, columns=4):
    columns = min(n, columns)
    rows = math.ceil(n / columns)
    figure, grid = plt.subplots(rows, columns, figsize=(width * columns, height * rows), squeeze=False,
                                layout="constrained")
    for axes in grid.flat[n:]:
        axes.set_visible(False)
    return figure, list(grid.flat[:n])


def legend(figure, axes):
    """Every name once, beside the panels."""
    named = {}
    for one in axes:
        named.update({name: line for line, name in zip(*one.get_legend_handles_labels())})
    figure.legend(named.values(), named.keys(), loc="outside right center", fontsize=8, frameon=False)


def heat(axes, rows, columns, values, text=None, **limits):
    """A heat map with its numbers; a missing value stays white."""
    grid = [[values.get((r, c), math.nan) for c in columns] for r in rows]
    image = axes.imshow(grid, cmap=HEAT, aspect="auto", **limits)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    for i, row in enumerate(grid):
        for j, value in enumerate(row):
            if text and not math.isnan(value):
                bright = image.norm(value) > 0.6
                axes.text(j, i, text(value), ha="center", va="center", fontsize=7, color=INK if bright else "#ffffff")
    return image


def heat_grid(cells_of, rows_of, columns_of, values_of, text=None, limits=(0, 1), unit=""):
    """A heat map for each {label: {budget: cells}}: a column a policy, a row a budget. Full attention has one."""
    budgets = sorted({b for by_budget in cells_of.values() for b in by_budget if b is not None}) or [None]
    figure, grid = plt.subplots(len(budgets), len(cells_of), squeeze=False, layout="constrained", sharey=True,
                                figsize=(1.9 * len(cells_of) + 1.4, 2.4 * len(budgets) + 0.6))
    image = None
    for column, (name, by_budget) in enumerate(cells_of.items()):
        for row, budget in enumerate(budgets):
            axes = grid[row][column]
            cells = by_budget.get(budget, by_budget.get(None) if row == 0 else None)
            if not cells:
                axes.axis("off")
                continue
            image = heat(axes, rows_of, columns_of, values_of(cells), text, vmin=limits[0], vmax=limits[1])
            axes.set_title(name if None in by_budget else f"{name}\nbudget {budget}", fontsize=8)
            axes.tick_params(labelsize=7)
    figure.colorbar(image, ax=grid, shrink=0.7, label=unit)
    return figure


def by_label_and_budget(cells):
    result = collections.OrderedDict()
    for cell in cells:
        result.setdefault(label(cell), {}).setdefault(cell["budget_tokens"], []).append(cell)
    return result
