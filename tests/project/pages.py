#!/usr/bin/env python3
"""Opens the pages that the examples write, and that of serve, in headless Chromium: a hover and a click on each, no script error.

    pages.py --examples DIR --models DIR [--toy-page FILE --build DIR] [--pictures DIR]
"""

import argparse
import json
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

from browser import PROGRAM, Browser

failures = []


def check(condition, what):
    if not condition:
        failures.append(what)


def run(program, *options, text=""):
    done = subprocess.run([arguments.examples / program, *map(str, options)], input=text, text=True, capture_output=True)
    if done.returncode:
        raise SystemExit(f"{program} {options}: {done.stderr}")


class Page:
    """A page that has been opened; what goes wrong on it is named after it."""

    def __init__(self, browser, name, url):
        self.browser, self.name = browser, name
        browser.errors.clear()
        self.seconds = browser.open(url)

    def __getattr__(self, name):
        return getattr(self.browser, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for error in self.errors:
            failures.append(f"{self.name}: {error}")

    def check(self, code, what):
        check(self.wait(code, seconds=20), f"{self.name}: {what}")

    def look(self, state):
        if arguments.pictures:
            self.picture(arguments.pictures / f"{self.name}_{state}.png")

    def look_dark(self):
        self.dark()
        self.look("dark")
        self.dark(False)


def attention(browser, name, path, heads):
    """What each page of attention can do, whatever is on it."""
    with Page(browser, name, path.as_uri()) as page:
        page.check(f"document.querySelectorAll('#heads button').length === {heads}", "not every head")
        page.check("[...document.querySelectorAll('#heads canvas')].every(c => c.width > 1)", "thumbnails are missing")
        page.look("light")
        page.hover("#view g[data-q='3']")
        page.check("document.querySelector('#tip').textContent.includes(' looks at ')", "a hover says nothing")
        page.check("document.querySelector('#view svg').classList.contains('hot')", "a hover does not stand out")
        page.click("#heads button:last-of-type")
        page.check("document.querySelector('#heads button:last-of-type').getAttribute('aria-pressed') === 'true'", "a head is not chosen")
        page.check("document.querySelector('#name').textContent !== 'Layer 0, head 0'", "another head is not shown")
        page.click("#flow button[data-i='3']")
        page.check("document.querySelector('#flow [aria-pressed=true]').dataset.i === '3'", "a token is not chosen")
        page.click("#lines")
        page.check("document.querySelectorAll('#view line').length > 0", "no lines")
        page.look("lines")
        page.click("details summary")
        page.check("document.querySelectorAll('#table tbody tr').length === 1 && document.querySelector('#table th[scope=row]') !== null", "no table of the token")
        page.click("summary")
        page.run("document.activeElement.blur()")
        page.key("Escape")
        page.check("document.querySelector('#flow [aria-pressed=true]') === null", "Escape leaves a token chosen")
        before = page.run("document.querySelector('#name').textContent")
        page.key("ArrowLeft")
        page.check(f"document.querySelector('#name').textContent !== {json.dumps(before)}", "the arrow does not move to another head")
        page.key("ArrowDown", modifiers=1)
        page.check("document.querySelector('#flow [aria-pressed=true]').dataset.i === '0'", "Alt and the arrow do not choose a token")
        page.run("rank = document.querySelector('#rank'); rank.value = '1'; rank.onchange()")
        page.check("(v => v.every((x, i) => i === 0 || x <= v[i - 1]))([...document.querySelectorAll('#heads button')].map(b => parseFloat(b.textContent)))",
                   "heads are not ranked")
        page.click("#square")
        page.click("#theme")
        page.check("getComputedStyle(document.body).backgroundColor === 'rgb(20, 23, 29)'", "not dark")
        page.look("dark")
        saved = page.run("""new Promise(f => { const make = URL.createObjectURL; HTMLAnchorElement.prototype.click = () => {};
            URL.createObjectURL = b => { b.text().then(f); return make(b) }; document.querySelector('#save').click() })""")
        check(saved.startswith("<svg") and 'xmlns="http://www.w3.org/2000/svg"' in saved and "var(" not in saved, f"{name}: the SVG: {saved[:80]}")
        page.run("filter = document.querySelector('#filter'); filter.value = document.querySelector('#flow button').textContent; filter.oninput()")
        page.check("document.querySelector('#flow button[style*=opacity]') !== null", "the filter hides nothing")
        page.call("Page.printToPDF")
        return page.seconds


def toy(browser, scratch):
    run("toy_encoder", "--html", scratch / "toy.html")
    attention(browser, "toy", scratch / "toy.html", 8)
    with Page(browser, "toy", (scratch / "toy.html").as_uri()) as page:
        page.run("text = document.querySelector('#text'); text.value = 1; text.onchange()")
        page.check("document.querySelector('#answers').textContent.startsWith('negative100')", "another text has no other answer")


def live(browser):
    subprocess.run(["cmake", "--build", arguments.build, "--target", "toy_page"], check=True, stdout=subprocess.DEVNULL)
    size = arguments.toy_page.stat().st_size
    check(size < 1000000, f"the toy page has {size} bytes")
    attention(browser, "live", arguments.toy_page, 8)
    with Page(browser, "live", arguments.toy_page.as_uri()) as page:
        page.check("document.body.className === 'alive'", "does not come alive")
        page.click("#typed")
        for text, answer in (("The bread was wonderful. How was the bread?", "positive"), ("The bread was awful. How was the bread?", "negative")):
            page.run("document.querySelector('#typed').select()")
            page.type(text)
            page.check(f"['negative', 'positive'][[...document.querySelectorAll('#answers i')].findIndex(i => parseFloat(i.style.width) > 50)] === '{answer}'",
                       f"typed '{text}': not {answer}")
        page.look("typed")
        page.type(" the" * 20)
        page.check("document.querySelector('#note').textContent.includes('at most 20')", "no word of a sentence that is too long")
        page.run("document.querySelector('#typed').select()")
        page.type("good soup")
        page.check("document.querySelectorAll('#flow button').length === 2", "does not go on after an error")


def decoder(browser, scratch):
    stories = arguments.models / "stories"
    run("attention_page", "--model", stories, "--html", scratch / "short.html", "--text", "Once upon a time </script> there was a cat", "--quiet")
    config = json.loads((stories / "config.json").read_text())
    heads = config["num_hidden_layers"] * config["num_attention_heads"]
    attention(browser, "short", scratch / "short.html", heads)
    words = "once upon a time there was little cat who liked to sleep in the sun and play".split()
    draw = random.Random(1)
    text = " ".join(draw.choice(words) for _ in range(1400))
    shutil.copytree(stories, scratch / "stories")
    (scratch / "stories" / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 8192}))
    run("attention_page", "--model", scratch / "stories", "--html", scratch / "long.html", "--quiet", text=text)
    seconds = attention(browser, "long", scratch / "long.html", heads)
    tokens = browser.run("document.querySelectorAll('#flow button').length")
    check(tokens > 4000, f"long: {tokens} tokens")
    check(seconds < 10, f"long: {seconds} s until it is open")  # one second where nothing else runs


