"""What the quick sizes of `arkvale eval` must show on a real model, task by task: the bars of doc/results.md that a
model of 135M parameters can hold, each judged only where full attention succeeds itself.

usage: eval_slow_test.py BINARY SOURCE_DIR    (needs SmolLM2; ARKVALE_BOOKS and ARKVALE_LONGBENCH where they are there)
"""

import json
import os
import subprocess
import sys
import tempfile
import unittest

BINARY, SOURCE = sys.argv[1], os.path.abspath(sys.argv[2])
MODEL = os.path.join(os.environ.get("ARKVALE_MODELS", os.path.join(SOURCE, "models")),
                     "SmolLM2-135M-Instruct.Q4_1.gguf")
BOOK = os.path.join(os.environ.get("ARKVALE_BOOKS") or "", "frankenstein.txt")
if not os.path.isfile(BOOK):
    BOOK = os.path.join(SOURCE, "tests/data/frankenstein_excerpt.txt")
LONGBENCH = os.environ.get("ARKVALE_LONGBENCH") or ""
RIVALS = ["quest", "streaming", "h2o", "tova", "snapkv", "pyramidkv"]
CELLS = ["--policies", ",".join(["arkvale", *RIVALS])]
TIMEOUT_S = 1800


def evaluate(task, *arguments):
    """(summary, records) of one run at the quick sizes; no record may have an error."""
    with tempfile.TemporaryDirectory() as folder:
        command = [BINARY, "eval", task, "-m", MODEL, "--preset", "quick", "--quiet", "--out", folder, *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=TIMEOUT_S)
        with open(os.path.join(folder, "summary.json"), encoding="utf-8") as file:
            summary = json.load(file)["summary"]
        with open(os.path.join(folder, "records.jsonl"), encoding="utf-8") as file:
            records = [json.loads(line)["record"] for line in file]
    failed = [r["error"] for r in records if r["error"]]
    assert not failed, failed
    return summary, records


def name(cell):
    return "{policy} {budget_tokens} {digest}".format(**cell)


class Quick(unittest.TestCase):
    def test_passkey(self):
        summary, _ = evaluate("passkey", *CELLS, "--depths", "20", "--budgets", "256,512,1024", "--digests", "code2")
        full = next(c["accuracy"] for c in summary["cells"] if c["policy"] == "full")
        self.assertGreaterEqual(full, 0.95)
        for cell in summary["cells"]:
            if cell["policy"] == "arkvale" and cell["budget_tokens"] >= 512:
                self.assertGreaterEqual(cell["accuracy"], 0.95, name(cell))
                self.assertGreaterEqual(cell["kept"], 0.95, name(cell))
            # What forgets finds what it happens to hold: far more would be a leak of the question.
            if cell["policy"] in ("streaming", "h2o", "snapkv", "pyramidkv"):
                self.assertLess(cell["accuracy"], 2 * cell["budget_tokens"] / 2048, name(cell))

    def test_fidelity(self):
        summary, _ = evaluate("fidelity", "--text", BOOK, "--copy", *CELLS, "--budgets", "512,1024", "--pages", "16",
                              "--digests", "code2")
        cells = {(c["policy"], c["budget_tokens"]): c for c in summary["cells"]}
        for budget in (512, 1024):
            ours = cells["arkvale", budget]
            for rival in RIVALS:
                theirs = cells[rival, budget]
                self.assertLess(ours["kl_copy"], theirs["kl_copy"], (rival, budget))
                if budget >= 1024:
                    self.assertLess(ours["kl_mean"], theirs["kl_mean"], (rival, budget))

    def test_ruler(self):
        summary, records = evaluate("ruler", "--book", BOOK, *CELLS, "--samples", "2", "--digests", "code2")
        cells = summary["cells"]
        self.assertEqual(len(records), 3 * 2 * (1 + 2 * (1 + len(RIVALS))))
        full = {c["ruler_task"]: c["score"] for c in cells if c["policy"] == "full"}
        counted = [c for c in cells if c["policy"] == "arkvale" and full[c["ruler_task"]] >= 50]
        self.assertTrue(counted)
        for cell in counted:
            self.assertGreaterEqual(cell["score"], full[cell["ruler_task"]], (cell["ruler_task"], name(cell)))

    @unittest.skipUnless(os.path.isfile(os.path.join(LONGBENCH, "qasper.jsonl")), "ARKVALE_LONGBENCH names no records")
    def test_longbench(self):
        summary, _ = evaluate("longbench", "--data", LONGBENCH, "--sets", "qasper,triviaqa", "--limit", "2",
                              "--max-prompt", "2500", *CELLS, "--digests", "code2")
        agree = {}
        for cell in summary["cells"]:
            self.assertTrue(0 <= cell["score"] <= 100, name(cell))
            agree.setdefault((cell["policy"], cell["budget_tokens"]), []).append(cell["agree"])
        mean = {key: sum(values) / len(values) for key, values in agree.items() if key[0] != "full"}
        self.assertGreater(mean["arkvale", 1024], mean["streaming", 1024])

    def test_recall(self):
        summary, _ = evaluate("recall", "--text", BOOK, "--context", "4096",
                              "--digests", "centroid,cuboid-max,cuboid-mean,code2")
        for page_set in ("all", "candidates"):
            for group in (1, 3):
                cells = {c["digest"]: c for c in summary["cells"]
                         if (c["page_set"], c["kv_group"]) == (page_set, group)}
                at = {digest: cell["recall_at"] for digest, cell in cells.items()}
                for k in ("4", "8", "16", "32"):
                    self.assertGreater(at["code2"][k], at["cuboid-mean"][k], (page_set, group, k))
                    self.assertGreater(at["cuboid-mean"][k], at["cuboid-max"][k], (page_set, group, k))
                for digest in ("cuboid-mean", "code2"):
                    self.assertGreaterEqual(cells[digest]["mass_recall"], 0.9 * cells[digest]["mass_oracle"], digest)

    def test_sparsity_dynamics_recalls(self):
        summary, _ = evaluate("sparsity", "--text", BOOK, "--context", "4096")
        for cell in summary["cells"]:
            self.assertTrue(1 <= cell["n90_pages"] <= cell["n99_pages"] <= cell["pages_mean"], cell["layer"])
        _, records = evaluate("dynamics", "--text", BOOK, "--context", "4096", "--page-ids", "0,74")
        ranks = {page: [r["rank"] for r in records if r["page"] == page] for page in (0, 74)}
        self.assertLess(max(ranks[0]), 4)  # the sink
        self.assertGreater(max(ranks[74]), min(ranks[74]))
        summary, _ = evaluate("recalls", "--simulate", "--text", BOOK, "--context", "4096")
        cells = [c for c in summary["cells"] if 2 * c["topk_pages"] <= c["capacity_pages"]]
        self.assertTrue(cells)
        for cell in cells:  # the paper's figure 4b: fewer than 10 with k up to half of the capacity
            self.assertLess(cell["recalls_per_step"], 10, (cell["topk_pages"], cell["capacity_pages"]))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
