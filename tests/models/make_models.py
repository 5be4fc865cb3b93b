#!/usr/bin/env python3
"""Writes the folders beside this file: tiny random models of each family with what transformers computes from them,
sentence-transformers folders with their embeddings and scores, tokenizers with their ids.

Run: python make_models.py   (needs torch, sentence-transformers; made with torch 2.13, transformers 5.x)

FAMILY/                    config.json and model.safetensors as transformers writes them; expected.safetensors has inputs and
                           what the model computes from them in float64, greedy and beam-searched ids with what stands before
                           them; about.json says how far the same model in float32 is from that
old_style/FAMILY/          the same model as older tools wrote it, where the difference is one of names and types
sentence_transformers/     expected.json: texts with embeddings, pairs with scores
tokenizers/                tokenizer.json; cases.json: texts with ids (special tokens included) and what these decode to
stories/                   a decoder with its tokenizer; cases.json: texts, their ids, these with 64 greedy tokens, decoded

Sizes are odd, so that no vector is full and a transposed matrix does not fit. Parameters are numbers of bfloat16, which
Git compresses to half.
"""

import json
import pathlib
import shutil

import tokenizers
import torch
import transformers
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer import modules
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).parent
BATCH_LENGTHS = (9, 5)  # tokens of each row, padded on the right
DECODER_TOKENS = 5
NEW_TOKENS = {"decoder": 20, "seq2seq": 12}

torch.set_grad_enabled(False)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


# Families: class, kind, and what its config says beside the sizes of its kind.

BERT = dict(vocab_size=53, hidden_size=18, num_hidden_layers=2, num_attention_heads=3, intermediate_size=26,
            max_position_embeddings=40)
DISTILBERT = dict(vocab_size=53, dim=18, n_layers=2, n_heads=3, hidden_dim=26, max_position_embeddings=40)
AFTER_PADDING = dict(BERT, max_position_embeddings=42, pad_token_id=1)  # positions are counted from 2 on
DECODER = dict(vocab_size=53, hidden_size=20, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=6,
               intermediate_size=26, max_position_embeddings=256, bos_token_id=1, eos_token_id=2, pad_token_id=0)
THREE_HEADS = dict(DECODER, hidden_size=18, num_attention_heads=3, num_key_value_heads=1)
NO_HEAD_DIM = {key: value for key, value in THREE_HEADS.items() if key != "head_dim"}
GPT = dict(vocab_size=53, bos_token_id=1, eos_token_id=2)
OPT = dict(GPT, hidden_size=18, num_attention_heads=3, ffn_dim=26, max_position_embeddings=40, pad_token_id=0)
NEOX = dict(GPT, hidden_size=18, num_attention_heads=3, intermediate_size=26, max_position_embeddings=40)
BART = dict(vocab_size=53, d_model=18, encoder_layers=1, decoder_layers=2, encoder_attention_heads=3, decoder_attention_heads=3,
            encoder_ffn_dim=26, decoder_ffn_dim=22, max_position_embeddings=40, bos_token_id=1, pad_token_id=0, eos_token_id=3,
            decoder_start_token_id=2, forced_eos_token_id=None)
T5 = dict(vocab_size=53, d_model=18, d_kv=6, d_ff=26, num_layers=2, num_decoder_layers=2, num_heads=4,
          relative_attention_num_buckets=8, relative_attention_max_distance=16, decoder_start_token_id=0,
          feed_forward_proj="gated-gelu")
SHORT_BART = dict(BART, decoder_layers=1, encoder_ffn_dim=14, decoder_ffn_dim=10, scale_embedding=True)

