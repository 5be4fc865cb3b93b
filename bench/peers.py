"""What bench/compare.py measures attend against: its benchmarks' problems, and each peer's way to their output."""

import importlib
import importlib.metadata
import json
import math
import pathlib
import re
import tempfile

import numpy as np


def random(shape, scale=1.0):
    """Uniform in [-scale, scale): the numbers of bench/problems.hpp."""
    n = math.prod(shape)
    powers = np.cumprod(np.full(n, 1664525, np.uint32), dtype=np.uint32)  # wraps
    sums = np.cumsum(np.concatenate(([np.uint32(1)], powers[:-1])), dtype=np.uint32)
    state = np.uint32(12345) * powers + np.uint32(1013904223) * sums
    return (((state >> 8).astype(np.float32) / np.float32(8388608) - 1) * np.float32(scale)).reshape(shape)


def parameter(*shape):
    """A parameter of bench/problems.hpp: scaled by the size of a row of its matrix."""
    return random(shape, np.float32(1) / np.sqrt(np.float32(shape[1] if len(shape) > 1 else 1)))


class Problem:
    """One benchmark by its name. `inputs` are arrays in the order in which every peer takes them."""

    def __init__(self, name, threads, model):
        self.name, self.threads = name, threads
        self.kind = re.split("/[A-Z]+:", name)[0]
        sizes = self.sizes = {key: int(value) for key, value in re.findall(r"/([A-Z]+|causal):(\d+)", name)}
        if self.kind == "linear":
            self.inputs = [random((sizes["M"], sizes["K"]))]
            self.weight, self.bias = parameter(sizes["N"], sizes["K"]), parameter(sizes["N"])
        elif self.kind == "sdpa":
            B, H, KV, T, D = (sizes[key] for key in ("B", "H", "KV", "T", "D"))
            self.inputs = [random((B, H, T, D)), random((B, KV, T, D), 0.9), random((B, KV, T, D), 0.8)]
        elif self.kind == "encoder_block":
            E, F = sizes["E"], sizes["F"]
            self.inputs = [random((sizes["B"], sizes["T"], E))]
            self.blocks = [{
                "in_proj": (parameter(3 * E, E), parameter(3 * E)), "out_proj": (parameter(E, E), parameter(E)),
                "linear1": (parameter(F, E), parameter(F)), "linear2": (parameter(E, F), parameter(E)),
                "norm1": (parameter(E), parameter(E)), "norm2": (parameter(E), parameter(E))}]
            self.heads, self.eps, self.activation, self.embeddings = sizes["H"], 1e-5, "relu", None
        elif self.kind == "model/minilm":
            self.read_bert(pathlib.Path(model))
            ids = np.arange(sizes["B"] * sizes["T"]).reshape(sizes["B"], sizes["T"])
            self.inputs = [(1000 + ids * 7919 % (self.vocab_size - 1000)).astype(np.int64)]
        elif self.kind in ("generate/prompt", "generate/token"):
            self.folder = pathlib.Path(model)
            vocab_size = json.loads((self.folder / "config.json").read_text())["vocab_size"]
            ids = np.arange(sizes.get("T", sizes.get("S")))
            self.inputs = [1000 + ids * 7919 % (vocab_size - 1000)]
        else:
            raise SystemExit(f"compare.py: no peers for {name}")

    def operations(self):
        """Of the products and the attention: 2 for each multiply-add."""
        s = self.sizes
        if self.kind == "linear":
            return 2 * s["M"] * s["K"] * s["N"]
        if self.kind == "sdpa":
            return 4 * s["B"] * s["H"] * s["D"] * (s["T"] * (s["T"] + 1) // 2 if s["causal"] else s["T"] ** 2)
        products = sum(w[name][0].size for w in self.blocks for name in ("in_proj", "out_proj", "linear1", "linear2"))
        E = len(self.blocks[0]["norm1"][0])
        return s["B"] * s["T"] * (2 * products + 4 * s["T"] * E * len(self.blocks))

    def read_bert(self, folder):
        from safetensors.numpy import load_file
        config, w = json.loads((folder / "config.json").read_text()), load_file(folder / "model.safetensors")
        self.folder, self.vocab_size = folder, config["vocab_size"]
        self.heads, self.eps = config["num_attention_heads"], config["layer_norm_eps"]
        self.activation = {"gelu": "gelu", "relu": "relu"}[config["hidden_act"]]
        pair = lambda name: (w[name + ".weight"], w[name + ".bias"])
        self.blocks = []
        for i in range(config["num_hidden_layers"]):
            layer = f"encoder.layer.{i}."
            qkv = [pair(f"{layer}attention.self.{part}") for part in ("query", "key", "value")]
            self.blocks.append({
                "in_proj": tuple(np.concatenate(parts) for parts in zip(*qkv)),
                "out_proj": pair(layer + "attention.output.dense"), "linear1": pair(layer + "intermediate.dense"),
                "linear2": pair(layer + "output.dense"), "norm1": pair(layer + "attention.output.LayerNorm"),
                "norm2": pair(layer + "output.LayerNorm")})
        # All tokens are of type 0, so its row joins the positions'.
        place = w["embeddings.position_embeddings.weight"] + w["embeddings.token_type_embeddings.weight"][0]
        self.embeddings = {"word": w["embeddings.word_embeddings.weight"], "place": place,
                           "norm": pair("embeddings.LayerNorm")}


def reference(problem):
    """(index, values): a part of the output in float64, by definition. The last of the batch, or rows or a head."""
    linear = lambda x, pair: x @ pair[0].T.astype(np.float64) + pair[1]
    if problem.kind == "linear":
        return np.s_[-64:], linear(problem.inputs[0][-64:].astype(np.float64), (problem.weight, problem.bias))

    def attend(q, k, v, causal):
        scores = q @ k.T / math.sqrt(q.shape[1])
        if causal:
            scores = np.where(np.tri(*scores.shape, dtype=bool), scores, -np.inf)
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        return p / p.sum(axis=1, keepdims=True) @ v

    if problem.kind == "sdpa":
        q, k, v = (x[-1, -1].astype(np.float64) for x in problem.inputs)
        return np.s_[-1, -1], attend(q, k, v, problem.sizes["causal"])

    def norm(x, pair):
        x = x - x.mean(axis=1, keepdims=True)
        return x / np.sqrt((x * x).mean(axis=1, keepdims=True) + problem.eps) * pair[0] + pair[1]

    erf = np.vectorize(math.erf, otypes=[np.float64])
    activate = {"relu": lambda x: np.maximum(x, 0), "gelu": lambda x: x * (1 + erf(x / math.sqrt(2))) / 2}
    x = problem.inputs[0][-1]
    if problem.embeddings:
        e = problem.embeddings
        x = norm(e["word"][x].astype(np.float64) + e["place"][:len(x)], e["norm"])
    for w in problem.blocks:
        heads = np.split(linear(x, w["in_proj"]), 3 * problem.heads, axis=1)
        mixed = [attend(*heads[h::problem.heads], False) for h in range(problem.heads)]
        x = norm(x + linear(np.concatenate(mixed, axis=1), w["out_proj"]), w["norm1"])
        x = norm(x + linear(activate[problem.activation](linear(x, w["linear1"])), w["linear2"]), w["norm2"])
    return np.s_[-1], x


def torch_module(problem):
    """The same for every peer that goes by way of PyTorch: one product gives queries, keys and values."""
    import torch
    from torch.nn import functional as F
    B, T = problem.inputs[0].shape[:2]
    tensors = lambda pair: [torch.nn.Parameter(torch.from_numpy(x.copy()), requires_grad=False) for x in pair]

    class Linear(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.bias = tensors((problem.weight, problem.bias))

        def forward(self, x):
            return F.linear(x, self.weight, self.bias)

    class Attention(torch.nn.Module):
        def forward(self, q, k, v):
            return F.scaled_dot_product_attention(q, k, v, is_causal=bool(problem.sizes["causal"]),
                                                  enable_gqa=problem.sizes["H"] != problem.sizes["KV"])

    class Block(torch.nn.Module):
        def __init__(self, parameters):
            super().__init__()
            for name, pair in parameters.items():
                weight, bias = tensors(pair)
                self.register_parameter(name + "_weight", weight), self.register_parameter(name + "_bias", bias)

        def forward(self, x):
            E = x.shape[-1]
            w = lambda name: (getattr(self, name + "_weight"), getattr(self, name + "_bias"))
            q, k, v = F.linear(x, *w("in_proj")).view(B, T, 3, problem.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
            mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, T, E)
            x = F.layer_norm(x + F.linear(mixed, *w("out_proj")), (E,), *w("norm1"), eps=problem.eps)
            hidden = getattr(F, problem.activation)(F.linear(x, *w("linear1")))
            return F.layer_norm(x + F.linear(hidden, *w("linear2")), (E,), *w("norm2"), eps=problem.eps)

    class Encoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            if problem.embeddings:
                self.word, self.place = tensors((problem.embeddings["word"], problem.embeddings["place"][:T]))
                self.norm_weight, self.norm_bias = tensors(problem.embeddings["norm"])
            self.blocks = torch.nn.Sequential(*map(Block, problem.blocks))

        def forward(self, x):
            if problem.embeddings:
                x = F.embedding(x, self.word) + self.place
                x = F.layer_norm(x, (x.shape[-1],), self.norm_weight, self.norm_bias, eps=problem.eps)
            return self.blocks(x)

    return {"linear": Linear, "sdpa": Attention}.get(problem.kind, Encoder)().eval()


class Torch:
    """torch.compile where `compiled`, with weights frozen into its code; else eager."""

    def __init__(self, problem, compiled=False):
        import torch
        torch.set_num_threads(problem.threads)
        self.inputs = [torch.from_numpy(x) for x in problem.inputs]
        self.module, self.mode = torch_module(problem), torch.inference_mode
        if compiled:
            import torch._inductor.config
            torch._dynamo.reset()
            torch._inductor.config.freezing = True
            # Freezing wants no_grad, under which it recognises parameters as constants.
            self.module, self.mode = torch.compile(self.module), torch.no_grad

    def run(self, calls):
        with self.mode():
            for _ in range(calls):
                self.out = self.module(*self.inputs)

    def output(self):
        return self.out.numpy()


class TorchCompile(Torch):
    def __init__(self, problem):
        super().__init__(problem, compiled=True)


class TorchLayer(Torch):
    """torch.nn.TransformerEncoderLayer, which has a fast path of its own."""

    def __init__(self, problem):
        import torch
        if problem.kind != "encoder_block":
            raise Unsupported
        torch.set_num_threads(problem.threads)
        self.inputs, self.mode = [torch.from_numpy(x) for x in problem.inputs], torch.inference_mode
        self.module = torch.nn.TransformerEncoderLayer(problem.sizes["E"], problem.heads, problem.sizes["F"], dropout=0,
                                                       layer_norm_eps=problem.eps, batch_first=True).eval()
        state = {}
        for name, (weight, bias) in problem.blocks[0].items():
            prefix = {"in_proj": "self_attn.in_proj_", "out_proj": "self_attn.out_proj."}.get(name, name + ".")
            state[prefix + "weight"], state[prefix + "bias"] = torch.from_numpy(weight), torch.from_numpy(bias)
        self.module.load_state_dict(state)


class Unsupported(Exception):
    """The peer has no such operation."""


def onnx_model(problem):
    """A graph with the fused operations of ONNX Runtime, as its own optimiser for transformers makes it."""
    import onnx
    from onnx import helper, numpy_helper, TensorProto
    nodes, weights = [], []

    def constant(array):
        weights.append(numpy_helper.from_array(np.ascontiguousarray(array), f"w{len(weights)}"))
        return weights[-1].name

    def node(op, inputs, outputs=1, domain="com.microsoft", **attributes):
        names = [f"n{len(nodes)}.{i}" for i in range(outputs)]
        nodes.append(helper.make_node(op, inputs, names, domain=domain, **attributes))
        return names[0]

    names = [f"x{i}" for i in range(len(problem.inputs))]
    x = names[0]
    if problem.kind == "linear":
        x = node("Gemm", [x, constant(problem.weight.T), constant(problem.bias)], domain="")
    elif problem.kind == "sdpa":
        x = node("Attention", names, domain="", is_causal=problem.sizes["causal"])
    else:
        if problem.embeddings:
            e = problem.embeddings
            x = node("Gather", [constant(e["word"]), x], domain="")
            x = node("Add", [x, constant(e["place"][:problem.sizes["T"]])], domain="")
            x = node("LayerNormalization", [x, *map(constant, e["norm"])], domain="", epsilon=problem.eps)
        matmul = lambda x, weight: node("MatMul", [x, constant(weight.T)], domain="")
        for w in problem.blocks:
            qkv = [constant(w["in_proj"][0].T), constant(w["in_proj"][1])]
            mixed = node("Attention", [x, *qkv], num_heads=problem.heads)
            skip = lambda y, residual, linear, norm: node(
                "SkipLayerNormalization",
                [y, residual, constant(norm[0]), constant(norm[1]), constant(linear[1])], epsilon=problem.eps)
            x = skip(matmul(mixed, w["out_proj"][0]), x, w["out_proj"], w["norm1"])
            hidden = matmul(x, w["linear1"][0])
            if problem.activation == "gelu":
                hidden = node("BiasGelu", [hidden, constant(w["linear1"][1])])
            else:
                hidden = node("Add", [hidden, constant(w["linear1"][1])], domain="")
                hidden = node("Relu", [hidden], domain="")
            x = skip(matmul(hidden, w["linear2"][0]), x, w["linear2"], w["norm2"])
    value = lambda name, array: helper.make_tensor_value_info(
        name, TensorProto.INT64 if array.dtype == np.int64 else TensorProto.FLOAT, array.shape)
    out = helper.make_tensor_value_info(x, TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "problem", list(map(value, names, problem.inputs)), [out], weights)
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


class OnnxRuntime:
    def __init__(self, problem, int8=False):
        if problem.kind.startswith("generate/"):
            raise Unsupported
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = problem.threads, 1
        model = onnx_model(problem)
        if int8:
            import onnx
            from onnxruntime.quantization import QuantType, quantize_dynamic
            with tempfile.TemporaryDirectory() as folder:
                path = folder + "/model.onnx"
                # Signed weights of 7 bits where the processor has no VNNI, or sums saturate (reduce_range).
                quantize_dynamic(onnx.load_from_string(model), path, weight_type=QuantType.QInt8,
                                 extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
                                 reduce_range="vnni" not in pathlib.Path("/proc/cpuinfo").read_text())
                model = pathlib.Path(path).read_bytes()
        self.session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
        self.binding = self.session.io_binding()
        for i, x in enumerate(problem.inputs):
            self.binding.bind_cpu_input(f"x{i}", x)
        self.binding.bind_output(self.session.get_outputs()[0].name)

    def run(self, calls):
        for _ in range(calls):
            self.session.run_with_iobinding(self.binding)

    def output(self):
        return self.binding.copy_outputs_to_cpu()[0]


class OnnxRuntimeInt8(OnnxRuntime):
    """Weights to 8 bits by its own quantize_dynamic, with the fused operations."""

    def __init__(self, problem):
        super().__init__(problem, int8=True)


class OpenVino:
    precision = "f32"

    def __init__(self, problem):
        if problem.kind.startswith("generate/"):
            raise Unsupported
        import openvino
        import torch
        module = torch_module(problem)
        example = tuple(torch.from_numpy(x) for x in problem.inputs)
        shapes = [list(x.shape) for x in problem.inputs]
        with torch.no_grad():
            model = openvino.convert_model(module, example_input=example, input=shapes)
        # Its own choice would be bfloat16 where the machine has it.
        options = {"INFERENCE_NUM_THREADS": problem.threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": self.precision,
                   "ENABLE_CPU_PINNING": False}
        self.request = openvino.Core().compile_model(model, "CPU", options).create_infer_request()
        for i, x in enumerate(problem.inputs):
            self.request.set_input_tensor(i, openvino.Tensor(x, shared_memory=True))

    def run(self, calls):
        for _ in range(calls):
            self.request.infer()

    def output(self):
        return self.request.get_output_tensor(0).data


class OpenVinoBfloat16(OpenVino):
    precision = "bf16"


class CTranslate2:
    converted = None  # the folder is converted once
    compute_type = "float32"

    def __init__(self, problem):
        if problem.kind != "model/minilm":
            raise Unsupported
        import ctranslate2
        if CTranslate2.converted is None:
            import ctranslate2.converters
            CTranslate2.converted = tempfile.TemporaryDirectory()
            converter = ctranslate2.converters.TransformersConverter(str(problem.folder))
            converter.convert(CTranslate2.converted.name, force=True)
        self.encoder = ctranslate2.Encoder(CTranslate2.converted.name, device="cpu", compute_type=self.compute_type,
                                           inter_threads=1, intra_threads=problem.threads)
        ids = problem.inputs[0].astype(np.int32)
        self.ids = ctranslate2.StorageView.from_array(ids)
        self.lengths = ctranslate2.StorageView.from_array(np.full(len(ids), ids.shape[1], np.int32))

    def run(self, calls):
        for _ in range(calls):
            self.out = self.encoder.forward_batch(self.ids, self.lengths)

    def output(self):
        return np.array(self.out.last_hidden_state)


class CTranslate2Int8(CTranslate2):
    compute_type = "int8"


def write_llama(folder):
    """A folder with a Llama of 125 million parameters: random weights, no tokenizer."""
    from safetensors.numpy import save_file
    E, F, KV, V, layers = 768, 2048, 256, 32000, 12
    folder = pathlib.Path(folder)
    folder.mkdir(exist_ok=True)
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": E, "intermediate_size": F,
              "num_hidden_layers": layers, "num_attention_heads": 12, "num_key_value_heads": 4, "vocab_size": V,
              "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
              "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False}
    weights = {"model.embed_tokens.weight": parameter(V, E), "lm_head.weight": parameter(V, E),
               "model.norm.weight": np.ones(E, np.float32)}
    shapes = {"self_attn.q_proj": (E, E), "self_attn.k_proj": (KV, E), "self_attn.v_proj": (KV, E),
              "self_attn.o_proj": (E, E), "mlp.gate_proj": (F, E), "mlp.up_proj": (F, E), "mlp.down_proj": (E, F)}
    for i in range(layers):
        layer = f"model.layers.{i}."
        weights |= {layer + name + ".weight": parameter(*shape) for name, shape in shapes.items()}
        weights |= {layer + norm + ".weight": np.ones(E, np.float32) for norm in ("input_layernorm", "post_attention_layernorm")}
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))


