#!/usr/bin/env python3
"""Trains the small encoder of examples/toy_encoder.cpp and writes it as one safetensors file.

The task: what was thought of the thing that is asked about? The answer is negative or positive.

    the soup was bland but the bread was tasty . how was the bread ?     positive
    the bread was bland but the soup was tasty . how was the bread ?     negative

The same words, so a model must see which word belongs to which; averaging the words cannot tell. There
are negations (not bad), opinions before and after their noun, verbs of opinion, pronouns (anna loved
the film but tom hated it . did he like it ?), comparisons (the soup was bland , unlike the bread) and
opinions about something else in between (the waiter with the stale bread was kind). The sentences are
made here, from some 130 words.

Tested are sentences whose asked-about pair of thing and opinion (say bread and tasty) is in no
training sentence at all. The model is torch.nn.TransformerEncoder with two TransformerEncoderLayers
(norm_first, gelu, final norm) on word plus learned position embeddings, then the mean over the words
and one Linear.

In training, one head per layer is also shown where to look, by a small additional loss: in layer 0 an
opinion looks at what it is about, in layer 1 the word asked about looks at the opinion on it. Without
that hint (--guidance 0) it still guesses after the same number of steps. The other heads find their own
use, and the trained model is an ordinary encoder.

The file holds the parameters as float32 under the names of PyTorch's state dict (embedding.weight,
position.weight, layers.0.self_attn.in_proj_weight, ..., norm.weight, classifier.weight, ...), and in
its __metadata__ the vocabulary (one word a line, in the order of the ids) and the config (JSON).

    python train_toy_encoder.py                 writes toy_encoder.safetensors and test_sentences.tsv
    python train_toy_encoder.py --out /tmp/a.safetensors --test-out /tmp/a.tsv

Needs PyTorch; takes about three minutes on one core. It runs on one thread from a fixed seed, so
training again gives the same accuracy. It prints three accuracies on the test sentences: as trained,
with every attention of the trained model replaced by plain averaging, and of a second model that is
trained with averaging from the start.
"""

import argparse
import json
import math
import pathlib
import random
import struct

import torch
from torch import nn

# ---------------------------------------------------------------------------------------------
# Words. Every list of opinions is (negative, positive); index them by the label.

THINGS = {
    "food": "soup bread cake pie salad coffee pasta fish rice tea".split(),
    "person": "waiter cook driver guide teacher nurse host doctor".split(),
    "place": "room hotel garden beach museum park kitchen office".split(),
    "story": "film book song play show game story concert".split(),
}
OWN_ADJECTIVES = {
    "food": ("bland sour stale".split(), "tasty fresh delicious".split()),
    "person": ("rude lazy grumpy".split(), "kind polite helpful".split()),
    "place": ("dirty noisy ugly".split(), "clean cosy pretty".split()),
    "story": ("dull boring confusing".split(), "funny clever exciting".split()),
}
ADJECTIVES = ("bad awful terrible horrible".split(), "good great lovely wonderful".split())
# "not awful" is hardly praise and "not lovely" hardly blame: only these are negated, besides a
# kind's own adjectives.
NEGATED_ADJECTIVES = (["bad"], ["good", "great"])
VERBS = ("hated disliked despised".split(), "liked loved enjoyed".split())
PLAIN_VERBS = "like love enjoy".split()  # "did not like"
NAMES = {"she": "anna emma lucy sara".split(), "he": "tom paul jack ben".split()}
DEGREES = ["very", "really", "quite", "rather", "so"]
OPENINGS = ["", "", "", "", "yesterday", "honestly ,", "i think", "last night", "they say"]
QUESTIONS = ["how was {} ?", "how was {} ?", "what about {} ?", "and how was {} ?", "tell me about {} ."]
MAX_WORDS = 16  # in a sentence with its question, not counting punctuation
LABELS = ("negative", "positive")
GUIDED_HEAD = 0
PAD, UNKNOWN = "<pad>", "<unk>"


class Sentence:
    """A sentence: its words, its label, and which words refer to which.

    In the marked text a word may carry a role: o0=bland is an opinion on thing 0, h0=soup is what it is
    about, asked=soup is the word asked about. Then links are the pairs (index of opinion, index of what it
    is about), asked is the index of the word asked about (None if nobody asks) and opinion that of the
    opinion on it. pairs are (thing, opinion word) of the thing asked about, then of the other, if there is
    one; by the first, sentences are split into training and test.
    """

    def __init__(self, marked, asked_thing, label, pairs, kind):
        marked = [word.rpartition("=")[::2] for word in marked.split()]
        self.words = [word for _, word in marked]
        at = {role: i for i, (role, _) in enumerate(marked) if role}
        self.links = [(at[f"o{i}"], at[f"h{i}"]) for i in "01" if f"o{i}" in at]
        self.asked = at.get("asked")
        self.opinion = at.get(f"o{asked_thing}", at.get("o0"))
        self.label, self.pairs, self.kind = label, pairs, kind

    def text(self):
        return " ".join(self.words)


