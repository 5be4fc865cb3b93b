#!/usr/bin/env python3
"""Runs the built examples as a user does: real folders where the data is there, and bad input.

    examples.py --examples DIR --conformance DIR [--minilm DIR]
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

failures = []


def run(program, *arguments, text="", code=0):
    """Standard output of a program; notes a failure where its exit code is another."""
    done = subprocess.run([arguments_.examples / program, *map(str, arguments)], input=text.encode(), capture_output=True, timeout=300)
    if done.returncode != code:
        failures.append(f"{program} {arguments}: exit code {done.returncode}, expected {code}: {done.stderr.decode()[:300]}")
    return done


def check(condition, what):
    if not condition:
        failures.append(what)


def refuses(program, *arguments, text="", names=""):
    """Bad input: exit code 1, one line on standard error that names what is wrong, nothing on standard output."""
    done = run(program, *arguments, text=text, code=1)
    lines = done.stderr.decode().splitlines()
    check(len(lines) == 1 and names in lines[0], f"{program} {arguments}: expected one line with '{names}', got {lines}")


def toy():
    for option in ["--nonsense"], ["--sentence"], ["--threads", "0"], ["--model", "/does/not/exist"]:
        refuses("toy_encoder", *option)
    done = run("toy_encoder", "--sentence", "The soup was sour but the bread was wonderful. How was the bread?").stdout.decode()
    check("positive" in done, "toy_encoder: the bread was wonderful, but the answer is not positive")
    with tempfile.TemporaryDirectory() as folder:
        page = pathlib.Path(folder) / "page.html"
        run("toy_encoder", "--html", page)
        text = page.read_text() if page.exists() else ""
        check("<html" in text and "http://" not in text.replace("http://www.w3.org", "") and "https://" not in text,
              "toy_encoder --html: not a page of its own")


def broken_folders():
    """A folder whose files are missing or make no sense is one line."""
    source = arguments_.conformance / "models" / "bert"
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        refuses("encode_sentences", "--model", folder, names=str(folder))
        config = json.loads((source / "config.json").read_text())
        (folder / "config.json").write_text("{")
        refuses("encode_sentences", "--model", folder, names=str(folder))
        (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n")
        (folder / "config.json").write_text(json.dumps({**config, "num_attention_heads": 5}))
        refuses("encode_sentences", "--model", folder, names="config.json: MultiHeadAttention: embed_dim 32 is not divisible by num_heads 5")
        (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 2000000000, "hidden_size": 2000000000}))
        refuses("encode_sentences", "--model", folder, names="config.json")
        (folder / "config.json").write_text(json.dumps({**config, "position_embedding_type": "relative_key"}))
        refuses("encode_sentences", "--model", folder, names="position_embedding_type")
        (folder / "config.json").write_text(json.dumps(config))
        refuses("encode_sentences", "--model", folder, names="model.safetensors")
        weights = (source / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(weights[:-5])
        refuses("encode_sentences", "--model", folder, names="model.safetensors")
        (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 64}))
        (folder / "model.safetensors").write_bytes(weights)
        refuses("encode_sentences", "--model", folder, names="mis-shaped")
        (folder / "config.json").write_text(json.dumps(config))
        run("encode_sentences", "--model", folder, text="a a\n")


def stories():
    folder = arguments_.conformance / "weights" / "stories260K"
    done = run("generate_text", "--model", folder, "--prompt", "", "--temperature", 0, "--max-new-tokens", 200)
    check(done.stdout == (folder / "expected_stdout.txt").read_bytes(), "generate_text: not the published text of stories260K")


def transliteration():
    folder = arguments_.conformance / "weights" / "aren_transliteration"
    expected = json.loads((folder / "expected_greedy.json").read_text())
    cases = expected["cases"] + expected["computed"]
    for prefix in sorted({case["prefix"] for case in cases}):
        some = [case for case in cases if case["prefix"] == prefix]
        done = run("translate", "--model", folder, *(["--prefix", prefix] if prefix else []), text="".join(c["source"] + "\n" for c in some))
        check(done.stdout.decode().splitlines() == [c["target"] for c in some], f"translate --prefix '{prefix}': {done.stdout.decode()}")


def sentences():
    expected = [e for e in json.loads((arguments_.conformance / "minilm" / "expected.json").read_text()) if "\n" not in e["text"] and "\r" not in e["text"]]
    text = "".join(e["text"] + "\n" for e in expected)
    for threads in 1, 2:
        got = json.loads(run("encode_sentences", "--model", arguments_.minilm, "--json", "--threads", threads, text=text).stdout)
        check(len(got) == len(expected), "encode_sentences: another number of texts")
        for g, e in zip(got, expected):
            check(g["text"] == e["text"] and g["ids"] == e["ids"], f"encode_sentences: other ids of '{e['text']}'")
            check(max(abs(a - b) for a, b in zip(g["embedding"], e["embedding"])) <= 2e-6, f"encode_sentences: another embedding of '{e['text']}'")
    alone = json.loads(run("encode_sentences", "--model", arguments_.minilm, "--json", text=expected[0]["text"] + "\n").stdout)
    check(alone[0]["embedding"] == got[0]["embedding"], "encode_sentences: a text alone has another embedding than among others")


parser = argparse.ArgumentParser()
parser.add_argument("--examples", type=pathlib.Path, required=True)
parser.add_argument("--conformance", type=pathlib.Path, required=True)
parser.add_argument("--minilm", type=pathlib.Path)
arguments_ = parser.parse_args()

for program in sorted(p for p in arguments_.examples.iterdir() if p.is_file() and p.suffix == "" and p.stat().st_mode & 0o111 and p.name != "Makefile"):
    check(b"usage:" in run(program.name, "--help").stdout, f"{program.name} --help: no usage")
    refuses(program.name, "--no-such-option", names="--no-such-option")
toy()
if arguments_.conformance.is_dir():
    broken_folders()
    stories()
    transliteration()
else:
    print(f"skipped: no conformance data in {arguments_.conformance}")
if arguments_.minilm and arguments_.conformance.is_dir():
    sentences()
else:
    print("skipped: all-MiniLM-L6-v2 is not here (ATTEND_MINILM_DIR)")
for failure in failures:
    print("FAILED:", failure)
sys.exit(1 if failures else 0)
