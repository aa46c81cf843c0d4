"""scripts/plot.py draws every task's figures from a few hand-made rows; scripts/reproduce.sh runs every task once.

usage: results_test.py SOURCE_DIR    (exit code 77, skipped, without matplotlib)
"""

import importlib.util
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import xml.etree.ElementTree

SOURCE = pathlib.Path(sys.argv[1]).resolve()
PLOT = SOURCE / "scripts/plot.py"
REPRODUCE = SOURCE / "scripts/reproduce.sh"
TASKS = ["passkey", "recall", "sparsity", "dynamics", "recalls", "fidelity", "ruler", "longbench"]
# What reproduce.sh runs after them: plans for two policies, and the fidelity under them.
PLANNED = ["plan", "plan", "fidelity"]


def cell(policy="full", budget=None, digest=None, **fields):
    page = 32 if budget else None
    return {"policy": policy, "budget_tokens": budget, "digest": digest, "page_tokens": page, **fields}


def cells(**values):
    """Full attention and two policies under two budgets; a value is what full attention has, the others have less."""
    rows = [cell(**values)]
    lines = ((1, "arkvale", "code2"), (0.5, "streaming", "cuboid-mean"), (0.5, "streaming", "code2"))
    for share, policy, digest in lines:
        for budget in (256, 1024):
            less = {k: share * v * budget / 1024 if isinstance(v, float) else v for k, v in values.items()}
            rows.append(cell(policy, budget, digest, **less))
    return rows


def layer_rows(**fields):
    return [cell(layer=layer, **fields) | {"page_tokens": 32} for layer in (0, 1)]


def example(task):
    """(cells of the summary, records) of one task."""
    if task == "passkey":
        rows = [c | {"depth": depth, "correct": c["policy"] != "streaming"} for c in cells(length_tokens=1024)
                for depth in (0.0, 0.5)]
        # Another feeding's records are no part of the figure.
        return cells(length_tokens=1024, accuracy=1.0), [*rows, rows[0] | {"feed": "joint", "depth": 0.77}]
    if task == "ruler":
        return [c for name in ("vt", "cwe") for length in (1024, 2048)
                for c in cells(ruler_task=name, length_tokens=length, score=90.0)], []
    if task == "longbench":
        return [c for name in ("qasper", "triviaqa") for c in cells(set=name, score=40.0)], []
    if task == "fidelity":
        rows = cells(context_tokens=2048, kl_mean=0.5, kl_p99=2.0, kl_copy=1.0, kl_floor=1e-7, kl_copy_floor=2e-7)
        steps = [c | {"tokens_context": 2048, "copy_start": start, "steps": {"kl": [0.5, 0.25, 0.0]}} for c in cells()
                 for start in (None, 512)]
        return [rows[0] | {"kl_mean": 0.0, "kl_p99": 0.0, "kl_copy": 0.0}, *rows[1:]], steps
    if task == "recall":
        return [cell("arkvale", 1024, digest, page_set=pages, kv_group=1, recall_at={"1": 0.5, "2": 0.75, "3": None},
                     chance={"1": 0.1, "2": 0.2, "3": None},
                     layers=[{"layer": 17, "recall_at": {"8": 0.5}}, {"layer": 23, "recall_at": {"8": None}}])
                for digest in ("cuboid-mean", "code2") for pages in ("all", "candidates")], []
    if task == "sparsity":
        return layer_rows(pages_mean=20.0, n90_pages=3.0, n99_pages=9.0), []
    if task == "dynamics":
        rows = [cell(record_id="book/1", layer=16, step=step, page=page, rank=step * page)
                for page in (0, 7) for step in range(3)]
        return [cell()], rows
    assert task == "recalls"
    return [cell("arkvale", 32 * c, None, topk_pages=k, capacity_pages=c, kv_group=3, ranking="true",
                 recalls_per_step=float(c - k)) for k in (4, 8) for c in (8, 16)], []


