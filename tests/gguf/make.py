#!/usr/bin/env python3
"""Writes the .gguf files beside this one, by the gguf package and the rules of llama.cpp's converter.

Run: python make.py   (needs gguf, numpy, safetensors, sentencepiece; made with gguf 0.19, sentencepiece 0.2.3)

FAMILY.gguf          the model of ../models/FAMILY: matrices as BF16, which holds its numbers, vectors as F32
stories.gguf         with its tokenizer, a chat template and sampling
pool_cls.gguf        the sentence encoder of that name, with its tokenizer
types.gguf           a tensor of each type, and as TYPE.expected what the gguf package makes of it
byte_level_bpe.gguf  a tokenizer of ../models/tokenizers, without a model
pieces.gguf          a SentencePiece BPE model with scores; pieces.json: texts and the ids that its library gives
"""

import io
import json
import pathlib
import re

import gguf
import numpy as np
import sentencepiece
from safetensors import safe_open

HERE = pathlib.Path(__file__).parent
MODELS = HERE.parent / "models"
TYPE = gguf.TokenType
Q = gguf.GGMLQuantizationType

LLAMA_NAMES = {"input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
               "self_attn.qkv_proj": "attn_qkv", "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
               "self_attn.k_norm": "attn_k_norm", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate",
               "mlp.up_proj": "ffn_up", "mlp.gate_up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
GEMMA_NAMES = {**LLAMA_NAMES, "post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
               "post_feedforward_layernorm": "post_ffw_norm"}
BERT_NAMES = {"attention.self.query": "attn_q", "attention.self.key": "attn_k", "attention.self.value": "attn_v",
              "attention.output.dense": "attn_output", "attention.output.LayerNorm": "attn_output_norm", "intermediate.dense": "ffn_up",
              "output.dense": "ffn_down", "output.LayerNorm": "layer_output_norm"}
OTHERS = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
          "embeddings.word_embeddings": "token_embd", "embeddings.position_embeddings": "position_embd",
          "embeddings.token_type_embeddings": "token_types", "embeddings.LayerNorm": "token_embd_norm"}


def name_of(name, architecture):
    stem, end = name.rsplit(".", 1)
    if stem in OTHERS:
        return f"{OTHERS[stem]}.{end}"
    names = BERT_NAMES if architecture == "bert" else GEMMA_NAMES if architecture.startswith("gemma") else LLAMA_NAMES
    layer, part = re.fullmatch(r"(?:model\.layers|encoder\.layer)\.(\d+)\.(.*)", stem).groups()
    return f"blk.{layer}.{names[part]}.{end}"


