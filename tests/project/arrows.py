#!/usr/bin/env python3
"""Walks the #includes under include/attend and fails on any that points the wrong way.

The folders, and what each may include besides itself:

    model      -> text, io, json, gguf, layers, detail, quant  (layers: the headers directly in include/attend)
    layers     -> kernel, detail
    quant      -> kernel, detail, reference, io  (weights in fewer bits, which files have too; quant.hpp is its umbrella)
    detail     -> kernel, layers        (the layers' inner room: what is not API)
    io, text   -> json, gguf
    gguf       -> json
    reference  -> kernel/math.inl, as text: the one copy of each formula
    json, kernel -> nothing but core

Everybody may include core; tensor.hpp and tensor_view.hpp count as core. attend.hpp reaches all layers and nobody includes it.
Third-party libraries have their place too: Eigen stays out of kernel, JSON, Unicode and regular expressions
stay out of all that attend::attend offers. Headers do not include each other in a circle, are included as
<attend/...>, and define no macro but ATTEND_* (and what a third-party header asks for).

    arrows.py <include/attend>      prints each wrong line as file:line: reason; exit status 1 if there is any
    arrows.py --self-test           checks the check on small trees made for it
"""

import pathlib
import re
import sys
import tempfile

ARROWS = {
    "core": set(),
    "kernel": {"core"},
    "layers": {"core", "kernel", "detail"},
    "quant": {"core", "kernel", "detail", "layers", "reference", "io"},
    "detail": {"core", "kernel", "layers"},
    "json": {"core"},
    "gguf": {"core", "json"},
    "io": {"core", "json", "gguf"},
    "text": {"core", "json", "gguf"},
    "model": {"core", "text", "io", "json", "gguf", "layers", "detail", "quant"},
    "reference": {"core"},
    "umbrella": {"core", "layers"},
}
AS_TEXT = {("reference", "kernel/math.inl")}
JSON, UNICODE, REGEX = "nlohmann/json", "utf8proc", "PCRE2"
LIBRARIES = {
    "core": {"Eigen"},
    "kernel": set(),
    "layers": {"Eigen"},
    "quant": set(),
    "detail": {"Eigen"},
    "json": {JSON},
    "gguf": set(),
    "io": {"Eigen"},
    "text": {UNICODE, REGEX},
    "model": {"Eigen"},
    "reference": {"Eigen"},
    "umbrella": set(),
}
LIBRARY_OF = [
    (re.compile(r"^(unsupported/)?Eigen/"), "Eigen"),
    (re.compile(r"^nlohmann/"), JSON),
    (re.compile(r"^utf8proc"), UNICODE),
    (re.compile(r"^pcre2"), REGEX),
]
ASKED_FOR = {"PCRE2_CODE_UNIT_WIDTH"}  # pcre2.h wants it before its #include
INCLUDE = re.compile(r"^\s*#\s*include\b\s*(.*?)\s*$")
DEFINE = re.compile(r"^\s*#\s*define\s+(\w+)")


def folder_of(path):
    """The folder (as in ARROWS) of a path relative to include/attend."""
    parts = pathlib.PurePosixPath(path).parts
    if len(parts) > 1:
        return parts[0]
    return {"attend.hpp": "umbrella", "quant.hpp": "quant", "tensor.hpp": "core", "tensor_view.hpp": "core"}.get(parts[0], "layers")


