"""How the binary behaves at its edges: exit codes, one-line errors, JSON fields, interrupts.

usage: cli_test.py BINARY SOURCE_DIR    (needs the models of scripts/get_models.sh)
"""

import hashlib
import json
import os
import pty
import signal
import subprocess
import sys
import tempfile
import time
import unittest

BINARY, SOURCE = sys.argv[1], sys.argv[2]
MODELS = os.environ.get("ARKVALE_MODELS", os.path.join(SOURCE, "models"))
SMOLLM2 = os.path.join(MODELS, "SmolLM2-135M-Instruct.Q4_1.gguf")
GEMMA = os.path.join(MODELS, "gemma-3-270m-q4_k_m.gguf")
NOVEL = os.path.join(SOURCE, "tests/data/frankenstein_excerpt.txt")
TIMEOUT_S = 300

GENERATE_FIELDS = {
    "text": None, "token_ids": None, "stop_reason": None,
    "tokens": {"prompt", "reused", "question", "generated"},
    "timings": {"load_ms", "ttft_ms", "prefill_ms", "prefill_tokens_per_s", "decode_ms_median", "decode_ms_p95",
                "decode_tokens_per_s"},
    "kv": {"policy", "budget_tokens", "page_tokens", "kv_type", "digest", "hot_bytes", "hot_bytes_peak", "digest_bytes",
           "host_bytes", "disk_bytes", "full_bytes", "recalled_pages", "evicted_pages", "recalled_bytes",
           "recalls_per_step_mean", "selected_pages_mean", "scored_steps", "total_bytes", "step_bytes", "audit_recall",
           "audit_mass_recall", "plan"},
    "memory": {"rss_peak_bytes"},
    "machine": {"cpu", "threads", "cores", "memory_bytes", "compiler", "build_type", "commit"},
}
BENCH_FIELDS = {"engine", "policy", "budget_tokens", "depth_tokens", "prompt_tokens", "batch", "kv_total_bytes",
                "prefill_tokens_per_s", "decode_ms_median", "decode_ms_p95", "decode_tokens_per_s", "breakdown_ms",
                "breakdown_cost", "kv_hot_bytes", "rss_peak_bytes", "gb_per_s", "bandwidth_share", "gflop_per_s",
                "flop_share", "top1_agreement", "samples_ms", "fill", "kv_type", "plan"}
BENCH_MACHINE_FIELDS = GENERATE_FIELDS["machine"] | {
    "compiler_flags", "governor", "pinned", "load_per_core", "read_gb_per_s", "fma_gflop_per_s", "peer_version",
    "model", "model_sha256_prefix"}
# Of every record: what names its cell, what it fed, what its cache held and did.
EVAL_FIELDS = {"schema", "task", "model", "model_sha256_prefix", "policy", "plan", "budget_tokens", "page_tokens",
               "digest", "topk_pages", "kv_group", "sink_pages", "window_pages", "dense_layers", "kv_type", "feed",
               "seed", "device", "threads", "commit", "record_id", "tokens_context", "tokens_question",
               "tokens_generated", "kv_hot_bytes", "kv_total_bytes", "kv_step_bytes", "digest_bytes", "zone",
               "hot_tokens_per_layer_mean", "recalls_per_step_mean", "wall_ms", "error"}


