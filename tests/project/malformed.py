#!/usr/bin/env python3
"""Writes hostile files, each near one megabyte or as deep, many or repeated as its kind can be, and lets attend_malformed
check them: verdict, memory and time.

    malformed.py PROGRAM [--keep DIR]
"""

import base64
import itertools
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

SIZE = 990_000
files = []  # (name, verdict, what, bytes)


def add(name, verdict, what, content):
    files.append((name, verdict, what, content if isinstance(content, bytes) else content.encode()))


def repeat(begin, unit, end, size=SIZE):
    count = max(1, (size - len(begin) - len(end)) // len(unit))
    return begin + (unit * count)[:-1] + end  # units end in the comma that the last does not need


def names(count):
    """Short distinct names."""
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    made = ("".join(t) for n in itertools.count(1) for t in itertools.product(letters, repeat=n))
    return list(itertools.islice(made, count))


def safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else header.encode()
    return struct.pack("<Q", len(text)) + text + data


def tokenizer(model=None, **parts):
    model = model or {"type": "WordLevel", "vocab": {"a": 0, "[UNK]": 1}, "unk_token": "[UNK]"}
    return json.dumps({"version": "1.0", "model": model, **parts}, separators=(",", ":"))


# JSON of every shape, in every file that is JSON.
shapes = {
    "deep": "[" * 200_000, "deep_closed": "[" * 400_000 + "]" * 400_000, "deep_objects": '{"a":' * 150_000,
    "lists": repeat("[", "[],", "]"), "objects": repeat("[", "{},", "]"), "zeros": repeat("[", "0,", "]"),
    "texts": repeat("[", '"",', "]"), "nested": repeat("[", "[[]],", "]"), "small_objects": repeat("[", '{"":0},', "]"),
    "one_text": '"' + "a" * SIZE + '"', "escapes": '"' + "\\u00e9" * (SIZE // 6) + '"', "newlines": '"' + "\\n" * (SIZE // 2) + '"',
    "number": "1" * SIZE, "fraction": "0." + "3" * SIZE, "exponent": "1e" + "9" * SIZE, "blanks": " " * SIZE,
    "members": "{" + ",".join(f'"{n}":0' for n in names(120_000)) + "}",
    "twice": '{"a":0,"\\u0061":0}', "nul": "{}\0", "behind_nul": '{"a":0}\0{"b":1}', "nul_inside": '{"a\0":0}',
    "trailing": "{}{}", "comma": '{"a":0,}', "bom_twice": "\ufeff\ufeff{}", "bom_late": " \ufeff{}", "comment": "{} // no",
    "surrogate": '{"a":"\\ud800"}', "overflow": '{"a":1e999}', "nan": '{"a":NaN}', "empty": "", "control": '{"a":"\n"}',
    "cut": '{"a": "', "overlong": b'{"a":"\xc0\x80"}', "latin1": b'{"a":"\xe9"}',
}
for name, shape in shapes.items():
    for kind in "vocab", "tokenizer", "tokenizer_config", "added_tokens", "special_tokens_map", "config", "generation_config":
        add(f"json/{kind}_{name}.json", "either" if name == "members" and kind != "config" else "reject", name, shape)
    add(f"json/{name}.index.json", "reject", name, shape)
    inside = shape if isinstance(shape, bytes) else shape.encode()
    if name not in ("empty", "trailing", "comma", "nul", "behind_nul", "bom_twice", "bom_late", "comment", "blanks"):
        for kind, before in ("tokenizer", b'{"version":'), ("tokenizer_config", b'{"extra_ids":'), ("config", b'{"model_type":'), \
                ("tokenizer", b'{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"added_tokens":'), \
                ("tokenizer", b'{"model":{"type":"Unigram","vocab":'), ("tokenizer", b'{"model":{"type":"BPE","vocab":{"a":0},"merges":'), \
                ("tokenizer", b'{"model":{"type":"WordLevel","vocab":{"<unk>":0}},"normalizer":{"type":"Sequence","normalizers":'), \
                ("tokenizer", b'{"model":{"type":"WordLevel","vocab":{"<unk>":0}},"decoder":{"type":"Sequence","decoders":'):
            closing = b"}" * (before.count(b"{") - before.count(b"}"))
            add(f"json/{kind}_in{len(files)}_{name}.json", "either", name, before + inside + closing)

# Fields of a wrong type.
odd = [None, True, 5, -1, 0.5, 1e300, "x", [], [1], {}, {"content": 5}, 2**31, 2**63, 2**64]
for i, value in enumerate(odd):
    for field in "added_tokens_decoder", "unk_token", "tokenizer_class", "do_lower_case", "add_prefix_space", "extra_ids", "cls_token":
        add(f"json/tokenizer_config_{field}_{i}.json", "either", field, json.dumps({field: value}))
    add(f"json/tokenizer_config_decoder_{i}.json", "reject", "content", json.dumps({"added_tokens_decoder": {"0": value}}))
    add(f"json/tokenizer_config_content_{i}.json", "either", "content", json.dumps({"added_tokens_decoder": {"9": {"content": value}}}))
    add(f"json/added_tokens_{i}.json", "either", "id", json.dumps({"<x>": value}))
    add(f"json/special_tokens_map_{i}.json", "either", "token", json.dumps({"bos_token": value, "eos_token": {"content": value}}))
    add(f"json/weights_{i}.index.json", "reject", "shard", json.dumps({"weight_map": {"a": value}}))
    for key in "hidden_size", "num_hidden_layers", "rope_parameters", "hidden_act", "eos_token_id", "layer_types", "id2label":
        for model in "llama", "bert", "t5", "gpt2", "modernbert":
            add(f"json/config_{model}_{key}_{i}.json", "either", key, json.dumps({"model_type": model, key: value}))
    for part in "normalizer", "pre_tokenizer", "post_processor", "decoder", "added_tokens", "model", "truncation":
        parts = {"model": {"type": "WordLevel", "vocab": {"a": 0}}, part: value}
        add(f"json/tokenizer_{part}_{i}.json", "either", part, json.dumps(parts))
        add(f"json/tokenizer_{part}_type_{i}.json", "either", part, json.dumps({**parts, part: {"type": value}}))
    for model in "WordPiece", "BPE", "Unigram", "WordLevel":
        for field in "vocab", "merges", "unk_token", "unk_id", "max_input_chars_per_word", "byte_fallback", "continuing_subword_prefix":
            full = {"type": model, "vocab": [["a", 0.0]] if model == "Unigram" else {"a": 0}, field: value}
            add(f"json/tokenizer_{model}_{field}_{i}.json", "either", field, json.dumps({"model": full}))

# Steps that grow a text, and many of them.
grow = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
token = {"id": 2, "content": "aaaa", "special": False, "normalized": True}
add("steps/tokenizer_doubled.json", "reject", "a -> aa", tokenizer(normalizer={"type": "Sequence", "normalizers": [grow] * 36}, added_tokens=[token]))
add("steps/tokenizer_large.json", "reject", "a -> much", tokenizer(normalizer={**grow, "content": "b" * 900_000}, added_tokens=[{**token, "content": "a" * 10_000}]))
add("steps/tokenizer_regex.json", "reject", "every place -> much", tokenizer(normalizer={**grow, "pattern": {"Regex": ""}, "content": "b" * 400_000}, added_tokens=[{**token, "content": "a" * 4_000}]))
for part, inner in ("normalizer", "normalizers"), ("pre_tokenizer", "pretokenizers"), ("decoder", "decoders"), ("post_processor", "processors"):
    add(f"steps/tokenizer_{part}_bytes.json", "either", "many steps",
        tokenizer(**{part: {"type": "Sequence", inner: [{"type": "ByteLevel"}] * 40_000}}))
    deep = {"type": "ByteLevel"}
    for _ in range(25):
        deep = {"type": "Sequence", inner: [deep, deep]} if len(json.dumps(deep)) < 100_000 else {"type": "Sequence", inner: [deep]}
    add(f"steps/tokenizer_{part}_tree.json", "reject", "a tree of steps", tokenizer(**{part: deep}))
many = [{"id": i + 2, "content": f"a{i}"} for i in range(25_000)]
replaces = [{"type": "Replace", "pattern": {"Regex": p}, "content": "c"} for p in ["(a+)+$", "(a|a)*b", "(x*)*y"] * 20]
add("steps/tokenizer_many_tokens.json", "accept", "many added tokens", tokenizer(added_tokens=many))
add("steps/tokenizer_tokens_and_steps.json", "either", "many tokens through many patterns",
    tokenizer(added_tokens=[{"id": i + 2, "content": "a" * 24 + str(i)} for i in range(15_000)], normalizer={"type": "Sequence", "normalizers": replaces}))
add("steps/tokenizer_tokens_and_slow_steps.json", "either", "many tokens through many patterns",
    tokenizer(added_tokens=[{"id": i + 2, "content": "aaaaaaaa" + str(i)} for i in range(22_000)],
              normalizer={"type": "Sequence", "normalizers": [{"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""}] * 62}))
add("steps/tokenizer_tokens_and_replaces.json", "either", "many tokens through many steps",
    tokenizer(added_tokens=many, normalizer={"type": "Sequence", "normalizers": [{**grow, "content": "b"}] * 60}))
for i, pattern in enumerate(["(" * 100_000 + ")" * 100_000, "a" * 900_000, "(?:(?:(?:a{1,99}){1,99}){1,99}){1,99}", "((ab){9}){99}" * 20, "[" + "a-z" * 100_000 + "]",
                             "(?<=" + "a" * 1000 + ")b", "(a+)+$", "\\p{L}" * 10_000, "(?R)", "(?1)(a)", "a{65536}", "\\", "[", "(?i)" * 50_000]):
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"}
    add(f"steps/tokenizer_pattern_{i}.json", "either", "pattern", tokenizer(pre_tokenizer=split))
    add(f"steps/tokenizer_patterns_{i}.json", "either", "patterns",
        tokenizer(pre_tokenizer={"type": "Sequence", "pretokenizers": [split] * min(60, max(1, 800_000 // len(json.dumps(split))))}))
special = {"x": {"id": "x", "ids": [0] * 30_000, "tokens": ["a"]}}
template = [{"SpecialToken": {"id": "x", "type_id": 0}}] * 10_000 + [{"Sequence": {"id": "A", "type_id": 0}}]
add("steps/tokenizer_template.json", "reject", "a template of 300 million ids",
    tokenizer(post_processor={"type": "TemplateProcessing", "single": template, "pair": template, "special_tokens": special}))
for size in 0, 1, 4, 0x10000, 0xFFFFFFFF:
    charsmap = base64.b64encode(struct.pack("<I", size) + b"\x01\x02\x03\x04" * 10_000).decode()
    add(f"steps/tokenizer_charsmap_{size}.json", "either", "charsmap", tokenizer(normalizer={"type": "Precompiled", "precompiled_charsmap": charsmap}, added_tokens=[token]))

# Vocabularies: many tokens, long ones, gaps.
short = names(75_000)
vocab = {n: i for i, n in enumerate(short)}
add("tokenizers/vocab_many.json", "accept", "many tokens", json.dumps(vocab, separators=(",", ":")))
add("tokenizers/vocab_reversed.json", "accept", "ids against the order", json.dumps({n: len(short) - 1 - i for i, n in enumerate(short)}, separators=(",", ":")))
add("tokenizers/vocab_gaps.json", "either", "ids with gaps", json.dumps({n: 4 * i + 60_000 for i, n in enumerate(short)}, separators=(",", ":")))
add("tokenizers/vocab_one_far.json", "either", "one id far away", json.dumps({"a": 65_000}))
add("tokenizers/vocab_too_far.json", "reject", "an id too far", json.dumps({"a": 100_000}))
add("tokenizers/vocab_long.json", "accept", "a long token", json.dumps({"a": 0, "a" * 900_000: 1}))
add("tokenizers/vocab_prefixes.json", "accept", "prefixes of each other", json.dumps({"a" * i: i for i in range(1, 1400)}))
for model in "WordPiece", "WordLevel", "BPE":
    add(f"tokenizers/tokenizer_{model}.json", "accept", "many tokens",
        tokenizer({"type": model, "unk_token": "a", "vocab": vocab, **({"merges": []} if model == "BPE" else {})}))
add("tokenizers/tokenizer_Unigram.json", "accept", "many tokens", tokenizer({"type": "Unigram", "unk_id": 0, "vocab": [[n, 0] for n in short]}))
add("tokenizers/tokenizer_Unigram_prefixes.json", "accept", "prefixes of each other",
    tokenizer({"type": "Unigram", "unk_id": 0, "vocab": [["a" * i, 0] for i in range(1, 1300)]}))
letters = [n for n in short if len(n) == 1]
words = letters + [a + b for a in letters for b in letters]
triples = [a + b for a in letters for b in words[len(letters):]][:60_000]
merges = [f"{a} {b}" for a in letters for b in letters]
every = {n: i for i, n in enumerate(words + triples)}
add("tokenizers/tokenizer_merges.json", "accept", "many merges", tokenizer({"type": "BPE", "vocab": {n: i for i, n in enumerate(words)}, "merges": (merges * 40)[:100_000]}))
add("tokenizers/tokenizer_pairs.json", "accept", "many merges", tokenizer({"type": "BPE", "vocab": {n: i for i, n in enumerate(words)}, "merges": [m.split() for m in (merges * 40)[:80_000]]}))
add("large/vocab_ok.json", "accept", "base", json.dumps(every, separators=(",", ":")))
add("large/merges_many.txt", "either", "many merges", "\n".join(merges + [f"{t[0]} {t[1:]}" for t in triples] + [f"{t[:2]} {t[2:]}" for t in triples]))
add("large/merges_same.txt", "either", "one merge", "a b\n" * (SIZE // 4))
add("large/merges_empty_lines.txt", "either", "empty lines", "\n" * SIZE)
add("large/merges_blanks.txt", "reject", "blanks", " " * SIZE)
add("large/merges_long.txt", "reject", "a long line", "a" * SIZE + " b")
add("large/merges_nul.txt", "reject", "NUL", "a\0 b\n")
add("large/wp_empty_lines.txt", "either", "empty lines", "\n" * SIZE)
add("large/wp_short_lines.txt", "either", "short lines", "a\n" * (SIZE // 2))
add("large/wp_many.txt", "accept", "many tokens", "\n".join(["[UNK]"] + names(245_000)))
add("large/wp_long.txt", "accept", "a long token", "[UNK]\n" + "a" * SIZE)
add("large/wp_nul.txt", "either", "NUL", "[UNK]\na\0b\n")
add("large/wp_bad.txt", "reject", "UTF-8", b"[UNK]\n" + b"a" * 70_000 + b"\n\xff\n")

# safetensors.
entry = '"dtype":"U8","shape":[],"data_offsets":[0,0]'
add("safetensors/many.safetensors", "accept", "many tensors",
    safetensors("{" + ",".join(f'"{n}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}' for n in names(18_000)) + "}"))
add("safetensors/many_twice.safetensors", "reject", "many tensors, one twice",
    safetensors("{" + ",".join(f'"{n}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}' for n in names(18_000) + ["a"]) + "}"))
add("safetensors/axes.safetensors", "either", "many axes", safetensors('{"a":{"dtype":"U8","shape":[' + "0," * 400_000 + '0],"data_offsets":[0,0]}}'))
add("safetensors/metadata.safetensors", "either", "much metadata", safetensors('{"__metadata__":{' + ",".join(f'"{n}":""' for n in names(100_000)) + "}}"))
add("safetensors/metadata_long.safetensors", "accept", "a long text", safetensors('{"__metadata__":{"a":"' + "b" * 900_000 + '"}}'))
add("safetensors/fields.safetensors", "either", "many unknown fields",
    safetensors('{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],' + ",".join(f'"{n}x":0' for n in names(80_000)) + "}}"))
add("safetensors/deep.safetensors", "reject", "deep", safetensors('{"a":' + "[" * 300_000))
add("safetensors/deep_unknown.safetensors", "reject", "deep", safetensors('{"a":{"x":' + "[" * 300_000))
add("safetensors/metadata_twice.safetensors", "reject", "metadata twice", safetensors('{"__metadata__":{},"__metadata__":{}}'))

# GGUF: short keys, tensors and tokens, which take the most for a byte.
def gguf_text(text):
    return struct.pack("<Q", len(text)) + text.encode()


def gguf(keys, tensors=()):
    return b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(keys) + b"".join(tensors)


def gguf_list(name, kind, count, values):
    return gguf_text(name) + struct.pack("<IIQ", 9, kind, count) + values


def gguf_tokens(model, tokens, *more):
    return gguf([gguf_text("tokenizer.ggml.model") + struct.pack("<I", 8) + gguf_text(model), *more,
                 gguf_list("tokenizer.ggml.tokens", 8, len(tokens), b"".join(map(gguf_text, tokens)))])


def gguf_kinds(kind, count):
    return gguf_list("tokenizer.ggml.token_type", 4, count, struct.pack("<I", kind) * count)


def gguf_scores(scores):
    return gguf_list("tokenizer.ggml.scores", 6, len(scores), struct.pack(f"<{len(scores)}f", *scores))


gpt2 = gguf_text("tokenizer.ggml.pre") + struct.pack("<I", 8) + gguf_text("gpt-2")
few, some = names(48_000), names(60_000)
add("gguf/keys.gguf", "accept", "many keys", gguf([gguf_text(n) + struct.pack("<IB", 0, 1) for n in names(58_000)]))
add("gguf/keys_twice.gguf", "reject", "a key twice", gguf([gguf_text(n) + struct.pack("<IB", 0, 1) for n in names(58_000) + ["a"]]))
add("gguf/tensors.gguf", "accept", "many tensors", gguf([], [gguf_text(n) + struct.pack("<IQIQ", 1, 0, 0, 0) for n in names(27_000)]))
add("gguf/tensors_twice.gguf", "reject", "a tensor twice", gguf([], [gguf_text(n) + struct.pack("<IQIQ", 1, 0, 0, 0) for n in names(9) + ["a"]]))
add("gguf/tensors_four.gguf", "accept", "many axes", gguf([], [gguf_text(n) + struct.pack("<I4QIQ", 4, 0, 2, 2, 2, 0, 0) for n in names(17_000)]))
add("gguf/tokens_many.gguf", "accept", "many tokens", gguf_tokens("gpt2", names(80_000), gpt2))
add("gguf/tokens_scored.gguf", "accept", "many scores", gguf_tokens("llama", some, gguf_scores([-float(i) for i in range(len(some))])))
add("gguf/tokens_prefixes.gguf", "accept", "prefixes of each other", gguf_tokens("llama", ["a" * i for i in range(1, 1380)], gguf_scores([0.0] * 1379)))
add("gguf/tokens_nan.gguf", "accept", "no numbers", gguf_tokens("llama", some, gguf_scores([float("nan")] * len(some))))
add("gguf/tokens_control.gguf", "reject", "all tokens are special", gguf_tokens("gpt2", few, gpt2, gguf_kinds(3, len(few))))
add("gguf/tokens_user.gguf", "reject", "all tokens are a user's", gguf_tokens("llama", few[:40_000], gguf_scores([0.0] * 40_000), gguf_kinds(4, 40_000)))
add("gguf/tokens_merges.gguf", "accept", "one merge", gguf_tokens("gpt2", ["a", "b", "ab"], gpt2, gguf_list("tokenizer.ggml.merges", 8, 80_000, gguf_text("a b") * 80_000)))
add("gguf/tokens_bert.gguf", "accept", "many words", gguf_tokens("bert", names(80_000)))
add("gguf/tokens_same.gguf", "reject", "one token", gguf_tokens("gpt2", ["a"] * 90_000, gpt2))
add("gguf/tokens_empty.gguf", "reject", "empty tokens", gguf_tokens("gpt2", [""] * 100_000, gpt2))
add("gguf/tokens_long.gguf", "accept", "a long token", gguf_tokens("llama", ["a", "b" * SIZE], gguf_scores([0.0, 1.0])))
def gguf_model(more):
    """A Gemma 3 as far as its configuration goes."""
    keys = [gguf_text("general.architecture") + struct.pack("<I", 8) + gguf_text("gemma3"), more]
    for name, value in (("context_length", 16), ("embedding_length", 8), ("block_count", 2), ("feed_forward_length", 8),
                        ("attention.head_count", 2), ("attention.sliding_window", 4)):
        keys.append(gguf_text(f"gemma3.{name}") + struct.pack("<II", 4, value))
    content = gguf(keys, [gguf_text("token_embd.weight") + struct.pack("<I2QIQ", 2, 8, 4, 0, 0)])
    return content + bytes(-len(content) % 32 + 128)


for name, verdict, kind, value in ("bools", "reject", 7, b"\1"), ("strings", "reject", 8, gguf_text("")), ("numbers", "reject", 12, bytes(8)):
    add(f"gguf/model_{name}.gguf", verdict, "a long list", gguf_model(gguf_list(
        "gemma3.attention.sliding_window_pattern", kind, SIZE // len(value), value * (SIZE // len(value)))))
add("gguf/model_template.gguf", "accept", "a long template", gguf_model(
    gguf_text("tokenizer.chat_template") + struct.pack("<I", 8) + gguf_text("\x01" * SIZE)))
add("gguf/model_pattern.gguf", "accept", "a list", gguf_model(gguf_list("gemma3.attention.sliding_window_pattern", 7, 2, b"\1\0")))
for i, content in enumerate([b"", b"GGUF", b"GGUF\3\0\0\0" + b"\xff" * 16, b"GGUF\3\0\0\0" + bytes(8) + b"\xff" * 8, b"GGUF" * 1000]):
    add(f"gguf/cut_{i}.gguf", "reject", "cut", content)

# SentencePiece models are a protobuf.
for i, content in enumerate([b"", b"\0", b"\x0a", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x0a\x00" * 400_000, b"\x0a\x02\x0a\x00" * 200_000, b"\xff" * 1000,
                             b"\x0a\x05\x0a\x01a\x18\x02" * 10, b"\x12\x05\x08\x01\x10\x00\x00"]):
    add(f"pieces/{i}.spm", "reject", "not a model", content)


def piece(text, kind=1):
    size = len(text) + (2 if kind == 1 else 4)
    return b"\x0a" + bytes([size, 0x0a, len(text)]) + text + (b"" if kind == 1 else bytes([0x18, kind]))


short = [bytes([65 + i % 60, 65 + i // 60 % 60, 65 + i // 3600]) for i in range(200_000)]
unknown = piece(b"<unk>", 2)
bpe = b"\x12\x02\x18\x02"
for kind, name in (1, "normal"), (3, "control"), (4, "user_defined"), (5, "unused"):
    add(f"pieces/many_{name}.spm", "accept", "many short pieces", unknown + b"".join(piece(text, kind) for text in short))
    add(f"pieces/many_{name}_bpe.spm", "accept", "many short pieces", unknown + bpe + b"".join(piece(text, kind) for text in short))
add("pieces/many_twice.spm", "reject", "many pieces, one twice", unknown + b"".join(piece(text) for text in short) + piece(short[0]))
add("pieces/many_empty.spm", "either", "empty fields", unknown + b"\x22\x00" * 400_000)
add("pieces/nested.spm", "either", "a normalizer given again and again", unknown + b"\x1a\x06\x12\x04\0\0\0\0" * 100_000)
trie = b"\x01\x06\x00\x00" * 200_000  # each unit a child of the first, under one letter or another
charsmap = len(trie).to_bytes(4, "little") + trie + b"x" * 100_000 + b"\0"
add("pieces/map.spm", "either", "a large map", unknown + b"\x1a" + bytes([0x80 | (len(charsmap) + 4) & 127, 0x80 | (len(charsmap) + 4) >> 7 & 127, (len(charsmap) + 4) >> 14]) +
    b"\x12" + bytes([0x80 | len(charsmap) & 127, 0x80 | len(charsmap) >> 7 & 127, len(charsmap) >> 14]) + charsmap)

if len(sys.argv) < 2:
    sys.exit(__doc__)
with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(sys.argv[3] if sys.argv[2:3] == ["--keep"] else name)
    for path, _, _, content in files:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    (folder / "manifest.tsv").write_text("file\tverdict\tclass\torigin\n" + "".join(f"{p}\t{v}\t{w}\town\n" for p, v, w, _ in files))
    sys.exit(subprocess.run([sys.argv[1], folder], timeout=900).returncode)