def without_comments(text):
    """Comments become blanks; line numbers and string literals stay."""
    pattern = re.compile(r'"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
    return pattern.sub(lambda m: m[0] if m[0][0] == '"' else re.sub(r"[^\n]", " ", m[0]), text)


def library_of(name):
    return next((library for pattern, library in LIBRARY_OF if pattern.match(name)), None)


def check(root):
    """All violations below root, as "file:line: reason"."""
    root = pathlib.Path(root)
    errors = []
    edges = {}
    files = sorted(p for p in root.rglob("*") if p.is_file())
    for file in files:
        path = file.relative_to(root).as_posix()
        folder = folder_of(path)
        edges[path] = []
        if folder not in ARROWS:
            errors.append(f"{path}:1: unknown folder {folder}")
            continue
        if file.suffix not in (".hpp", ".inl"):
            errors.append(f"{path}:1: neither .hpp nor .inl")
            continue
        for number, line in enumerate(without_comments(file.read_text()).split("\n"), 1):
            where = f"{path}:{number}"
            match = DEFINE.match(line)
            if match and not match[1].startswith("ATTEND_") and match[1] not in ASKED_FOR:
                errors.append(f"{where}: macro {match[1]} does not start with ATTEND_")
            if not (match := INCLUDE.match(line)):
                continue
            named = re.fullmatch(r'<([^>]+)>|"([^"]+)"', match[1])
            if not named:
                errors.append(f"{where}: cannot tell what is included by: {line.strip()}")
                continue
            if named[2]:
                errors.append(f"{where}: write #include <attend/...>, not {match[1]}")
                continue
            if not named[1].startswith("attend/"):
                library = library_of(named[1])
                if library and library not in LIBRARIES[folder]:
                    errors.append(f"{where}: {folder} may not include {library}")
                continue
            target = named[1].removeprefix("attend/")
            if not (root / target).is_file():
                errors.append(f"{where}: there is no {target}")
                continue
            edges[path].append(target)
            there = folder_of(target)
            allowed = there == folder or there in ARROWS[folder] or (folder, target) in AS_TEXT
            if not allowed:
                errors.append(f"{where}: {folder} may not include {there} ({target})")
    if "attend.hpp" in edges:
        reached, waiting = set(), ["attend.hpp"]
        while waiting:
            path = waiting.pop()
            if path not in reached:
                reached.add(path)
                waiting += edges.get(path, [])
        for path in edges:
            if folder_of(path) == "layers" and path.endswith(".hpp") and path not in reached:
                errors.append(f"attend.hpp:1: leaves out {path}")
    errors += circles(edges)
    return errors


def circles(edges):
    """Each include that closes a circle. An .inl is included several times on purpose, but never by itself."""
    errors, done, path = [], set(), []

    def visit(node):
        if node in path:
            errors.append(f"{path[-1]}:1: circle " + " -> ".join(path[path.index(node):] + [node]))
        elif node not in done:
            path.append(node)
            for target in edges.get(node, []):
                if target != node.replace(".inl", ".hpp"):  # whose bodies these are: it includes them at its end
                    visit(target)
            path.pop()
            done.add(node)

    for node in edges:
        visit(node)
    return errors


def self_test():
    good = {
        "attend.hpp": "#include <attend/linear.hpp>\n#include <attend/tensor.hpp>\n",
        "tensor.hpp": "#include <Eigen/Core>\n#include <attend/core/error.hpp>\n",
        "linear.hpp": "#include <vector>\n#include <attend/tensor.hpp>\n#include <attend/kernel/gemm.hpp>\n",
        "core/error.hpp": "#define ATTEND_X 1\n// #include <attend/linear.hpp>\n/*\n#include <nlohmann/json.hpp>\n*/\n",
        "kernel/gemm.hpp": "#include <attend/core/error.hpp>\n#include <attend/kernel/math.inl>\n",
        "kernel/math.inl": "",
        "json/json.hpp": "#include <nlohmann/json.hpp>\n#include <attend/core/error.hpp>\n",
        "io/config.hpp": "#include <attend/json/json.hpp>\n#include <attend/tensor.hpp>\n",
        "text/words.hpp": "#include <utf8proc.h>\n#include <attend/json/json.hpp>\n",
        "model/bert.hpp": "#include <attend/linear.hpp>\n#include <attend/io/config.hpp>\n#include <attend/text/words.hpp>\n",
        "reference/math.hpp": "#include <attend/kernel/math.inl>\n",
    }
    bad = [  # (file, line added to it, what the complaint has in it)
        ("core/error.hpp", "#include <attend/linear.hpp>", "core may not include layers"),
        ("core/error.hpp", "#  include <attend/kernel/math.inl>", "core may not include kernel"),
        ("tensor.hpp", "#include <attend/kernel/gemm.hpp>", "core may not include kernel"),
        ("kernel/gemm.hpp", "#include <attend/linear.hpp>", "kernel may not include layers"),
        ("kernel/gemm.hpp", "#include <Eigen/Core>", "kernel may not include Eigen"),
        ("kernel/math.inl", "#include <attend/io/config.hpp>", "kernel may not include io"),
        ("linear.hpp", "#include <attend/json/json.hpp>", "layers may not include json"),
        ("linear.hpp", "#include <nlohmann/json.hpp>", "layers may not include nlohmann/json"),
        ("linear.hpp", "#include <attend/attend.hpp>", "layers may not include umbrella"),
        ("linear.hpp", "#include <attend/reference/math.hpp>", "layers may not include reference"),
        ("json/json.hpp", "#include <attend/tensor.hpp>\n#include <attend/io/config.hpp>", "json may not include io"),
        ("io/config.hpp", "#include <attend/linear.hpp>", "io may not include layers"),
        ("io/config.hpp", "#include <utf8proc.h>", "io may not include utf8proc"),
        ("io/config.hpp", "#include <nlohmann/json.hpp>", "io may not include nlohmann/json"),
        ("text/words.hpp", "#include <attend/io/config.hpp>", "text may not include io"),
        ("model/bert.hpp", "#include <attend/kernel/gemm.hpp>", "model may not include kernel"),
        ("model/bert.hpp", "#include <pcre2.h>", "model may not include PCRE2"),
        ("reference/math.hpp", "#include <attend/kernel/gemm.hpp>", "reference may not include kernel"),
        ("reference/math.hpp", "#include <attend/linear.hpp>", "reference may not include layers"),
        ("model/bert.hpp", "#include <attend/gone.hpp>", "there is no gone.hpp"),
        ("model/bert.hpp", '#include "../linear.hpp"', "write #include <attend/...>"),
        ("model/bert.hpp", "#include ATTEND_X", "cannot tell"),
        ("model/bert.hpp", "#define CHECK(x) x", "macro CHECK"),
        ("kernel/math.inl", "#include <attend/kernel/gemm.hpp>", "circle"),
        ("norm.hpp", "", "leaves out norm.hpp"),
        ("odd/norm.hpp", "", "unknown folder odd"),
        ("core/norm.h", "", "neither .hpp nor .inl"),
    ]

    def errors_of(tree):
        with tempfile.TemporaryDirectory() as folder:
            for path, text in tree.items():
                file = pathlib.Path(folder, path)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
            return check(folder)

    failures = [f"good tree: {error}" for error in errors_of(good)]
    for path, line, expected in bad:
        errors = errors_of({**good, path: good.get(path, "") + line + "\n"})
        if not any(expected in error for error in errors):
            failures.append(f"{path} + {line}: expected '{expected}', got {errors}")
    return failures


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    errors = self_test() if sys.argv[1] == "--self-test" else check(sys.argv[1])
    for error in errors:
        print(error)
    if sys.argv[1] != "--self-test" and not any(pathlib.Path(sys.argv[1]).rglob("*.hpp")):
        sys.exit("no headers in " + sys.argv[1])
    sys.exit(1 if errors else 0)


if __name__ == "__main__":
    main()