def write_folder(folder, task, summary=None, records=None):
    rows, record_rows = example(task)
    folder.mkdir(parents=True, exist_ok=True)
    if summary is None:
        summary = {"summary": {"task": task, "model": "a < b.gguf", "feed": "3stage", "cells": rows}}
    (folder / "summary.json").write_text(json.dumps(summary))
    lines = [json.dumps({"record": {"error": None, "feed": "3stage", **row}}) for row in record_rows]
    # A run that was killed leaves the start of a line.
    (folder / "records.jsonl").write_text("\n".join([*lines, '{"record":{"err']) if records is None else records)
    return folder


def plot(*arguments):
    return subprocess.run([sys.executable, PLOT, *map(str, arguments)], capture_output=True, text=True, timeout=300)


class Folders(unittest.TestCase):
    def setUp(self):
        held = tempfile.TemporaryDirectory()
        self.addCleanup(held.cleanup)
        self.dir = pathlib.Path(held.name)

    def texts(self, name):
        root = xml.etree.ElementTree.parse(self.dir / f"{name}.svg").getroot()
        return {"".join(node.itertext()).strip() for node in root.iter("{http://www.w3.org/2000/svg}text")}


class Plot(Folders):
    def test_draws_every_task_the_same_twice(self):
        folders = [write_folder(self.dir / task, task) for task in TASKS]
        for out in ("one", "two"):
            result = plot("-o", self.dir / out, *folders)
            self.assertEqual((result.returncode, result.stderr), (0, ""))
        names = {*TASKS, "passkey_depth", "ruler_tasks", "fidelity_steps", "recall_layers"}
        written = sorted(path.name for path in (self.dir / "one").iterdir())
        self.assertEqual(written, sorted(f"{name}.{kind}" for name in names for kind in ("svg", "png")))
        for name in written:
            self.assertEqual((self.dir / "one" / name).read_bytes(), (self.dir / "two" / name).read_bytes(), name)

    def test_a_figure_says_what_it_shows(self):
        for task in TASKS:
            self.assertEqual(plot("-o", self.dir, "--format", "svg", write_folder(self.dir / task, task)).returncode, 0)
        self.assertFalse(list(self.dir.glob("*.png")))
        for name, shown in {"passkey": {"a < b.gguf: passkey", "full", "arkvale code2", "streaming", "256", "1k"},
                            "passkey_depth": {"50%", "full"}, "ruler": {"budget 256", "2k"},
                            "ruler_tasks": {"vt", "cwe", "90", "45"}, "longbench": {"qasper", "triviaqa"},
                            "fidelity": {"floor", "mean KL, copied text, 2048 tokens"},
                            "fidelity_steps": {"copied text, 2048 tokens, budget 256", "streaming"},
                            "recall_layers": {"17", "23", "pages: all; a ranking: 1 head"},
                            "recall": {"code2", "chance", "pages: candidates; a ranking: 1 head"},
                            "sparsity": {"90 %", "99 %"}, "dynamics": {"page 7", "book/1, layer 16"},
                            "recalls": {"4.0", "12.0", "8.0"}}.items():
            self.assertLessEqual(shown, self.texts(name), name)
        # A digest changes nothing for a policy without digests: one line.
        self.assertNotIn("streaming code2", self.texts("passkey"))
        self.assertNotIn("77%", self.texts("passkey_depth"))

    def plan(self, name, layers, **changes):
        layers = [{"budget_tokens": b, "topk_pages": 0} if isinstance(b, int) else b for b in layers]
        path = self.dir / f"{name}.json"
        path.write_text(json.dumps({"version": 1, "kind": "xkv", "layers": layers, **changes}))
        return path

    def test_plans_make_one_picture(self):
        plans = [self.plan("small", [None, 64, 200]), self.plan("large", [900, 300, 10])]
        for out in ("one", "two"):
            result = plot("-o", self.dir / out, *plans)
            self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertLessEqual({"small (xkv)", "large (xkv)", "layer", "tokens"}, self.texts("one/plan"))
        for name in ("plan.svg", "plan.png"):
            self.assertEqual((self.dir / "one" / name).read_bytes(), (self.dir / "two" / name).read_bytes())
        result = plot(self.plan("v2", [1], version=2), self.plan("empty", []), self.plan("bare", [{}]))
        self.assertEqual(result.returncode, 1)
        for line, name in zip(result.stderr.splitlines(), ("v2", "empty", "bare"), strict=True):
            self.assertIn(f"{name}.json: not a plan", line)
        self.assertFalse((self.dir / "plan.svg").exists())

    def test_bad_folders_are_named_and_the_others_drawn(self):
        good = write_folder(self.dir / "good", "sparsity")
        unknown = write_folder(self.dir / "unknown", "sparsity", {"summary": {"task": "guess", "cells": [1]}})
        no_set = {"summary": {"task": "longbench", "model": "m", "cells": [{}]}}
        partial = write_folder(self.dir / "partial", "longbench", no_set)
        torn = write_folder(self.dir / "torn", "dynamics", records="{]\n")
        stopped = write_folder(self.dir / "stopped", "ruler")
        (stopped / "summary.json").unlink()
        result = plot("-o", self.dir / "out", unknown, partial, torn, stopped, self.dir / "nowhere", good)
        self.assertEqual(result.returncode, 1)
        errors = result.stderr.splitlines()
        for line, expected in zip(errors, ("task 'guess' has no figure", "no 'set'", "records.jsonl:1: not JSON",
                                           "summary.json is missing", "no such folder"), strict=True):
            self.assertTrue(line.startswith("plot: "), line)
            self.assertIn(expected, line)
        self.assertTrue((self.dir / "out/sparsity.svg").exists())

    def test_wrong_flags(self):
        self.assertEqual(plot("--format", "pdf", self.dir).returncode, 2)
        self.assertEqual(plot().returncode, 2)


