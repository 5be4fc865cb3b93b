#!/usr/bin/env python3
"""What it costs to include attend: seconds of the compiler, as multiples of <Eigen/Core> in the same run, and object code.

    cost.py [--cxx=g++] [--eigen=DIR] [--rounds=3] [--models]     prints a table in Markdown
    cost.py --check                                               for tests: headers and sizes against their bounds, no times

Each unit is compiled by -O2 in turn, `rounds` times, and the least time counts, in seconds of the user: so little depends on
what else the machine does. Object code is what `size` calls text.
"""

import argparse
import pathlib
import resource
import subprocess
import sys
import tempfile

LAYER = """#include <attend/attend.hpp>
attend::Tensor<float, 3> run(const attend::Tensor<float, 3>& x) {
  attend::MultiHeadAttention<float> attention({.embed_dim = 32, .num_heads = 4});
  return attention(x);
}
"""
UNUSED = "#include <attend/attend.hpp>\n"
SENTENCES = """#include <attend/model/sentence_encoder.hpp>
attend::Tensor<float, 2> run(const std::string& folder, const std::vector<std::string>& texts) {
  return attend::SentenceEncoder::open(folder).encode(attend::default_context(), texts);
}
"""
COMPILED = ("-DATTEND_COMPILED",)

# What it is, source, options, and the most: multiples of Eigen/Core, KB of object code.
ROWS = [
    ("`<Eigen/Core>`", "#include <Eigen/Core>\n", (), None, None),
    ("`attend.hpp`, unused, `attend::compiled`", UNUSED, COMPILED, 1.7, 1),
    ("`attend.hpp`, unused", UNUSED, (), 2.0, 1),
    ("a `MultiHeadAttention<float>`, `attend::compiled`", LAYER, COMPILED, 2.7, 20),
    ("the same, header-only", LAYER, (), 9.6, 300),
    ("the same with `quant.hpp`, `attend::compiled`", "#include <attend/quant.hpp>\n" + LAYER, COMPILED, 2.8, 20),
    ("the same with `quant.hpp`, header-only", "#include <attend/quant.hpp>\n" + LAYER, (), 14, 500),
    ("a `MultiHeadAttention<float>` header-only for one ISA (`ATTEND_ONLY_AVX2`)", LAYER, ("-DATTEND_ONLY_AVX2",), 5.3, 200),
]
MODEL_ROWS = [("a `SentenceEncoder`, `attend::models_compiled`", SENTENCES, COMPILED, 4.3, 40)]

# No unit of the core needs these; a compiled one sees no kernels either.
NEVER = ["iostream", "regex", "nlohmann/json.hpp", "pcre2.h"]
NOT_COMPILED = ["immintrin.h", "attend/kernel/regions.hpp", "attend/kernel/gemm.inl"]
NOT_OF_MODELS = ["utf8proc.h", "nlohmann/json_fwd.hpp", "attend/text/normalizer.hpp"]


class Compiler:
    def __init__(self, options, folder):
        self.cxx, self.folder = options.cxx, pathlib.Path(folder)
        include = pathlib.Path(__file__).resolve().parent.parent / "include"
        self.line = [options.cxx, "-std=c++20", f"-I{include}", f"-isystem{options.eigen}"]

    def unit(self, text, name="unit"):
        path = self.folder / f"{name}.cpp"
        path.write_text(text)
        return path

    def compile(self, text, *flags, name="unit"):
        """The object file, and the seconds it took."""
        source, out = self.unit(text, name), self.folder / f"{name}.o"
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        subprocess.run([*self.line, *flags, "-c", source, "-o", out], check=True)
        return out, resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before

    def headers(self, text, *flags):
        line = [*self.line, *flags, "-M", self.unit(text)]
        return subprocess.run(line, check=True, capture_output=True, text=True).stdout.replace("\\\n", " ").split()

    def link(self, *objects):
        """What the linker says, or nothing."""
        line = [self.cxx, *objects, "-pthread", "-o", self.folder / "program"]
        done = subprocess.run(line, capture_output=True, text=True)
        return done.stderr if done.returncode != 0 else ""


def kilobytes(path):
    return int(subprocess.run(["size", path], check=True, capture_output=True, text=True).stdout.split("\n")[1].split()[0]) / 1024


def check(compiler, rows):
    """Yields what is wrong."""
    for flags, unwanted in ((), NEVER), (COMPILED, NEVER + NOT_COMPILED):
        seen = compiler.headers(UNUSED, *flags)
        if not any(path.endswith("attend/linear.hpp") for path in seen):
            yield "attend.hpp was not found among the headers"
        yield from (f"attend.hpp {' '.join(flags)} includes {path}" for path in seen
                    for name in unwanted if path.endswith("/" + name))
    if rows != ROWS:
        yield from (f"sentence_encoder.hpp {' '.join(COMPILED)} includes {path}" for path in compiler.headers(SENTENCES, *COMPILED)
                    for name in NEVER + NOT_COMPILED + NOT_OF_MODELS if path.endswith("/" + name))
    for name, text, flags, _, most in rows:
        if flags != COMPILED:  # the others take too long for a test
            continue
        size = kilobytes(compiler.compile(text, "-O2", *flags)[0])
        if size > most:
            yield f"{name}: {size:.0f} KB of object code, expected at most {most}"

    # Signatures that name nothing of attend: just the marker of config.hpp tells the variants apart.
    f = UNUSED + "int f() { return 0; }\n"
    program = compiler.compile(UNUSED + "int f();\nint main() { return f(); }\n", *COMPILED, name="main")[0]
    same, other = (compiler.compile(f, *flags, name=name)[0] for flags, name in ((COMPILED, "same"), ((), "other")))
    if message := compiler.link(program, same):
        yield f"units of one variant do not link: {message}"
    if "all_units_or_none_define_ATTEND_COMPILED" not in compiler.link(program, other):
        yield "a program that mixes the variants links"


def table(compiler, rows, rounds):
    seconds, sizes = {}, {}
    for _ in range(rounds):
        for name, text, flags, *_ in rows:
            out, time = compiler.compile(text, "-O2", *flags)
            seconds[name] = min(time, seconds.get(name, time))
            sizes[name] = kilobytes(out)
    eigen = seconds[rows[0][0]]
    yield f"| compiled by `{pathlib.Path(compiler.cxx).name} -O2` | seconds | ÷ Eigen/Core | object code, KB |"
    yield "|---|--:|--:|--:|"
    for name, *_ in rows:
        yield f"| {name} | {seconds[name]:.1f} | {seconds[name] / eigen:.1f} | {sizes[name]:.0f} |"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cxx", default="g++")
    parser.add_argument("--eigen", default="/usr/include/eigen3")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", action="store_true", help="with a row of the models")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compiler, rows = Compiler(options, folder), ROWS + (MODEL_ROWS if options.models else [])
        if options.check:
            faults = list(check(compiler, rows))
            print("\n".join(faults) or "the headers and the object code are as they should be")
            sys.exit(1 if faults else 0)
        for line in table(compiler, rows, options.rounds):
            print(line, flush=True)


if __name__ == "__main__":
    main()