FAMILIES = {
    "albert": ("AlbertModel", "encoder", dict(BERT, embedding_size=10, hidden_dropout_prob=0, attention_probs_dropout_prob=0)),
    "albert_masked_lm": ("AlbertForMaskedLM", "classifier",  # five layers of two groups of two that share weights
                         dict(BERT, embedding_size=10, num_hidden_layers=5, num_hidden_groups=2, inner_group_num=2,
                              intermediate_size=14)),
    "bart": ("BartForConditionalGeneration", "seq2seq", BART),
    "bert": ("BertModel", "encoder", BERT),
    "bert_classifier": ("BertForSequenceClassification", "classifier", dict(BERT, num_labels=3)),
    "bert_masked_lm": ("BertForMaskedLM", "classifier", BERT),
    "bert_token_classifier": ("BertForTokenClassification", "classifier", dict(BERT, num_labels=5)),
    "bloom": ("BloomForCausalLM", "decoder", dict(GPT, hidden_size=18, n_layer=2, n_head=3, pad_token_id=0)),
    "deberta_v2": ("DebertaV2ForSequenceClassification", "classifier",
                   dict(BERT, num_labels=3, relative_attention=True, position_buckets=6, pos_att_type=["p2c", "c2p"],
                        norm_rel_ebd="layer_norm", share_att_key=True, position_biased_input=False, type_vocab_size=0)),
    "distilbert": ("DistilBertModel", "encoder", DISTILBERT),
    "electra": ("ElectraForSequenceClassification", "classifier", dict(BERT, embedding_size=10)),
    "gemma2": ("Gemma2ForCausalLM", "decoder",
               dict(DECODER, sliding_window=6, query_pre_attn_scalar=11, attn_logit_softcapping=3.0, final_logit_softcapping=20.0)),
    "gemma3_text": ("Gemma3ForCausalLM", "decoder",
                    dict(DECODER, sliding_window=6, query_pre_attn_scalar=11,
                         layer_types=["sliding_attention", "full_attention"])),
    "gpt2": ("GPT2LMHeadModel", "decoder", dict(GPT, n_embd=18, n_layer=2, n_head=3, n_inner=26, n_positions=40)),
    "gpt_neox": ("GPTNeoXForCausalLM", "decoder",
                 dict(NEOX, num_hidden_layers=2,
                      rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.7))),
    "gpt_neox_odd": ("GPTNeoXForCausalLM", "decoder",  # 3 of 6 features turn
                     dict(NEOX, hidden_size=12, num_attention_heads=2, num_hidden_layers=1,
                          rope_parameters=dict(rope_type="default", rope_theta=100.0, partial_rotary_factor=0.5))),
    "granite": ("GraniteForCausalLM", "decoder",
                dict(NO_HEAD_DIM, attention_multiplier=0.2, embedding_multiplier=3.0, residual_multiplier=0.6, logits_scaling=4.0)),
    "llama": ("LlamaForCausalLM", "decoder", THREE_HEADS),
    "llama3_rope": ("LlamaForCausalLM", "decoder",
                    dict(THREE_HEADS, tie_word_embeddings=True,
                         rope_parameters=dict(rope_type="llama3", rope_theta=30.0, factor=8.0, low_freq_factor=1.0,
                                              high_freq_factor=4.0, original_max_position_embeddings=32))),
    "m2m_100": ("M2M100ForConditionalGeneration", "seq2seq", dict(SHORT_BART, decoder_start_token_id=0)),  # padding has no place
    "marian": ("MarianMTModel", "seq2seq", dict(BART, decoder_vocab_size=53, scale_embedding=True, activation_function="swish")),
    "mbart": ("MBartForConditionalGeneration", "seq2seq", SHORT_BART),
    "mistral": ("MistralForCausalLM", "decoder", dict(DECODER, sliding_window=5)),
    "modernbert": ("ModernBertModel", "encoder",
                   dict(BERT, num_hidden_layers=3, local_attention=8,
                        layer_types=["full_attention", "sliding_attention", "full_attention"],
                        pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2)),
    "mpnet": ("MPNetModel", "encoder", dict(AFTER_PADDING, relative_attention_num_buckets=32)),
    "mt5": ("MT5ForConditionalGeneration", "seq2seq",
            dict(T5, num_layers=1, num_decoder_layers=1, feed_forward_proj="gated-silu")),
    "olmo2": ("Olmo2ForCausalLM", "decoder", NO_HEAD_DIM),
    "opt": ("OPTForCausalLM", "decoder", dict(OPT, num_hidden_layers=2, word_embed_proj_dim=18)),
    "opt_projected": ("OPTForCausalLM", "decoder",
                      dict(OPT, num_hidden_layers=1, word_embed_proj_dim=14, do_layer_norm_before=False)),
    "pegasus": ("PegasusForConditionalGeneration", "seq2seq", dict(SHORT_BART, activation_function="relu")),
    "phi3": ("Phi3ForCausalLM", "decoder", NO_HEAD_DIM),
    "phi3_longrope": ("Phi3ForCausalLM", "decoder",  # whose frequencies change while it generates
                      dict(NO_HEAD_DIM, num_hidden_layers=1, original_max_position_embeddings=15, sliding_window=20,
                           rope_parameters=dict(rope_type="longrope", rope_theta=100.0, partial_rotary_factor=0.7,
                                                short_factor=[1.0, 1.5], long_factor=[3.0, 7.0]))),
    "qwen2": ("Qwen2ForCausalLM", "decoder", NO_HEAD_DIM),
    "qwen3": ("Qwen3ForCausalLM", "decoder", DECODER),
    "roberta": ("RobertaModel", "encoder", dict(AFTER_PADDING, type_vocab_size=1)),
    "smollm3": ("SmolLM3ForCausalLM", "decoder", dict(NO_HEAD_DIM, no_rope_layers=[1, 0], tie_word_embeddings=True)),
    "t5": ("T5ForConditionalGeneration", "seq2seq", T5),
    "xlm_roberta": ("XLMRobertaForSequenceClassification", "classifier", dict(AFTER_PADDING, type_vocab_size=1, num_labels=1)),
}