class Maker:
    """Makes random sentences. Pairs of thing and opinion are held out by a coin of their own."""

    def __init__(self, seed):
        self.rng = random.Random(seed)

    def pick(self, items):
        return self.rng.choice(items)

    def chance(self, p):
        return self.rng.random() < p

    def adjective(self, category, label):
        lists = OWN_ADJECTIVES[category] if self.chance(0.5) else ADJECTIVES
        return self.pick(lists[label])

    def predicate(self, category, label):
        """What stands after the noun, as (text, opinion word): "was very good", "wasn't bad"."""
        if self.chance(0.3):
            opposite = 1 - label
            word = self.pick(OWN_ADJECTIVES[category][opposite] + 2 * NEGATED_ADJECTIVES[opposite])
            degree = self.pick(["", "", "", "very ", "really "])
            return self.pick(["was not ", "wasn't ", "was never "]) + degree, word
        word = self.adjective(category, label)
        return "was " + (self.pick(DEGREES) + " " if self.chance(0.2) else ""), word

    def opinion_verb(self, label):
        """The verb before its object, as (text, opinion word): "did not", "like"."""
        if label == 0 and self.chance(0.35):
            if self.chance(0.3):
                return "never ", self.pick(VERBS[1])
            return self.pick(["did not ", "didn't "]), self.pick(PLAIN_VERBS)
        return "", self.pick(VERBS[label])

    def two_people(self):
        """Two names, and for each the word by which one may ask about it: its pronoun, if that is clear."""
        pronouns = self.pick([["she", "he"], ["he", "she"], [self.pick(["he", "she"])] * 2])
        if pronouns[0] == pronouns[1]:
            names = self.rng.sample(NAMES[pronouns[0]], 2)
            return names, names
        names = [self.pick(NAMES[pronoun]) for pronoun in pronouns]
        return names, pronouns if self.chance(0.6) else names

    def two_things(self):
        """Two different things, mostly of one kind: then nothing but their places tells them apart."""
        category = self.pick(list(THINGS))
        if self.chance(0.8):
            return [(category, thing) for thing in self.rng.sample(THINGS[category], 2)]
        other = self.pick([c for c in THINGS if c != category])
        return [(category, self.pick(THINGS[category])), (other, self.pick(THINGS[other]))]

    def sentence(self):
        """A random Sentence."""
        kind = self.rng.choices(
            ["clauses", "before", "verbs", "views", "people", "unlike", "between", "single"],
            [26, 13, 14, 15, 10, 9, 10, 3])[0]
        things = self.two_things()
        labels = [self.pick([0, 1]), 0]
        labels[1] = 1 - labels[0] if self.chance(0.85) else labels[0]
        asked = self.pick([0, 1])
        names = [thing for _, thing in things]
        but = "but" if labels[0] != labels[1] else "and"
        joint = self.pick([but, but, ", " + but, "while", ",", ";"])
        nouns = [f"the h{i}={names[i]}" for i in (0, 1)]
        ask, question = f"the asked={names[asked]}", None

        if kind == "clauses":  # the soup was bland but the bread was tasty
            parts = [self.predicate(things[i][0], labels[i]) for i in (0, 1)]
            opinions = [p[1] for p in parts]
            clauses = [f"{nouns[i]} {parts[i][0]}o{i}={opinions[i]}" for i in (0, 1)]
            body = f"{clauses[0]} {joint} {clauses[1]}"
        elif kind == "before":  # we had the bland soup and the tasty bread
            opinions = [self.adjective(things[i][0], labels[i]) for i in (0, 1)]
            parts = [f"the o{i}={opinions[i]} h{i}={names[i]}" for i in (0, 1)]
            body = self.pick(["we had {} and {}", "first there was {} , then {}", "{} came before {}",
                              "there was {} and then {}", "{} came after {}"]).format(*parts)
        elif kind == "verbs":  # we hated the soup but loved the bread
            verbs = [self.opinion_verb(labels[i]) for i in (0, 1)]
            opinions = [v[1] for v in verbs]
            parts = [f"{verbs[i][0]} o{i}={opinions[i]} {nouns[i]}" for i in (0, 1)]
            who = self.pick(["we", "i", "they", self.two_people()[0][0]])
            again = self.pick([who, ""]) if joint.endswith(but) else who
            body = f"{who} {parts[0]} {joint} {again} {parts[1]}"
        elif kind == "views":  # anna hated the soup but tom loved it . did he like it ?
            names, asked_by = self.two_people()
            verbs = [self.opinion_verb(labels[i]) for i in (0, 1)]
            opinions = [v[1] for v in verbs]
            objects = ["the " + self.pick(THINGS[self.pick(["food", "place", "story"])]), "it"]
            parts = [f"h{i}={names[i]} {verbs[i][0]}o{i}={opinions[i]} {objects[i]}" for i in (0, 1)]
            body = f"{parts[0]} {joint} {parts[1]}"
            ask = "asked=" + asked_by[asked]
            question = self.pick([f"did {ask} like it ?", f"what did {ask} think ?"])
        elif kind == "people":  # tom was kind but lucy was rude . how was she ?
            names, asked_by = self.two_people()
            parts = [self.predicate("person", labels[i]) for i in (0, 1)]
            opinions = [p[1] for p in parts]
            clauses = [f"h{i}={names[i]} {parts[i][0]}o{i}={opinions[i]}" for i in (0, 1)]
            body = f"{clauses[0]} {joint} {clauses[1]}"
            question = f"how was asked={asked_by[asked]} ?"
        elif kind == "unlike":  # the soup was bland , unlike the bread
            alike = self.chance(0.3)
            first, word = self.predicate(things[0][0], labels[0])
            labels[1] = labels[0] if alike else 1 - labels[0]
            opinions = [word, word]
            link = self.pick(["just like", "as was"] if alike else ["unlike", "but not"])
            body = f"{nouns[0]} {first}o0={word} , {link} the {names[1]}"
        elif kind == "between":  # the soup after the stale bread was tasty
            opinions = [self.adjective(things[0][0], labels[0]), self.adjective(things[1][0], labels[1])]
            link = self.pick(["after", "before", "with", "next to"])
            body = f"{nouns[0]} {link} the o1={opinions[1]} h1={names[1]} was o0={opinions[0]}"
        else:  # the soup wasn't bad
            first, word = self.predicate(things[asked][0], labels[asked])
            opinions = [word, word]
            body = f"the h{asked}={names[asked]} {first}o{asked}={word}"

        question = question or self.pick(QUESTIONS).format(ask)
        body = f"{self.pick(OPENINGS)} {body} ."
        pronoun = "asked=he" in question or "asked=she" in question
        if kind == "single" and self.chance(0.5):
            text = body
        elif question.startswith("and") or pronoun or not self.chance(0.25):
            text = f"{body} {question}"
        else:
            text = f"{question} {body}"
        told = [asked] if kind == "single" else [asked, 1 - asked]
        return Sentence(text, asked, labels[asked], [(names[i], opinions[i]) for i in told], kind)


