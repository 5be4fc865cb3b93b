#!/usr/bin/env python3
"""Runs the built examples as a user does: real folders where the data is there, and bad input.

    examples.py --examples DIR --conformance DIR [--minilm DIR]
"""

import argparse
import json
import os
import pathlib
import pty
import re
import resource
import shutil
import struct
import subprocess
import sys
import tempfile

failures = []


def limit_memory():
    """What takes more than this takes it for sizes that a broken file claims: better an error than a machine that swaps."""
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))


def run(program, *arguments, text="", code=0):
    """Standard output of a program; notes a failure where its exit code is another."""
    arguments = [a if isinstance(a, bytes) else str(a) for a in arguments]
    done = subprocess.run([arguments_.examples / program, *arguments], input=text if isinstance(text, bytes) else text.encode(),
                          capture_output=True, timeout=300, preexec_fn=limit_memory)
    if done.returncode != code:
        failures.append(f"{program} {arguments}: exit code {done.returncode}, expected {code}: {done.stderr.decode(errors='replace')[:300]}")
    return done


def check(condition, what):
    if not condition:
        failures.append(what)


def refuses(program, *arguments, text="", names=""):
    """Bad input: exit code 1, one line on standard error that names what is wrong, nothing on standard output."""
    done = run(program, *arguments, text=text, code=1)
    lines = done.stderr.decode(errors="replace").splitlines()
    check(len(lines) == 1 and names in lines[0], f"{program} {arguments}: expected one line with '{names}', got {lines}")
    check(not done.stdout, f"{program} {arguments}: wrote to standard output: {done.stdout[:100]}")


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
        (folder / "config.json").write_text(json.dumps({**config, "position_embedding_type": "relative_key"}))
        refuses("encode_sentences", "--model", folder, names="position_embedding_type")
        (folder / "config.json").write_text(json.dumps(config))
        refuses("encode_sentences", "--model", folder, names="model.safetensors")
        weights = (source / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(weights[:-5])
        refuses("encode_sentences", "--model", folder, names="model.safetensors")
        (folder / "model.safetensors").write_bytes(weights)
        (folder / "config.json").write_text(json.dumps({**config, "num_attention_heads": 5}))
        refuses("encode_sentences", "--model", folder, names="config.json: MultiHeadAttention: embed_dim 32 is not divisible by num_heads 5")
        (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 64}))
        refuses("encode_sentences", "--model", folder, names="mis-shaped")
        (folder / "config.json").write_text(json.dumps(config))
        run("encode_sentences", "--model", folder, text="a a\n")


def write_tokenizer(folder, tokens=50):
    """A tokenizer.json of single characters, to be taken as it is."""
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "TokenizersBackend"}')
    names = ["<unk>", "</s>"] + [chr(c) for c in range(97, 123)] + [f"<more{i}>" for i in range(1000)]
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "added_tokens": [],
        "model": {"type": "BPE", "vocab": {t: i for i, t in enumerate(names[:tokens])}, "merges": [], "unk_token": "<unk>"}}))