def fill(model, generator):
    """Random parameters: vectors around their first values (norms' weights 1 or 0, biases 0), matrices by their columns."""
    fixed = {f"{name}.weight" for name, module in model.named_modules() if "Sinusoidal" in type(module).__name__}
    values = dict(model.named_parameters())
    values.update((name, b) for name, b in model.named_buffers() if name == "final_logits_bias")
    for name, value in values.items():
        if name in fixed:
            continue
        noise = torch.randn(value.shape, generator=generator)
        if value.dim() > 1 and min(value.shape) > 1:
            noise *= 0.25 if "embed" in name.lower() or value.shape[0] == 53 else 1.6 * value.shape[1] ** -0.5
            value.zero_()
        else:
            noise *= 0.3
        value.copy_((value + noise).bfloat16())


def make(name, seed):
    kind = FAMILIES[name][1]
    cls = getattr(transformers, FAMILIES[name][0])
    torch.manual_seed(seed)
    config = cls.config_class(**FAMILIES[name][2])
    config.dtype = "float32"
    config._attn_implementation = "eager"
    model = cls(config).eval()
    generator = torch.Generator().manual_seed(seed)
    fill(model, generator)
    length = max(BATCH_LENGTHS)
    inputs = {"input_ids": torch.randint(4, 53, (len(BATCH_LENGTHS), length), generator=generator)}
    if kind != "decoder":
        inputs["attention_mask"] = (torch.arange(length) < torch.tensor(BATCH_LENGTHS)[:, None]).long()
        inputs["input_ids"][inputs["attention_mask"] == 0] = config.pad_token_id
    if kind == "seq2seq":
        inputs["decoder_input_ids"] = torch.randint(4, 53, (len(BATCH_LENGTHS), DECODER_TOKENS), generator=generator)
        inputs["decoder_input_ids"][:, 0] = config.decoder_start_token_id
    return model, inputs


def outputs_of(model, inputs, kind):
    outputs = model(**inputs, **({"use_cache": False} if kind in ("decoder", "seq2seq") else {}))
    names = {"encoder": ["last_hidden_state"], "seq2seq": ["encoder_last_hidden_state", "logits"]}.get(kind, ["logits"])
    found = {}
    for name in names:
        value = outputs[name].clone()
        if "attention_mask" in inputs and value.shape[:2] == inputs["attention_mask"].shape:
            value[inputs["attention_mask"] == 0] = 0
        found[name] = value
    return found


def ids_of(model, inputs, kind, name):
    """Greedy or beam-searched ids after row 0; end-of-text is a token like others."""
    first = inputs["input_ids"][:1]
    model.generation_config = transformers.GenerationConfig(
        pad_token_id=0, decoder_start_token_id=getattr(model.config, "decoder_start_token_id", None))
    beams = dict(num_beams=4, length_penalty=1.0, early_stopping=False) if name == "beam4" else {}
    return model.generate(input_ids=first, attention_mask=torch.ones_like(first), do_sample=False,
                          max_new_tokens=NEW_TOKENS[kind], **beams)