def held_out_pairs(seed):
    """One in five pairs of a thing (or name) and an opinion word."""
    rng = random.Random(seed)
    verbs = VERBS[0] + VERBS[1] + PLAIN_VERBS
    of_people = sum(OWN_ADJECTIVES["person"] + ADJECTIVES, [])
    pairs = [(name, opinion) for name in NAMES["she"] + NAMES["he"] for opinion in verbs + of_people]
    for category, things in THINGS.items():
        opinions = sum(OWN_ADJECTIVES[category] + ADJECTIVES, []) + verbs
        pairs += [(thing, opinion) for thing in things for opinion in opinions]
    return {pair for pair in pairs if rng.random() < 0.2}


def make_sentences(count, seed, held_out, test):
    """count different sentences: for training without any held-out pair, for test asking about one."""
    maker, sentences, seen = Maker(seed), [], set()
    while len(sentences) < count:
        sentence = maker.sentence()
        fits = sentence.pairs[0] in held_out if test else held_out.isdisjoint(sentence.pairs)
        length = sum(word[0].isalpha() for word in sentence.words)
        if fits and length <= MAX_WORDS and sentence.text() not in seen:
            seen.add(sentence.text())
            sentences.append(sentence)
    return sentences


# ---------------------------------------------------------------------------------------------
# Model