def encoder_decoder(browser, scratch):
    """What one that writes a text of another looks at in that, and in each of the two."""
    folder = scratch / "bart"
    shutil.copytree(arguments.models / "bart", folder)
    vocabulary = {word: i for i, word in enumerate(["<s>", "<pad>", "</s>", "[UNK]", *"a cat sleeps here the dog runs".split(), *(f"w{i}" for i in range(42))])}
    (folder / "tokenizer.json").write_text(json.dumps({
        "pre_tokenizer": {"type": "Whitespace"}, "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": False},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocabulary}}))
    run("attention_page", "--model", folder, "--html", scratch / "both.html", "--text", "the cat sleeps here", "--quiet")
    attention(browser, "both", scratch / "both.html", 6)
    with Page(browser, "both", (scratch / "both.html").as_uri()) as page:
        page.check("others !== names && document.querySelectorAll('#view svg > text').length === others.length", "the columns are not the text that is read")
        page.check("names.every((t, q) => Math.abs(at(0, 0, q).reduce((s, x) => s + x[1], 0) - 1) < .01)", "weights of a token do not add up")
        page.run("text = document.querySelector('#text'); text.value = 1; text.onchange()")
        page.check("others === names && pages[1].title.includes('the cat sleeps here')", "the text that is read is not shown")


