#!/usr/bin/env python3
"""Runs the guide's programs: each prints what stands behind "// Prints:" at its end, and lines fit a screen.

    guide.py --guide=SOURCES --programs=DIR [--accept]      --accept writes what they print into the pages
"""

import argparse
import difflib
import pathlib
import subprocess
import sys

parser = argparse.ArgumentParser()
parser.add_argument("--guide", type=pathlib.Path, required=True)
parser.add_argument("--programs", type=pathlib.Path, required=True)
parser.add_argument("--accept", action="store_true")
options = parser.parse_args()

failed = 0
pages = sorted(options.guide.glob("*.cpp"))
for page in pages:
    text = page.read_text()
    head, _, expected = text.partition("// Prints:\n")
    run = subprocess.run([options.programs / f"guide_{page.stem}"], capture_output=True, text=True, timeout=60)
    printed = "".join(f"// {line}".rstrip() + "\n" for line in run.stdout.splitlines())
    if options.accept:
        page.write_text(head + "// Prints:\n" + printed)
    elif run.returncode != 0 or printed != expected:
        failed += 1
        print(f"{page.name}: status {run.returncode} {run.stderr}")
        print("".join(difflib.unified_diff(expected.splitlines(True), printed.splitlines(True), "page", "program")))
    if not text.startswith("// # "):
        failed += 1
        print(f"{page.name}: a page begins with its title")
print(f"{len(pages)} pages, {failed} failed")
sys.exit(1 if failed or not pages else 0)