class Attention(nn.MultiheadAttention):
    """PyTorch's attention, which also keeps its weights [B, H, T, T] in .weights, and can be told to average.

    Averaging is attention whose keys are all the same: then every visible word gets the same weight.
    """

    averaging = False

    def forward(self, query, key, value, key_padding_mask=None, **unused):
        if self.averaging:
            key = torch.zeros_like(key)
        y, self.weights = super().forward(query, key, value, key_padding_mask, average_attn_weights=False)
        return y, self.weights


class ToyEncoder(nn.TransformerEncoder):
    """Ids of words [B, T] -> logits [B, 2]. Derived from the encoder, not holding one, so that the names in
    the state dict start with layers.0, as PyTorch's do."""

    def __init__(self, config, averaging=False):
        width = config["embed_dim"]
        layer = nn.TransformerEncoderLayer(
            width, config["num_heads"], config["ffn_dim"], dropout=config["dropout"],
            activation=config["activation"], batch_first=True, norm_first=config["norm_first"],
            layer_norm_eps=config["norm_eps"])
        layer.self_attn = Attention(width, config["num_heads"], batch_first=True)
        layer.self_attn.averaging = averaging
        super().__init__(layer, config["num_layers"], norm=nn.LayerNorm(width, eps=config["norm_eps"]),
                         enable_nested_tensor=False)
        for parameter in self.parameters():  # the clones would start equal
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        self.embedding = nn.Embedding(config["vocab_size"], width)
        self.position = nn.Embedding(config["max_position"], width)
        self.classifier = nn.Linear(width, len(LABELS))
        nn.init.normal_(self.embedding.weight, std=0.5)
        # Sinusoids are only where learning starts: neighbours are alike from the first step.
        rates = torch.exp(torch.arange(0, width, 2) * (-math.log(100.0) / width))
        angles = torch.arange(config["max_position"])[:, None] * rates[None, :]
        with torch.no_grad():
            self.position.weight[:, 0::2] = 0.5 * angles.sin()
            self.position.weight[:, 1::2] = 0.5 * angles.cos()

    def forward(self, ids):
        padding = ids == 0
        x = self.embedding(ids) + self.position.weight[: ids.shape[1]]
        x = super().forward(x, src_key_padding_mask=padding)
        visible = (~padding).unsqueeze(2).float()
        return self.classifier((x * visible).sum(1) / visible.sum(1))


def batch_of(sentences, word_to_id, rng=None):
    """ids [B, T] padded with 0 on the right, labels [B]. With rng, a thing is made an unknown word in some of
    the sentences, so that a reader may ask about things of their own."""
    rows = []
    for sentence in sentences:
        words = sentence.words
        if rng and rng.random() < 0.08:
            thing = rng.choice(sentence.pairs)[0]
            if sentence.asked is None or words[sentence.asked] not in ("he", "she"):
                words = [UNKNOWN if word == thing else word for word in words]
        rows.append([word_to_id[word] for word in words])
    length = max(map(len, rows))
    ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    return ids, torch.tensor([sentence.label for sentence in sentences])


@torch.no_grad()
def accuracy(model, sentences, word_to_id):
    model.eval()
    right = []
    for sentence in sentences:  # one by one, as the example does
        ids, label = batch_of([sentence], word_to_id)
        right.append(int(model(ids).argmax(1) == label))
    return sum(right) / len(right), right


def guidance(model, sentences):
    """The additional loss of the guided head: how little weight (as -log) an opinion gives to what it is
    about in layer 0, and the word asked about to the opinion on it in layer 1."""
    about = [(b, o, h) for b, s in enumerate(sentences) for o, h in s.links]
    asked = [(b, s.asked, s.opinion) for b, s in enumerate(sentences) if s.asked is not None]
    loss = 0.0
    for layer, triples in zip(model.layers, (about, asked)):
        b, i, j = torch.tensor(triples).T
        loss = loss - layer.self_attn.weights[b, GUIDED_HEAD, i, j].clamp_min(1e-6).log().mean()
    return loss


def train(config, sentences, word_to_id, args, averaging):
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)
    model = ToyEncoder(config, averaging)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, total_steps=args.steps, pct_start=0.1)
    model.train()
    running = math.log(2)
    for step in range(args.steps):
        batch = rng.sample(sentences, args.batch)
        ids, labels = batch_of(batch, word_to_id, rng)
        answer_loss = nn.functional.cross_entropy(model(ids), labels)
        loss = answer_loss if averaging else answer_loss + args.guidance * guidance(model, batch)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        running += 0.01 * (answer_loss.item() - running)
        if (step + 1) % 1000 == 0:
            print(f"  step {step + 1}: loss {running:.4f}", flush=True)
    return model.eval()