def run(*args, **kwargs):
    return subprocess.run([BINARY, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=TIMEOUT_S, **kwargs)


def generate(*args, **kwargs):
    return run("generate", "-m", SMOLLM2, *args, **kwargs)


class Cli(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def file(self, name, content):
        path = os.path.join(self.folder.name, name)
        with open(path, "wb") as f:
            f.write(content)
        return path

    def fails(self, result, code, *words):
        """The command ended with `code`, one line on stderr that holds `words`, and nothing on stdout."""
        message = result.stderr.decode("utf-8", "replace")
        self.assertEqual(result.returncode, code, message)
        self.assertEqual(result.stdout, b"")
        self.assertEqual(len(message.splitlines()), 1, message)
        for word in words:
            self.assertIn(word, message)

    # --- usage: 2
    def test_commands(self):
        self.fails(run(), 2, "--help")
        self.fails(run("genrate"), 2, "genrate", "did you mean generate?")
        self.assertEqual(run("--version").stdout.split()[0], b"arkvale")

    def test_help_shows_defaults(self):
        for command in ("generate", "chat", "bench", "inspect", "eval", "synth"):
            result = run(command, "--help")
            self.assertEqual((result.returncode, result.stderr), (0, b""))
        text = run("generate", "--help").stdout.decode()
        for word in ("--kv-budget", "4096", "cuboid-mean", "half of RAM", "256"):
            self.assertIn(word, text)

    def test_unknown_flag_names_the_nearest(self):
        self.fails(generate("-p", "a", "--kv-bugdet", "64"), 2, "--kv-bugdet", "did you mean --kv-budget?")
        self.fails(run("generate", "--modell=x"), 2, "--modell", "did you mean --model?")
        self.fails(run("generate", "--zzzzzzzzz"), 2, "--zzzzzzzzz")

    def test_missing_and_doubled_arguments(self):
        self.fails(run("generate", "-p", "a"), 2, "--model")
        self.fails(generate(), 2, "-p TEXT or -f FILE")
        self.fails(generate("-p", "a", "-f", NOVEL), 2, "-p TEXT or -f FILE")
        self.fails(generate("-p", "a", "stray"), 2, "stray")
        self.fails(generate("-p"), 2, "-p")

    def test_bad_values(self):
        for flag, value, word in [
                ("--kv-page", "48", "48"), ("--kv-page", "x", "x"), ("--kv-budget", "100", "100"),
                ("--kv-budget", "-5", "-5"), ("--kv-policy", "fulll", "fulll"), ("--kv-digest", "cube", "cuboid-mean"),
                ("--kv-topk", "many", "many"), ("--kv-topk", "128", "128"), ("--kv-sinks", "-1", "-1"),
                ("--kv-window", "0", "0"), ("--kv-dense-layers", "31", "31"), ("--kv-group", "2", "2"),
                ("--kv-host-mem", "1 potato", "potato"), ("--kv-opt", "attend", "attend"),
                ("--kv-opt", "colour=red", "colour"), ("--ctx", "999999", "999999"), ("--threads", "-1", "-1"),
                ("--device", "cuda", "cuda"), ("-n", "0", "0"), ("--temp", "-1", "-1"), ("--top-p", "2", "2")]:
            with self.subTest(flag=flag, value=value):
                self.fails(generate("-p", "a", flag, value), 2, word)

    def test_empty_and_too_long_prompts(self):
        self.fails(generate("-p", ""), 2, "empty")
        self.fails(generate("-f", self.file("empty.txt", b"")), 2, "empty")
        self.fails(generate("-f", NOVEL, "--ctx", "1024"), 2, "limit 1024")
        huge = self.file("huge.txt", b"")
        os.truncate(huge, 10 << 30)
        self.fails(generate("-f", huge), 2, "10737418240 bytes")
        with open("/dev/zero", "rb") as endless:
            self.fails(generate("-f", "-", stdin=endless), 2, "cannot fit")

    def test_invalid_utf8(self):
        self.fails(generate("-p", b"abc\xff"), 2, "--prompt", "byte 3")
        self.fails(generate("-p", "a", "-q", b"\xc3("), 2, "--question", "byte 0")
        self.fails(generate("-f", self.file("bad.txt", b"0123456789\xe2\x82x")), 3, "bad.txt", "byte 10")

    def test_synth(self):
        path = os.path.join(self.folder.name, "tiny.gguf")
        made = run("synth", "--arch", "qwen3moe", "-o", path)
        self.assertEqual((made.returncode, made.stdout, made.stderr), (0, b"", b""))
        facts = json.loads(run("inspect", "--json", path).stdout)
        self.assertEqual((facts["architecture"], facts["unsupported"]), ("qwen3moe", None))
        self.assertGreater(facts["n_experts"], facts["n_experts_used"])
        answer = run("generate", "-m", path, "-p", "abc", "-n", "4", "--json", "--quiet")
        self.assertEqual(json.loads(answer.stdout)["tokens"]["generated"], 4)
        self.fails(run("synth", "--arch", "bert", "-o", path), 2, "bert", "qwen3moe")
        self.fails(run("synth", "--type", "q9", "-o", path), 2, "q9")
        self.fails(run("synth"), 2, "--output")
        self.fails(run("synth", "-o", os.path.join(self.folder.name, "no/folder.gguf")), 3, "no/folder.gguf")

    def plan(self, name, fingerprint, budgets, **changes):
        """A plan file for arkvale with pages of 8; a budget of None is a layer that keeps everything."""
        layers = [b and {"budget_tokens": b, "topk_pages": 0} for b in budgets]
        plan = {"version": 1, "kind": "arkvale", "model_fingerprint": fingerprint, "page_tokens": 8, "window_tokens": 8,
                "layers": layers, "made_by": {"model": "tiny"}, **changes}
        return self.file(name, json.dumps(plan).encode())

    def test_plans(self):
        model = os.path.join(self.folder.name, "tiny.gguf")
        self.assertEqual(run("synth", "-o", model).returncode, 0)
        facts = json.loads(run("inspect", "--json", model).stdout)
        n_layers, fingerprint = facts["n_layers"], facts["fingerprint"]
        budgets = [None] + [64] * (n_layers - 2) + [96]
        good = self.plan("good.json", fingerprint, budgets)
        mean = (64 * (n_layers - 2) + 96 + (n_layers - 1) // 2) // (n_layers - 1)

        def tiny(plan, *args):
            return run("generate", "-m", model, "-p", "abcdefgh" * 40, "-n", "4", "--quiet", "--json", "--kv-plan",
                       plan, *args)
        answer = json.loads(tiny(good).stdout)
        self.assertEqual((answer["kv"]["policy"], answer["kv"]["budget_tokens"], answer["kv"]["page_tokens"],
                          answer["kv"]["plan"]), ("arkvale", mean, 8, good))
        self.assertLess(answer["kv"]["hot_bytes"], answer["kv"]["full_bytes"])
        self.fails(tiny(good, "--kv-budget", "512"), 2, "--kv-budget 512", str(mean), good)
        self.fails(tiny(good, "--kv-policy", "h2o"), 2, "--kv-policy h2o", "arkvale", good)
        self.fails(tiny(good, "--kv-page", "16"), 2, "--kv-page 16", "8", good)
        self.assertEqual(tiny(good, "--kv-topk", "2", "--kv-policy", "arkvale", "--kv-page", "8").returncode, 0)
        other = self.plan("other.json", "0123456789abcdef", budgets)
        self.fails(tiny(other), 3, other, "0123456789abcdef", fingerprint)
        with open(good, "rb") as file:
            truncated = self.file("truncated.json", file.read()[:-30])
        for command in (tiny(truncated), run("inspect", truncated)):
            self.fails(command, 3, truncated)
        self.fails(tiny(self.plan("short.json", fingerprint, budgets[1:])), 3, "short.json", "layers")
        self.fails(tiny(self.plan("huge.json", fingerprint, [1 << 40] * n_layers)), 3, "huge.json", str(1 << 40))
        self.fails(tiny(self.plan("tiny.json", fingerprint, [8] * n_layers)), 2, "tiny.json", "8 tokens")
        self.fails(tiny("/nowhere/plan.json"), 3, "/nowhere/plan.json")

        facts = json.loads(run("inspect", good, "--json").stdout)
        self.assertEqual((facts["kind"], facts["for"], facts["n_planned_layers"], facts["largest_tokens"]),
                         ("plan", "arkvale", n_layers - 1, 96))
        text = run("inspect", good).stdout.decode()
        self.assertIn("█", text)
        self.fails(run("inspect", self.file("notes.txt", b"hello")), 3, "notes.txt", "GGUF", "plan")

    def test_plan_command(self):
        out = os.path.join(self.folder.name, "plan.json")
        words = "once upon a time there was a king who had three sons "
        lines = {name: self.file(name + ".jsonl", text.encode()) for name, text in (
            ("none", ""), ("blank", "\n \n"), ("short", '{"text": "no"}\n'), ("broken", '{"text": 1}\n'),
            ("good", "".join(json.dumps({"text": words * n}) + "\n" for n in (20, 1, 24))))}

        def plan(*args, path=out):
            return run("plan", "-m", SMOLLM2, "--threads", "2", "--quiet", "--out", path, *args)
        good = ["--samples", lines["good"], "--budget", "64"]
        for args, code, *expected in (
                (["--budget", "64"], 2, "--samples"), (["--samples", lines["good"]], 2, "--budget", "--retention"),
                (["--samples", lines["none"], "--budget", "64"], 3, lines["none"], "no sample"),
                (["--samples", lines["blank"], "--budget", "64"], 3, lines["blank"], "no sample"),
                (["--samples", lines["broken"], "--budget", "64"], 3, lines["broken"] + ":1", '"text"'),
                (["--samples", lines["short"], "--retention", "0.7"], 3, "short.jsonl:1", "window", "a longer one"),
                (["--samples", lines["short"], "--budget", "64"], 3, "short.jsonl:1", "a budget of 64", "longer ones"),
                (["--text", "/nowhere.txt", "--budget", "64"], 3, "/nowhere.txt"),
                ([*good[:2], "--budget", "8"], 2, "240 tokens for 30 layers", "9 each"),
                ([*good[:2], "--budget", "64", "--for", "arkvale"], 2, "1920 tokens for 30 layers", "192 each"),
                ([*good[:2], "--budget", "1000000"], 3, "good.jsonl:1", "a budget of 1000000", "smaller budget"),
                ([*good[:2], "--total-tokens", "99999999999999"], 2, "99999999999999"),
                ([*good[:2], "--retention", "1.5"], 2, "1.5"), ([*good, "--sample-fraction", "0"], 2, "fraction"),
                ([*good, "--for", "h2o"], 2, "h2o", "xkv or arkvale"), ([*good, "--measure", "x"], 2, "mass or kl")):
            with self.subTest(args=args):
                self.fails(plan(*args), code, *expected)
        self.fails(plan(*good, path="/nowhere/plan.json"), 1, "/nowhere/plan.json", "cannot be written")
        self.fails(plan(*good, path=self.folder.name), 1, self.folder.name, "directory")
        self.assertEqual([name for name in os.listdir(self.folder.name) if name.startswith("plan")], [])

        # Two of three lines are to be measured, but the second fits in the budget.
        made = plan(*good, "--measure", "mass", "--sample-fraction", "0.5", "--json")
        self.assertEqual(made.returncode, 0, made.stderr)
        facts = json.loads(made.stdout)
        self.assertEqual((facts["kind"], facts["measure"], facts["total_tokens"], facts["path"], facts["samples"]),
                         ("xkv", "mass", 30 * 64, out, ["good.jsonl:1"]))
        self.assertIn(b"left out: good.jsonl:2: its 1", made.stderr)
        self.assertEqual(facts["validated"]["n_samples"], 1)
        answer = json.loads(generate("-p", words * 20, "-n", "4", "--quiet", "--json", "--kv-plan", out).stdout)
        self.assertEqual((answer["kv"]["policy"], answer["kv"]["plan"]), ("xkv", out))

    def test_interrupted_plan(self):
        out = os.path.join(self.folder.name, "plan.json")
        for measure in ("mass", "kl"):
            process = subprocess.Popen([BINARY, "plan", "-m", SMOLLM2, "--text", NOVEL, "--budget", "128", "--measure",
                                        measure, "--out", out, "--max-prompt", "8000", "--sample-fraction", "1"],
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            self.wait_until_caught(process.pid)
            time.sleep(1)  # the model is loaded, a sample at work
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=TIMEOUT_S)
            self.assertEqual((process.returncode, errors, os.path.exists(out)), (130, b"", False))

    def test_grammars(self):
        yes_no = self.file("yes_no.gbnf", b'root ::= "yes" | "no"\n')
        schema = self.file("pet.json", b'{"type": "object", "properties": {"legs": {"type": "integer", "minimum": 0, '
                           b'"maximum": 8}, "kind": {"enum": ["cat", "dog"]}}, "required": ["legs", "kind"]}')
        answer = json.loads(generate("-p", "Is the sky blue?", "--grammar", yes_no, "--json").stdout)
        self.assertIn(answer["text"], ("yes", "no"))
        self.assertEqual(answer["stop_reason"], "eog")
        answer = json.loads(generate("-p", "A pet as JSON: ", "--json-schema", schema, "--temp", "1", "--json").stdout)
        pet = json.loads(answer["text"])
        self.assertIn(pet["kind"], ("cat", "dog"))
        self.assertIn(pet["legs"], range(9))
        self.fails(generate("-p", "a", "--grammar", yes_no, "--json-schema", schema), 2, "not both")
        self.fails(generate("-p", "a", "--grammar", self.file("bad.gbnf", b"root = x")), 2, "::=", "line 1, column 6")
        self.fails(generate("-p", "a", "--json-schema", yes_no), 2, "JSON schema", "line 1")
        self.fails(generate("-p", "a", "--grammar", "/nowhere.gbnf"), 3, "/nowhere.gbnf")
        self.fails(generate("-p", "a", "--json-schema", self.file("blank.json", b" \n")), 3, "blank.json")

    # --- input files: 3
    def test_bad_input_files(self):
        self.fails(generate("-f", "/nowhere/x.txt"), 3, "/nowhere/x.txt")
        self.fails(generate("-f", self.folder.name), 3, "directory")
        with open(SMOLLM2, "rb") as f:
            truncated = self.file("truncated.gguf", f.read(1 << 20))
        for path in (truncated, NOVEL, "/nowhere/m.gguf", self.file("none.gguf", b""), self.folder.name):
            with self.subTest(path=path):
                self.fails(run("generate", "-m", path, "-p", "a"), 3, path)
                self.fails(run("inspect", path), 3, path)
                self.fails(run("bench", "-m", path, "--text", NOVEL), 3, path)

    # --- resources: 4
    def test_memory_limit(self):
        self.fails(generate("-f", NOVEL, "--kv-host-mem", "8MiB"), 4)

    def test_memory_is_checked_before_the_prefill(self):
        self.fails(generate("-p", "Once", "-n", "8000", "--kv-host-mem", "8MiB"), 4, "need 177.", "> limit 8.0 MiB",
                   "--kv-host-mem")
        self.fails(generate("-f", NOVEL, "--kv-hot-mem", "1MiB", "--kv-budget", "auto"), 4, "--kv-hot-mem")

    # --- hot memory, audit, longer contexts
    def start_of_novel(self):
        with open(NOVEL, "rb") as f:
            return self.file("start.txt", f.read(3000))

    def test_budget_follows_the_hot_memory(self):
        self.fails(generate("-p", "a", "--kv-budget", "auto"), 2, "--kv-hot-mem")
        self.fails(generate("-p", "a", "--kv-budget", "Auto"), 2, "Auto")
        self.fails(generate("-p", "a", "--kv-hot-mem", "0"), 2, "--kv-hot-mem")
        budgets = []
        for mib in (8, 12):
            result = generate("-f", self.start_of_novel(), "-q", "\nThe captain", "-n", "4", "--kv-budget", "auto",
                              "--kv-hot-mem", f"{mib}MiB", "--json", "--quiet")
            self.assertEqual((result.returncode, result.stderr), (0, b""))
            kv = json.loads(result.stdout)["kv"]
            self.assertEqual(kv["budget_tokens"] % 32, 0)
            self.assertLessEqual(kv["hot_bytes_peak"] + kv["digest_bytes"], mib << 20)
            budgets.append(kv["budget_tokens"])
        self.assertLess(0, budgets[0])
        self.assertLess(budgets[0], budgets[1])

    def test_audit(self):
        result = generate("-f", self.start_of_novel(), "-q", "\nThe captain", "-n", "4", "--kv-budget", "256",
                          "--kv-audit", "2", "--json", "--quiet")
        self.assertEqual(result.returncode, 0, result.stderr)
        kv = json.loads(result.stdout)["kv"]
        for field in ("audit_recall", "audit_mass_recall"):
            self.assertGreater(kv[field], 0)
            self.assertLessEqual(kv[field], 1)

    def test_rope_scaling(self):
        self.fails(generate("-p", "a", "--rope-scaling", "ntk"), 2, "ntk", "none, linear or yarn")
        for scale in ("-1", "0", "nan", "inf", "x"):
            self.fails(generate("-p", "a", "--rope-scale", scale), 2, scale)
        self.fails(generate("-p", "a", "--ctx", "16384"), 2, "16384", "8192", "--rope-scale")
        for name in ("linear", "yarn"):
            result = generate("-p", "The capital of France is", "-n", "2", "--ctx", "16384", "--rope-scaling", name,
                              "--rope-scale", "2", "--quiet")
            self.assertEqual((result.returncode, result.stderr), (0, b""))

    def test_unknown_kv_names_list_the_known(self):
        for flag, value, word in [
                ("--kv-policy", "dense", "quest"), ("--kv-digest", "code3", "code2"), ("--kv-audit", "-1", "-1"),
                ("--kv-opt", "combine=best", "softmax-pinned"), ("--kv-opt", "digest-type=q4", "q8"),
                ("--kv-opt", "rank-every=0", "1 to 64"), ("--kv-opt", "zone=x", "or all"),
                ("--kv-opt", "zone=8", "whole pages"), ("--kv-opt", "scan=scan", "rank-every")]:
            wrong = value.split("=")[-1]
            with self.subTest(flag=flag, value=value):
                self.fails(generate("-p", "a", flag, value), 2, wrong, word)

    # --- output: 1
    def test_unwritable_output(self):
        for args in (["generate", "-m", SMOLLM2, "-p", "a", "-n", "4"],
                     ["generate", "-m", SMOLLM2, "-p", "a", "-n", "4", "--json"], ["inspect", SMOLLM2],
                     ["--version"], ["generate", "--help"]):
            with self.subTest(args=args), open("/dev/full", "wb") as full:
                result = subprocess.run([BINARY, *args], stdout=full, stderr=subprocess.PIPE, timeout=TIMEOUT_S)
                self.assertEqual(result.returncode, 1)
                self.assertIn(b"No space left", result.stderr)

    def test_closed_output_ends_quietly(self):
        read_end, write_end = os.pipe()
        os.close(read_end)
        with os.fdopen(write_end, "wb") as closed:
            result = subprocess.run([BINARY, "generate", "-m", SMOLLM2, "-p", "Once upon", "-n", "100000"],
                                    stdout=closed, stderr=subprocess.PIPE, timeout=TIMEOUT_S)
        self.assertEqual((result.returncode, result.stderr), (1, b""))

    # --- results
    def test_generate_json(self):
        result = generate("-f", NOVEL, "-q", "\nThe captain", "-n", "8", "--kv-budget", "300", "--json", "--quiet")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn(b"rounded down to 288", result.stderr)
        document = json.loads(result.stdout)
        self.assertEqual(set(document), set(GENERATE_FIELDS))
        for name, fields in GENERATE_FIELDS.items():
            if fields is not None:
                self.assertEqual(set(document[name]), fields, name)
        self.assertEqual(document["tokens"]["generated"], len(document["token_ids"]))
        kv = document["kv"]
        self.assertEqual((kv["policy"], kv["budget_tokens"], kv["audit_recall"]), ("arkvale", 288, None))
        self.assertGreater(kv["evicted_pages"], 0)
        self.assertLess(kv["hot_bytes"], kv["full_bytes"] / 4)

    def test_text_and_json_agree_and_stdin_works(self):
        args = ["-n", "8", "--kv-policy", "full", "--quiet"]
        text = generate("-p", "The capital of France is", *args)
        self.assertEqual((text.returncode, text.stderr), (0, b""))
        piped = generate("-f", "-", "--json", *args, input=b"The capital of France is")
        self.assertEqual(json.loads(piped.stdout)["text"] + "\n", text.stdout.decode())

    def test_sampling_follows_its_seed(self):
        def sample(seed):
            return generate("-p", "Once upon a time", "-n", "12", "--temp", "1.5", "--seed", seed, "--quiet").stdout
        self.assertEqual(sample("1"), sample("1"))
        self.assertNotEqual(sample("1"), sample("2"))

    def test_inspect(self):
        smol = json.loads(run("inspect", SMOLLM2, "--json").stdout)
        self.assertEqual((smol["architecture"], smol["n_layers"], smol["kv_bytes_per_token"]), ("llama", 30, 23040))
        gemma = json.loads(run("inspect", GEMMA, "--json").stdout)
        self.assertEqual((gemma["architecture"], gemma["n_sliding_layers"], gemma["has_chat_template"]),
                         ("gemma3", 15, False))
        self.assertIn("30, all with full attention", run("inspect", SMOLLM2).stdout.decode())

    def bench(self, *args):
        """The rows and the last line of a bench run on the novel, with its bare policies measured once."""
        result = run("bench", "-m", SMOLLM2, "--text", NOVEL, "--rounds", "1", "--json", "--quiet", *args)
        self.assertEqual(result.returncode, 0, result.stderr)
        *rows, last = [json.loads(line) for line in result.stdout.splitlines()]
        for row in rows:
            self.assertLessEqual(BENCH_FIELDS, set(row))
        self.assertEqual(set(last), {"ratios", "growth", "machine"})
        return rows, last

    def test_bench_json(self):
        rows, last = self.bench("--depths", "512", "--prompts", "64", "--budgets", "256", "--peer", "llama.cpp", "-n",
                                "4")
        self.assertEqual([row["engine"] for row in rows], 2 * ["llama.cpp", "arkvale", "arkvale"])
        self.assertEqual(rows[0]["prompt_tokens"], 64)
        for row in rows[:3]:
            # 2 * weights * tokens, but for the embedding, and 30 layers of attention: 64 tokens of 106 million weights.
            self.assertAlmostEqual(row["gflop_per_s"] * row["samples_ms"][0][0] / 1e3, 13.5, delta=0.7)
            self.assertIsNone(row["decode_ms_median"])
            self.assertIsInstance(row["rss_peak_bytes"], type(None), "without --memory")
        self.assertEqual([len(row["samples_ms"][0]) for row in rows[3:]], [3, 3, 3])
        self.assertGreaterEqual(rows[4]["top1_agreement"], 0.75)
        peer, full, arkvale = rows[3:]
        self.assertIn(peer["flash_attention"], (True, False))
        self.assertIsNone(peer["breakdown_ms"])
        for row in (full, arkvale):
            self.assertEqual(set(row["breakdown_ms"]), {"estimate", "select", "recall", "attention", "other"})
            step_ms = row["decode_ms_median"] * (1 + row["breakdown_cost"])
            self.assertAlmostEqual(sum(row["breakdown_ms"].values()), step_ms, delta=0.02 * step_ms)
            self.assertAlmostEqual(row["decode_tokens_per_s"], 1000 / row["decode_ms_median"], places=6)
        read = (full["gb_per_s"] * full["decode_ms_median"] - arkvale["gb_per_s"] * arkvale["decode_ms_median"]) * 1e6
        held = [row["kv_hot_bytes"] + row["digest_bytes"] for row in (full, arkvale)]
        self.assertAlmostEqual(read, held[0] - held[1], delta=2, msg="they read the same weights")
        self.assertEqual(len(last["ratios"]), 6)
        machine = last["machine"]
        self.assertEqual(set(machine), BENCH_MACHINE_FIELDS)
        self.assertGreater(machine["read_gb_per_s"], 0.1)
        self.assertGreater(machine["fma_gflop_per_s"], 0.1)
        self.assertIn("llama.cpp", machine["peer_version"])
        with open(SMOLLM2, "rb") as f:
            self.assertEqual(machine["model_sha256_prefix"], hashlib.sha256(f.read()).hexdigest()[:16])

    def test_bench_batch_and_growth(self):
        rows, last = self.bench("--depths", "192,64,128", "--batch", "2,1", "--budgets", "160", "-n", "3")
        self.assertEqual([(row["depth_tokens"], row["batch"]) for row in rows[::2]],
                         [(64, 1), (64, 2), (128, 1), (128, 2), (192, 1), (192, 2)])
        for one, two in zip(rows[0:2] + rows[4:6], rows[2:4] + rows[6:8]):
            self.assertEqual(two["kv_hot_bytes"], 2 * one["kv_hot_bytes"])
            self.assertAlmostEqual(two["decode_tokens_per_s"], 2000 / two["decode_ms_median"], places=6)
        self.assertEqual([(g["name"], g["batch"]) for g in last["growth"]],
                         [("arkvale full", 1), ("arkvale 160", 1), ("arkvale full", 2), ("arkvale 160", 2)])
        self.assertIsNone(last["growth"][0]["crossover_tokens"])
        self.assertEqual([r["batch"] for r in last["ratios"]], 3 * [1, 2])

    def test_bench_memory(self):
        rows, _ = self.bench("--depths", "32,1024", "--policies", "full", "--peer", "llama.cpp", "-n", "2", "--memory",
                             "--threads", "1")
        for row in rows:
            self.assertGreater(row["rss_peak_bytes"], os.path.getsize(SMOLLM2) * 0.5)
        for small, large in zip(rows[:2], rows[2:]):
            # 992 tokens of 23,040 bytes, less what loading needed for its time.
            self.assertGreater(large["rss_peak_bytes"] - small["rss_peak_bytes"], 4e6)

    def bench_with_child(self, signal_to_parent, signal_to_child):
        """Sends one of the two a signal once the process that measures memory runs; exit code and messages."""
        process = subprocess.Popen([BINARY, "bench", "-m", SMOLLM2, "--text", NOVEL, "--policies", "full", "--rounds",
                                    "1", "-n", "2", "--depths", "64,2048", "--prompts", "", "--memory", "--quiet"],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        children = []
        while not children and process.poll() is None:
            with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="ascii") as f:
                children = f.read().split()
        self.assertEqual(len(children), 1, "the run ended before it was to be ended")
        os.kill(*((process.pid, signal_to_parent) if signal_to_parent else (int(children[0]), signal_to_child)))
        message = process.communicate(timeout=TIMEOUT_S)[1].decode()
        self.assertFalse(os.path.exists(f"/proc/{children[0]}"), "no process stays behind")
        return process.returncode, [line for line in message.splitlines() if not line.startswith("warning")]

    def test_bench_memory_run_that_is_ended(self):
        self.assertEqual(self.bench_with_child(signal.SIGINT, None), (130, []))
        code, message = self.bench_with_child(None, signal.SIGKILL)
        self.assertEqual((code, len(message)), (4, 1))
        self.assertIn("signal 9", message[0])

    def test_bench_random_fill(self):
        rows, _ = self.bench("--depths", "300,600", "--budgets", "160", "--fill", "random", "-n", "3")
        text, _ = self.bench("--depths", "300,600", "--budgets", "160", "-n", "3")
        for random_row, text_row in zip(rows, text):
            self.assertEqual((random_row["fill"], text_row["fill"]), ("random", "text"))
            for field in ("kv_total_bytes", "kv_hot_bytes", "digest_bytes"):
                self.assertEqual(random_row[field], text_row[field], field)

    def test_bench_usage(self):
        for args, word in [(["--depths", "a"], "--depths"), (["--depths", "9000"], "limit 8192"),
                           (["--depths", "", "--prompts", ""], "nothing to measure"), (["--peer", "x"], "llama.cpp"),
                           (["--rounds", "0"], "--rounds"), (["-n", "1"], "--steps"),
                           (["--budgets", "100"], "budget 100"), (["--batch", "0"], "--batch"),
                           (["--batch", "999"], "--batch 999"), (["--fill", "zero"], "--fill 'zero'"),
                           (["--fill", "random", "--peer", "llama.cpp"], "--fill random with --peer"),
                           (["--memory-run", "0,9,0"], "--memory-run '0,9,0'"),
                           (["--memory-run", "0,1"], "cell,contender,setting")]:
            with self.subTest(args=args):
                result = run("bench", "-m", SMOLLM2, "--text", NOVEL, *args)
                self.assertEqual((result.returncode, result.stdout), (2, b""))
                self.assertIn(word, result.stderr.decode())

    # --- eval
    def read(self, name):
        with open(os.path.join(self.folder.name, name), encoding="utf-8") as f:
            return f.read()

    def test_eval_fidelity(self):
        args = ["eval", "fidelity", "-m", SMOLLM2, "--text", NOVEL, "--context", "512", "--steps", "3", "--windows",
                "1", "--copy", "--budgets", "192,1024", "--json", "--quiet"]
        result = run(*args, "--out", self.folder.name, "--steps-out", os.path.join(self.folder.name, "steps.jsonl"))
        self.assertEqual((result.returncode, result.stderr), (0, b""))
        *records, last = [json.loads(line) for line in result.stdout.splitlines()]
        records = [line["record"] for line in records]
        self.assertEqual(len(records), 3 * 3, "a window and its 2 copy runs, 3 cells")
        for record in records:
            self.assertLessEqual(EVAL_FIELDS | {"kl_mean", "kl_p99", "same_top", "ppl", "ppl_dense"}, set(record))
            self.assertIsNone(record["error"])
        self.assertEqual({r["copy_start"] for r in records}, {None, 128, 256})
        with open(SMOLLM2, "rb") as f:
            self.assertEqual(records[0]["model_sha256_prefix"], hashlib.sha256(f.read()).hexdigest()[:16])
        dense, small, large = last["summary"]["cells"]
        self.assertEqual((dense["kl_mean"], large["kl_mean"], large["kl_copy"]), (0, 0, 0))
        self.assertTrue(large["at_floor"])
        self.assertGreater(small["kl_mean"], 0)
        self.assertGreater(last["summary"]["kl_floor"], 0)
        self.assertEqual((small["steps"], small["steps_copy"], len(small["kl_windows"])), (3, 256, 1))
        self.assertGreater(small["estimate_select_share"], 0)
        self.assertEqual([json.loads(line)["record"] for line in self.read("records.jsonl").splitlines()], records)
        self.assertEqual(json.loads(self.read("summary.json")), last)
        self.assertIn("| 512 | arkvale | 192 |", self.read("summary.md"))
        self.assertEqual(len(self.read("steps.jsonl").splitlines()), 3 * (3 + 2 * 128))
        # Killed in the last line: the other cells of its copy run are kept, and so are their steps.
        steps, whole = self.read("steps.jsonl"), self.read("records.jsonl")
        self.file("records.jsonl", whole[:-500].encode())
        again = run(*args, "--out", self.folder.name, "--steps-out", os.path.join(self.folder.name, "steps.jsonl"))
        self.assertEqual((again.returncode, again.stderr), (0, b""))
        self.assertEqual(self.without_times(again.stdout), self.without_times(result.stdout))
        kept = whole[:whole.rindex("\n", 0, -500) + 1]
        self.assertEqual(len(kept.splitlines()), 8)
        self.assertTrue(self.read("records.jsonl").startswith(kept))
        self.assertEqual(len(self.read("records.jsonl").splitlines()), 9)
        self.assertEqual(self.without_times(self.read("steps.jsonl").encode()), self.without_times(steps.encode()))

    def without_times(self, lines):
        """JSON lines of `eval fidelity` without what differs from run to run."""
        times = {"wall_ms", "step_ms", "step_ms_median", "estimate_select_ms", "estimate_select_share"}

        def strip(pairs):
            return {name: value for name, value in pairs if name not in times}
        return [json.dumps(json.loads(line, object_pairs_hook=strip)) for line in lines.splitlines()]

    def test_eval_fidelity_goes_on_where_it_was_interrupted(self):
        args = ["eval", "fidelity", "-m", SMOLLM2, "--text", NOVEL, "--context", "200", "--windows", "2", "--policies",
                "arkvale,streaming", "--budgets", "96", "--pages", "16", "--json", "--quiet", "--out", self.folder.name]
        first = run(*args, "--steps", "5")
        self.assertEqual((first.returncode, first.stderr), (0, b""))
        lines = self.read("records.jsonl").splitlines(keepends=True)
        self.assertEqual(len(lines), 2 * 3)
        versus = json.loads(first.stdout.splitlines()[-1])["summary"]["versus"]
        self.assertEqual([(row["versus"], row["windows"]) for row in versus], [("streaming", 2)])
        self.assertEqual(run(*args, "--steps", "5").stdout, first.stdout, "nothing ran, times included")
        for kept, rest in ((3, ""), (4, lines[4][:100]), (1, "")):
            with self.subTest(kept=kept):
                self.file("records.jsonl", ("".join(lines[:kept]) + rest).encode())
                again = run(*args, "--steps", "5")
                self.assertEqual(self.without_times(again.stdout), self.without_times(first.stdout))
                self.assertEqual(again.stdout.splitlines()[:kept], first.stdout.splitlines()[:kept])
                self.assertEqual(len(self.read("records.jsonl").splitlines()), 6)
        # Other steps are other records, of which the first run's are no part; and these are still there.
        self.file("records.jsonl", "".join(lines).encode())
        other = run(*args, "--steps", "4")
        cells = json.loads(other.stdout.splitlines()[-1])["summary"]["cells"]
        self.assertEqual([(c["windows"], c["steps"]) for c in cells], [(2, 8)] * 3)
        self.assertEqual(len(self.read("records.jsonl").splitlines()), 12)
        self.assertEqual(run(*args, "--steps", "5").stdout, first.stdout)
        # A log from before records held their steps.
        records = [json.loads(line)["record"] for line in lines]
        for record in records:
            del record["steps"]
        self.file("records.jsonl", "".join(json.dumps({"record": r}) + "\n" for r in records).encode())
        old = run(*args, "--steps", "5")
        self.assertEqual(self.without_times(old.stdout), self.without_times(first.stdout))

    def test_eval_fidelity_in_chunks_scores_what_eval_perplexity_does(self):
        for model in (SMOLLM2, GEMMA):  # without and with a BOS
            def ppl(task, *args):
                result = run("eval", task, "-m", model, "--text", NOVEL, *args, "--policies", "full", "--json",
                             "--quiet")
                self.assertEqual((result.returncode, result.stderr), (0, b""))
                *records, last = [json.loads(line) for line in result.stdout.splitlines()]
                return [line["record"]["ppl"] for line in records] + [last["summary"]["cells"][0]["ppl"]]
            chunks, halves = ppl("fidelity", "--llama-chunks", "64", "--windows", "2"), ppl(
                "perplexity", "--chunk", "64", "--limit", "2")
            self.assertEqual(len(chunks), 3)
            for a, b in zip(chunks, halves):
                self.assertAlmostEqual(a / b, 1, delta=1e-12)
            self.assertNotAlmostEqual(chunks[0], chunks[1])

    def test_eval_passkey_and_its_second_run(self):
        args = ["eval", "passkey", "-m", SMOLLM2, "--lengths", "512", "--depths", "2", "--budgets", "256", "--json",
                "--quiet", "--out", self.folder.name]
        result = run(*args)
        self.assertEqual((result.returncode, result.stderr), (0, b""))
        *records, last = [json.loads(line) for line in result.stdout.splitlines()]
        records = [line["record"] for line in records]
        self.assertEqual([(r["policy"], r["depth"]) for r in records],
                         [("full", 0), ("arkvale", 0), ("full", 0.5), ("arkvale", 0.5)])
        for record in records:
            self.assertLessEqual(EVAL_FIELDS | {"length_tokens", "depth", "filler_chars", "key", "text", "correct",
                                                "strict"}, set(record))
            self.assertIn(record["tokens_context"] + record["tokens_question"] + 16, range(505, 513))
        self.assertEqual([c["records"] for c in last["summary"]["cells"]], [2, 2])
        self.assertEqual(last["summary"]["cells"][0]["accuracy"], 1)
        again = run(*args)
        self.assertEqual(again.stdout, result.stdout, "every record was there already, times included")
        more = run(*args[:-2], "--max-new", "4")
        self.assertEqual(json.loads(more.stdout.splitlines()[0])["record"]["tokens_generated"], 4)

    def test_eval_ruler_and_its_interrupted_run(self):
        args = ["eval", "ruler", "-m", SMOLLM2, "--tasks", "S-1,niah_multikey_1", "--lengths", "512", "--samples", "2",
                "--budgets", "256", "--book", NOVEL, "--json", "--out", self.folder.name]
        process = subprocess.Popen([BINARY, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=TIMEOUT_S)
        self.assertEqual((process.returncode, errors), (130, b""))
        result = run(*args)
        self.assertEqual((result.returncode, result.stderr), (0, b""))
        self.assertTrue(result.stdout.startswith(first + rest), "those records were there already, times included")
        *records, last = [json.loads(line) for line in result.stdout.splitlines()]
        records = [line["record"] for line in records]
        self.assertEqual([(r["ruler_task"], r["policy"]) for r in records],
                         2 * [("niah_single_1", "full"), ("niah_single_1", "arkvale")] +
                         2 * [("niah_multikey_1", "full"), ("niah_multikey_1", "arkvale")])
        for record in records:
            self.assertLessEqual(EVAL_FIELDS | {"ruler_task", "length_tokens", "haystack", "refs", "pred", "score"},
                                 set(record))
            self.assertLessEqual(record["tokens_context"] + record["tokens_question"] + 128, 512)
        cells = last["summary"]["cells"]
        self.assertEqual([(c["ruler_task"], c["policy"], c["records"]) for c in cells],
                         [("niah_single_1", "full", 2), ("niah_single_1", "arkvale", 2),
                          ("niah_multikey_1", "full", 2), ("niah_multikey_1", "arkvale", 2)])
        self.assertEqual((cells[0]["score"], cells[1]["score_dense"]), (100, 100))
        self.assertIn("| 512 | niah_single_1 | full |", self.read("summary.md"))

    def quality(self, task, *args, context=512, steps=3, layers="2,9"):
        result = run("eval", task, "-m", SMOLLM2, "--text", NOVEL, "--context", str(context), "--steps", str(steps),
                     "--layers", layers, "--json", "--quiet", "--out", self.folder.name, *args)
        self.assertEqual((result.returncode, result.stderr), (0, b""))
        *records, last = [json.loads(line) for line in result.stdout.splitlines()]
        records = [line["record"] for line in records]
        for record in records:
            self.assertLessEqual(EVAL_FIELDS, set(record))
            self.assertEqual((record["task"], record["tokens_context"], record["steps"]), (task, context, steps))
        self.assertEqual([json.loads(line)["record"] for line in self.read("records.jsonl").splitlines()], records)
        return records, last["summary"]["cells"]

    def test_eval_recall(self):
        records, rows = self.quality("recall", "--budgets", "192,1024", "--digests", "centroid,code2", "--ks", "1,2,99")
        self.assertEqual(len(records), 2 * 2 * 2 * 2, "budgets, digests, kv groups, page sets")
        self.assertEqual({(r["kv_group"], r["page_set"]) for r in records},
                         {(1, "all"), (1, "candidates"), (3, "all"), (3, "candidates")})
        for row in rows:
            self.assertEqual([layer["layer"] for layer in row["layers"]], [2, 9])
            self.assertIsNone(row["recall_at"]["99"], "there are 16 pages")
            self.assertEqual(row["mass_recall"] is None, row["budget_tokens"] == 1024)
            if row["page_set"] == "all":
                self.assertEqual((row["chance"]["1"], row["chance"]["2"]), (1 / 16, 1 / 8))
        self.assertIn("| 32 | 3 | candidates | code2 |", self.read("summary.md"))

    def test_eval_sparsity_dynamics_and_recalls(self):
        records, rows = self.quality("sparsity")
        self.assertEqual([row["layer"] for row in rows], [2, 9])
        self.assertEqual((records[0]["policy"], records[0]["pages_mean"]), ("full", 17))
        records, rows = self.quality("dynamics", "--page-ids", "0,5", "--topks", "4", "--capacities", "8")
        self.assertEqual([(r["layer"], r["page"], r["step"]) for r in records][:4],
                         [(2, 0, 0), (2, 0, 1), (2, 0, 2), (2, 5, 0)])
        self.assertEqual((rows[0]["topk_pages"], rows[0]["capacity_pages"], rows[0]["revival"]), (4, 8, None))
        records, rows = self.quality("recalls", "--topks", "4,6", "--capacities", "4,6,32")
        self.assertEqual([(r["capacity_pages"], r["topk_pages"]) for r in rows if r["kv_group"] == 3],
                         [(6, 4), (6, 6), (32, 4), (32, 6)], "sinks, window and a place are 5 pages")
        self.assertEqual({r["recalls_per_step"] for r in rows if r["capacity_pages"] == 32}, {0})
        records, rows = self.quality("recalls", "--topks", "4,6", "--capacities", "4,6", "--simulate")
        self.assertEqual([(r["ranking"], r["capacity_pages"], r["topk_pages"]) for r in rows],
                         [("true", 4, 4), ("true", 6, 4), ("true", 6, 6)])

    def test_eval_quality_resumes(self):
        def timeless(rows):
            return [{name: value for name, value in row.items() if name != "wall_ms"} for row in rows]

        for task, *args in [("recall", "--budgets", "192", "--digests", "centroid,code2", "--ks", "1,2,99"),
                            ("sparsity", "--pages", "16,32"), ("dynamics", "--page-ids", "0,5"),
                            ("recalls", "--topks", "4,6", "--capacities", "6,32")]:
            args = [task, "--limit", "2", *args]
            records, rows = self.quality(*args)
            text = self.read("records.jsonl")
            lines = text.splitlines(keepends=True)
            n = len(lines) // 2
            self.assertEqual([r["record_id"][-1] for r in records], ["0"] * n + ["1"] * n)
            first = "".join(lines[:n])
            cuts = {"in the last line": len(text) - 40}
            if task == "recall":
                cuts |= {"between the records": len(first), "between two lines": len(first + lines[n])}
            for name, cut in cuts.items():
                with self.subTest(task=task, cut=name):
                    self.file("records.jsonl", text[:cut].encode())
                    again, same_rows = self.quality(*args)
                    self.assertTrue(self.read("records.jsonl").startswith(first), "it was there already, times included")
                    self.assertNotEqual(again[n]["wall_ms"], records[n]["wall_ms"])
                    self.assertEqual(timeless(again), timeless(records))
                    self.assertEqual(timeless(same_rows), timeless(rows))
            with self.subTest(task=task, cut="nowhere"):
                self.file("records.jsonl", text.encode())
                self.assertEqual(self.quality(*args), (records, rows), "all was there already, times included")

    def test_eval_quality_resumes_nothing_else(self):
        for task, changes in {
                "recall": [["--ks", "1,3"], ["--kv-group", "1"], ["--budgets", "192"], ["--rope-scale", "2"]],
                "dynamics": [["--page-ids", "0"], ["--topks", "3"], ["--capacities", "7"], {"steps": 2},
                             {"layers": "2"}, {"context": 480}]}.items():
            records, _ = self.quality(task)
            text = self.read("records.jsonl")
            for change in changes:
                with self.subTest(task=task, change=change):
                    self.file("records.jsonl", text.encode())
                    args, sizes = ([], change) if isinstance(change, dict) else (change, {})
                    other, _ = self.quality(task, *args, **sizes)
                    self.assertFalse({r["wall_ms"] for r in records} & {r["wall_ms"] for r in other})

    def test_eval_quality_usage(self):
        recall = ["eval", "recall", "-m", SMOLLM2]
        novel = recall + ["--text", NOVEL]
        for args, word in [
                (recall, "--data"), (novel + ["--data", "."], "--text or --data"),
                (novel + ["--context", "8190"], "longer text"), (novel + ["--layers", "30"], "30 layers"),
                (novel + ["--layers", "1", "--kv-dense-layers", "2"], "dense"),
                (novel + ["--policies", "quest"], "arkvale"), (novel + ["--kv-opt", "combine=max"], "mean"),
                (novel + ["--ks", "0"], "--ks"), (recall + ["--data", ".", "--sets", "qaspers"], "qasper")]:
            with self.subTest(args=args[4:]):
                self.fails(run(*args), 2, word)
        self.fails(run(*recall, "--data", "/nowhere"), 3, "/nowhere")
        self.fails(run("eval", "dynamics", "-m", SMOLLM2, "--text", NOVEL, "--context", "512", "--steps", "3",
                       "--page-ids", "16,17"), 2, "--page-ids 17", "17 pages")

    def test_eval_perplexity(self):
        args = ["eval", "perplexity", "-m", SMOLLM2, "--text", NOVEL, "--chunk", "400", "--limit", "2", "--budgets",
                "192,512", "--json", "--out", self.folder.name]
        result = run(*args)
        self.assertEqual((result.returncode, result.stderr), (0, b""))
        *records, last = [json.loads(line) for line in result.stdout.splitlines()]
        records = [line["record"] for line in records]
        self.assertEqual([(r["chunk"], r["budget_tokens"]) for r in records],
                         [(0, None), (0, 192), (0, 512), (1, None), (1, 192), (1, 512)])
        for record in records:
            self.assertLessEqual(EVAL_FIELDS | {"text", "chunk", "nll_mean_nats", "ppl"}, set(record))
            self.assertEqual((record["tokens_context"], record["steps"]), (200, 199))
        full, small, whole = last["summary"]["cells"]
        self.assertEqual((full["ppl"], 1), (whole["ppl"], whole["ppl_ratio"]), "the budget holds everything")
        self.assertNotEqual(full["ppl"], small["ppl"])
        self.assertGreater(full["ppl"], 1)
        self.assertLess(full["ppl"], 200)
        self.assertEqual(run(*args).stdout, result.stdout, "every record was there already, times included")

    def test_eval_usage(self):
        self.fails(run("eval"), 2, "no task")
        self.fails(run("eval", "passkeys"), 2, "did you mean passkey?")
        self.assertIn(b"fidelity", run("eval", "--help").stdout)
        self.fails(run("eval", "fidelity", "-m", SMOLLM2), 2, "--text")
        fidelity = ["eval", "fidelity", "-m", SMOLLM2, "--text", NOVEL]
        passkey = ["eval", "passkey", "-m", SMOLLM2]
        ruler = ["eval", "ruler", "-m", SMOLLM2]
        perplexity = ["eval", "perplexity", "-m", SMOLLM2, "--text", NOVEL]
        for args, word in [
                (fidelity + ["--context", "8190"], "limit 8192"), (fidelity + ["--context", "x"], "--context"),
                (fidelity + ["--context", "200", "--copy"], "256"), (fidelity + ["--preset", "tiny"], "standard"),
                (fidelity + ["--budgets", "100"], "budget 100"), (fidelity + ["--digests", "cube"], "cuboid-mean"),
                (fidelity[:-1] + [self.file("short.txt", b"A short text.")], "use a longer text"),
                (fidelity[:-1] + [NOVEL + "," + NOVEL, "--preset", "standard", "--context", "200"], "name each text"),
                (fidelity + ["--llama-chunks", "3"], "--llama-chunks 3"),
                (fidelity + ["--llama-chunks", "9000"], "to 8192"),
                (fidelity + ["--llama-chunks", "512", "--context", "64"], "leave --context out"),
                (fidelity + ["--llama-chunks", "512", "--steps", "4"], "leave --steps out"),
                (fidelity + ["--llama-chunks", "512", "--copy"], "leave --copy out"),
                (fidelity[:-1] + [self.file("short.txt", b"A short text."), "--llama-chunks", "64"], "no chunk"),
                (passkey + ["--lengths", "9000"], "limit 8192"), (passkey + ["--lengths", "64"], "without filler"),
                (passkey + ["--depths", "3"], "10 or 20"), (passkey + ["--max-new", "0"], "--max-new"),
                (passkey + ["--chars", "90000"], "use fewer"), (passkey + ["--policies", "best"], "best"),
                (ruler, "--book"), (ruler + ["--tasks", "niah_single_9"], "did you mean niah_single_"),
                (ruler + ["--tasks", "S-1,qa"], "'qa' is unknown"), (ruler + ["--tasks", "S-1,"], "''"),
                (ruler + ["--tasks", "VT", "--lengths", "300"], "smallest record of vt"),
                (ruler + ["--tasks", "VT", "--lengths", "999999999999"], "limit 8192"),
                (ruler + ["--tasks", "VT", "--lengths", "0"], "--lengths"),
                (ruler + ["--tasks", "VT", "--samples", "-3"], "--samples -3"),
                (ruler + ["--book", self.file("blank.txt", b" \n")], "no sentence"),
                (perplexity[:-2], "--text"), (perplexity + ["--chunk", "3"], "--chunk 3"),
                (perplexity + ["--chunk", "9000"], "to 8192"), (perplexity + ["--limit", "-1"], "--limit -1"),
                (perplexity[:-1] + [self.file("short.txt", b"A short text.")], "use a longer text")]:
            with self.subTest(args=args[4:]):
                self.fails(run(*args), 2, word)
        self.fails(run("eval", "fidelity", "-m", SMOLLM2, "--text", "/nowhere.txt"), 3, "/nowhere.txt")
        self.fails(run(*ruler, "--book", "/nowhere.txt"), 3, "/nowhere.txt")
        self.fails(run(*passkey, "--out", NOVEL), 1, NOVEL)

    def test_eval_longbench_usage(self):
        longbench = ["eval", "longbench", "-m", SMOLLM2]
        self.fails(run(*longbench), 2, "--data")
        self.fails(run(*longbench, "--data", "/nowhere"), 3, "/nowhere is not a folder")
        longbench += ["--data", self.folder.name]
        self.fails(run(*longbench, "--preset", "standard"), 3, "holds no set")
        self.fails(run(*longbench), 3, "qasper.jsonl: cannot be read")
        self.fails(run(*longbench, "--sets", "quasper"), 2, "did you mean qasper?")
        record = {"_id": "a", "input": "Who?", "context": "Ann.", "answers": ["Ann"], "length": 1}
        good = json.dumps(record).encode() + b"\n"
        for line, word in ((b"{", "not a JSON object"), (b'{"_id": 1}', "'_id' is not a text"),
                           (good.replace(b'["Ann"]', b"[]"), "'answers'"), (b"\xff", "not a JSON object")):
            with self.subTest(line=line):
                self.file("trec.jsonl", good + line)
                self.fails(run(*longbench, "--sets", "trec"), 3, "trec.jsonl:1: 'all_classes' is missing")
                path = self.file("lcc.jsonl", good + line)
                self.fails(run(*longbench, "--sets", "lcc"), 3, f"{path}:2: ", word)
        self.file("lcc.jsonl", good)
        for args, word in ((["--chat", "yes"], "auto, on or off"), (["--max-prompt", "8150"], "use 2 to 8128"),
                           (["--max-prompt", "1"], "--max-prompt 1"), (["--limit", "-2"], "--limit -2")):
            with self.subTest(args=args):
                self.fails(run(*longbench, "--sets", "lcc", *args), 2, word)

    def test_interrupted_eval_leaves_valid_lines(self):
        process = subprocess.Popen([BINARY, "eval", "passkey", "-m", SMOLLM2, "--lengths", "512", "--preset",
                                    "standard", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=TIMEOUT_S)
        self.assertEqual((process.returncode, errors), (130, b""))
        for line in (first + rest).splitlines():
            self.assertIn("record", json.loads(line))

    # --- Ctrl-C: 130
    def start(self, *args):
        return subprocess.Popen([BINARY, "generate", "-m", SMOLLM2, *args], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, stdin=subprocess.PIPE)

    def test_interrupt_while_answering(self):
        process = self.start("-p", "Once upon a time", "-n", "8000")
        first = process.stdout.read(1)  # an answer has begun
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=TIMEOUT_S)
        self.assertEqual(process.returncode, 130)
        self.assertTrue((first + rest).endswith(b"\n"))
        self.assertIn(b"cancelled", errors)

    def test_interrupt_while_reading(self):
        process = self.start("-f", "-", "--json", "-n", "8000")
        process.stdin.write(b"Once upon a time")
        process.stdin.flush()
        self.wait_until_caught(process.pid)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=TIMEOUT_S)
        self.assertEqual((process.returncode, out, errors), (130, b"", b""))

    # --- chat
    def chat(self, text, *args, **kwargs):
        length = [] if "-n" in args else ["-n", "8"]
        return run("chat", "-m", SMOLLM2, *length, *args, input=text.encode(), **kwargs)

    def test_chat_prefills_only_what_is_new(self):
        result = self.chat("Who writes?\nTo whom?\n/stats\n", "-f", NOVEL, "--json", "--kv-budget", "256")
        self.assertEqual(result.returncode, 0, result.stderr)
        first, second = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertEqual(set(first), set(GENERATE_FIELDS))
        self.assertEqual(set(first["tokens"]), GENERATE_FIELDS["tokens"])
        self.assertEqual(set(first["kv"]), GENERATE_FIELDS["kv"])
        self.assertGreater(first["tokens"]["prompt"], 1000)
        self.assertEqual(first["tokens"]["reused"], 0)
        self.assertGreaterEqual(second["tokens"]["reused"], first["tokens"]["prompt"])
        self.assertGreater(second["kv"]["evicted_pages"], 0)
        for word in (b"turn 1: ", b"turn 2: ", b"turns 2, tokens ", b" evicted, "):
            self.assertIn(word, result.stderr)

    def test_chat_by_pipe(self):
        result = self.chat("Say hello.\n\nIn \\\nFrench.\n/quit\nNever read.\n", "--quiet", "--system", "Be brief.")
        self.assertEqual((result.returncode, result.stderr), (0, b""))
        self.assertGreaterEqual(len(result.stdout.splitlines()), 2)
        self.assertEqual(result.stdout, self.chat("Say hello.\nIn \\\nFrench.\n", "--quiet", "--system",
                                                  "Be brief.").stdout)

    def test_chat_goes_on_after_errors(self):
        missing = os.path.join(self.folder.name, "missing.txt")
        book = self.file("book.txt", b"The key is 7.\n")
        result = self.chat(f"/stat\n/file {missing}\n/file {book}\n" + "long " * 200 + "\n/reset\nHello.\n",
                           "--ctx", "128")
        self.assertEqual(result.returncode, 2)  # the first error's
        self.assertNotEqual(result.stdout, b"")
        for word in ("/stat: did you mean /stats?", missing, "14 bytes", "limit 128", "turn 1: "):
            self.assertIn(word, result.stderr.decode())
        self.assertEqual(self.chat(f"/file {missing}\n").returncode, 3)
        self.assertEqual(self.chat("Hi\n", "-n", "1", "--kv-host-mem", "1MiB").returncode, 4)

    def test_chat_usage(self):
        base = run("chat", "-m", GEMMA, stdin=subprocess.DEVNULL)
        self.fails(base, 2, "no chat template")
        self.fails(self.chat("", "-n", "0"), 2, "--max-tokens 0")
        self.fails(self.chat("", "-f", "-"), 2, "--file")
        self.fails(self.chat("", "--system", b"\xff"), 2, "--system", "byte 0")
        self.fails(self.chat("", "-f", "/nowhere.txt"), 3, "/nowhere.txt")
        with open("/dev/zero", "rb") as endless:
            self.fails(run("chat", "-m", SMOLLM2, stdin=endless), 2, "cannot fit")

    def test_interrupt_keeps_the_chat(self):
        process = subprocess.Popen([BINARY, "chat", "-m", SMOLLM2, "-n", "8000"], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, stdin=subprocess.PIPE)
        process.stdin.write(b"Count from one to one thousand.\n")
        process.stdin.flush()
        process.stdout.read(1)  # an answer has begun
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(b"/stats\n", timeout=TIMEOUT_S)
        self.assertEqual(process.returncode, 0)
        self.assertTrue(out.endswith(b"\n"))
        self.assertIn(b"(cancelled)", errors)
        self.assertIn(b"turns 1, ", errors)

    def test_chat_on_a_terminal(self):
        child, master = pty.fork()
        if child == 0:
            os.execve(BINARY, [BINARY, "chat", "-m", SMOLLM2, "-n", "4"], {**os.environ, "TERM": "xterm"})

        def read_until(*words):
            seen = b""
            while not all(word in seen for word in words):
                seen += os.read(master, 4096)
            return seen

        read_until(b"> ")
        os.write(master, "Grüß Gott!\n".encode())
        read_until(b"turn 1: ", b"> ")
        os.write(master, b"\x03")  # Ctrl-C at the prompt: a second one would end the chat
        read_until(b"Ctrl-C again", b"> ")
        os.write(master, b"/stats\n")
        read_until(b"turns 1, ", b"> ")
        os.write(master, b"\x04")  # Ctrl-D
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
        os.close(master)

    def wait_until_caught(self, pid):
        """Until the process has its handler for SIGINT."""
        caught = 0
        while not caught & 1 << (signal.SIGINT - 1):
            with open(f"/proc/{pid}/status") as f:
                fields = dict(line.split(":", 1) for line in f)
            self.assertNotIn("Z", fields["State"])
            caught = int(fields["SigCgt"], 16)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