def permuted(weight, heads):
    """As the converter has the rows of Llama's queries and keys."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def add_parameters(writer, config, architecture):
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    if architecture == "bert":
        writer.add_layer_norm_eps(config["layer_norm_eps"])
        writer.add_token_type_count(config["type_vocab_size"])
        writer.add_causal_attention(False)
        writer.add_pooling_type(gguf.PoolingType.CLS)
        return
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    rope = config["rope_parameters"]
    rope = rope.get("full_attention", rope)
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_rope_dimension_count(int(rope.get("partial_rotary_factor", 1) * head_dim))
    if config.get("sliding_window") and architecture in ("llama", "gemma2", "gemma3", "phi3"):
        writer.add_sliding_window(config["sliding_window"])
    if architecture.startswith("gemma"):
        writer.add_attention_scale(config["query_pre_attn_scalar"] ** -0.5)
        if config.get("attn_logit_softcapping"):
            writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
        if config.get("final_logit_softcapping"):
            writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    if architecture == "gemma3":
        writer.add_array("gemma3.attention.sliding_window_pattern", [kind == "sliding_attention" for kind in config["layer_types"]])
    if rope.get("rope_type") == "longrope":
        writer.add_rope_scaling_orig_ctx_len(config["original_max_position_embeddings"])
        writer.add_rope_scaling_type(gguf.RopeScalingType.LONGROPE)
        for kind in ("long", "short"):
            writer.add_tensor(f"rope_factors_{kind}.weight", np.array(rope[f"{kind}_factor"], np.float32))
    if rope.get("rope_type") == "llama3":
        wave = 2 * np.pi * rope["rope_theta"] ** (np.arange(0, head_dim, 2) / head_dim)
        old = rope["original_max_position_embeddings"]
        smooth = (old / wave - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"])
        smooth = np.clip(smooth, 0, 1)
        writer.add_tensor("rope_freqs.weight", (1 / ((1 - smooth) / rope["factor"] + smooth)).astype(np.float32))


def add_tensors(writer, folder, config, architecture):
    with safe_open(folder / "model.safetensors", "np") as file:
        for name in sorted(file.keys()):
            if name.startswith("pooler."):
                continue
            weight = file.get_tensor(name)
            if architecture == "llama" and re.search(r"\.[qk]_proj\.", name):
                weight = permuted(weight, config["num_attention_heads" if ".q_proj" in name else "num_key_value_heads"])
            if architecture.startswith("gemma") and name.endswith("norm.weight"):
                weight = weight + np.float32(1)
            kind = Q.BF16 if weight.ndim > 1 else Q.F32
            data = gguf.quants.quantize(weight, kind)
            assert (gguf.quants.dequantize(data, kind) == weight).all()
            writer.add_tensor(name_of(name, architecture), data, raw_dtype=kind)


def add_tokens(writer, model, tokens, types, scores=None, pre=None, merges=None, **special):
    writer.add_tokenizer_model(model)
    if pre:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    if scores:
        writer.add_token_scores(scores)
    if merges is not None:
        writer.add_token_merges(merges)
    for name, value in special.items():
        getattr(writer, f"add_{name}")(value)


def tokens_of(folder):
    """Of a tokenizer.json: its tokens in the order of their ids, the added ones as control symbols, and the model."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokens = {id_: token for token, id_ in tokenizer["model"]["vocab"].items()}
    added = {token["id"]: token["content"] for token in tokenizer["added_tokens"]}
    tokens.update(added)
    tokens = [tokens[i] for i in range(len(tokens))]
    return tokens, [TYPE.CONTROL if i in added else TYPE.NORMAL for i in range(len(tokens))], tokenizer["model"]


