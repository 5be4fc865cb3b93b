#!/usr/bin/env python3
"""Writes golden.safetensors and cases.txt beside this file: results of PyTorch's layers in float64.

Run: python make_golden.py   (needs torch, numpy and safetensors; made with torch 2.13)

cases.txt has one case a line, `name op key=value ...`; golden.safetensors has its results as `name/output` and
others. Inputs and parameters are not stored. Each is a function of its name (`case/x`, `case/in_proj_weight`,
parameters under their state-dict names): element i is the upper 16 bits of splitmix64 number i, seeded with the
FNV-1a hash of the name, as a fraction in [-1, 1), times a power of two. So float holds each of them exactly, and
a float layer differs from these results by its own arithmetic alone. golden.hpp has the same functions in C++.
"""

import os

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file
from torch import nn

torch.set_default_dtype(torch.float64)
torch.set_grad_enabled(False)
torch.backends.mha.set_fastpath_enabled(False)


# Numbers from names.

def fractions(name, count):
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(48)).astype(np.float64) - 32768) / 32768


def data(name, *shape, scale=2.0):
    """An input: in [-2, 2) unless told otherwise."""
    return torch.from_numpy(fractions(name, int(np.prod(shape)))).reshape(shape) * scale


def parameter(name, shape):
    """A matrix is scaled by its columns, a weight vector (of a norm) lies around 1, other vectors around 0."""
    if len(shape) == 1:
        return data(name, *shape, scale=0.5) + (1 if name.endswith("weight") else 0)
    power = 0
    while 4**power < shape[-1]:
        power += 1
    return data(name, *shape, scale=2.0 ** (1 - power))


def fill(name, module):
    for key, value in module.state_dict().items():
        value.copy_(parameter(f"{name}/{key}", value.shape))
    return module


def ids(name, count, limit):
    return torch.from_numpy(((fractions(name, count) * 32768 + 32768).astype(np.int64)) % limit)


# Masks. True: take part. Any of causal=top_left|bottom_right, lengths=a,b,... (keys of each sequence), bool=1.

def mask_of(name, case, queries, keys):
    """[B or 1, 1, queries, keys], or None."""
    q, k = torch.arange(queries)[:, None], torch.arange(keys)[None, :]
    mask = torch.ones(1, 1, queries, keys, dtype=torch.bool)
    plain = True
    if "causal" in case:
        mask, plain = mask & (k <= q + (keys - queries if case["causal"] == "bottom_right" else 0)), False
    if "lengths" in case:
        lengths = torch.tensor([int(n) for n in str(case["lengths"]).split(",")])
        mask, plain = mask & (k[None, None] < lengths[:, None, None, None]), False
    if "bool" in case:
        mask, plain = mask & (data(f"{name}/mask", queries, keys) > -0.75), False
    return None if plain else mask


ACTIVATIONS = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}


# The operations. Each gives a dict of results.

def linear(name, c):
    layer = fill(name, nn.Linear(c["K"], c["M"], bias=bool(c["bias"])))
    return {"output": layer(data(f"{name}/x", c["N"], c["K"]))}


def embedding(name, c):
    layer = fill(name, nn.Embedding(c["V"], c["E"]))
    return {"output": layer(ids(f"{name}/ids", c["N"], c["V"]))}


def layer_norm(name, c):
    layer = fill(name, nn.LayerNorm(c["E"], eps=c["eps"], elementwise_affine=c["affine"] != "none",
                                    bias=c["affine"] == "bias"))
    return {"output": layer(data(f"{name}/x", c["N"], c["E"]) + c["offset"])}


def rms_norm(name, c):
    layer = fill(name, nn.RMSNorm(c["E"], eps=c["eps"]))
    return {"output": layer(data(f"{name}/x", c["N"], c["E"]))}


def activation(name, c):
    return {"output": ACTIVATIONS[c["function"]](data(f"{name}/x", c["N"], 3, scale=c["range"]))}


def softmax(name, c):
    return {"output": torch.softmax(data(f"{name}/x", c["N"], c["E"], scale=c["range"]), -1)}


def feed_forward(name, c):
    """Where gated, the first half of linear1 is the gate."""
    width = c["F"] * (1 + c["gated"])
    layer = fill(name, nn.ModuleDict({"linear1": nn.Linear(c["E"], width, bias=bool(c["bias"])),
                                      "linear2": nn.Linear(c["F"], c["E"], bias=bool(c["bias"]))}))
    hidden = layer["linear1"](data(f"{name}/x", c["N"], c["E"]))
    function = ACTIVATIONS[c["activation"]]
    hidden = function(hidden[:, :c["F"]]) * hidden[:, c["F"]:] if c["gated"] else function(hidden)
    return {"output": layer["linear2"](hidden)}


