#!/usr/bin/env python3
"""One program of units with different flags: checks that no function of attend depends on them but in ATTEND_FLAGS.

The linker keeps one of several inline functions of one name. So, by text, symbols and instructions (nothing is run, so that
AVX-512 is checked on machines without it):

    1. what is left of the headers after preprocessing is the same for all flags, outside the namespaces named flags_…;
    2. outside them nothing calls Eigen, whose functions depend on flags;
    3. in a plain unit nothing uses AVX but the kernels for it, and those of AVX2 nothing of AVX-512;
    4. the kernels lie in namespaces that a plain and a native unit name differently, so that they share none.

    flags.py --cxx=g++ --include=DIR [--eigen=DIR]      prints each fault; exit status 1 if there is any
"""

import argparse
import pathlib
import platform
import re
import subprocess
import sys
import tempfile

PLAIN_UNIT = """#include <attend/attend.hpp>
template class attend::MultiHeadAttention<float>;
"""
EIGEN_UNIT = PLAIN_UNIT + """template class attend::MultiHeadAttention<double>;
template class attend::TensorView<float, 2>;
template class attend::Tensor<double, 3>;
auto map(const attend::Tensor<double, 2>& x) { return x.matrix(); }
attend::Tensor<double, 2> copy(const Eigen::MatrixXd& x) { return attend::Tensor<double, 2>(x); }
"""
FLAGS = [["-march=x86-64-v4"], ["-march=x86-64-v3"], ["-mavx"], ["-msse4.2"], ["-ffast-math"], ["-Ofast", "-march=x86-64-v4"],
         ["-O0"], ["-DNDEBUG"], ["-O2", "-g"]]


def run(*line):
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout


def own_text(preprocessed, folder):
    """The lines of attend's own headers, one per token."""
    lines, own = [], False
    for line in preprocessed.split("\n"):
        if match := re.match(r'# \d+ "([^"]*)"', line):
            own = match[1].startswith(folder)
        elif own and not line.startswith("#"):
            lines.append(line)
    text = re.sub(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'', '""', "\n".join(lines))
    return re.findall(r"\w+|[^\w\s]", text)


def without_flags(tokens):
    """The same without what is inside of namespaces named flags_…."""
    left, i = [], 0
    while i < len(tokens):
        if not tokens[i].startswith("flags_"):
            left.append(tokens[i])
            i += 1
            continue
        i = tokens.index("{", i) + 1
        depth = 1
        while depth > 0:
            depth += {"{": 1, "}": -1}.get(tokens[i], 0)
            i += 1
    return left


def check_text(arguments, folder, unit):
    texts = {}
    for flags in [[]] + FLAGS:
        out = run(*arguments, *flags, "-E", unit)
        texts[" ".join(flags)] = without_flags(own_text(out, folder))
    plain = texts[""]
    if len(plain) < 1000:
        yield f"only {len(plain)} words of attend were found"
    for flags, words in texts.items():
        if words != plain:
            at = next((i for i, (a, b) in enumerate(zip(words, plain)) if a != b), min(len(words), len(plain)))
            yield f"{flags}: other text near: {' '.join(words[max(0, at - 12):at + 12])}"


def functions(assembly):
    """(symbol, its lines) of each, in what the compiler gives its assembler: objdump takes minutes of as many sections."""
    name, lines = None, []
    for line in assembly.split("\n"):
        if match := re.match(r"([A-Za-z_][\w.$]*):", line):
            if name:
                yield name, lines
            name, lines = match[1], []
        else:
            lines.append(line)
    if name:
        yield name, lines


def check_eigen(arguments, unit):
    """At -O0 nothing is inlined. A type as argument is no call."""
    found = 0
    for name, lines in functions(run(*arguments, "-O0", "-DATTEND_NO_KERNELS", "-S", unit, "-o", "-")):
        calls = [line for line in lines if re.match(r"\s+(call|callq|jmp)\s+_ZNK?5Eigen", line)]
        found += len(calls)
        if calls and re.match(r"_ZNK?6attend", name) and "flags_" not in name:
            yield f"{demangled(name)} calls Eigen:{calls[0].split()[-1]}"
    if found == 0:
        yield "no call of Eigen was found at all"


def demangled(name):
    return run("c++filt", name).strip()


INSTRUCTION = re.compile(r"^\s+([a-z]\w*)\s*(.*)$")
NOT_AVX = ("verr", "verw", "vmcall")
KERNEL = re.compile(r"6kernel\d+flags_\w*?(8baseline|4avx2|6avx512)")


def isa_of(lines):
    """0: nothing of AVX; 1: AVX and AVX2; 2: AVX-512."""
    isa = 0
    for line in lines:
        if not (match := INSTRUCTION.match(line)):
            continue
        if re.search(r"%zmm|%[xy]mm(1[6-9]|2\d|3[01])|%k[0-7]", match[2]):
            return 2
        if match[1].startswith("v") and not match[1].startswith(NOT_AVX):
            isa = 1
    return isa


def check_code(arguments, unit):
    """The kernels are optimised at -O0, too; nothing else is inlined there, or left out."""
    seen = set()
    for name, lines in functions(run(*arguments, "-O0", "-march=x86-64", "-S", unit, "-o", "-")):
        isa, kernel = isa_of(lines), KERNEL.search(name)
        seen.add((kernel[1] if kernel else "", isa))
        if isa > {"4avx2": 1, "6avx512": 2}.get(kernel[1] if kernel else "", 0):
            yield f"{demangled(name)} has instructions of {'AVX-512' if isa == 2 else 'AVX'} in a plain unit"
    for expected in ("", 0), ("8baseline", 0), ("4avx2", 1), ("6avx512", 2):
        if expected not in seen:
            yield f"no function was found for {expected}"


def check_namespaces(arguments, folder, unit):
    """By text: compiling the kernels twice takes half a minute."""
    names = [{word for word in own_text(run(*arguments, f"-march={march}", "-E", unit), folder) if word.startswith("flags_")}
             for march in ("x86-64", "x86-64-v4")]
    if not names[0] or not names[1] or names[0] & names[1]:
        yield f"a plain and a native unit have the same namespaces, or none: {sorted(names[0] | names[1])}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cxx", required=True)
    parser.add_argument("--include", required=True)
    parser.add_argument("--eigen", default="/usr/include/eigen3")
    options = parser.parse_args()
    if platform.machine() != "x86_64":
        print("skipped: the flags are those of x86-64")
        return
    arguments = [options.cxx, "-std=c++20", "-w", "-I" + options.include, "-isystem", options.eigen]
    with tempfile.TemporaryDirectory() as folder:
        headers = sorted(p.relative_to(options.include).as_posix() for p in pathlib.Path(options.include, "attend").rglob("*.hpp"))
        layers = [h for h in headers if not re.match(r"attend/(io|text|model|json|gguf)/", h)]
        units = {"every": "".join(f"#include <{h}>\n" for h in layers),
                 "plain": PLAIN_UNIT, "eigen": EIGEN_UNIT}
        for name, text in units.items():
            pathlib.Path(folder, name + ".cpp").write_text(text)
            units[name] = f"{folder}/{name}.cpp"
        errors = [*check_text(arguments, options.include, units["every"]), *check_eigen(arguments, units["eigen"]),
                  *check_code(arguments, units["plain"]),
                  *check_namespaces(arguments, options.include, units["every"])]
    for error in errors:
        print(error)
    sys.exit(1 if errors else 0)


if __name__ == "__main__":
    main()