def with_header(weights, change):
    """A safetensors file with another header, of the same meaning otherwise."""
    size = struct.unpack("<Q", weights[:8])[0]
    header = json.loads(weights[8:8 + size])
    change(header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + weights[8 + size:]


NOT_UTF8 = b"caf\xe9 \xff"


def bad_folders():
    """Every program that reads a folder, with each thing in it that can be missing or broken."""
    with tempfile.TemporaryDirectory() as name:
        documents = pathlib.Path(name) / "documents.txt"
        documents.write_text("a\nb\n")
        search = ["--documents", documents, "--index", documents.with_suffix(".st")]
        # The program, its folder, its other arguments; of config.json: a size of the weights, and the number of heads.
        for program, source, more, size, heads in [
                ("encode_sentences", "models/bert", [], "intermediate_size", "num_attention_heads"),
                ("semantic_search", "models/roberta", search, "hidden_size", "num_attention_heads"),
                ("rerank", "models/bert_classifier", ["--query", "ab"], "hidden_size", "num_attention_heads"),
                ("classify_text", "models/bert_classifier", [], "hidden_size", "num_attention_heads"),
                ("classify_text", "models/distilbert", ["--labels", "a,b"], "hidden_dim", "n_heads"),
                ("generate_text", "models/qwen2", ["--prompt", "ab", "--max-new-tokens", 2], "intermediate_size", "num_attention_heads"),
                ("generate_text", "models/gpt2", ["--prompt", "ab", "--max-new-tokens", 2], "n_embd", "n_head"),
                ("translate", "models/t5", ["--max-new-tokens", 2], "d_ff", None),  # d_model need not be a multiple
                ("translate", "models/bart", ["--max-new-tokens", 2], "decoder_ffn_dim", "encoder_attention_heads"),
                ("translate", "weights/aren_transliteration", [], "embed_dim", "num_heads")]:
            bad_folder(program, arguments_.conformance / source, more, size, heads)


def bad_folder(program, source, more, size, heads):
    config, weights = json.loads((source / "config.json").read_text()), (source / "model.safetensors").read_bytes()
    native = config["model_type"] == "attend"
    config.pop("layer_types", None)  # which would say the number of layers again
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name) / "model"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "model.safetensors").write_bytes(weights)
        if native:
            for file in source.glob("*_vocabulary.json"):
                (folder / file.name).write_bytes(file.read_bytes())
        else:
            write_tokenizer(folder)

        def bad(names, text="ab\n"):
            refuses(program, "--model", folder, *more, text=text, names=names)

        def bad_file(file, content, names):
            before = (folder / file).read_bytes()
            (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
            bad(names)
            (folder / file).write_bytes(before)

        def bad_config(names, **changes):
            bad_file("config.json", json.dumps({**config, **changes}), names)

        run(program, "--model", folder, *more, text="ab\n")
        tokenizer_files = [f.name for f in folder.iterdir() if f.name not in ("config.json", "model.safetensors")]
        for file in ["config.json", "model.safetensors", *tokenizer_files]:
            if file == "tokenizer_config.json":  # without which the model's class counts
                continue
            (folder / file).rename(folder / "away")
            bad(file)
            (folder / "away").rename(folder / file)
        for content in "", "{", "[]", b"\xff\xfe{}":
            bad_file("config.json", content, "config.json")
        for file in tokenizer_files:
            for content in "", "{", "5", NOT_UTF8:
                bad_file(file, content, file)

        bad_config("no_such_setting", no_such_setting=1)
        bad_config("model_type", model_type="no_such_model")
        bad_config(size, **{size: 0})
        bad_config(size, **{size: "many"})
        bad_config(size, **{size: -5})
        bad_config("", **{size: config[size] * 2})
        bad_config("config.json", **{size: 2000000000})
        layers = next(key for key in ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "num_encoder_layers") if key in config)
        bad_config("missing", **{layers: config[layers] + 1})
        bad_config("config.json", **{layers: 2000000000})
        if config[layers] > 1:
            bad_config("unexpected", **{layers: config[layers] - 1})
        if heads:
            bad_config("config.json", **{heads: 7})
            bad_config("config.json", **{heads: 0})
        for key in "layer_norm_eps", "rms_norm_eps", "layer_norm_epsilon":
            if key in config:
                bad_config(key, **{key: -1.0})
        if not native:
            bad_config("", vocab_size=30)

        for content in b"", weights[:7], weights[:100], weights[:-1], weights + b"x", b"\xff" * 100:
            bad_file("model.safetensors", content, "model.safetensors")
        first = [n for n in json.loads(weights[8:8 + struct.unpack("<Q", weights[:8])[0]]) if n not in ("__metadata__", "final_logits_bias")][0]
        for dtype in "X32", "F4", "C64":
            bad_file("model.safetensors", with_header(weights, lambda h: h[first].update(dtype=dtype)), "model.safetensors")
        bad_file("model.safetensors", with_header(weights, lambda h: h.update({"renamed": h.pop(first)})), "missing")

        # The same in shards.
        (folder / "model.safetensors").rename(folder / "part.safetensors")
        names = [n for n in json.loads(weights[8:8 + struct.unpack("<Q", weights[:8])[0]]) if n != "__metadata__"]
        index, good = folder / "model.safetensors.index.json", {n: "part.safetensors" for n in names}
        index.write_text(json.dumps({"weight_map": good}))
        run(program, "--model", folder, *more, text="ab\n")
        for content in "", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": 3}}':
            bad_file(index.name, content, "model.safetensors.index.json")
        for extra, what in ({"of_no_shard": "part.safetensors"}, "of_no_shard"), ({first: "other.safetensors"}, "other.safetensors"), \
                ({first: "../part.safetensors"}, "../part.safetensors"):
            bad_file(index.name, json.dumps({"weight_map": {**good, **extra}}), what)
        bad_file(index.name, json.dumps({"weight_map": {n: f for n, f in good.items() if n != first}}), "missing")
        (folder / "part.safetensors").rename(folder / "model.safetensors")
        index.unlink()

        # A folder that is none.
        for path in folder / "absent", folder / "config.json", "":
            refuses(program, "--model", path, *more, text="ab\n")
        if program != "generate_text":
            bad("standard input", text=NOT_UTF8 + b"\n")
        for option in ["--threads", "0"], ["--threads", "-1"], ["--threads", "abc"], ["--threads", "1.5"], ["--threads", ""], \
                ["--threads", "99999999999999999999"], ["--threads"], ["--no-such-option"], ["text"]:
            refuses(program, "--model", folder, *more, *option, text="ab\n", names=option[0])