def attention(name, c):
    q = data(f"{name}/query", c["B"], c["H"], c["Tq"], c["D"])
    k = data(f"{name}/key", c["B"], c["Hkv"], c["Tk"], c["D"])
    v = data(f"{name}/value", c["B"], c["Hkv"], c["Tk"], c["Dv"])
    mask = mask_of(name, c, c["Tq"], c["Tk"])
    is_causal = c.get("causal") == "top_left" and "lengths" not in c and "bool" not in c and "additive" not in c
    if "additive" in c:
        bias = data(f"{name}/additive_mask", c["H"], c["Tq"], c["Tk"])[None]
        mask = bias if mask is None else bias.masked_fill(~mask, -torch.inf)
    return {"output": F.scaled_dot_product_attention(q, k, v, None if is_causal else mask, is_causal=is_causal,
                                                     scale=c.get("scale"), enable_gqa=c["H"] != c["Hkv"])}


def pytorch_masks(name, c, queries, keys):
    """attn_mask and key_padding_mask of nn.MultiheadAttention, where True means: ignore."""
    attn = {k: v for k, v in c.items() if k in ("causal", "bool")}
    padding = {k: v for k, v in c.items() if k == "lengths"}
    attn_mask, padding_mask = mask_of(name, attn, queries, keys), mask_of(name, padding, queries, keys)
    return (None if attn_mask is None else ~attn_mask[0, 0],
            None if padding_mask is None else ~padding_mask[:, 0, 0])


def grouped_attention(name, c):
    """nn.MultiheadAttention with fewer key/value than query heads, which it doesn't have."""
    heads, groups, width = c["heads"], c["kv_heads"], c["E"]
    dim = width // heads
    rows = (heads + 2 * groups) * dim
    x = data(f"{name}/query", c["B"], c["Tq"], width)
    bias = parameter(f"{name}/in_proj_bias", (rows,))
    qkv = F.linear(x, parameter(f"{name}/in_proj_weight", (rows, width)), bias).unflatten(-1, (-1, dim)).transpose(1, 2)
    q, k, v = qkv.split((heads, groups, groups), 1)
    mixed = F.scaled_dot_product_attention(q, k, v, mask_of(name, c, c["Tq"], c["Tk"]), enable_gqa=True)
    return {"output": F.linear(mixed.transpose(1, 2).flatten(2), parameter(f"{name}/out_proj.weight", (width, width)),
                               parameter(f"{name}/out_proj.bias", (width,)))}


def multi_head_attention(name, c):
    if "kv_heads" in c:
        return grouped_attention(name, c)
    kdim, vdim = c.get("kdim", c["E"]), c.get("vdim", c["E"])
    layer = fill(name, nn.MultiheadAttention(c["E"], c["heads"], bias=bool(c["bias"]), kdim=c.get("kdim"),
                                             vdim=c.get("vdim"), batch_first=True))
    q = data(f"{name}/query", c["B"], c["Tq"], c["E"])
    k = v = q
    if c["cross"]:
        k, v = data(f"{name}/key", c["B"], c["Tk"], kdim), data(f"{name}/value", c["B"], c["Tk"], vdim)
    attn_mask, padding_mask = pytorch_masks(name, c, c["Tq"], c["Tk"])
    output, average = layer(q, k, v, attn_mask=attn_mask, key_padding_mask=padding_mask)
    weights = layer(q, k, v, attn_mask=attn_mask, key_padding_mask=padding_mask, average_attn_weights=False)[1]
    if c["Tq"] * c["Tk"] > 1000:
        return {"output": output}
    return {"output": output, "weights": weights, "average_weights": average}


def block_arguments(c):
    function = ACTIVATIONS[c["activation"]]
    return dict(d_model=c["E"], nhead=c["heads"], dim_feedforward=c["F"], dropout=0.0, activation=function,
                norm_first=bool(c["norm_first"]), layer_norm_eps=c.get("eps", 1e-5), bias=bool(c.get("bias", 1)),
                batch_first=True)


def stack(c, single, many):
    """One block, or with layers=n a stack of them, with a norm at its end where final_norm=1."""
    block = single(**block_arguments(c))
    if "layers" not in c:
        return block
    norm = nn.LayerNorm(c["E"], eps=c.get("eps", 1e-5)) if c["final_norm"] else None
    more = {"enable_nested_tensor": False} if many is nn.TransformerEncoder else {}
    return many(block, c["layers"], norm=norm, **more)


