#!/usr/bin/env python3
"""Peak memory of the built examples: a model's file is mapped, packed once, and never held twice.

    memory.py --examples DIR [--minilm DIR]

A decoder and an encoder-decoder of more than 100 MB are written to a temporary folder, in several types and in
shards. What a program itself needs, its tokenizer and libraries, is what it needs with a tiny model of the same form.
"""

import argparse
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

MB = 1e6
failures = []


def peak(program, *arguments, text=""):
    """Bytes of memory that a run of a program had at most, mapped pages of files included (VmHWM)."""
    child = subprocess.Popen([arguments_.examples / program, *map(str, arguments)], stdin=subprocess.PIPE,
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    child.stdin.write(text.encode())
    child.stdin.close()
    said = child.stderr.read().decode()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    child.stderr.close()
    if child.returncode != 0:
        failures.append(f"{program} {arguments}: exit code {child.returncode}: {said[:300]}")
    return usage.ru_maxrss * 1024


def check(what, got, bound):
    print(f"{what}: {got / MB:.1f} MB, at most {bound / MB:.1f}")
    if got > bound:
        failures.append(f"{what}: {got / MB:.1f} MB, at most {bound / MB:.1f}")


def write_safetensors(path, shapes, dtype):
    """Tensors with small values that differ from each other, written piece by piece: this process stays small, since
    a child begins with its size."""
    size = {"F32": 4, "BF16": 2, "F16": 2}[dtype]
    header, at = {}, 0
    for name, shape in shapes.items():
        count = size
        for n in shape:
            count *= n
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + count]}
        at += count
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    values = [((i * 7919) % 1000 - 500) / 12500 for i in range(16384)]
    if dtype == "F32":
        block = struct.pack(f"<{len(values)}f", *values)
    elif dtype == "F16":
        block = struct.pack(f"<{len(values)}e", *values)
    else:  # the upper halves
        block = b"".join(struct.pack("<f", v)[2:] for v in values)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        while at > 0:
            file.write(block[:at])
            at -= min(at, len(block))


def write_weights(folder, shapes, dtype, shards=1):
    if shards == 1:
        return write_safetensors(folder / "model.safetensors", shapes, dtype)
    names = list(shapes)
    of = {name: f"model-{i % shards + 1:05}-of-{shards:05}.safetensors" for i, name in enumerate(names)}
    for file in set(of.values()):
        write_safetensors(folder / file, {name: shapes[name] for name in names if of[name] == file}, dtype)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": of}))


def write_tokenizer(folder):
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "TokenizersBackend"}')
    tokens = ["<unk>", "</s>"] + [chr(c) for c in range(32, 127)]
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "added_tokens": [],
        "model": {"type": "BPE", "vocab": {t: i for i, t in enumerate(tokens)}, "merges": [], "unk_token": "<unk>"}}))


def parameters(shapes):
    count = 0
    for shape in shapes.values():
        n = 1
        for size in shape:
            n *= size
        count += n
    return count


def llama(hidden, inner, layers, heads, kv_heads, vocabulary, tied):
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": vocabulary, "hidden_size": hidden,
              "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": heads,
              "num_key_value_heads": kv_heads, "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
              "max_position_embeddings": 2048, "tie_word_embeddings": tied, "bos_token_id": 1}
    kv = hidden // heads * kv_heads
    shapes = {"model.embed_tokens.weight": [vocabulary, hidden], "model.norm.weight": [hidden]}
    if not tied:
        shapes["lm_head.weight"] = [vocabulary, hidden]
    for i in range(layers):
        layer = f"model.layers.{i}."
        for name, rows in ("q", hidden), ("k", kv), ("v", kv), ("o", hidden):
            shapes[f"{layer}self_attn.{name}_proj.weight"] = [rows, hidden]
        for name, shape in ("gate", [inner, hidden]), ("up", [inner, hidden]), ("down", [hidden, inner]):
            shapes[f"{layer}mlp.{name}_proj.weight"] = shape
        for name in "input", "post_attention":
            shapes[f"{layer}{name}_layernorm.weight"] = [hidden]
    return config, shapes, 2 * layers * kv  # and the floats of the cache for each token


def gpt2(hidden, layers, heads, vocabulary):
    """Its matrices are stored transposed, so each is read many times."""
    config = {"model_type": "gpt2", "vocab_size": vocabulary, "n_embd": hidden, "n_head": heads, "n_layer": layers,
              "n_positions": 1024, "bos_token_id": 1}
    shapes = {"wte.weight": [vocabulary, hidden], "wpe.weight": [1024, hidden]}
    norms = ["ln_f"]
    for i in range(layers):
        for name, shape in ("attn.c_attn", [hidden, 3 * hidden]), ("attn.c_proj", [hidden, hidden]), \
                ("mlp.c_fc", [hidden, 4 * hidden]), ("mlp.c_proj", [4 * hidden, hidden]):
            shapes[f"h.{i}.{name}.weight"] = shape
            shapes[f"h.{i}.{name}.bias"] = shape[1:]
        norms += [f"h.{i}.ln_1", f"h.{i}.ln_2"]
    for norm in norms:
        shapes[norm + ".weight"] = shapes[norm + ".bias"] = [hidden]
    return config, shapes, 2 * layers * hidden