class KeptShare(Folders):
    """Two sets of three records, the first of which a plan was measured on. Of 100 bytes `snapkv` keeps 20, 40 and 80:
    it loses 20 points at 20 and agrees half as much at 20 and, on the second set, at 40."""

    def folder(self, name, agree_at_40):
        rows = []
        for i in range(3):
            fields = {"task": "longbench", "set": name, "record_id": f"{name}/{i}/x", "digest_bytes": 0}
            rows.append(cell(score=0.5, agree=None, kv_hot_bytes=100, kv_total_bytes=100, **fields))
            for budget, score, agree in ((20, 0.3, 0.4), (40, 0.49, agree_at_40), (80, 0.5, 0.8)):
                rows.append(cell("snapkv", budget, score=score if i > 0 else 0.0, agree=agree if i > 0 else 0.0,
                                 kv_hot_bytes=1, kv_total_bytes=budget, **fields))
        return write_folder(self.dir / name, "longbench", records="".join(json.dumps({"record": {
            "error": None, "feed": "joint", **row}}) + "\n" for row in rows))

    def run_it(self, *arguments):
        return subprocess.run([sys.executable, SOURCE / "scripts/plot_kept_share.py", *map(str, arguments)],
                              capture_output=True, text=True, timeout=300)

    def test_the_saving_is_that_of_the_least_budget_from_which_all_are_equal(self):
        folders = [self.folder("qasper", 0.75), self.folder("triviaqa", 0.4)]
        result = self.run_it("-o", self.dir / "out", "--skip", 1, *folders)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertIn("| snapkv | 40.0 % | 60 % | 20 % | 20.0 %: 0.40, 30.0; 40.0 %: 0.57, 49.0; 80.0 %: 0.80, 50.0 |",
                      result.stdout)
        self.assertIn("full attention: score 50.0", result.stdout)
        self.assertTrue((self.dir / "out/kept_share.svg").exists())
        # With the first record, which is all wrong, no budget is equal.
        self.assertIn("| snapkv | 0.0 % |", self.run_it("-o", self.dir / "out", *folders).stdout)

    def test_what_cannot_be_compared_is_told(self):
        folder = self.folder("qasper", 0.75)
        result = self.run_it("--skip", 3, folder)
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        self.assertIn("no record", result.stderr)
        self.assertEqual(self.run_it(self.dir / "nowhere").returncode, 1)
        self.assertEqual(self.run_it().returncode, 2)


