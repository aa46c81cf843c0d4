#!/usr/bin/env python3
"""Draws the figures of what `arkvale eval TASK --out DIR` wrote, with matplotlib. `plot_bench.py` draws speed.

  plot.py [-o DIR] [--format svg,png] FOLDER|PLAN.json ...    FOLDER holds summary.json and records.jsonl

Each folder gives pictures named after its task, in -o or else in the folder itself:
  passkey        share found over the budget; passkey_depth: depth x length for every policy and budget
  longbench      score over the budget for every set
  ruler          score over the length; ruler_tasks: task x length for every policy and budget
  fidelity       mean and p99 KL over the budget, with the floor; the KL where text is copied;
                 fidelity_steps: the mean KL from step to step, for every budget
  recall         recall@k, a line per digest, dashed: the ArkVale paper's; recall_layers: recall@8 of every layer
  sparsity       pages that hold 90 % and 99 % of the attention, per layer
  dynamics       the rank of single pages from step to step
  recalls        pages recalled a step, top-k x capacity
All plans (`arkvale plan`) together give one picture, `plan`, in -o or else beside the first: the budget of every layer.
Equal input gives equal files, to the byte. Exit codes: 0 drawn, 1 a folder or plan that cannot be drawn, 2 wrong flags.
"""

import argparse
import collections
import json
import math
import pathlib
import sys

from plot_charts import (
    BLACK, BLUE, BROWN, DIGEST_COLOURS, GREEN, GREY, GRID, INK, MARKERS, ORANGE, PINK, RED, SKY, by_label_and_budget,
    depth_text, draw_over_budget, group, heat, heat_grid, label, legend, line_style, panels, plt)

# ArkVale paper, Figure 7, read from the drawing: LongChat-7B, LongBench, pages of 32, one ranking per layer.
PAPER_KS = (1, 2, 4, 6, 8, 12, 16, 24, 32, 40)
PAPER_RECALL = {
    "centroid": (.049, .427, .527, .528, .527, .544, .572, .639, .697, .740),
    "sphere-max": (.731, .798, .765, .755, .750, .747, .749, .768, .791, .812),
    "sphere-center": (.671, .808, .784, .777, .773, .772, .775, .795, .818, .837),
    "sphere-mean": (.764, .831, .790, .780, .776, .776, .780, .801, .824, .843),
    "cuboid-max": (.865, .776, .731, .746, .757, .774, .786, .806, .821, .835),
    "cuboid-center": (.809, .855, .813, .810, .815, .825, .832, .851, .868, .881),
    "cuboid-mean": (.936, .873, .820, .815, .819, .830, .839, .857, .874, .887),
}


class BadFolder(Exception):
    """What is wrong with a folder, in one line."""


