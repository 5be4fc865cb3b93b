#!/usr/bin/env python3
"""Writes attend_single.hpp: what <attend/attend.hpp> includes of attend, in one file that needs Eigen alone.

    single.py INCLUDE OUT      INCLUDE is the folder that has attend/
"""

import pathlib
import re
import sys

INCLUDE = re.compile(r"\s*#\s*include <(attend/[^>]+)>.*")
HEAD = """// attend {version} in one header: tensors, layers and kernels, on Eigen. Made of the headers in include/attend, where it is
// better read.
//
"""


def expand(folder, name, lines, done, depth):
    """Appends a file to the lines. A header is there once; under an #if, it may have to be there again outside of it."""
    text = (folder / name).read_text()
    once = "#pragma once\n" in text
    if name in done:
        return
    guard = "ATTEND_SINGLE_" + re.sub(r"\W", "_", name).upper()
    if once:
        lines += [f"#ifndef {guard}", f"#define {guard}"]
        if depth == 0:
            done.add(name)
    own = 0  # #ifs of this file
    for line in text.replace("#pragma once\n", "").split("\n"):
        own += bool(re.match(r"\s*#\s*if", line)) - bool(re.match(r"\s*#\s*endif", line))
        if include := INCLUDE.fullmatch(line):
            expand(folder, include[1], lines, done, depth + own)
        else:
            lines.append(line)
    if once:
        lines.append("#endif")


def main():
    folder, out = map(pathlib.Path, sys.argv[1:])
    license_text = (folder.parent / "LICENSE").read_text().rstrip().split("\n")
    version = ".".join(re.findall(r"define ATTEND_VERSION_[A-Z]+ (\d+)\n", (folder / "attend/core/version.hpp").read_text()))
    lines = ["#pragma once", ""]
    expand(folder, "attend/attend.hpp", lines, set(), 0)
    text = HEAD.format(version=version) + "\n".join(f"// {line}".rstrip() for line in license_text) + "\n" + "\n".join(lines)
    out.write_text(re.sub(r"\n{3,}", "\n\n", text) + "\n")


if __name__ == "__main__":
    main()