class Cost(Folders):
    """Full attention, two budgets of a digest with and without a zone; in another folder q8_0 beside it."""

    def folder(self, name, rows, contexts=(2048,)):
        full = cell(kv_type="f16", kl_mean=0.0, kl_copy=0.0, step_ms_median=9.0, kv_step_bytes=9 << 20)
        rows = [row | {"context_tokens": context} for row in [full, *rows] for context in contexts]
        return write_folder(self.dir / name, "fidelity",
                            {"summary": {"task": "fidelity", "model": "m", "cells": rows}}, records="")

    def run_it(self, *arguments):
        return subprocess.run([sys.executable, SOURCE / "scripts/plot_cost.py", *map(str, arguments)],
                              capture_output=True, text=True, timeout=300)

    def test_every_scheme_is_a_line(self):
        ours = [cell("arkvale", budget, "code2", zone=zone, kv_type="f16", kl_mean=9.0 / budget, kl_copy=1.0,
                     step_ms_median=5.0, kv_step_bytes=budget << 10) for budget in (512, 1024) for zone in (None, "all:4")]
        q8 = [cell(kv_type="q8_0", kl_mean=1e-4, kl_copy=2e-4, step_ms_median=8.0, kv_step_bytes=5 << 20)]
        folders = [self.folder("ours", ours), self.folder("q8", q8)]
        result = self.run_it("-o", self.dir / "out", "--format", "svg", *folders)
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""))
        self.assertEqual(self.run_it("-o", self.dir / "less", "--without", "full q8_0,arkvale code2", *folders).returncode, 0)
        self.assertTrue({"full q8_0", "arkvale code2"}.isdisjoint(self.texts("less/cost")))
        self.assertIn("arkvale code2 zone all:4", self.texts("less/cost"))
        self.assertLessEqual({"arkvale code2", "arkvale code2 zone all:4", "full q8_0", "full, f16", "prose", "copied text",
                              "ms a step", "m: 2048 tokens"}, self.texts("out/cost"))

    def test_what_cannot_be_drawn_is_told(self):
        two = self.folder("two", [], contexts=(1024, 2048))
        for arguments, message in (([two], "1024, 2048 tokens: choose"), (["--context", 9, two], "no context of 9"),
                                   ([write_folder(self.dir / "r", "ruler")], "not what"), ([self.dir / "no"], "no such")):
            result = self.run_it(*arguments)
            self.assertEqual((result.returncode, result.stdout), (1, ""))
            self.assertIn(message, result.stderr)
            self.assertEqual(len(result.stderr.splitlines()), 1)
        self.assertEqual(self.run_it("--context", "x", two).returncode, 2)