def t5(hidden, inner, layers, heads, vocabulary):
    config = {"model_type": "t5", "is_encoder_decoder": True, "vocab_size": vocabulary, "d_model": hidden, "d_kv": hidden // heads,
              "d_ff": inner, "num_layers": layers, "num_heads": heads, "feed_forward_proj": "relu", "eos_token_id": 1,
              "pad_token_id": 0, "decoder_start_token_id": 0}
    shapes = {"shared.weight": [vocabulary, hidden]}
    for side, parts in ("encoder", ["SelfAttention"]), ("decoder", ["SelfAttention", "EncDecAttention"]):
        shapes[f"{side}.final_layer_norm.weight"] = [hidden]
        shapes[f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = [32, heads]
        for i in range(layers):
            for n, attention in enumerate(parts):
                layer = f"{side}.block.{i}.layer.{n}."
                for name in "qkvo":
                    shapes[f"{layer}{attention}.{name}.weight"] = [hidden, hidden]
                shapes[layer + "layer_norm.weight"] = [hidden]
            layer = f"{side}.block.{i}.layer.{len(parts)}."
            shapes[layer + "DenseReluDense.wi.weight"] = [inner, hidden]
            shapes[layer + "DenseReluDense.wo.weight"] = [hidden, inner]
            shapes[layer + "layer_norm.weight"] = [hidden]
    return config, shapes, 4 * layers * hidden


def peak_with(form, dtype, shards, run):
    """Peak of a run with a model of this form, its number of parameters and the floats of a token's cache."""
    config, shapes, cache = form
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "config.json").write_text(json.dumps(config))
        write_tokenizer(folder)
        write_weights(folder, shapes, dtype, shards)
        return run(folder), parameters(shapes), cache


def check_form(what, large, tiny, tokens, run, variants):
    program = peak_with(tiny, "F32", 1, run)[0]
    for dtype, shards in variants:
        got, count, cache = peak_with(large, dtype, shards, run)
        if 4 * count < 100 * MB:
            failures.append(f"{what}: {4 * count / MB:.0f} MB of weights show nothing")
        # The cache grows by pages of 96 tokens.
        check(f"{what}, {dtype}, {shards} files, {4 * count / MB:.0f} MB of weights", got,
              1.15 * 4 * count + 4 * cache * (tokens + 96) + program)


def decoders():
    def run(folder):
        return peak("generate_text", "--model", folder, "--prompt", "a" * 100, "--max-new-tokens", 20)
    check_form("llama", llama(512, 1408, 8, 8, 4, 4000, False), llama(16, 16, 8, 8, 4, 100, False), 120, run,
               [("F32", 1), ("BF16", 1), ("F16", 1), ("F32", 3), ("BF16", 3)])
    # The table, which is also the head, is most of it.
    check_form("llama, tied", llama(512, 512, 2, 8, 4, 48000, True), llama(16, 16, 2, 8, 4, 100, True), 120, run, [("F32", 1), ("BF16", 2)])
    check_form("gpt2", gpt2(512, 8, 8, 4000), gpt2(16, 8, 8, 100), 120, run, [("F32", 1), ("F16", 1)])


def encoder_decoders():
    def run(folder):
        return peak("translate", "--model", folder, "--max-new-tokens", 5, text="a" * 50 + "\n")
    check_form("t5", t5(512, 1536, 4, 8, 4000), t5(16, 16, 4, 8, 100), 60, run, [("F32", 1), ("BF16", 2)])


parser = argparse.ArgumentParser()
parser.add_argument("--examples", type=pathlib.Path, required=True)
parser.add_argument("--minilm", type=pathlib.Path)
arguments_ = parser.parse_args()

if not hasattr(os, "wait4") or not sys.platform.startswith("linux"):
    print("skipped: peaks are read as Linux counts them")
    sys.exit(0)
decoders()
encoder_decoders()
if arguments_.minilm and (arguments_.minilm / "model.safetensors").exists():
    check("all-MiniLM-L6-v2, one sentence", peak("encode_sentences", "--model", arguments_.minilm, text="A sentence.\n"), 150 * MB)
    many = "".join(f"Sentence number {i} of a few that are embedded together, in groups.\n" for i in range(1000))
    check("all-MiniLM-L6-v2, 1,000 sentences", peak("encode_sentences", "--model", arguments_.minilm, "--threads", 2, text=many), 150 * MB)
else:
    print("skipped: all-MiniLM-L6-v2 is not here (ATTEND_MINILM_DIR)")
for failure in failures:
    print("FAILED:", failure)
sys.exit(1 if failures else 0)
