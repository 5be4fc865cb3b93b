#!/usr/bin/env python3
"""Writes seeds for the fuzz targets: seeds.py DIR makes DIR/TARGET/N."""

import json
import pathlib
import struct
import sys

folder = pathlib.Path(sys.argv[1])
count = {}


def seed(target, content):
    (folder / target).mkdir(parents=True, exist_ok=True)
    number = count[target] = count.get(target, 0) + 1
    (folder / target / str(number)).write_bytes(content if isinstance(content, bytes) else content.encode())


def safetensors(header, data):
    text = json.dumps(header).encode()
    seed("safetensors", struct.pack("<Q", len(text)) + text + data)


safetensors({}, b"")
safetensors({"__metadata__": {"format": "pt"}, "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
             "b": {"dtype": "BF16", "shape": [], "data_offsets": [16, 18]}}, bytes(18))
safetensors({name: {"dtype": name, "shape": [1], "data_offsets": [8 * i, 8 * i + 8]} for i, name in enumerate(["F64", "I64", "U64"])}, bytes(24))
safetensors({"a": {"dtype": "BOOL", "shape": [0, 3], "data_offsets": [0, 0], "more": [1, {"x": None}]}}, b"")

for path in sorted((pathlib.Path(__file__).parent.parent / "gguf").glob("*.gguf")):
    content = path.read_bytes()
    if len(content) < 15_000:
        seed("gguf", content)


def gguf(*keys, tensors=b"", count=0):
    """Metadata alone: names and values, of which lists have one kind."""
    def text(value):
        return struct.pack("<Q", len(value.encode())) + value.encode()

    def value_of(value):
        for kind, code, pack in (bool, 7, "<?"), (int, 4, "<I"), (float, 6, "<f"):
            if type(value) is kind:
                return code, struct.pack(pack, value)
        if type(value) is str:
            return 8, text(value)
        parts = [value_of(v) for v in value]
        return 9, struct.pack("<IQ", parts[0][0], len(parts)) + b"".join(p for _, p in parts)

    out = b"GGUF" + struct.pack("<IQQ", 3, count, len(keys))
    for name, value in keys:
        code, packed = value_of(value)
        out += text(name) + struct.pack("<I", code) + packed
    out += tensors
    seed("gguf", out + bytes(-len(out) % 32 + 256))


def gguf_model(name, *more):
    sizes = dict(context_length=16, embedding_length=8, block_count=1, feed_forward_length=8)
    sizes.update({"attention.head_count": 2, "attention.sliding_window": 4, "rope.freq_base": 1e4, "pooling_type": 1})
    tensor = struct.pack("<Q", 17) + b"token_embd.weight" + struct.pack("<I2QIQ", 2, 8, 4, 0, 0)
    tensor += struct.pack("<Q", 17) + b"rope_freqs.weight" + struct.pack("<IQIQ", 1, 2, 0, 128)
    gguf(("general.architecture", name), *((f"{name}.{key}", value) for key, value in sizes.items()), *more, tensors=tensor, count=2)


for name in "llama", "qwen3", "gemma2", "gemma3", "phi3", "bert":
    gguf_model(name, ("tokenizer.chat_template", "{{ x }}"), (f"{name}.rope.scaling.type", "yarn"), (f"{name}.rope.scaling.factor", 2.0))


ggml = "tokenizer.ggml."
gguf((ggml + "model", "gpt2"), (ggml + "pre", "qwen2"), (ggml + "tokens", ["a", "b", "ab", "<s>"]), (ggml + "token_type", [1, 1, 1, 3]),
     (ggml + "merges", ["a b"]), (ggml + "bos_token_id", 3), (ggml + "add_bos_token", True), ("tokenizer.chat_template", "{{ bos_token }}"))
gguf((ggml + "model", "llama"), (ggml + "tokens", ["<unk>", "<s>", "<0x41>", "a", "b", "ab"]), (ggml + "token_type", [2, 3, 6, 1, 1, 4]),
     (ggml + "scores", [0.0, 0.0, 0.0, -2.0, -3.0, -1.0]), (ggml + "add_space_prefix", False), (ggml + "bos_token_id", 1))
