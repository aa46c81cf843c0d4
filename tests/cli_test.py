"""How the binary behaves at its edges: exit codes, one-line errors, JSON fields, interrupts.

usage: cli_test.py BINARY SOURCE_DIR    (needs the models of scripts/get_models.sh)
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import unittest

BINARY, SOURCE = sys.argv[1], sys.argv[2]
MODELS = os.environ.get("ARKVALE_MODELS", os.path.join(SOURCE, "models"))
SMOLLM2 = os.path.join(MODELS, "SmolLM2-135M-Instruct.Q4_1.gguf")
GEMMA = os.path.join(MODELS, "gemma-3-270m-q4_k_m.gguf")
NOVEL = os.path.join(SOURCE, "tests/data/frankenstein_excerpt.txt")
TIMEOUT_S = 300

GENERATE_FIELDS = {
    "text": None, "token_ids": None, "stop_reason": None,
    "tokens": {"prompt", "question", "generated"},
    "timings": {"load_ms", "ttft_ms", "prefill_ms", "prefill_tokens_per_s", "decode_ms_median", "decode_ms_p95",
                "decode_tokens_per_s"},
    "kv": {"policy", "budget_tokens", "page_tokens", "digest", "hot_bytes", "hot_bytes_peak", "digest_bytes",
           "host_bytes", "disk_bytes", "full_bytes", "recalled_pages", "evicted_pages", "recalled_bytes",
           "recalls_per_step_mean", "selected_pages_mean", "scored_steps", "total_bytes", "audit_recall"},
    "memory": {"rss_peak_bytes"},
    "machine": {"cpu", "threads", "cores", "memory_bytes", "compiler", "build_type", "commit"},
}
BENCH_FIELDS = {"engine", "policy", "budget_tokens", "depth_tokens", "prompt_tokens", "batch", "kv_total_bytes",
                "prefill_tokens_per_s", "decode_ms_median", "decode_ms_p95", "breakdown_ms", "kv_hot_bytes",
                "rss_peak_bytes", "gb_per_s", "samples_ms"}


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
        for command in ("generate", "bench", "inspect"):
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

    def test_bench_json(self):
        result = run("bench", "-m", SMOLLM2, "--text", NOVEL, "--depths", "512", "--prompts", "64", "--budgets", "256",
                     "--peer", "llama.cpp", "--rounds", "1", "-n", "4", "--json", "--quiet")
        self.assertEqual(result.returncode, 0, result.stderr)
        *rows, last = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertEqual(len(rows), 6)
        for row in rows:
            self.assertLessEqual(BENCH_FIELDS, set(row))
        self.assertEqual([row["engine"] for row in rows[:3]], ["llama.cpp", "arkvale", "arkvale"])
        self.assertEqual(rows[0]["prompt_tokens"], 64)
        self.assertEqual([len(row["samples_ms"][0]) for row in rows[3:]], [3, 3, 3])
        self.assertGreaterEqual(rows[4]["top1_agreement"], 0.75)
        parts = rows[5]["breakdown_ms"]
        self.assertEqual(set(parts), {"estimate", "select", "recall", "attention", "other"})
        self.assertEqual(set(last), {"ratios", "machine"})
        self.assertEqual(len(last["ratios"]), 6)

    def test_bench_usage(self):
        for args, word in [(["--depths", "a"], "--depths"), (["--depths", "9000"], "limit 8192"),
                           (["--depths", "", "--prompts", ""], "nothing to measure"), (["--peer", "x"], "llama.cpp"),
                           (["--rounds", "0"], "--rounds"), (["-n", "1"], "--steps"),
                           (["--budgets", "100"], "budget 100")]:
            with self.subTest(args=args):
                result = run("bench", "-m", SMOLLM2, "--text", NOVEL, *args)
                self.assertEqual((result.returncode, result.stdout), (2, b""))
                self.assertIn(word, result.stderr.decode())

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