def write_gguf(folder, path, kind):
    """A Llama's folder as a GGUF file, its matrices in a type of ggml; tokens that nobody reads."""
    import gguf
    from safetensors.numpy import load_file
    config, weights = json.loads((folder / "config.json").read_text()), load_file(folder / "model.safetensors")
    heads, kv_heads, V = config["num_attention_heads"], config["num_key_value_heads"], config["vocab_size"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["hidden_size"] // heads)
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_vocab_size(V)
    writer.add_tokenizer_model("llama")
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    writer.add_token_list(tokens + [f"t{i}" for i in range(len(tokens), V)])
    writer.add_token_scores([0.0] * V)
    writer.add_token_types([2, 3, 3] + [6] * 256 + [1] * (V - 259))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    names = {"model.embed_tokens": "token_embd", "lm_head": "output", "model.norm": "output_norm",
             "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
             "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
             "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
    kind = getattr(gguf.GGMLQuantizationType, kind)
    for name, w in weights.items():
        name = name.removesuffix(".weight")
        found = re.match(r"model\.layers\.(\d+)\.(.*)", name)
        to = f"blk.{found[1]}.{names[found[2]]}" if found else names[name]
        if "q_proj" in name or "k_proj" in name:  # ggml turns neighbouring pairs
            n = heads if "q_proj" in name else kv_heads
            w = w.reshape(n, 2, -1, w.shape[1]).swapaxes(1, 2).reshape(w.shape)
        own = gguf.GGMLQuantizationType.F32 if w.ndim == 1 else kind
        writer.add_tensor(to + ".weight", gguf.quants.quantize(w, own), raw_dtype=own)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class LlamaCpp:
    """Through its server's own timings of one request: of the prompt, or of 32 tokens behind it."""
    servers, folder = {}, None

    def __init__(self, problem):
        if not problem.kind.startswith("generate/"):
            raise Unsupported
        import xllamacpp
        key = (self.kind, problem.threads)
        if LlamaCpp.folder is None:
            LlamaCpp.folder = tempfile.TemporaryDirectory()
        if key not in LlamaCpp.servers:
            path = f"{LlamaCpp.folder.name}/{self.kind}.gguf"
            if not pathlib.Path(path).exists():
                write_gguf(problem.folder, path, self.kind)
            p = xllamacpp.CommonParams()
            p.model.path, p.n_ctx, p.n_parallel, p.warmup, p.verbosity = path, 1024, 1, True, -1
            p.cpuparams.n_threads = p.cpuparams_batch.n_threads = problem.threads
            p.cache_prompt, p.n_batch, p.n_ubatch = False, 512, 512
            p.cache_ram_mib = 0
            LlamaCpp.servers[key] = xllamacpp.Server(p)
        self.server, self.token = LlamaCpp.servers[key], problem.kind == "generate/token"
        self.request = {"prompt": problem.inputs[0].tolist(), "n_predict": 33 if self.token else 1, "cache_prompt": False,
                        "temperature": 0, "samplers": ["top_k"], "top_k": 1, "ignore_eos": True}

    def seconds(self, calls):
        """Of a call. Timings of tokens are means of 32, so these count as many calls."""
        times = []
        for _ in range(-(-calls // 32) if self.token else calls):
            answer = self.server.handle_completions(self.request)
            timings = (answer if isinstance(answer, dict) else json.loads(answer))["timings"]
            times.append(timings["predicted_per_token_ms" if self.token else "prompt_ms"] / 1000)
        return sum(times) / len(times)

    def run(self, calls):
        self.seconds(calls)

    def output(self):
        return None


def llama_cpp(kind):
    return type("LlamaCpp" + kind, (LlamaCpp,), {"kind": kind})


# Name in the table, the modules it needs, and how it runs a problem.
PEERS = [("PyTorch", ["torch"], Torch), ("PyTorch layer", ["torch"], TorchLayer),
         ("torch.compile", ["torch"], TorchCompile), ("ONNX Runtime", ["onnxruntime", "onnx"], OnnxRuntime),
         ("OpenVINO", ["openvino", "torch"], OpenVino), ("CTranslate2", ["ctranslate2", "transformers"], CTranslate2)]


# Those of compare.py --reduced.
REDUCED = [("ONNX Runtime int8", ["onnxruntime", "onnx"], OnnxRuntimeInt8),
           ("OpenVINO", ["openvino", "torch"], OpenVino), ("OpenVINO bf16", ["openvino", "torch"], OpenVinoBfloat16),
           ("CTranslate2 int8", ["ctranslate2", "transformers"], CTranslate2Int8),
           *(("llama.cpp " + kind, ["xllamacpp", "gguf"], llama_cpp(kind)) for kind in ("F32", "BF16", "Q8_0", "Q4_0"))]


def installed(reduced=False):
    """([(name, class)], [versions], [a line for each that is missing])."""
    peers, versions, missing = [], [], []
    for name, modules, make in REDUCED if reduced else PEERS:
        try:
            for module in modules:
                importlib.import_module(module)
        except ImportError as error:
            missing.append(f"{name} is left out: {error}")
            continue
        peers.append((name, make))
        versions.append(f"{modules[0]} {importlib.metadata.version(modules[0]).split('-')[0]}")
    return peers, list(dict.fromkeys(versions)), missing