def write_family(name):
    """The first seed whose greedy text is not one token again and again, and whose ids do not hang on a rounding."""
    kind = FAMILIES[name][1]
    ways = {"decoder": ["greedy"], "seq2seq": ["greedy", "beam4"]}.get(kind, [])
    for seed in range(1000):
        model, inputs = make(name, seed)
        ids = {}
        for way in ways:
            single = ids_of(model.float(), inputs, kind, way)
            if len(set(single[0, -NEW_TOKENS[kind]:].tolist())) < 4:
                break
            ids[way] = ids_of(model.double(), inputs, kind, way)
            if not torch.equal(ids[way], single):
                break
        else:
            break
    else:
        raise RuntimeError(f"{name}: no seed gives a text")
    folder = fresh(name)
    model.float().save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    single, expected = outputs_of(model, inputs, kind), outputs_of(model.double(), inputs, kind)
    assert all(value.dtype == torch.float64 for value in expected.values()), name
    save_file({key: value.contiguous() for key, value in {**inputs, **ids, **expected}.items()}, folder / "expected.safetensors")
    difference = max((single[key].double() - value).abs().max().item() for key, value in expected.items())
    write_json(folder / "about.json", {
        "kind": kind, "seed": seed, "transformers": transformers.__version__,
        "float32_max_abs_difference": difference,
        "output_max_abs": max(value.abs().max().item() for value in expected.values())})
    print(f"{name}: seed {seed}, float32 differs by {difference:.1e}")


def fresh(name):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def write_json(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")


# Folders as older tools wrote them.

def write_old_style(name, type_, drop_prefix, rename, config):
    source, folder = HERE / name, fresh(f"old_style/{name}")
    tensors = {}
    for key, value in load_file(source / "model.safetensors").items():
        key = key.removeprefix(drop_prefix)
        for new, old in rename.items():
            key = key.replace(new, old)
        tensors[key] = value.to(type_)
    for layer in range(2):
        if name == "gpt2":
            tensors[f"h.{layer}.attn.bias"] = torch.tril(torch.ones(40, 40)).view(1, 1, 40, 40).bool()
        if name == "llama3_rope":
            tensors[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = torch.zeros(3)
    if name == "bert":
        tensors["embeddings.position_ids"] = torch.arange(40)[None]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    new = json.loads((source / "config.json").read_text())
    for key in ("dtype", "rope_parameters"):
        new.pop(key, None)
    new.update(config)
    (folder / "config.json").write_text(json.dumps(new, indent=2, sort_keys=True) + "\n")
    for file in ("expected.safetensors", "about.json"):
        shutil.copy(source / file, folder / file)


# Tokenizers.

CORPUS = """the cat sat on the mat and the other cat ran to the old house by the river. it rained all day, so the cats stayed
in the house and drank green tea; "is it a new river?" they asked, and nobody knew. the rain, the rain! 12 rivers, 3 houses,
2026 cats. they're here, it's late, we'll see. thé café naïve, Über den Fluß; The Cat And The House. on and on, then and
there, another one, older and colder, a train to the station, nation and relation, raining and training, reading and heading."""
TEXTS = ["", " ", "the cat sat on the mat", "The Cats ran to the house.", "  two  spaces and\ttabs\nand lines \n\n x ",
         "it's 2026, they're late!", "café cafe\u0301 Über naïve", "日本 und Ωmega", "smile 😀👍🏽 there", "rain" * 12,
         "a\u00a0b\u200bc", "unknownwordxyz q", "don't... (stop) [now] <unk> </s>"]


def byte_level_bpe():
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=330, show_progress=False, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.train_from_iterator(CORPUS.split("\n"), trainer)
    tokenizer.add_special_tokens(["<|endoftext|>"])  # the last id, as in GPT-2
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def wordpiece():
    tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(CORPUS.split("\n"), trainers.WordPieceTrainer(vocab_size=90, special_tokens=special, show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return tokenizer


SENTENCEPIECE_SPECIAL = ["<unk>", "<s>", "</s>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def like_llama(tokenizer):
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(content=" ", left=1)])
    tokenizer.add_special_tokens(SENTENCEPIECE_SPECIAL)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    return tokenizer


def byte_fallback_bpe():
    trained = tokenizers.Tokenizer(models.BPE())
    trained.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trained.train_from_iterator(CORPUS.split(), trainers.BpeTrainer(vocab_size=100, show_progress=False))
    model = json.loads(trained.to_str())["model"]
    pieces = SENTENCEPIECE_SPECIAL + BYTES + sorted(model["vocab"], key=model["vocab"].get)
    merges = [tuple(pair) for pair in model["merges"]]
    return like_llama(tokenizers.Tokenizer(models.BPE(
        vocab={piece: i for i, piece in enumerate(pieces)}, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)))


def unigram():
    trained = tokenizers.Tokenizer(models.Unigram())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trained.train_from_iterator(CORPUS.split("\n"), trainers.UnigramTrainer(vocab_size=100, unk_token="<unk>", special_tokens=["<unk>"],
                                                                            show_progress=False))
    pieces = [(piece, 0.0) for piece in SENTENCEPIECE_SPECIAL + BYTES]
    pieces += [(piece, round(score, 4)) for piece, score in json.loads(trained.to_str())["model"]["vocab"] if piece != "<unk>"]
    tokenizer = tokenizers.Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(tokenizers.Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(content=" ", left=1)])
    tokenizer.add_special_tokens(SENTENCEPIECE_SPECIAL)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 2)])
    return tokenizer