class Reproduce(Folders):
    """With stand-ins: the binary copies example folders, python3 writes down what it should draw."""

    def setUp(self):
        super().setUp()
        for task in TASKS:
            write_folder(self.dir / "examples" / task, task)
        for folder, names in {"models": ["SmolLM2-135M-Instruct.Q4_1.gguf", "gemma-3-270m-q4_k_m.gguf"],
                              "books": ["frankenstein.txt", "pride_and_prejudice.txt"], "longbench": ["qasper.jsonl"]}.items():
            (self.dir / folder).mkdir()
            for name in names:
                (self.dir / folder / name).touch()
        self.binary = self.dir / "arkvale"
        self.binary.write_text("""#!/usr/bin/env bash
task=$2 here=$(dirname "$0")
[[ $1 != plan ]] || task=plan
echo "$task" >>"$here/runs"
while [[ $1 != --out ]]; do [[ $1 != --plans ]] || echo "$2" >"$here/plans"; shift; done
[[ $task != "${FAIL:-}" ]] || exit 3
[[ $task != "${HANG:-}" ]] || sleep 100
if [[ $task == plan ]]; then touch "${2%.json}-256.json"; else cp "$here/examples/$task"/* "$2"; fi
""")
        (self.dir / "bin").mkdir()
        python = self.dir / "bin/python3"
        python.write_text('#!/usr/bin/env bash\necho "drawn $*"\n')
        for program in (self.binary, python):
            program.chmod(0o755)
        self.environment = {**os.environ, "PATH": f'{python.parent}:{os.environ["PATH"]}',
                            "ARKVALE": str(self.binary), "ARKVALE_MODELS": str(self.dir / "models"),
                            "BOOKS": str(self.dir / "books"), "LONGBENCH": str(self.dir / "longbench")}

    def command(self, *flags):
        return [REPRODUCE, "--out", str(self.dir / "out"), *flags]

    def run_it(self, *flags, **environment):
        (self.dir / "runs").write_text("")
        return subprocess.run(self.command(*flags), capture_output=True, text=True, timeout=300,
                              env={**self.environment, **environment})

    def runs(self):
        return (self.dir / "runs").read_text().split()

    def test_runs_and_draws_everything_once(self):
        result = self.run_it("--quick")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertEqual(self.runs(), (TASKS + PLANNED) * 2)
        out = self.dir / "out/gemma"
        plans = [str(out / f"plan_{name}/{name}-256.json") for name in ("arkvale", "xkv")]
        folders = " ".join([*(str(out / task) for task in TASKS), *plans])
        self.assertIn(f"drawn {PLOT} -o {out}/pictures {folders}\n", result.stdout)
        self.assertIn(f"drawn {PLOT} -o {out}/pictures/planned {out}/planned\n", result.stdout)
        self.assertEqual((self.dir / "plans").read_text(), ",".join(plans) + "\n")
        self.assertEqual(self.run_it("--quick").returncode, 0)
        self.assertEqual(self.runs(), [], "what is complete is skipped")
        self.run_it("--standard", "--models", "gemma")
        self.assertEqual(self.runs(), TASKS + PLANNED, "other sizes are another run")

    def test_a_failure_is_told_and_the_others_go_on(self):
        result = self.run_it("--models", "smollm2", FAIL="recall")
        self.assertEqual(result.returncode, 1)
        self.assertIn("smollm2 recall failed with exit code 3", result.stderr)
        self.assertIn("reproduce: failed: smollm2/recall", result.stderr)
        self.assertEqual(self.runs(), TASKS + PLANNED)
        self.assertEqual(self.run_it("--models", "smollm2").returncode, 0)
        self.assertEqual(self.runs(), ["recall"])
        shutil.rmtree(self.dir / "out")
        self.assertIn("skipped, no plan to judge", self.run_it("--models", "smollm2", FAIL="plan").stdout)

    def test_missing_texts_are_named(self):
        result = self.run_it("--models", "smollm2", BOOKS="/nowhere", LONGBENCH="/nowhere")
        self.assertEqual(result.returncode, 0)
        self.assertEqual(self.runs(), ["passkey"])
        self.assertEqual(result.stdout.count("skipped, no books: set BOOKS"), 7)
        self.assertEqual(result.stdout.count("skipped, no book to plan on"), 2)
        self.assertIn("skipped, no LongBench's records: set LONGBENCH", result.stdout)

    def test_an_interrupt_ends_it(self):
        process = subprocess.Popen(self.command("--models", "smollm2"), env={**self.environment, "HANG": "recall"},
                                   start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while not (self.dir / "runs").exists() or "recall" not in self.runs():
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        errors = process.communicate(timeout=60)[1]
        self.assertEqual(process.returncode, 130)
        self.assertIn("interrupted", errors)
        self.assertEqual(self.runs(), ["passkey", "recall"])

    def test_wrong_flags(self):
        for flags in (["--fast"], ["--models", "llama"], ["--out"]):
            result = subprocess.run([REPRODUCE, *flags], capture_output=True, env=self.environment)
            self.assertEqual(result.returncode, 2)


if __name__ == "__main__":
    if importlib.util.find_spec("matplotlib") is None:
        print("skipped: matplotlib is missing (python3-matplotlib)")
        sys.exit(77)
    unittest.main(argv=sys.argv[:1], verbosity=2)
