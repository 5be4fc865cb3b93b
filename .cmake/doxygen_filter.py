#!/usr/bin/env python3
"""What Doxygen reads in place of a header, line for line.

Comments behind members are their documentation, and what means the same in each class is documented here, once.
"""

import re
import sys

# Declarations without documentation of their own.
RECURRING = [(re.compile(pattern), text) for pattern, text in {
    r"(ATTEND_COLD )?explicit \w+\(const \w+Options& o": "Made by its options; Error where one of them, which it names, cannot be.",
    r"const \w*Options& options\(\) const": "What it was made by.",
    r"(ATTEND_COLD )?void parameters\(ParameterVisitor<":
        "Calls visit(name, parameter) for each parameter, by PyTorch's names: load and save_file go through it.",
    r"template <detail::LayerInput<Scalar> X": "`forward` by the thread's default context, as a new tensor.",
    r"void forward\(Context& context, const Input& x, const Output& out\) const\b": "`forward` with no other inputs.",
    r"using (Input|Output) =": "What forward takes: views, tensors or matrices of Eigen's.",
    r"operator BlockOptions\(\) const": "The parts that this is of.",
    r"explicit \w+\(const char\* name\)": "Without blocks; errors say `name`.",
    r"void set_weights\(": "Sets what weights are kept in, and what products round their inputs to.",
    r"static \w+ open\(const Location& folder, const OpenOptions& \w+\)": "The same, by the folder's own settings.",
    r"(static )?[\w<>:, ]+ (chat|beams|classify|decode|encode|generate|logits|open|score|translate)\(":
        "The same; what is not given is as the folder says, or without one the default, and the context is the thread's default one.",
    r"(Index|std::size_t) num_labels\(\) const": "How many labels there are.",
    r"const Labels& labels\(\) const": "Names of the labels.",
    r"const text::Tokenizer& tokenizer\(\) const": "The folder's tokenizer.",
    r"const .*\b(model|generator)\(\) const": "The model that it runs.",
    r"const Vocabulary& vocabulary\(\) const": "Its tokens.",
    r"std::optional<std::int32_t> unknown_id\(\) const": "The id of what is unknown, where there is one.",
    r"(constexpr )?[\w:<> ]+[*&]? (begin|end)\(\)": "The elements in their order.",
    r"(constexpr )?[\w:]+ size\(\) const": "Number of elements.",
    r"(constexpr )?bool empty\(\) const": "Whether there is no element.",
    r"(constexpr )?(const )?[\w:]+\* data\(\)": "Where the first element lies.",
    r"const .*\bshape\(\) const": "Elements along each axis.",
    r"\w+& operator=\(\w+&& other\)": "As the constructor that moves; what was here before is given up.",
    r"\w+& operator=\(const": "As the constructor that copies.",
    r"using Scalar =": "Of the elements, without const.",
    r"static constexpr int rank =": "Number of axes.",
    r"Index embed_dim = 0;": "E: features of a token.",
    r"Index num_heads = 1;": "Of queries; a multiple of num_kv_heads where there are these.",
    r"Index dim_feedforward = \d+;": "Features between the two linear layers.",
    r"Activation activation =": "Between the two linear layers.",
    r"Index num_layers = 1;": "Blocks.",
    r"Index normalized_shape = 0;": "Of the last axis.",
    r"Index num_labels =": "Labels of a classifier.",
    r"Index vocab_size = 0, ": "Tokens; features of a token.",
    r"NormKind norm =": "LayerNorm or RMSNorm, for all norms.",
    r"double (\w+_)?eps =": "Added to the variance, under the root.",
    r"bool bias = true;": "Whether there is one.",
    r"bool elementwise_affine = true;": "Whether there is a weight, and of a LayerNorm a bias.",
    r"bool final_norm = false;": "A norm behind the last block.",
    r"bool gated = false;": "See FeedForward.",
    r"bool norm_first = false;": "x + f(norm(x)) instead of norm(x + f(x)).",
    r"\w+BlockOptions block =": "Of each block.",
    r"Attention(Options|Outputs)<Scalar> self =": "Of self-attention, of cross-attention.",
    r"WeightType weights = WeightType::float32;": "What the weights of products are kept in.",
    r"(Bert|ModernBert)Head head =": "What stands behind the layers.",
    r"FinishReason reason =": "Why it ended.",
    r"std::vector<std::int32_t> eos_token_ids =": "Tokens that end a text.",
    r"std::vector<std::int32_t> ids\b": "Of its tokens.",
}.items()]
SEVERAL = re.compile(r"[^/(]*[ *&]\w+( = [^,;(]*)?,[^;(]*;$")  # members that one line declares: all have its documentation

documented = False
for line in open(sys.argv[1], encoding="utf-8"):
    line = line.rstrip("\n").replace("::inline ATTEND_ABI", "").replace("::inline ATTEND_FLAGS", "")  # it cannot read these
    code = line.strip()
    if not code.startswith("}") and "namespace" not in code:
        line = re.sub(r"([;,}] +)// ", r"\1///< ", line)
        while (quoted := re.sub(r"(//.*[ (])(</?[a-z_0-9]+>|\\[a-z]\b)", r"\1`\2`", line)) != line:
            line = quoted  # names of tokens are no tags or commands
        declaration, behind, text = line.partition("///< ")
        if not behind and not documented and not code.startswith("//"):
            text = next((text for pattern, text in RECURRING if pattern.match(code)), "")
        if SEVERAL.match(declaration.rstrip()) and (text or documented):
            line = f"{'/** ' + text + ' */' if text else ''} /**@{{*/ {declaration} /**@}}*/"
        elif text and not behind:
            line = f"/** {text} */ {line}"
    print(line)
    documented = code.startswith("///") or (documented and re.match(r"template|requires|ATTEND_", code) is not None)