def write_tokenizer(make_tokenizer):
    folder, tokenizer = fresh(f"tokenizers/{make_tokenizer.__name__}"), make_tokenizer()
    write_json(folder / "tokenizer.json", json.loads(tokenizer.to_str()))
    cases = []
    for text in TEXTS:
        ids = tokenizer.encode(text).ids
        cases.append({"text": text, "ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=True)})
    write_json(folder / "cases.json", cases)


def write_stories():
    """A decoder with a tokenizer. Byte pieces and special tokens are unlikely, so that it gives text."""
    tokenizer = byte_fallback_bpe()
    for seed in range(1000):
        config = transformers.LlamaConfig(**dict(THREE_HEADS, vocab_size=tokenizer.get_vocab_size(), tie_word_embeddings=True))
        config.dtype = "float32"
        model = transformers.LlamaForCausalLM(config).eval()
        fill(model, torch.Generator().manual_seed(seed))
        model.model.embed_tokens.weight[: len(SENTENCEPIECE_SPECIAL + BYTES)] *= 0.125
        model.generation_config = transformers.GenerationConfig(pad_token_id=0)
        folder = fresh("stories")
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink()
        write_json(folder / "tokenizer.json", json.loads(tokenizer.to_str()))
        cases = []
        for text in ("", "the cat", "a new house, it's"):
            ids = tokenizer.encode(text).ids
            found = [m.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), do_sample=False,
                                max_new_tokens=64)[0].tolist() for m in (model.float(), model.double())]
            if found[0] != found[1] or len(set(found[0])) < 30:
                break
            cases.append({"text": text, "ids": ids, "greedy": found[1], "decoded": tokenizer.decode(found[1])})
        else:
            break
    write_json(folder / "cases.json", cases)
    print(f"stories: seed {seed}: {cases[0]['decoded']}")


# Folders of sentence-transformers.

SENTENCES = ["the cat sat on the mat.", "Older and Colder 2026", "x", "green tea, old house!", "rain " * 30, "is it a new river?"]


SMALL = dict(hidden_size=12, num_attention_heads=2, num_hidden_layers=2, intermediate_size=14, max_position_embeddings=48)


def transformer(folder, cls, seed, **config):
    tokenizer = wordpiece()
    longest = config.pop("longest", 24)
    if config.pop("end_token", False):  # after the text, and nothing before it
        tokenizer.post_processor = processors.TemplateProcessing(single="$A [SEP]", pair="$A [SEP] $B:1 [SEP]:1", special_tokens=[("[SEP]", 3)])
        tokens = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=longest, padding_side="left",
                                                      pad_token="[PAD]", eos_token="[SEP]")
    elif config.pop("untyped", False):  # a class that gives no types, whatever the file says
        tokens = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=longest, pad_token="[PAD]",
                                                      cls_token="[CLS]", sep_token="[SEP]")
    else:
        tokens = transformers.BertTokenizerFast(tokenizer_object=tokenizer, model_max_length=longest)
    if cls.config_class is transformers.BertConfig:
        config = dict(BERT, max_position_embeddings=24, num_hidden_layers=1, **config)
    config = cls.config_class(**dict(config, vocab_size=tokenizer.get_vocab_size()))
    config.dtype = "float32"
    model = cls(config).eval()
    fill(model, torch.Generator().manual_seed(seed))
    model.save_pretrained(folder)
    tokens.save_pretrained(folder)


def write_sentences(name, expected):
    folder = HERE / "sentence_transformers" / name
    (folder / "README.md").unlink(missing_ok=True)
    write_json(folder / "tokenizer.json", json.loads((folder / "tokenizer.json").read_text()))
    write_json(folder / "expected.json", expected)