@torch.no_grad()
def print_heads(model, sentences, word_to_id):
    """For each layer and head the mean weight from the word asked about to the opinion on it."""
    sentences = [s for s in sentences if s.asked is not None]
    total = torch.zeros(len(model.layers), model.layers[0].self_attn.num_heads)
    for sentence in sentences:
        model(batch_of([sentence], word_to_id)[0])
        for n, layer in enumerate(model.layers):
            total[n] += layer.self_attn.weights[0, :, sentence.asked, sentence.opinion]
    print("weight from the word asked about to the opinion on it, by layer and head:")
    for n, row in enumerate(total / len(sentences)):
        print(f"  layer {n}: " + "  ".join(f"{w:.2f}" for w in row.tolist()))


def write_safetensors(path, tensors, metadata):
    """safetensors: u64 length of the header, the header as JSON (padded to 8 bytes), then the data."""
    header, data = {"__metadata__": metadata}, b""
    for name, tensor in tensors.items():
        raw = tensor.detach().to(torch.float32).contiguous().numpy().astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def main():
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description="Trains the toy encoder; see the head of this file.")
    parser.add_argument("--out", type=pathlib.Path, default=here / "toy_encoder.safetensors")
    parser.add_argument("--test-out", type=pathlib.Path, default=here / "test_sentences.tsv",
                        help="the test sentences, each as text<TAB>label")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--embed-dim", type=int, default=32)
    parser.add_argument("--ffn-dim", type=int, default=64)
    parser.add_argument("--guidance", type=float, default=0.3, help="weight of the additional loss")
    parser.add_argument("--skip-averaging", action="store_true", help="do not train the averaging model")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.backends.mha.set_fastpath_enabled(False)  # it would go past Attention.forward
    torch.use_deterministic_algorithms(True)

    held_out = held_out_pairs(args.seed)
    train_sentences = make_sentences(60000, args.seed + 1, held_out, test=False)
    test_sentences = make_sentences(400, args.seed + 2, held_out, test=True)
    vocabulary = [PAD, UNKNOWN] + sorted({word for s in train_sentences for word in s.words})
    word_to_id = {word: i for i, word in enumerate(vocabulary)}
    longest = max(len(s.words) for s in train_sentences)
    print(f"{len(vocabulary)} words, {len(held_out)} pairs held out, sentences of at most {longest} tokens")

    config = {
        "vocab_size": len(vocabulary), "max_position": longest, "embed_dim": args.embed_dim,
        "num_heads": 4, "num_layers": 2, "ffn_dim": args.ffn_dim, "activation": "gelu",
        "norm_first": True, "norm_eps": 1e-5, "dropout": 0.0, "pooling": "mean",
        "labels": list(LABELS),
        # The head that shows most to a reader: the word asked about looks at the opinion on it.
        "shown_layer": 1, "shown_head": GUIDED_HEAD,
    }
    model = train(config, train_sentences, word_to_id, args, averaging=False)
    trained, right = accuracy(model, test_sentences, word_to_id)
    print(f"attention: {trained:.1%} of {len(test_sentences)} test sentences")
    for kind in sorted({s.kind for s in test_sentences}):
        hits = [hit for hit, s in zip(right, test_sentences) if s.kind == kind]
        print(f"  {kind}: {sum(hits)} of {len(hits)}")
    for sentence, hit in zip(test_sentences, right):
        if not hit:
            print(f"  wrong: {sentence.text()} [{LABELS[sentence.label]}]")

    averaged = ToyEncoder(config, averaging=True)
    averaged.load_state_dict(model.state_dict())
    replaced, _ = accuracy(averaged, test_sentences, word_to_id)
    print(f"its attention replaced by averaging: {replaced:.1%}")
    if not args.skip_averaging:
        fresh = train(config, train_sentences, word_to_id, args, averaging=True)
        print(f"trained with averaging: {accuracy(fresh, test_sentences, word_to_id)[0]:.1%} "
              f"(training sentences {accuracy(fresh, train_sentences[:1000], word_to_id)[0]:.1%})")

    print_heads(model, test_sentences, word_to_id)
    write_safetensors(args.out, model.state_dict(),
                      {"format": "pt", "config": json.dumps(config), "vocabulary": "\n".join(vocabulary)})
    args.test_out.write_text("".join(f"{s.text()}\t{LABELS[s.label]}\n" for s in test_sentences))
    print(f"wrote {args.out} ({args.out.stat().st_size} bytes) and {args.test_out}")


if __name__ == "__main__":
    main()