def bad_text():
    """Text that is not UTF-8 in arguments and files, and other arguments that make no sense."""
    stories, arabic = arguments_.conformance / "weights" / "stories260K", arguments_.conformance / "weights" / "aren_transliteration"
    refuses("toy_encoder", "--sentence", NOT_UTF8, names="--sentence")
    for option in "--prompt", "--stop":
        refuses("generate_text", "--model", stories, "--prompt", "a", option, NOT_UTF8, names=option)
    refuses("translate", "--model", arabic, "--prefix", NOT_UTF8, text="a\n", names="--prefix")
    for program in "generate_text", "translate", "classify_text", "encode_sentences", "semantic_search", "rerank":
        refuses(program, names="--model")
    refuses("generate_text", "--model", stories, names="--prompt")
    for option, values in {"--temperature": ["-1", "nan", "hot"], "--top-p": ["2", "-0.1"], "--top-k": ["-1"], "--min-p": ["2"],
                           "--max-new-tokens": ["-1", "x"], "--beams": ["0"], "--seed": ["-1"], "--stop": [""]}.items():
        for value in values:
            refuses("generate_text", "--model", stories, "--prompt", "a", option, value)
    refuses("generate_text", "--model", stories, "--prompt", "once " * 1000, names="context")
    for option, value in ("--beams", "0"), ("--beams", "x"), ("--max-new-tokens", "0"):
        refuses("translate", "--model", arabic, option, value, text="a\n", names=option)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for file in "config.json", "model.safetensors":
            (folder / file).write_bytes((arguments_.conformance / "models" / "bert" / file).read_bytes())
        write_tokenizer(folder)
        refuses("classify_text", "--model", folder, "--labels", NOT_UTF8, text="a\n", names="--labels")
        refuses("classify_text", "--model", folder, "--labels", " , ", text="a\n", names="--labels")
        refuses("classify_text", "--model", folder, text="a\n", names="architectures")
        documents, index = folder / "documents", folder / "index"
        search = ["--model", folder, "--documents", documents, "--index", index]
        refuses("semantic_search", *search, names=str(documents))
        documents.write_bytes(b"a\n" + NOT_UTF8)
        refuses("semantic_search", *search, names=str(documents))
        documents.write_bytes(b"a\nb\n")
        refuses("semantic_search", *search, "--top", "0", names="--top")
        refuses("rerank", "--model", folder, text="a\n", names="--query")
        refuses("rerank", "--model", folder, "--query", "a", text="a\n", names="classifier")
        refuses("semantic_search", *search, "--rerank", folder, text="a\n", names="classifier")
        refuses("encode_sentences", "--model", folder, "--prompt", "no such", text="a\n", names="no such")
        refuses("encode_sentences", "--model", folder, "--dimensions", "1000", text="a\n", names="1000")
        for broken in b"", b"no index", (folder / "model.safetensors").read_bytes():
            index.write_bytes(broken)
            run("semantic_search", *search, text="a\n")
            check(index.read_bytes() != broken, "semantic_search: a broken index was not made anew")
        with open("/dev/full", "wb") as full:
            for json_too in [], ["--json"]:
                done = subprocess.run([arguments_.examples / "semantic_search", *search, *json_too], input=b"a\n", stdout=full, stderr=subprocess.PIPE)
                check(done.returncode == 1, "semantic_search > /dev/full: not status 1")
            done = subprocess.run([arguments_.examples / "encode_sentences", "--model", folder, "--json"], input=b"a\n", stdout=full, stderr=subprocess.PIPE)
            check(done.returncode == 1, "encode_sentences > /dev/full: not status 1")
        for program, more in ("encode_sentences", ["--json"]), ("semantic_search", search[2:]), ("classify_text", ["--labels", "a,b"]):
            for closed in "<&-", ">&-":
                command = f'exec "$@" {closed}'
                done = subprocess.run(["sh", "-c", command, "sh", arguments_.examples / program, "--model", folder, *more],
                                      input=b"a\n", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                check(done.returncode == 1 and b"standard" in done.stderr, f"{program} {closed}: status {done.returncode}, {done.stderr}")
        fifo = folder / "fifo"
        os.mkfifo(fifo)
        refuses("semantic_search", "--model", folder, "--documents", fifo, names="not a regular file")
        refuses("encode_sentences", "--model", fifo, text="a\n", names="fifo")
        fifo.unlink()
        index.unlink()
        refuses("semantic_search", *search[:-1], folder / "no folder" / "index", text="a\n", names="no folder")
        first = run("semantic_search", *search, text="a\n").stdout
        check(run("semantic_search", *search, text="a\n").stdout == first, "semantic_search: the index gives other answers")


def stories():
    folder = arguments_.conformance / "weights" / "stories260K"
    done = run("generate_text", "--model", folder, "--prompt", "", "--temperature", 0, "--max-new-tokens", 200)
    check(done.stdout == (folder / "expected_stdout.txt").read_bytes(), "generate_text: not the published text of stories260K")


    score = json.loads(run("generate_text", "--model", folder, "--prompt", "Once upon a time", "--score", "--logprobs", 3, "--json").stdout)
    check(score["perplexity"] < 2 and len(score["logprobs"]) == len(score["ids"]) - 1 and len(score["logprobs"][0]["top"]) == 3,
          f"generate_text --score: {score}")
    given = json.loads(run("generate_text", "--model", folder, "--prompt", "Once upon a time", "--max-new-tokens", 4, "--logprobs", 2, "--json").stdout)
    check([t["id"] for t in given["logprobs"]] == given["ids"] and all(t["top"][0]["logprob"] >= t["top"][1]["logprob"] for t in given["logprobs"]),
          f"generate_text --logprobs: {given}")
    refuses("generate_text", "--model", folder, "--prompt", "a", "--logprobs", "2", names="--json")
    refuses("generate_text", "--model", folder, "--chat", text="Hi\n", names="chat template")


def conversation():
    """What a folder says of generation counts, the command line goes before it, and a conversation goes on."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for file in "config.json", "model.safetensors", "tokenizer.json":
            shutil.copy(arguments_.conformance / "weights" / "stories260K" / file, folder)
        (folder / "generation_config.json").write_text('{"max_new_tokens": 3, "suppress_tokens": [407], "eos_token_id": 2}')
        args = ["--model", folder, "--prompt", "Once", "--json"]
        check(len(json.loads(run("generate_text", *args).stdout)["ids"]) == 3, "generate_text: max_new_tokens of the folder does not count")
        ids = json.loads(run("generate_text", *args, "--max-new-tokens", 5).stdout)["ids"]
        check(len(ids) == 5 and 407 not in ids, "generate_text: the command line does not go before the folder, or suppress_tokens does not count")
        (folder / "generation_config.json").write_text('{"typical_p": 0.5}')
        refuses("generate_text", *args, names="typical_p")
        (folder / "generation_config.json").unlink()
        (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if tools %}{{ tools|tojson }}{% endif %}")
        (folder / "tools.json").write_text('[{"b": 1, "a": 2}]')
        turns = [json.loads(line) for line in run("generate_text", "--model", folder, "--chat", "--json", "--max-new-tokens", 4, "--system", "S",
                                                  text="Hi\nThere\n").stdout.splitlines()]
        check([t["prompt"] for t in turns] == ["Hi", "There"] and turns[1]["reused"] >= len(turns[0]["prompt_ids"]) > turns[0]["reused"] == 0,
              f"generate_text --chat: {turns}")
        plain = run("generate_text", "--model", folder, "--chat", "--max-new-tokens", 4, "--system", "S", text="Hi\nThere\n").stdout.decode()
        check(plain == "".join(t["text"] + "\n" for t in turns), f"generate_text --chat: {plain}")
        with_tools = json.loads(run("generate_text", "--model", folder, "--chat", "--json", "--max-new-tokens", 1, "--tools", folder / "tools.json", text="Hi\n").stdout)
        check(len(with_tools["prompt_ids"]) > 20, "generate_text --tools: the template has no tools")
        (folder / "chat_template.jinja").write_text("a\n{{ messages|nonesuch }}")
        refuses("generate_text", "--model", folder, "--chat", text="Hi\n", names="line 2, column 13: filter 'nonesuch'")
        refuses("generate_text", "--model", folder, "--prompt", "a", "--chat", "--system", NOT_UTF8, names="--system")


def long_lines():
    """A source of more tokens than positions is cut, a translation of as many stops, and the next lines are translated."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for file in "config.json", "model.safetensors":
            shutil.copy(arguments_.conformance / "models" / "bart" / file, folder)
        write_tokenizer(folder)
        (folder / "generation_config.json").write_text('{"eos_token_id": null, "max_new_tokens": 500}')
        config = json.loads((folder / "config.json").read_text())
        config["eos_token_id"] = None
        (folder / "config.json").write_text(json.dumps(config))
        done = run("translate", "--model", folder, text="a" * 100 + "\nab\n")
        lines = done.stderr.decode().splitlines()
        check(len(done.stdout.decode().splitlines()) == 2, "translate: not a line for a line")
        check(lines == ["translate: line 1: the text is cut at the model's 64 positions", "translate: line 1: the translation stops at the model's 64 positions",
                        "translate: line 2: the translation stops at the model's 64 positions"], f"translate: {lines}")
        check(not run("translate", "--model", folder, "--max-new-tokens", 5, text="ab\n").stderr, "translate: a warning without a reason")
        refuses("translate", "--model", folder, "--target-language", "de", text="a\n", names="de")


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


def sentence_transformers():
    """Vectors and scores of the programs are those of sentence-transformers."""
    for folder in sorted((arguments_.conformance / "sentence_transformers").iterdir()):
        expected = json.loads((folder / "expected.json").read_text())
        groups = {}
        for case in expected["cases"]:
            if "\n" not in case["text"] and "\r" not in case["text"]:
                groups.setdefault(case.get("prompt_name") or case.get("query"), []).append(case)
        for key, cases in groups.items():
            text = "".join(case["text"] + "\n" for case in cases)
            if expected["kind"] == "embedding":
                prompt = ["--prompt", key] if key else []
                got = json.loads(run("encode_sentences", "--model", folder, "--json", *prompt, text=text).stdout)
                for g, case in zip(got, cases):
                    want = case["embedding"]
                    norm = sum(x * x for x in want) ** 0.5
                    check(len(g["embedding"]) == len(want) and max(abs(a - b) for a, b in zip(g["embedding"], want)) <= 2e-6 * norm,
                          f"encode_sentences: {folder.name}: another embedding of '{case['text']}'")
                few = json.loads(run("encode_sentences", "--model", folder, "--json", "--dimensions", 3, *prompt, text=text).stdout)
                check([g["embedding"][:3] for g in got] == [g["embedding"] for g in few], f"encode_sentences --dimensions: {folder.name}")
            else:
                lines = [json.loads(line) for line in run("rerank", "--model", folder, "--query", key, "--json", text=text).stdout.splitlines()]
                check(sorted(l["line"] for l in lines) == list(range(1, len(cases) + 1)), f"rerank: {folder.name}: other lines")
                for line in lines:
                    want, got = cases[line["line"] - 1]["score"], line["score"]
                    pairs = zip(want, got) if isinstance(want, list) else [(want, got)]
                    check(all(abs(a - b) <= 1e-5 for a, b in pairs), f"rerank: {folder.name}: another score of '{line['text']}'")
                if not isinstance(lines[0]["score"], list):
                    check([l["score"] for l in lines] == sorted((l["score"] for l in lines), reverse=True), f"rerank: {folder.name}: not in order")
                top = run("rerank", "--model", folder, "--query", key, "--json", "--top", 1, text=text).stdout.splitlines()
                check([json.loads(line) for line in top] == lines[:1], f"rerank --top 1: {folder.name}")


def search_index():
    """An index belongs to all of its model; reranking gives the scores of the cross-encoder."""
    folders = arguments_.conformance / "sentence_transformers"
    with tempfile.TemporaryDirectory() as name:
        model, documents = pathlib.Path(name) / "model", pathlib.Path(name) / "documents"
        shutil.copytree(folders / "prompts", model)
        documents.write_text("the cat sat\na new river\ngreen tea\n")
        index = pathlib.Path(str(documents) + ".index.safetensors")
        search = ["--model", model, "--documents", documents, "--json"]
        run("semantic_search", *search, text="old house\n")
        first = index.read_bytes()
        index.touch()
        before = index.stat().st_mtime_ns
        run("semantic_search", *search, text="old house\n")
        check(index.stat().st_mtime_ns == before, "semantic_search: an index that is good was made anew")
        settings = json.loads((model / "config_sentence_transformers.json").read_text())
        settings["prompts"]["document"] = "a new prompt: "
        (model / "config_sentence_transformers.json").write_text(json.dumps(settings))
        run("semantic_search", *search, text="old house\n")
        check(index.read_bytes() != first, "semantic_search: another prompt for documents did not make the index anew")
        judge = folders / "cross_one_label"
        found = json.loads(run("semantic_search", *search, "--rerank", judge, text="old house\n").stdout)["results"]
        ranked = [json.loads(line) for line in run("rerank", "--model", judge, "--query", "old house", "--json", text=documents.read_text()).stdout.splitlines()]
        check(found == ranked, f"semantic_search --rerank: {found}, rerank: {ranked}")


def check_help(program):
    """--help is of one style, and a man page and completions are made of it."""
    text = run(program.name, "--help").stdout.decode()
    for part in f"usage: {program.name}", "\n  --quiet ", "\n  --help ", "\nExample:\n  ", "\nExit code: 0, or 1 ":
        check(part in text, f"{program.name} --help: no {part.strip()}")
    with tempfile.TemporaryDirectory() as folder:
        script = pathlib.Path(__file__).parents[2] / ".cmake/man.py"
        subprocess.run([sys.executable, script, program, "1.2.3", folder], check=True)
        page = (pathlib.Path(folder) / f"man/man1/{program.name}.1").read_text()
        check(".SH OPTIONS" in page and ".SH EXAMPLE" in page and ".SH EXIT STATUS" in page, f"{program.name}: sections of its man page")
        name = page.partition("\\- ")[2].splitlines()[0].replace("\\-", "-")  # a whole sentence of the text, which is what apropos shows
        check(re.search(re.escape(name) + "[.;:]", " ".join(text.split())), f"{program.name}: its man page begins with '{name}'")
        completed = subprocess.run(["bash", "-c", f"source {folder}/bash-completion/completions/{program.name}; COMP_WORDS=({program.name} --qui); "
                                    f"COMP_CWORD=1; _{program.name}; echo ${{COMPREPLY[@]}}"], capture_output=True, text=True)
        check(completed.stdout == "--quiet\n", f"{program.name}: bash completes --qui to {completed.stdout}")


def on_terminal(*arguments):
    """What a program writes to standard error where that is a terminal."""
    terminal, its_end = pty.openpty()
    process = subprocess.Popen([arguments_.examples / arguments[0], *arguments[1:]], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=its_end)
    os.close(its_end)
    written = b""
    try:
        while piece := os.read(terminal, 4096):
            written += piece
    except OSError:
        pass  # Linux says so that the other end is closed
    os.close(terminal)
    check(process.wait() == 0, f"{arguments}: exit code {process.returncode} on a terminal")
    return written


def progress():
    """What takes longer than a second says how long, on terminals alone, and what it has said is gone at its end."""
    loop = ["realtime_loop", "--seconds", "2"]
    told = on_terminal(*loop)
    check(re.search(rb"blocks \[#+\.*\] +\d+ %, [\d.]+/s, \d+ s left", told) and told.endswith(b"\r\x1b[K"), f"progress on a terminal: {told[-200:]}")
    check(not on_terminal(*loop, "--quiet"), "--quiet: says something all the same")
    check(not run(*loop).stderr, "progress where there is no terminal")


parser = argparse.ArgumentParser()
parser.add_argument("--examples", type=pathlib.Path, required=True)
parser.add_argument("--conformance", type=pathlib.Path, required=True)
parser.add_argument("--minilm", type=pathlib.Path)
arguments_ = parser.parse_args()

for program in sorted(p for p in arguments_.examples.iterdir() if p.is_file() and p.suffix == "" and p.stat().st_mode & 0o111 and p.name != "Makefile"):
    check_help(program)
    refuses(program.name, "--no-such-option", names="--no-such-option")
toy()
progress()
if arguments_.conformance.is_dir():
    broken_folders()
    bad_folders()
    bad_text()
    stories()
    conversation()
    long_lines()
    transliteration()
    sentence_transformers()
    search_index()
else:
    print(f"skipped: no conformance data in {arguments_.conformance}")
if arguments_.minilm and arguments_.conformance.is_dir():
    sentences()
else:
    print("skipped: all-MiniLM-L6-v2 is not here (ATTEND_MINILM_DIR)")
for failure in failures:
    print("FAILED:", failure)
sys.exit(1 if failures else 0)