def read_json(text, where):
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadFolder(f"{where}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadFolder(f"{where}: not a JSON object")
    return value


def read_summary(folder):
    if not folder.is_dir():
        raise BadFolder(f"{folder}: no such folder: it is what `arkvale eval TASK --out` made")
    path = folder / "summary.json"
    if not path.is_file():
        raise BadFolder(f"{path} is missing: the run did not end; start it again with the same --out")
    summary = read_json(path.read_text(encoding="utf-8"), path).get("summary")
    if not isinstance(summary, dict) or not summary.get("cells"):
        raise BadFolder(f"{path}: no summary with cells")
    return summary


def read_records(folder):
    """The records without an error; a torn last line is what an interruption leaves."""
    path = folder / "records.jsonl"
    if not path.is_file():
        raise BadFolder(f"{path} is missing")
    lines = path.read_text(encoding="utf-8").split("\n")
    rows = [read_json(line, f"{path}:{n}").get("record") for n, line in enumerate(lines[:-1], 1) if line]
    return [row for row in rows if row and row.get("error") is None]


def draw_passkey(summary, records):
    cells = summary["cells"]
    lengths = sorted({c["length_tokens"] for c in cells})
    figure, axes = panels(len(lengths))
    for one, length in zip(axes, lengths):
        here = [c for c in cells if c["length_tokens"] == length]
        draw_over_budget(one, here, "accuracy", next(c["accuracy"] for c in here if c["policy"] == "full"), 100)
        one.set(title=f"{length} tokens", ylabel="passkeys found, %", ylim=(-4, 104))
    legend(figure, axes)

    def share(rows):
        found = collections.defaultdict(list)
        for row in rows:
            found[f'{row["depth"]:.0%}', row["length_tokens"]].append(row["correct"])
        return {at: sum(values) / len(values) for at, values in found.items()}
    depths = [f"{d:.0%}" for d in sorted({r["depth"] for r in records})]
    return {"passkey": figure,
            "passkey_depth": heat_grid(by_label_and_budget(records), depths, lengths, share, unit="share found")}


def draw_ruler(summary, _):
    cells = summary["cells"]
    lengths = sorted({c["length_tokens"] for c in cells})
    budgets = sorted({c["budget_tokens"] for c in cells if c["budget_tokens"]})
    figure, axes = panels(len(budgets))
    for one, budget in zip(axes, budgets):
        here = [c for c in cells if c["budget_tokens"] in (None, budget)]
        for i, ((name,), of_line) in enumerate(group(here, label).items()):
            means = {key: sum(c["score"] for c in rows) / len(rows)
                     for (key,), rows in sorted(group(of_line, "length_tokens").items())}
            one.plot(means.keys(), means.values(), label=name, **line_style(name, i))
        one.set_xscale("log", base=2)
        one.set_xticks(lengths, [depth_text(t) for t in lengths])
        one.minorticks_off()
        one.grid(color=GRID, linewidth=0.6)
        one.set(title=f"budget {budget}", xlabel="length, tokens", ylabel="mean score, %", ylim=(-4, 104))
    legend(figure, axes)

    def score(rows):
        return {(c["ruler_task"], c["length_tokens"]): c["score"] for c in rows}
    tasks = list(dict.fromkeys(c["ruler_task"] for c in cells))
    return {"ruler": figure, "ruler_tasks": heat_grid(by_label_and_budget(cells), tasks, lengths, score,
                                                      text=lambda v: f"{v:.0f}", limits=(0, 100), unit="score, %")}


def draw_longbench(summary, _):
    sets = group(summary["cells"], "set")
    figure, axes = panels(len(sets))
    for one, ((name,), cells) in zip(axes, sets.items()):
        draw_over_budget(one, cells, "score", next(c["score"] for c in cells if c["policy"] == "full"))
        one.set(title=name, ylabel="score, %")
        one.set_ylim(bottom=0)
    legend(figure, axes)
    return {"longbench": figure}


def mean_by_block(rows, block):
    """[(middle step, mean KL)] of every `block` steps over all windows."""
    sums = collections.defaultdict(list)
    for row in rows:
        for step, kl in enumerate(row["steps"]["kl"]):
            sums[step // block].append(kl)
    return [((b + 0.5) * block, sum(values) / len(values)) for b, values in sorted(sums.items())]


def draw_steps(records):
    """The mean KL over the steps: prose and copied text in columns, a row per context length and budget."""
    shown = [r for r in records if r["policy"] != "full" and r.get("steps")]
    by_row = group(shown, "tokens_context", "budget_tokens")
    kinds = [copied for copied in (False, True) if any((r["copy_start"] is not None) == copied for r in shown)]
    figure, axes = panels(len(by_row) * len(kinds), columns=len(kinds))
    at = iter(axes)
    for (context, budget), rows in by_row.items():
        for copied in kinds:
            one = next(at)
            here = [r for r in rows if (r["copy_start"] is not None) == copied]
            for i, ((name,), of_line) in enumerate(group(here, label).items()):
                points = [(x, y) for x, y in mean_by_block(of_line, 16) if y > 0]
                one.plot([x for x, _ in points], [y for _, y in points], label=name, **line_style(name, i))
            one.set_yscale("log")
            one.grid(color=GRID, linewidth=0.6)
            one.set(title=f"{'copied text' if copied else 'prose'}, {context} tokens, budget {budget}",
                    xlabel="step (means of 16)", ylabel="KL, nats")
    legend(figure, axes)
    return figure


def draw_fidelity(summary, records):
    by_context = group(summary["cells"], "context_tokens")
    kinds = [("kl_mean", "kl_floor", "mean KL, prose"), ("kl_p99", "kl_floor", "99th percentile, prose"),
             ("kl_copy", "kl_copy_floor", "mean KL, copied text")]
    kinds = [kind for kind in kinds if any(c.get(kind[0]) for c in summary["cells"])]
    figure, axes = panels(len(kinds) * len(by_context), columns=len(kinds))
    for i, ((context,), cells) in enumerate(by_context.items()):
        for one, (value, floor, title) in zip(axes[i * len(kinds):], kinds):
            # Zero has no place on a log axis: such a cell is full attention to the bit.
            draw_over_budget(one, [c for c in cells if c.get(value)], value)
            one.set_yscale("log")
            floors = [c[floor] for c in cells if c.get(floor)]
            if floors:
                one.axhline(max(floors), color=BLACK, linewidth=1, linestyle=(0, (1, 3)), label="floor")
            one.set(title=f"{title}, {context} tokens", ylabel="nats")
    legend(figure, axes)
    figures = {"fidelity": figure}
    if any(r["policy"] != "full" and r.get("steps") for r in records):
        figures["fidelity_steps"] = draw_steps(records)
    return figures


def draw_recall_layers(summary):
    """recall@8 of every layer, a bar per digest; one panel for each page set and group."""
    shown = group(summary["cells"], "page_set", "kv_group")
    figure, axes = panels(len(shown), width=9, height=2.8, columns=1)
    for one, ((page_set, kv_group), cells) in zip(axes, shown.items()):
        width = 0.85 / len(cells)
        for i, cell in enumerate(cells):
            values = [layer["recall_at"].get("8") or math.nan for layer in cell["layers"]]
            one.bar([x + (i - (len(cells) - 1) / 2) * width for x in range(len(values))], values, width,
                    color=DIGEST_COLOURS.get(cell["digest"], BROWN), label=cell["digest"])
        one.set_xticks(range(len(cells[0]["layers"])), [layer["layer"] for layer in cells[0]["layers"]], fontsize=7)
        heads = "1 head" if kv_group == 1 else f"{kv_group} heads"
        one.set(title=f"pages: {page_set}; a ranking: {heads}", xlabel="layer", ylabel="recall@8", ylim=(0, 1.02))
    legend(figure, axes)
    return figure


def draw_recall(summary, _):
    shown = group(summary["cells"], "page_set", "kv_group")
    figure, axes = panels(len(shown), columns=2)
    for one, ((page_set, kv_group), cells) in zip(axes, shown.items()):
        for i, cell in enumerate(cells):
            digest = cell["digest"]
            points = [(int(k), v) for k, v in cell["recall_at"].items() if v is not None]
            colour = DIGEST_COLOURS.get(digest, BROWN)
            one.plot(*zip(*points), color=colour, marker=MARKERS[i % len(MARKERS)], markersize=3, label=digest)
            if page_set == "all" and digest in PAPER_RECALL:
                one.plot(PAPER_KS, PAPER_RECALL[digest], color=colour, linewidth=1, linestyle="--")
        chance = [(int(k), v) for k, v in cells[0]["chance"].items() if v is not None]
        one.plot(*zip(*chance), color=BLACK, linewidth=1, linestyle=(0, (1, 3)), label="chance")
        one.grid(color=GRID, linewidth=0.6)
        heads = "1 head" if kv_group == 1 else f"{kv_group} heads"
        one.set(title=f"pages: {page_set}; a ranking: {heads}", xlabel="k, pages", ylabel="recall@k", ylim=(0, 1.02))
    legend(figure, axes)
    return {"recall": figure, "recall_layers": draw_recall_layers(summary)}


def draw_sparsity(summary, _):
    pages = group(summary["cells"], "page_tokens")
    figure, axes = panels(len(pages), width=8.4, columns=1)
    for one, ((page,), cells) in zip(axes, pages.items()):
        layers = [c["layer"] for c in cells]
        for shift, value, name, colour in ((-0.2, "n90_pages", "90 %", BLUE), (0.2, "n99_pages", "99 %", ORANGE)):
            one.bar([i + shift for i in range(len(layers))], [c[value] for c in cells], 0.4, label=name, color=colour)
        one.axhline(sum(c["pages_mean"] for c in cells) / len(cells), color=BLACK, linewidth=1, label="all pages")
        one.set_yscale("log")
        one.set_xticks(range(len(layers)), layers, fontsize=7)
        one.set(title=f"pages that hold a share of the attention, {page} tokens each", xlabel="layer", ylabel="pages")
    legend(figure, axes)
    return {"sparsity": figure}


def draw_dynamics(_, records):
    shown = group(records, "record_id", "layer")
    figure, axes = panels(len(shown), width=6.4)
    colours = [BLACK, BLUE, ORANGE, GREEN, PINK, SKY, RED, GREY, BROWN]
    for one, ((record, layer), rows) in zip(axes, shown.items()):
        for i, ((page,), of_page) in enumerate(group(rows, "page").items()):
            one.plot([r["step"] for r in of_page], [r["rank"] for r in of_page], linewidth=1.2,
                     color=colours[i % len(colours)], label=f"page {page}")
        one.invert_yaxis()
        one.grid(color=GRID, linewidth=0.6)
        one.set(title=f"{record}, layer {layer}", xlabel="step", ylabel="rank by attention, 0 = best")
        one.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return {"dynamics": figure}


def draw_recalls(summary, _):
    shown = group(summary["cells"], lambda c: c.get("ranking"), "digest", "kv_group", "page_tokens")
    figure, axes = panels(len(shown), width=6.6, height=4.2, columns=2)
    for one, ((ranking, digest, heads, page), cells) in zip(axes, shown.items()):
        values = {(c["topk_pages"], c["capacity_pages"]): c["recalls_per_step"] for c in cells}
        logs = {at: math.log10(1 + value) for at, value in values.items()}
        heat(one, sorted({k for k, _ in values}), sorted({c for _, c in values}), logs, lambda v: f"{10 ** v - 1:.1f}")
        by = digest or (ranking and f"{ranking} scores") or "true scores"
        one.set(title=f"pages of {page} tokens recalled a step, {by}, {heads} heads", xlabel="capacity, pages",
                ylabel="k, pages")
    return {"recalls": figure}


FIGURES = {"passkey": draw_passkey, "longbench": draw_longbench, "ruler": draw_ruler, "fidelity": draw_fidelity,
           "recall": draw_recall, "sparsity": draw_sparsity, "dynamics": draw_dynamics, "recalls": draw_recalls}


def save(figure, name, title, out, formats):
    """The files written."""
    written = []
    figure.suptitle(title, fontsize=9)
    for kind in formats:
        written.append(out / f"{name}.{kind}")
        figure.savefig(written[-1], dpi=120, metadata={"Date": None} if kind == "svg" else {"Software": None})
    plt.close(figure)
    return written


def draw_folder(folder, out, formats):
    """Writes the folder's pictures into `out` and returns their paths."""
    summary = read_summary(folder)
    task = summary.get("task")
    if task not in FIGURES:
        raise BadFolder(f"{folder}: task '{task}' has no figure: use one of {', '.join(FIGURES)}")
    try:
        # A folder may hold both feedings of a task; its summary is of the last one.
        records = [row for row in read_records(folder) if row.get("feed") == summary.get("feed", row.get("feed"))]
        figures = FIGURES[task](summary, records)
    except (KeyError, StopIteration) as error:
        raise BadFolder(f"{folder}: no {error or 'row of full attention'} in what a {task} run should hold") from None
    written = []
    for name, figure in figures.items():
        written += save(figure, name, f'{summary["model"]}: {task}', out, formats)
    return written


def read_plan(path):
    plan = read_json(path.read_text(encoding="utf-8", errors="replace"), path)
    try:
        budgets = [math.nan if layer is None else float(layer["budget_tokens"]) for layer in plan["layers"]]
        if not budgets or plan["version"] != 1:
            raise ValueError
        return {"name": path.stem, "kind": plan["kind"], "budgets": budgets}
    except (KeyError, TypeError, ValueError):
        raise BadFolder(f"{path}: not a plan, which `arkvale plan` makes") from None


def draw_plans(plans):
    """A step line per plan; a layer without a budget leaves a gap. Dotted: the mean."""
    figure, (axes,) = panels(1, width=9, columns=1)
    colours = [BLUE, BROWN, GREEN, ORANGE, PINK, RED, SKY, GREY, BLACK]
    for i, plan in enumerate(plans):
        colour, budgets = colours[i % len(colours)], plan["budgets"]
        known = [b for b in budgets if not math.isnan(b)]
        axes.step(range(len(budgets)), budgets, where="mid", color=colour, marker=MARKERS[i % len(MARKERS)],
                  markersize=4, linewidth=1.4, label=f'{plan["name"]} ({plan["kind"]})')
        axes.axhline(sum(known) / max(1, len(known)), color=colour, linewidth=1, linestyle=(0, (1, 3)))
    axes.set_ylim(bottom=0)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set(title="budget of every layer; dotted: mean", xlabel="layer", ylabel="tokens")
    legend(figure, [axes])
    return figure


def parse_formats(text):
    formats = text.split(",")
    for kind in formats:
        if kind not in ("svg", "png"):
            raise argparse.ArgumentTypeError(f"'{kind}' is unknown: use svg, png or svg,png")
    return formats


def configure():
    # Ids in an SVG are hashes; without a salt they are random.
    plt.rcParams.update({"svg.hashsalt": "arkvale", "svg.fonttype": "none", "font.size": 9, "text.color": INK,
                         "axes.edgecolor": INK, "axes.spines.top": False, "axes.spines.right": False})


def parser_of(text, folders="FOLDER", output="the first folder"):
    """What every plotting script takes; `text`: its docstring."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", metavar=folders, type=pathlib.Path)
    parser.add_argument("-o", "--output", metavar="DIR", type=pathlib.Path, help=f"default: {output}")
    parser.add_argument("--format", type=parse_formats, default=["svg", "png"], help="svg, png or both (the default)")
    return parser


def main():
    options = parser_of(__doc__, "FOLDER|PLAN", "the folder itself").parse_args()
    configure()
    failed = 0
    plans = []
    for folder in options.folders:
        try:
            if folder.is_file():
                plans.append(read_plan(folder))
                continue
            out = options.output or folder
            out.mkdir(parents=True, exist_ok=True)
            for path in draw_folder(folder, out, options.format):
                print(path)
        except (BadFolder, OSError) as error:
            print(f"plot: {error}", file=sys.stderr)
            failed = 1
    if plans:
        out = options.output or next(path for path in options.folders if path.is_file()).parent
        out.mkdir(parents=True, exist_ok=True)
        for path in save(draw_plans(plans), "plan", "plan", out, options.format):
            print(path)
    return failed


if __name__ == "__main__":
    sys.exit(main())
