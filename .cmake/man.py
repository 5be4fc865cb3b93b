#!/usr/bin/env python3
"""Writes a program's man page and its completions for bash from what its --help says.

    man.py PROGRAM VERSION SHARE      SHARE/man/man1/NAME.1 and SHARE/bash-completion/completions/NAME
"""

import pathlib
import re
import subprocess
import sys

program, version, share = pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
name = program.stem
text = subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout
usage, *sections = re.split(r"\n{2,}", text.strip())
sentence = re.split(r"[.;:](?=\s|$)", " ".join(sections[0].split()))[0]


def escaped(line):
    line = line.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + line if line.startswith((".", "'")) else line


page = [f'.TH {name.upper()} 1 "" "attend {version}"', ".SH NAME", f"{name} \\- {escaped(sentence)}", ".SH SYNOPSIS", ".nf"]
page += [escaped(line.removeprefix("usage:").strip()) for line in usage.splitlines()]
page += [".fi", ".SH DESCRIPTION"]
options = {}
for section in sections:
    lines = section.splitlines()
    if lines[0].startswith("  --"):
        page.append(".SH OPTIONS")
        for line in lines:
            if option := re.match(r"  (--[\w-]+)( \S+)?(?:  +|$)", line):
                options[option[1]] = (option[2] or "").strip()
                page += [".TP", f".B {escaped(option[0].strip())}", escaped(line[option.end():])]
            else:
                page.append(escaped(line.strip()))
    elif lines[0] == "Example:":
        page += [".SH EXAMPLE", ".nf", *(escaped(line.strip()) for line in lines[1:]), ".fi"]
    elif lines[0].startswith("Exit code:"):
        page += [".SH EXIT STATUS", escaped(" ".join(lines).removeprefix("Exit code: "))]
    else:
        page += [".PP", *map(escaped, lines)]
files = [option for option, value in options.items() if value in ("FILE", "DIR")]
values = [option for option, value in options.items() if value and option not in files]
complete = f"""_{name}() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}"
  case "$before" in
    {"|".join(files) or "''"}) COMPREPLY=($(compgen -f -- "$word")) ;;
    {"|".join(values) or "''"}) COMPREPLY=() ;;
    *) COMPREPLY=($(compgen -W "{" ".join(options)}" -- "$word")) ;;
  esac
}}
complete -o filenames -F _{name} {name}
"""
for path, content in (share / f"man/man1/{name}.1", "\n".join(page) + "\n"), (share / f"bash-completion/completions/{name}", complete):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
