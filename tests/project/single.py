#!/usr/bin/env python3
"""attend_single.hpp works in a folder that has nothing but it: with Eigen, and in two units of one program.

    single.py --script=FILE --include=DIR --source=FILE --cxx=g++ --eigen=DIR      SOURCE is a program that includes attend.hpp
"""

import argparse
import pathlib
import re
import subprocess
import sys
import tempfile


def main():
    parser = argparse.ArgumentParser()
    for name in ("script", "include", "source", "cxx", "eigen"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        subprocess.run([sys.executable, options.script, options.include, folder / "attend_single.hpp"], check=True)
        program = re.sub(r"<attend/\w+\.hpp>", '"attend_single.hpp"', pathlib.Path(options.source).read_text())
        (folder / "main.cpp").write_text(program)
        (folder / "other.cpp").write_text('#include "attend_single.hpp"\nattend::Index rows(attend::Rows<float> x) { return x.count(); }\n')
        # One ISA, since the kernels are not what this is about.
        subprocess.run([options.cxx, "-std=c++20", "-O1", "-Wall", "-Wextra", "-Werror", "-DATTEND_ONLY_BASELINE",
                        f"-isystem{options.eigen}", "main.cpp", "other.cpp", "-pthread", "-o", "program"], cwd=folder, check=True)
        subprocess.run([folder / "program"], check=True)


if __name__ == "__main__":
    main()