def write_encoder(name, seed, pooling="mean", longest=24, dense=(), activation=torch.nn.Tanh, cls=transformers.BertModel,
                  config={}, **options):
    folder, parts = fresh(f"sentence_transformers/{name}"), HERE / "parts"
    transformer(parts, cls, seed, longest=longest, **config)
    width = config.get("hidden_size", 18)
    stages = [modules.Transformer(str(parts)), modules.Pooling(width, pooling_mode=pooling)]
    for i, wide in enumerate(dense):
        stages.append(modules.Dense(width, wide, bias=activation is torch.nn.Tanh, activation_function=activation()))
        fill(stages[-1], torch.Generator().manual_seed(seed + 1 + i))
        width = wide
    model = SentenceTransformer(modules=[*stages, modules.Normalize()], device="cpu", **options)
    model.save(str(folder))
    shutil.rmtree(parts)
    model = SentenceTransformer(str(folder), device="cpu").double()
    cases = []
    for prompt in [None, *options.get("prompts", {})]:
        for text, embedding in zip(SENTENCES, model.encode(SENTENCES, prompt_name=prompt)):  # together, with padding
            cases.append({"text": text, "prompt_name": prompt, "embedding": [round(float(x), 8) for x in embedding]})
    write_sentences(name, {"kind": "embedding", "dimension": len(cases[0]["embedding"]), "cases": cases})


def write_cross_encoder(name, seed, cls=transformers.BertForSequenceClassification, **config):
    folder, parts = fresh(f"sentence_transformers/{name}"), HERE / "parts"
    transformer(parts, cls, seed, num_labels=1, **config)
    CrossEncoder(str(parts), device="cpu").save_pretrained(str(folder))
    shutil.rmtree(parts)
    model = CrossEncoder(str(folder), device="cpu")
    model.double()
    pairs = [(query, text) for query in SENTENCES[:3] for text in SENTENCES[3:]]
    scores = model.predict(pairs)
    write_sentences(name, {"kind": "score", "cases": [
        {"query": query, "text": text, "score": float(score)} for (query, text), score in zip(pairs, scores)]})


def main():
    for name in FAMILIES:
        write_family(name)
    write_old_style("bert", torch.bfloat16, "", {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"},
                    {"torch_dtype": "bfloat16"})
    write_old_style("gpt2", torch.bfloat16, "transformer.", {}, {"torch_dtype": "bfloat16"})
    write_old_style("llama3_rope", torch.bfloat16, "", {}, {
        "torch_dtype": "bfloat16", "rope_theta": 30.0,
        "rope_scaling": {"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                         "original_max_position_embeddings": 32, "rope_type": "llama3"}})
    for make_tokenizer in (byte_level_bpe, wordpiece, byte_fallback_bpe, unigram):
        write_tokenizer(make_tokenizer)
    write_stories()
    write_encoder("pool_mean", 1)
    write_encoder("pool_cls", 2, "cls")
    write_encoder("pool_lasttoken", 3, "lasttoken", longest=17)
    write_encoder("dense", 4, dense=[6])
    write_encoder("prompts", 5, prompts={"query": "a new house: ", "document": "the rain, "})
    write_encoder("qwen3_embedding", 7, "lasttoken", longest=48, prompts={"query": "instruct: the rain\nquery:", "document": ""},
                  cls=transformers.Qwen3Model, config=dict(SMALL, num_key_value_heads=1, head_dim=6, end_token=True))
    write_encoder("embedding_gemma", 8, longest=48, dense=[20, 12], activation=torch.nn.Identity,
                  prompts={"query": "task: old | query: ", "document": "title: none | text: "},
                  cls=transformers.Gemma3TextModel,
                  config=dict(SMALL, num_key_value_heads=1, head_dim=6, sliding_window=6, use_bidirectional_attention=True,
                              layer_types=["sliding_attention", "full_attention"]))
    write_encoder("modernbert", 9, "cls", longest=48, cls=transformers.ModernBertModel,
                  config=dict(SMALL, local_attention=8, layer_types=["full_attention", "sliding_attention"], pad_token_id=0,
                              bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3))
    write_encoder("mpnet", 10, longest=24, cls=transformers.MPNetModel, config=dict(SMALL, max_position_embeddings=26, untyped=True))
    write_cross_encoder("cross_encoder", 6)
    write_cross_encoder("cross_encoder_untyped", 11, cls=transformers.AlbertForSequenceClassification, untyped=True,
                        **dict(SMALL, max_position_embeddings=24, embedding_size=10))


if __name__ == "__main__":
    main()