gguf((ggml + "model", "bert"), (ggml + "tokens", ["[UNK]", "[CLS]", "[SEP]", "\u2581a", "b"]), (ggml + "token_type", [3, 3, 3, 1, 1]),
     (ggml + "unknown_token_id", 0), (ggml + "cls_token_id", 1), (ggml + "seperator_token_id", 2))

size = {"vocab_size": 10, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "max_position_embeddings": 16}
for model in "llama", "mistral", "qwen2", "qwen3", "gemma2", "gpt_neox", "bert", "roberta", "modernbert", "distilbert":
    seed("config", json.dumps({"model_type": model, **size, "rms_norm_eps": 1e-6, "rope_theta": 1e4, "hidden_act": "silu",
                               "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                                "original_max_position_embeddings": 8}, "eos_token_id": [1, 2]}))
seed("config", json.dumps({"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2, "vocab_size": 10, "n_positions": 8}))
seed("config", json.dumps({"model_type": "bloom", "hidden_size": 8, "n_layer": 1, "n_head": 2, "vocab_size": 10}))
for model in "t5", "marian", "bart":
    seed("config", json.dumps({"model_type": model, "is_encoder_decoder": True, "d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2,
                               "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
                               "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "vocab_size": 10, "max_position_embeddings": 16, "pad_token_id": 0,
                               "eos_token_id": 1, "decoder_start_token_id": 0}))

models = [{"type": "WordLevel", "vocab": {"a": 0, "b": 1, "[UNK]": 2}, "unk_token": "[UNK]"},
          {"type": "WordPiece", "vocab": {"a": 0, "##b": 1, "[UNK]": 2}, "unk_token": "[UNK]", "max_input_chars_per_word": 10},
          {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "<0x41>": 3}, "merges": ["a b"], "unk_token": "b", "byte_fallback": True, "fuse_unk": True},
          {"type": "BPE", "vocab": {"a": 0, "##b": 1, "ab": 2, "a</w>": 3}, "merges": [["a", "##b"]], "continuing_subword_prefix": "##", "end_of_word_suffix": "</w>"},
          {"type": "Unigram", "vocab": [["<unk>", 0.0], ["a", -1.5], ["ab", -2]], "unk_id": 0}]
pattern = {"Regex": "'s| ?\\p{L}+|\\s+(?!\\S)|[^\\w]"}
steps = [("normalizer", n) for n in [{"type": "BertNormalizer"}, {"type": "NFKC"}, {"type": "Strip"}, {"type": "Prepend", "prepend": "_"}, {"type": "Nmt"},
                                     {"type": "Replace", "pattern": pattern, "content": "x"}, {"type": "Precompiled", "precompiled_charsmap": "BAAAAAAAAAAA"},
                                     {"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}, {"type": "Lowercase"}]}]]
steps += [("pre_tokenizer", p) for p in [{"type": "ByteLevel"}, {"type": "BertPreTokenizer"}, {"type": "Whitespace"}, {"type": "WhitespaceSplit"},
                                         {"type": "Metaspace", "replacement": "_", "prepend_scheme": "first"}, {"type": "Digits", "individual_digits": True},
                                         {"type": "Punctuation", "behavior": "MergedWithNext"}, {"type": "CharDelimiterSplit", "delimiter": "b"},
                                         {"type": "Split", "pattern": pattern, "behavior": "Contiguous", "invert": True},
                                         {"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, {"type": "ByteLevel"}]}]]
steps += [("decoder", d) for d in [{"type": "ByteLevel"}, {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "WordPiece"}, {"type": "BPEDecoder"},
                                   {"type": "Metaspace", "replacement": "_"}, {"type": "Strip", "content": " ", "start": 1, "stop": 1},
                                   {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "a"}, "content": " "}, {"type": "Fuse"}]}]]
steps += [("post_processor", {"type": "BertProcessing", "sep": ["b", 1], "cls": ["a", 0]}),
          ("post_processor", {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "a", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                              "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                              "special_tokens": {"a": {"id": "a", "ids": [0], "tokens": ["a"]}}})]
for i, (name, step) in enumerate(steps):
    seed("tokenizer", json.dumps({"version": "1.0", "model": models[i % len(models)], name: step,
                                  "added_tokens": [{"id": 9, "content": "<s>", "special": True, "lstrip": True, "single_word": i % 2 == 0, "normalized": i % 3 == 0}]}))
for model in models:
    seed("tokenizer", json.dumps({"model": model}))

seed("vocab_and_merges", '{"a":0,"b":1,"ab":2,"\\u0120":3,"\\u0120ab":4}\n\n#version: 0.2\na b\n\u0120 ab\n')
seed("vocab_and_merges", '{"<s>":0,"</s>":1,"<mask>":2,"a":30}\n\n')
seed("vocab_txt", "[UNK]\r\n[CLS]\na\n##b\nab \n\n\u00e9\n")


def field(number, kind, value):
    return bytes([number << 3 | kind]) + (bytes([len(value)]) + value if kind == 2 else value)


def piece(text, score, kind):
    return field(1, 2, field(1, 2, text.encode()) + field(2, 5, struct.pack("<f", score)) + field(3, 0, bytes([kind])))


for kind in 1, 2:
    seed("pieces", piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3) + piece("\u2581", -1, 1) + piece("a", -2, 1) + piece("b", -3, 1) +
         piece("ab", -1.5, 1) + field(2, 2, field(3, 0, bytes([kind]))) + field(3, 2, field(1, 2, b"identity")))

for text in ["", "ab aab a", "Hello, world!  It's\t\n 12", "\u00e9\u0301\ufdfa\U0001f600\u4f60\u597d<x> <unk>", "\0\x01\x7f", "\u2581a\u2581 aba"]:
    seed("texts", text)
seed("texts", b"\xff\xe4\xbd a\xc0\x80 \xed\xa0\x80")
seed("texts", b"ab " * 300)

for path in sorted((pathlib.Path(__file__).parents[1] / "chat_templates").glob("*.jinja")):
    seed("template", path.read_bytes())
for text in ["{% set n = namespace(a=1, b=[]) %}{% for i in range(3, 0, -1) %}{% set n.a = n.a * i %}{% set n.b = n.b + [i] %}{% endfor %}{{ n.b|tojson(indent=2) }}",
             "{% macro f(a, b=a) %}{% if a %}{{ a }}{{ f(a[1:], b=b ~ a) }}{% endif %}{% endmacro %}{{ f('\\u00e9abc') }}",
             "{% for k, v in messages[2].items() if k not in ['x', 1] %}{{ loop.index }}{{ loop.previtem }}{{ k.title() }}{{ v }}{% else %}none{% endfor %}",
             "{{ messages|selectattr('content', 'string')|map(attribute='content')|map('trim')|join(', ')|replace('a', 'bb', 2)|upper }}",
             "{{ 'a b,c'.split()[-1].split(',', 1) }}{{ -7 // 2 % 3 ** 2 / 1.5 }}{{ (1, 'a') in [[1, 'a']] }}{{ x is number and not n is divisibleby 2 }}",
             "{%- set z -%} {{ 'x'.replace('', '-') }} {%- endset -%}{# c -#}  {{ z[::-1]|length }}{% raw %}{{{% endraw %}{{ strftime_now('%d %B %Y, %-I%p') }}",
             "{{ {'a': {1: none}, 'b': [true, 1e-7]}|dictsort }}{{ 'a\nb'|indent(2, true) }}{{ messages|tojson(sort_keys=true, ensure_ascii=true) }}",
             "{% for m in messages %}{% if loop.first %}{% continue %}{% elif loop.last %}{% break %}{% endif %}{% generation %}{{ m.get('q', {}).keys()|list }}{% endgeneration %}{% endfor %}"]:
    seed("template", text)
seed("template", "{{ messages }}\0" + '[{"role": "a", "thinking": "b"}, {"x": [[[1]]]}]')

# The bytes of an operator are a program of random numbers; libFuzzer would take long to find ones of a good length.
state = 1
for length in [30, 60, 120, 300] * 60:
    numbers = bytearray()
    for _ in range(length):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        numbers.append(state >> 56)
    seed("operators", bytes(numbers))
