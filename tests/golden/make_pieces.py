#!/usr/bin/env python3
"""Writes pieces.json: small models of each kind, with what SentencePiece's own library (pip install sentencepiece
protobuf, here 0.2.3) makes of texts, numbered as transformers does it, and of ids."""

import base64
import io
import json
import pathlib
import random
import tempfile

import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as pb

CORPUS = ["the cat and the  other cat sat on the mat", "a fox jumps over the lazy dog", "ein Käfig für den Käfer",
          "あいう かきく あか", "x1 x2 x3 ①② ½", "the theory of the thing"] * 20
TEXTS = ["", " ", "the cat", "  the   cat\tsat ", "over  the theory<sep>thing", "<s>a</s> <unk> <0x41>", "Käfer ÄÖ ﬁne ①½", "あかい かき 東京 \U0001f600\U0001f600 ok",
         "lazylazy <sep>", "\u2581the\u2581 cat", "qu xx ▁▁ zz", "a\u200bb \u0301e\ufffd", "ABC the Cat", "the\nthe\r\nthe", "catcatcatdog and", "\u00a0x"]
RULES = "\n".join(["41\t61", "42\t62", "C4\t61 65", "FB01\t66 69", "2460\t31", "BD\t31 2044 32", "A\t20", "D\t20", "9\t20", "A0\t20", "200B\t", "65 301\tE9", "20 43\t20 63"]) + "\n"
KINDS = {
    "unigram": {}, "unigram bytes": {"byte_fallback": True}, "unigram user": {"user_defined_symbols": ["<sep>", "lazy", "▁▁"]},
    "unigram as is": {"remove_extra_whitespaces": False, "add_dummy_prefix": False}, "unigram suffix": {"treat_whitespace_as_suffix": True},
    "bpe": {}, "bpe bytes": {"byte_fallback": True, "remove_extra_whitespaces": False}, "bpe user": {"user_defined_symbols": ["<sep>", "lazy", "▁▁"], "control_symbols": ["<c>"]},
    "bpe as is": {"remove_extra_whitespaces": False, "add_dummy_prefix": False}, "char": {}}



def offsets(processor, text):
    """The bytes of each piece; each of the bytes of an unknown character has those of the character."""
    pieces = processor.encode(text, return_type="proto").pieces
    ends = [piece.end for piece in pieces]
    for i in reversed(range(len(pieces) - 1)):
        if processor.is_byte(pieces[i].id) and pieces[i].begin == pieces[i].end and processor.is_byte(pieces[i + 1].id):
            ends[i] = ends[i + 1]
    return [at for piece, end in zip(pieces, ends) for at in (piece.begin, end)]


folder = pathlib.Path(tempfile.mkdtemp())
(folder / "rules.tsv").write_text(RULES)
draw = random.Random(1)
models = []
for i, (name, options) in enumerate(KINDS.items()):
    file = io.BytesIO()
    size = {"vocab_size": (340 if options.get("byte_fallback") else 90), "hard_vocab_limit": False} if name.startswith("unigram") else {"vocab_size": 350 if options.get("byte_fallback") else 70}
    rules = {"normalization_rule_tsv": str(folder / "rules.tsv")} if i % 2 == 0 else {"normalization_rule_name": "identity"}
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(CORPUS), model_writer=file, model_type=name.split()[0], minloglevel=2, **size, **rules, **options,
                                             **({"hard_vocab_limit": False} if name == "char" else {}))
    model = pb.ModelProto.FromString(file.getvalue())
    model.normalizer_spec.normalization_rule_tsv = ""
    if name in ("bpe", "bpe bytes", "unigram"):  # as in a vocabulary that was made smaller
        for piece in draw.sample([piece for piece in model.pieces if piece.type == piece.NORMAL and len(piece.piece) > 1], 12):
            piece.type = piece.UNUSED
    content = model.SerializeToString()
    processor = sentencepiece.SentencePieceProcessor(model_proto=content)
    cases = []
    for text in TEXTS + [" ".join(draw.sample(" ".join(TEXTS).split(" "), 5)) for _ in range(10)]:
        ids = [processor.piece_to_id(piece) for piece in processor.encode(text, out_type=str)]
        cases.append({"text": text, "ids": ids, "decoded": processor.decode(ids), "offsets": offsets(processor, text)})
    for _ in range(6):
        ids = [draw.randrange(processor.get_piece_size()) for _ in range(6)]
        cases.append({"ids": ids, "decoded": processor.decode(ids)})
    models.append({"name": name, "model": base64.b64encode(content).decode(), "cases": cases})
with open(pathlib.Path(__file__).with_name("pieces.json"), "w") as out:
    out.write("[\n" + ",\n".join(json.dumps(model, ensure_ascii=False) for model in models) + "\n]\n")