def write(name, architecture, fill):
    writer = gguf.GGUFWriter(HERE / f"{name}.gguf", architecture)
    if name not in ("stories", "pool_cls"):  # llama.cpp itself needs 32
        writer.add_custom_alignment(8)
    fill(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_family(name, architecture, more=lambda writer: None):
    folder = MODELS / name
    config = json.loads((folder / "config.json").read_text())

    def fill(writer):
        add_parameters(writer, config, architecture)
        add_tensors(writer, folder, config, architecture)
        more(writer)

    write(folder.name, architecture, fill)


def add_stories(writer):
    tokens, types, model = tokens_of(MODELS / "stories")
    merges = ["".join(pair) for pair in model["merges"]]
    byte = re.compile(r"<0x[0-9A-F]{2}>")
    types = [TYPE.BYTE if byte.fullmatch(token) else type_ for token, type_ in zip(tokens, types)]
    types[0] = TYPE.UNKNOWN
    scores = [-float(merges.index(token)) if token in merges else -1e4 for token in tokens]
    add_tokens(writer, "llama", tokens, types, scores, bos_token_id=1, eos_token_id=2, unk_token_id=0, add_bos_token=True,
               chat_template="{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
    writer.add_float32("general.sampling.temp", 0.6)
    writer.add_int32("general.sampling.top_k", 20)
    writer.add_float32("general.sampling.top_p", 0.95)


def write_types():
    random = np.random.default_rng(1)

    def fill(writer):
        for kind in (Q.F32, Q.F16, Q.BF16, Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1, Q.Q8_0, Q.Q4_K, Q.Q5_K, Q.Q6_K):
            elements, size = gguf.GGML_QUANT_SIZES[kind]
            columns = max(elements, 64)
            if elements == 1:
                data = gguf.quants.quantize(random.standard_normal((2, columns), np.float32), kind)
            else:  # any bytes, but for scales, which are numbers
                data = random.integers(0, 256, (2, columns // elements, size), np.uint8)
                for at in {Q.Q4_1: (0, 2), Q.Q5_1: (0, 2), Q.Q4_K: (0, 2), Q.Q5_K: (0, 2), Q.Q6_K: (208,)}.get(kind, (0,)):
                    scales = random.standard_normal((2, columns // elements)).astype(np.float16)
                    data[:, :, at : at + 2] = scales.view(np.uint8).reshape(2, -1, 2)
                data = data.reshape(2, -1)
            values = gguf.quants.dequantize(data, kind)
            assert values.shape == (2, columns) and np.isfinite(values).all()
            writer.add_tensor(kind.name, data, raw_dtype=kind)
            writer.add_tensor(f"{kind.name}.expected", values.astype(np.float32))

    write("types", "llama", fill)


def write_pieces():
    text = "the cat sat on the mat. older and colder, a new river is it? green tea for the old house! rain rain rain, and the sun.\n"
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([text, "a banana and a bandana, café 日本 日本語\n"] * 4), model_writer=model, model_type="bpe",
        vocab_size=360, byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
        user_defined_symbols=["<|user|>"], minloglevel=2)
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    ids = range(pieces.get_piece_size())
    types = [TYPE.UNKNOWN if pieces.is_unknown(i) else TYPE.CONTROL if pieces.is_control(i) else TYPE.BYTE if pieces.is_byte(i)
             else TYPE.USER_DEFINED if pieces.id_to_piece(i) == "<|user|>" else TYPE.NORMAL for i in ids]
    write("pieces", "llama", lambda writer: add_tokens(
        writer, "llama", [pieces.id_to_piece(i) for i in ids], types, [pieces.get_score(i) for i in ids], pre="default",
        bos_token_id=pieces.bos_id(), eos_token_id=pieces.eos_id(), unk_token_id=pieces.unk_id(), add_bos_token=False))
    texts = ["the cat", "  two  blanks\nand lines\t", "bananana bandana", "café 日本語 🙂", "rainier", "oldest houses!", "x"]
    (HERE / "pieces.json").write_text(json.dumps([{"text": t, "ids": pieces.encode(t)} for t in texts], ensure_ascii=False,
                                                 separators=(",", ":")) + "\n")


def add_wordpiece(writer):
    tokens, types, _ = tokens_of(MODELS / "sentence_transformers/pool_cls")
    phantom = [t if k == TYPE.CONTROL else t[2:] if t.startswith("##") else "▁" + t for t, k in zip(tokens, types)]
    add_tokens(writer, "bert", phantom, types, pre="default", unk_token_id=1, bos_token_id=2, sep_token_id=3, pad_token_id=0,
               mask_token_id=4)


def add_byte_level(writer):
    tokens, types, model = tokens_of(MODELS / "tokenizers/byte_level_bpe")
    merges = [" ".join(pair) for pair in model["merges"]]
    add_tokens(writer, "gpt2", tokens, types, pre="gpt-2", merges=merges, bos_token_id=330, eos_token_id=330, add_bos_token=False)


for family, arch in (("llama3_rope", "llama"), ("mistral", "llama"), ("qwen2", "qwen2"), ("qwen3", "qwen3"), ("gemma2", "gemma2"),
                     ("gemma3_text", "gemma3"), ("phi3_longrope", "phi3")):
    write_family(family, arch)
write_family("stories", "llama", add_stories)
write_family("sentence_transformers/pool_cls", "bert", add_wordpiece)
write("byte_level_bpe", "llama", add_byte_level)
write_types()
write_pieces()
