#!/usr/bin/env python3
"""Writes the guide's programs as pages of Markdown, for Doxygen: their text, their code, what they print.

    guide_pages.py GUIDE OUT
"""

import pathlib
import re
import sys

guide, out = map(pathlib.Path, sys.argv[1:])
out.mkdir(parents=True, exist_ok=True)
names = []
for page in sorted(guide.glob("*.cpp")):
    text, code = re.fullmatch(r"((?://[^\n]*\n)+)(.*)", page.read_text(), re.DOTALL).groups()
    code, _, prints = code.partition("// Prints:\n")
    lines = [re.sub("^// ?", "", line) for line in text.splitlines()]
    title, name = lines[0].removeprefix("# "), "guide_" + page.stem
    names.append(f"- @subpage {name}")
    spaced = []
    for line in lines[1:]:  # what is indented is code, which begins behind an empty line
        if line.startswith("    ") != (spaced[-1].startswith("    ") if spaced else False) and spaced and spaced[-1] and line:
            spaced.append("")
        spaced.append(line)
    prints = "".join(re.sub("^// ?", "", line) for line in prints.splitlines(True))
    (out / f"{page.stem}.md").write_text(
        f"# {title} {{#{name}}}\n" + "\n".join(spaced) + f"\n\n@code{{.cpp}}\n{code}@endcode\n\nIt prints:\n\n@verbatim\n{prints}@endverbatim\n")
(out / "guide.md").write_text("# Guide {#guide}\n\nEach page is a program, in examples/guide.\n\n" + "\n".join(names) + "\n")
