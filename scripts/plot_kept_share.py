#!/usr/bin/env python3
"""How much of the KV cache answers as well as all of it: curves over the kept share, and the saving at equal accuracy.

  plot_kept_share.py [-o DIR] [--skip N] [--format svg,png] FOLDER ...

A FOLDER is what `arkvale eval longbench --out` made, of one set or more; budgets may differ from set to set, so that
they are the same shares of its prompts. Prints a table in Markdown and draws `kept_share`: the mean over the sets of
score and agreement over the share of full attention's hot bytes (all bytes, for policies that drop tokens), a point per
budget.

Equal accuracy: the least budget from which on, at it and at every larger one, the score is at least that of full
attention less 1 point or 2 %, whichever is more, and the agreement at least 0.9 times that of the largest budget. The
saving is what its bytes are less than full attention's, 0 where no budget is equal; means are over the sets.
Exit codes: 0 drawn, 1 a folder that cannot be drawn, 2 wrong flags.
"""

import collections
import sys
from statistics import fmean as mean

from plot import BadFolder, configure, parser_of, read_records, save
from plot_charts import BLACK, GRID, label, legend, line_style, panels

DROPPED_FOR_GOOD = ("streaming", "h2o", "tova", "snapkv", "pyramidkv", "xkv")


def index_of(record):
    return int(record["record_id"].split("/")[1])


class Point:
    """One policy under one budget, over the records of a set."""

    def __init__(self, records, full):
        both = [(r, full[index_of(r)]) for r in records if index_of(r) in full and r.get("error") is None]
        if not both:
            raise BadFolder("a budget without records of full attention beside it")
        self.score = 100 * mean(r["score"] for r, _ in both)
        self.full_score = 100 * mean(f["score"] for _, f in both)
        self.agree = mean(r["agree"] for r, _ in both)
        kept = "kv_total_bytes" if records[0]["policy"] in DROPPED_FOR_GOOD else "kv_hot_bytes"
        digests = sum(r["digest_bytes"] for r, _ in both)
        self.share = (sum(r[kept] for r, _ in both) + digests) / sum(f["kv_total_bytes"] for _, f in both)


def read_sets(folders, skip):
    """{set: {line: [Point, by budget]}} without the first `skip` records of each set."""
    rows = collections.defaultdict(list)
    for folder in folders:
        for record in read_records(folder):
            if record.get("task") == "longbench" and index_of(record) >= skip:
                rows[record["set"]].append(record)
    if not rows:
        raise BadFolder("no record of longbench, or all skipped")
    sets = {}
    for name, records in rows.items():
        full = {index_of(r): r for r in records if r["policy"] == "full"}
        by_line = collections.defaultdict(lambda: collections.defaultdict(list))
        for r in records:
            if r["policy"] != "full":
                by_line[label(r)][r["budget_tokens"]].append(r)
        sets[name] = {line: [Point(of, full) for _, of in sorted(budgets.items())] for line, budgets in by_line.items()}
    return sets


def equal_from(points):
    """The first of the points from which on all are equal to full attention, or None."""
    equal = None
    for point in reversed(points):
        slack = max(1.0, 0.02 * point.full_score)
        if point.score < point.full_score - slack or point.agree < 0.9 * points[-1].agree:
            break
        equal = point
    return equal


def full_score(sets):
    return mean(next(iter(points.values()))[0].full_score for points in sets.values())


def table(sets, lines):
    head = ["policy", "saving", *(f"saved: {name}" for name in sets), "kept share: agreement, score"]
    rows = [head, ["---"] * len(head)]
    for line in lines:
        equal = [equal_from(points[line]) for points in sets.values()]
        savings = [1 - e.share if e else 0.0 for e in equal]
        curve = [f"{100 * share:.1f} %: {agree:.2f}, {score:.1f}" for share, agree, score in mean_curve(sets, line)]
        rows.append([line, f"{100 * mean(savings):.1f} %", *(f"{100 * s:.0f} %" for s in savings), "; ".join(curve)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + f"\n\nfull attention: score {full_score(sets):.1f}"


def mean_curve(sets, line):
    """[(share, agreement, score)] over the budgets, each a mean over the sets."""
    of_line = [points[line] for points in sets.values()]
    if len({len(points) for points in of_line}) != 1:
        raise BadFolder(f"'{line}' has more budgets in one set than in another")
    return [(mean(p.share for p in at), mean(p.agree for p in at), mean(p.score for p in at)) for at in zip(*of_line)]


def draw(sets, lines):
    figure, axes = panels(2, width=5.2, columns=2)
    for i, line in enumerate(lines):
        curve = mean_curve(sets, line)
        style = line_style(line, i) | ({"linestyle": ":"} if line.endswith("plan") else {})
        for one, value in zip(axes, (1, 2)):
            one.plot([100 * point[0] for point in curve], [point[value] for point in curve], label=line, **style)
    axes[1].axhline(full_score(sets), color=BLACK, linewidth=1, label="full")
    for one, title in zip(axes, ("agreement with full attention", "score, %")):
        one.set(title=title, xlabel="KV bytes kept, % of full attention's", ylabel=title)
        one.set_ylim(bottom=0)
        one.grid(color=GRID, linewidth=0.6)
    legend(figure, axes)
    return figure


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--skip", metavar="N", type=int, default=0,
                        help="records at the start of each set left out: those a plan was measured on")
    options = parser.parse_args()
    configure()
    try:
        sets = read_sets(options.folders, options.skip)
        lines = [line for line in next(iter(sets.values())) if all(line in points for points in sets.values())]
        if not lines:
            raise BadFolder("no policy was run on every set")
        print(table(sets, lines))
        out = options.output or options.folders[0]
        out.mkdir(parents=True, exist_ok=True)
        save(draw(sets, lines), "kept_share", f"LongBench, {len(sets)} sets", out, options.format)
    except (BadFolder, KeyError, OSError) as error:
        print(f"plot_kept_share: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