def encoder(name, c):
    layer = fill(name, stack(c, nn.TransformerEncoderLayer, nn.TransformerEncoder))
    x = data(f"{name}/x", c["B"], c["T"], c["E"])
    attn_mask, padding_mask = pytorch_masks(name, c, c["T"], c["T"])
    mask = {"mask" if "layers" in c else "src_mask": attn_mask}
    return {"output": layer(x, src_key_padding_mask=padding_mask, **mask)}


def decoder(name, c):
    layer = fill(name, stack(c, nn.TransformerDecoderLayer, nn.TransformerDecoder))
    x = data(f"{name}/x", c["B"], c["T"], c["E"])
    memory = data(f"{name}/memory", c["B"], c["S"], c["E"])
    attn_mask, padding_mask = pytorch_masks(name, c, c["T"], c["T"])
    memory_case = {k.removeprefix("memory_"): v for k, v in c.items() if k.startswith("memory_")}
    memory_mask, memory_padding_mask = pytorch_masks(f"{name}/memory", memory_case, c["T"], c["S"])
    return {"output": layer(x, memory, tgt_mask=attn_mask, tgt_key_padding_mask=padding_mask,
                            memory_mask=memory_mask, memory_key_padding_mask=memory_padding_mask)}


OPERATIONS = {f.__name__: f for f in (linear, embedding, layer_norm, rms_norm, activation, softmax, feed_forward,
                                      attention, multi_head_attention, encoder, decoder)}


