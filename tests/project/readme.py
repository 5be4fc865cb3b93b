#!/usr/bin/env python3
"""Compiles and runs every code block of README.md. What a block is goes by its language:

    cpp     A program, or a fragment: without a main it is put into one, its #includes before it. What a fragment
            takes for granted (a tensor x, say) stands in a comment right before the block:
                <!-- before: attend::Tensor<float, 2> x({4, 768}); -->
            All blocks link attend::models_compiled, as it is installed (code that uses it is the same as with the headers
            alone), and run in the folder of the clone.
    cmake   Lines for a project that has a program `app` (add_executable(app main.cpp) goes before them). The folder
            attend beside its CMakeLists.txt is the clone. The project is configured, built and run.
    sh      Run in that project's folder, with a scratch HOME, where packages are found in ~/.local.
    sh      with <!-- set-up: NAME --> right before it is one line, to be pasted into the shell of a fresh machine. The
            line `example` is run from its first cmake on, in a copy of the clone. The line `test` is what .ci/run
            runs (which is checked here), and what started this very test.

Other languages are no code (text is what programs print). Blocks are taken in order, so a cmake block that needs
attend installed comes after the sh block that installs it; but the cpp blocks are one project, at the end.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys

BLOCK = re.compile(r"(?:^<!--(?P<note>(?:(?!-->).)*)-->\s*)?^```(?P<language>\w*)\n(?P<code>.*?)^```$",
                   re.DOTALL | re.MULTILINE)
CMAKE_HEAD = "cmake_minimum_required(VERSION 3.22)\nproject(app CXX)\n"


def run(arguments, **options):
    """Runs a command; its output is shown, and a failure ends the test."""
    print("$", arguments if isinstance(arguments, str) else " ".join(map(str, arguments)), flush=True)
    status = subprocess.run(arguments, **options).returncode
    if status != 0:
        sys.exit(f"status {status}")


def program(code, before):
    """A whole program from a fragment; a program is left as it is."""
    if re.search(r"\bint main\(", code):
        return before + code
    lines = (before + "\n" + code).split("\n")
    includes = [line for line in lines if line.startswith("#include")]
    body = [line for line in lines if not line.startswith("#include")]
    return "\n".join(includes + ["int main() {"] + body + ["}", ""])


def fresh(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def link_clone(source, folder):
    """The clone as git sees it, at folder, without its build folders."""
    fresh(folder)
    for entry in source.iterdir():
        if entry.name != ".git" and not entry.name.startswith("build"):
            (folder / entry.name).symlink_to(entry)
    return folder


def check_cpp(blocks, options):
    """All cpp blocks, {number: (code, note)}, each a program of one project."""
    folder = fresh(options.binary / "cpp")
    project = CMAKE_HEAD + "find_package(attend REQUIRED COMPONENTS models_compiled)\nlink_libraries(attend::models_compiled)\n"
    for number, (code, note) in blocks.items():
        before = note.removeprefix("before:") if note.startswith("before:") else ""
        (folder / f"app_{number}.cpp").write_text(program(code, before))
        project += f"add_executable(app_{number} app_{number}.cpp)\n"
    (folder / "CMakeLists.txt").write_text(project)
    run([options.cmake, "-S", folder, "-B", folder / "build", f"-DCMAKE_PREFIX_PATH={options.installed}"])
    run([options.cmake, "--build", folder / "build"])
    for number in blocks:
        run([folder / "build" / f"app_{number}"], cwd=options.source)


def check_cmake(number, code, app, options):
    (app / "CMakeLists.txt").write_text(CMAKE_HEAD + "add_executable(app main.cpp)\n" + code)
    build = fresh(options.binary / f"cmake_{number}")
    run([options.cmake, "-S", app, "-B", build])
    run([options.cmake, "--build", build])
    run([build / "app"])


def check_set_up(name, code, options):
    line = code.rstrip("\n")
    if "\n" in line or not line:
        sys.exit(f"set-up {name} is not one line")
    if name == "test":
        shown = subprocess.run([options.source / ".ci" / "run", "--show"], capture_output=True, text=True, check=True)
        if shown.stdout != code:
            sys.exit(f".ci/run runs another line than README.md shows: {shown.stdout}")
    elif name == "example":
        own = line[line.index("&& cmake ") + 3:]
        run(own, shell=True, cwd=link_clone(options.source, options.binary / "clone"),
            env={**os.environ, "CXXFLAGS": "-DATTEND_ONLY_BASELINE"})
    else:
        sys.exit(f"unknown set-up {name}")


def main():
    parser = argparse.ArgumentParser()
    for name in ("source", "binary", "installed"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    for name in ("cxx", "cmake"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()

    text = (options.source / "README.md").read_text()
    fences = len(re.findall(r"^```", text, re.MULTILINE))
    blocks = list(BLOCK.finditer(text))
    if fences != 2 * len(blocks):
        sys.exit(f"README.md has {fences} fences, but {len(blocks)} blocks were found")

    app = fresh(options.binary / "app")
    (app / "attend").symlink_to(options.source)
    # One ISA, since the kernels are not what this is about.
    (app / "main.cpp").write_text("#define ATTEND_ONLY_BASELINE\n" + (options.source / "tests/consumers/layers.cpp").read_text())
    home = fresh(options.binary / "home")
    os.environ.update(HOME=str(home), CXX=options.cxx, CMAKE_PREFIX_PATH=str(home / ".local"),
                      PKG_CONFIG_PATH=str(home / ".local/share/pkgconfig"))

    seen, programs = [], {}
    for number, block in enumerate(blocks, 1):
        note, language, code = (block["note"] or "").strip(), block["language"], block["code"]
        line = text.count("\n", 0, block.start("language")) + 1
        print(f"\n--- README.md:{line}: {language} {note.splitlines()[0] if note else ''}", flush=True)
        seen.append(note if note.startswith("set-up:") else language)
        if language == "cpp":
            programs[number] = code, note
        elif language == "cmake":
            check_cmake(number, code, app, options)
        elif language == "sh" and note.startswith("set-up:"):
            check_set_up(note.removeprefix("set-up:").strip(), code, options)
        elif language == "sh":
            run(["sh", "-eu", "-c", code], cwd=app)
        elif language != "text":
            sys.exit(f"unknown language '{language}'")
    check_cpp(programs, options)
    for needed in ("cpp", "cmake", "sh", "set-up: example", "set-up: test"):
        if needed not in seen:
            sys.exit(f"README.md has no block '{needed}'")


if __name__ == "__main__":
    main()
