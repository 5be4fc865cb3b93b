#!/usr/bin/env python3
"""Writes expected.json: what transformers makes of conversations.json by each template here, or that it fails; and small.json:
what it makes of the templates in small.txt, one a line, of the variables in the first.

    pip install transformers jinja2; TZ=UTC python3 make.py
"""

import datetime
import json
import pathlib

from transformers.utils import chat_template_utils

HERE = pathlib.Path(__file__).parent


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2025, 3, 7, 16, 5, 9)


chat_template_utils.datetime = Clock
tokens = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
cases = []
for template in sorted(HERE.glob("*.jinja")):
    for index, conversation in enumerate(json.loads((HERE / "conversations.json").read_text())):
        for prompt in (False, True):
            messages = chat_template_utils._normalize_chat_messages(conversation["messages"])
            try:
                text = chat_template_utils.render_jinja_template(
                    [messages], tools=conversation.get("tools"), documents=conversation.get("documents"),
                    chat_template=template.read_text(), add_generation_prompt=prompt,
                    **tokens, **conversation.get("variables", {}))[0][0]
            except Exception:
                text = None
            cases.append({"template": template.stem, "conversation": index, "add_generation_prompt": prompt, "text": text})
with open(HERE / "expected.json", "w") as out:
    out.write("[\n" + ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases) + "\n]\n")

variables, *templates = (HERE / "small.txt").read_text().splitlines()
with open(HERE / "small.json", "w") as out:
    out.write("[\n" + ",\n".join(json.dumps(chat_template_utils._compile_jinja_template(template).render(
        messages=[], **json.loads(variables)), ensure_ascii=False) for template in templates) + "\n]\n")