def sentences(browser, scratch):
    lines = ["a cat sleeps", "the kitten is napping", "stock markets fell", "a dog runs in the park", "shares lost value", "</script>"]
    run("encode_sentences", "--model", arguments.models / "sentence_transformers" / "pool_mean", "--map", scratch / "map.html", "--quiet",
        text="\n".join(lines) + "\n")
    with Page(browser, "map", (scratch / "map.html").as_uri()) as page:
        page.check("document.querySelectorAll('circle').length === 6", "not every sentence")
        page.hover("circle:nth-of-type(2)")
        page.check("document.querySelector('#tip b').textContent === 'the kitten is napping'", "a hover does not show its text")
        page.check("document.querySelectorAll('circle.near').length === 3 && document.querySelectorAll('#tip li').length === 3", "neighbours are not marked")
        page.look("hover")
        page.hover("h1")
        page.click("circle:nth-of-type(3)")
        page.hover("h1")
        page.check("document.querySelector('#tip b').textContent === 'stock markets fell'", "a click does not stay")
        page.click("details summary")
        page.check("document.querySelectorAll('#table tbody tr').length === 6", "no table")
        page.look_dark()


def served(browser):
    if not (arguments.examples / "serve").exists():
        return
    models = arguments.models / "stories", arguments.models / "sentence_transformers" / "pool_mean"
    server = subprocess.Popen([arguments.examples / "serve", "--port", "0", "--model", models[0], "--model", models[1]], stdout=subprocess.PIPE, text=True)
    try:
        with Page(browser, "serve", server.stdout.readline().split()[-1]) as page:
            page.click("#go")
            page.check("document.querySelectorAll('#out span').length > 20 && !document.querySelector('#go').disabled", "no text comes")
            page.hover("#out span:nth-of-type(2)")
            page.check("document.querySelector('#tip').textContent.includes('%')", "a token has no probability")
            page.look("text")
            page.run("document.querySelector('#out').focus()")  # and so without a mouse
            for key, which in ("ArrowRight", 3), ("ArrowRight", 4), ("ArrowLeft", 3):
                page.key(key)
                said = f"document.querySelector('#out span:nth-of-type({which})')"
                page.check(f"{said}.className === 'on' && document.querySelector('#tip').textContent === {said}.dataset.said", f"{key} does not go to token {which}")
            page.check("document.querySelectorAll('#rows tr').length === document.querySelectorAll('#out span').length", "no table of the tokens")
            page.click("details summary")
            page.look("table")
            page.click("#near")
            page.check("document.querySelectorAll('#list li').length === 3", "no neighbours")
            page.run("document.querySelector('#heat').value = -1")
            page.click("#go")
            page.check("document.querySelector('#tip').textContent.includes('temperature')", "an error is not said")
            page.run("document.querySelector('#heat').value = 0; document.querySelector('#most').value = 2000")
            page.click("#go")
            page.check("document.querySelectorAll('#out span').length > 5", "no long text comes")
            page.click("#stop")
            page.check("!document.querySelector('#go').disabled", "it does not stop")
            page.errors[:] = [e for e in page.errors if "400" not in e]  # the browser's own word of the answer above
            page.look_dark()
    finally:
        server.terminate()
        check(server.wait(timeout=60) == 0, "serve: its exit code")


parser = argparse.ArgumentParser()
for name in "--examples", "--models":
    parser.add_argument(name, type=pathlib.Path, required=True)
for name in "--toy-page", "--build", "--pictures":
    parser.add_argument(name, type=pathlib.Path)
arguments = parser.parse_args()
if PROGRAM is None:
    print("skipped: there is no Chromium here")
    sys.exit(77)
with tempfile.TemporaryDirectory() as name, Browser() as browser:
    toy(browser, pathlib.Path(name))
    decoder(browser, pathlib.Path(name))
    encoder_decoder(browser, pathlib.Path(name))
    sentences(browser, pathlib.Path(name))
    served(browser)
    if arguments.toy_page:
        live(browser)
    else:
        print("skipped: the page that is alive, as emcc is not here")
for failure in failures:
    print(failure)
sys.exit(1 if failures else 0)