def cases():
    """(op, settings) of each case."""
    for n, k, m in ((1, 1, 1), (3, 7, 5), (13, 33, 17), (5, 64, 48), (1, 130, 65), (0, 4, 3), (2, 300, 2)):
        yield "linear", dict(N=n, K=k, M=m, bias=1)
    yield "linear", dict(N=6, K=16, M=31, bias=0)
    yield "embedding", dict(N=9, V=11, E=5)
    yield "embedding", dict(N=1, V=3, E=17)
    for n, e in ((3, 1), (4, 5), (2, 16), (3, 37), (2, 130), (0, 6)):
        yield "layer_norm", dict(N=n, E=e, eps=1e-5, affine="bias", offset=0)
        yield "rms_norm", dict(N=n, E=e, eps=1e-6)
    yield "layer_norm", dict(N=3, E=21, eps=1e-12, affine="weight", offset=0)
    yield "layer_norm", dict(N=3, E=20, eps=0.5, affine="none", offset=0)
    yield "layer_norm", dict(N=2, E=33, eps=1e-5, affine="bias", offset=64)
    for function in ACTIVATIONS:
        yield "activation", dict(function=function, N=17, range=4)
        yield "activation", dict(function=function, N=17, range=16)
    for n, e in ((3, 1), (2, 5), (3, 16), (2, 97)):
        yield "softmax", dict(N=n, E=e, range=8)
    for act, gated, n, e, f in (("relu", 0, 5, 6, 23), ("gelu", 0, 3, 21, 40), ("gelu_tanh", 0, 1, 8, 32),
                                ("silu", 1, 4, 15, 20), ("gelu", 1, 7, 16, 33)):
        yield "feed_forward", dict(activation=act, gated=gated, N=n, E=e, F=f, bias=1 - gated)
    yield "feed_forward", dict(activation="relu", gated=1, N=2, E=5, F=9, bias=1)

    def sdpa(b, h, hkv, tq, tk, d, dv, **more):
        return "attention", dict(B=b, H=h, Hkv=hkv, Tq=tq, Tk=tk, D=d, Dv=dv, **more)
    yield sdpa(1, 1, 1, 1, 1, 1, 1)
    yield sdpa(2, 3, 3, 5, 7, 7, 7)
    yield sdpa(2, 3, 3, 5, 7, 7, 7, bool=1)
    yield sdpa(2, 2, 2, 6, 6, 5, 3, causal="top_left")
    yield sdpa(2, 2, 2, 4, 9, 5, 8, causal="bottom_right")
    yield sdpa(2, 2, 2, 9, 4, 5, 8, causal="bottom_right")
    yield sdpa(2, 4, 2, 5, 6, 8, 8, scale=0.5)
    yield sdpa(2, 6, 2, 3, 20, 4, 4, lengths="13,20", causal="bottom_right")
    yield sdpa(1, 4, 1, 2, 17, 16, 16, additive=1)
    yield sdpa(2, 2, 2, 5, 5, 8, 8, additive=1, causal="top_left", lengths="4,5", scale=1.0)
    yield sdpa(1, 2, 1, 3, 5, 8, 8, scale=-0.25)
    yield sdpa(3, 2, 2, 2, 5, 4, 4, lengths="5,0,2")
    yield sdpa(0, 2, 2, 3, 3, 4, 4)
    yield sdpa(1, 2, 2, 1, 300, 8, 8)
    yield sdpa(1, 2, 1, 300, 300, 3, 2, causal="top_left")
    yield sdpa(1, 2, 1, 70, 301, 16, 5, bool=1)
    yield sdpa(1, 1, 1, 2, 1700, 4, 3, scale=2.0)
    yield sdpa(1, 2, 2, 3, 3100, 4, 3, causal="bottom_right")
    yield sdpa(2, 2, 1, 2, 200, 5, 4, lengths="100,96")

    def mha(b, tq, tk, e, heads, **more):
        return "multi_head_attention", dict(dict(B=b, Tq=tq, Tk=tk, E=e, heads=heads, bias=1, cross=int(tq != tk)),
                                            **more)
    yield mha(2, 5, 5, 21, 3)
    yield mha(2, 5, 5, 15, 5, causal="top_left", lengths="3,5")
    yield mha(1, 1, 1, 8, 2)
    yield mha(0, 4, 4, 8, 2)
    yield mha(2, 4, 7, 16, 4, bias=0, lengths="7,2")
    yield mha(2, 4, 6, 12, 3, kdim=5, vdim=9)
    yield mha(1, 3, 10, 10, 2, kdim=7, vdim=7, bias=0, bool=1)
    yield mha(1, 130, 130, 6, 3, causal="top_left")

    def block(op, t, e, heads, f, activation, norm_first, b=2, **more):
        return op, dict(B=b, T=t, E=e, heads=heads, F=f, activation=activation, norm_first=norm_first, **more)
    for norm_first in (0, 1):
        yield block("encoder", 5, 21, 3, 34, "relu", norm_first)
        yield block("encoder", 7, 16, 4, 32, "gelu", norm_first, causal="top_left", lengths="7,4")
        yield block("encoder", 6, 15, 5, 20, "relu", norm_first, layers=2, final_norm=1, lengths="6,1")
        yield block("decoder", 5, 21, 3, 34, "relu", norm_first, S=6, causal="top_left", memory_lengths="6,4")
        yield block("decoder", 4, 16, 2, 32, "gelu", norm_first, S=9, lengths="4,3", memory_bool=1)
        yield block("decoder", 6, 15, 5, 20, "relu", norm_first, S=3, layers=2, final_norm=1, causal="top_left")
    yield block("encoder", 300, 4, 2, 6, "gelu", 1, b=1, causal="top_left")
    yield block("decoder", 120, 4, 1, 6, "relu", 0, b=1, S=250, causal="top_left")
    yield block("encoder", 1, 12, 3, 17, "silu", 1, b=1)
    yield block("encoder", 3, 8, 2, 12, "relu", 0, b=0)
    yield block("encoder", 5, 12, 2, 16, "gelu_tanh", 0, layers=3, final_norm=0, eps=1e-12)
    yield block("decoder", 1, 8, 2, 9, "gelu", 1, b=3, S=1, layers=1, final_norm=0)
    yield block("encoder", 4, 10, 2, 12, "relu", 1, bias=0)
    yield block("decoder", 4, 10, 2, 12, "relu", 0, S=5, bias=0)
    yield mha(2, 7, 7, 24, 4, kv_heads=2)
    yield mha(2, 5, 5, 15, 5, kv_heads=1, causal="top_left", lengths="3,5")


def main():
    folder = os.path.dirname(os.path.abspath(__file__))
    lines, tensors = [], {}
    for number, (op, case) in enumerate(cases()):
        name = f"{op}_{number}"
        lines.append(" ".join([name, op] + [f"{key}={value}" for key, value in case.items()]) + "\n")
        for key, value in OPERATIONS[op](name, case).items():
            value = value.contiguous().numpy()
            assert np.isfinite(value).all(), name
            tensors[f"{name}/{key}"] = value
    with open(os.path.join(folder, "cases.txt"), "w") as file:
        file.writelines(lines)
    save_file(tensors, os.path.join(folder, "golden.safetensors"))
    print(len(lines), "cases,", os.path.getsize(os.path.join(folder, "golden.safetensors")), "bytes")


if __name__ == "__main__":
    main()
