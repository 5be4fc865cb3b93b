#!/usr/bin/env python3
"""Talks to examples/serve as clients do: python's http.client, and the package openai where there is one.

    serve.py --serve PROGRAM --models DIR    (tests/models)
"""

import argparse
import array
import base64
import concurrent.futures
import contextlib
import gzip
import http.client
import json
import pathlib
import random
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import urllib.parse

failures = []


def check(condition, what):
    if not condition:
        failures.append(what)


@contextlib.contextmanager
def serving(*options, end=signal.SIGTERM):
    process = subprocess.Popen([arguments.serve, "--port", "0", *map(str, options)], stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    if not line.startswith("listening on http://"):
        raise SystemExit(f"serve {options}: said {line!r}")
    try:
        yield Client(line.split()[-1], process)
    finally:
        if process.poll() is None:
            process.send_signal(end)
        check(process.wait(timeout=60) == 0, f"serve {options}: exit code {process.returncode}")


class Client:
    def __init__(self, url, process):
        self.url, self.process = urllib.parse.urlsplit(url), process
        self.port = self.url.port

    def connection(self):
        return http.client.HTTPConnection(self.url.hostname, self.port, timeout=60)

    def ask(self, path, body=None, **headers):
        """Status and JSON, or text where it is none."""
        connection = self.connection()
        connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text

    def stream(self, path, body):
        """The data of each event."""
        connection = self.connection()
        connection.request("POST", path, json.dumps({**body, "stream": True}))
        answer = connection.getresponse()
        check(answer.status == 200 and answer.headers["Content-Type"] == "text/event-stream", f"{path}: stream {answer.status}")
        for line in answer:
            if line.strip():
                check(line.startswith(b"data: "), f"{path}: event {line}")
                yield line[6:].decode().strip()
        connection.close()

    def metric(self, name):
        lines = self.ask("/metrics")[1].splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))

    def raw(self, data):
        """Status and body of what comes back to these bytes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            answer = http.client.HTTPResponse(connection, method=data.split(b" ")[0].decode())
            try:
                connection.sendall(data)
                answer.begin()
                return answer.status, answer.read()
            except (OSError, http.client.HTTPException) as error:
                return 0, repr(error).encode()

    def wait_for(self, name, value, seconds=30):
        for _ in range(20 * seconds):
            if self.metric(name) == value:
                return True
            time.sleep(0.05)
        return False


def write_slow_model(folder, tokenizer):
    """A language model of random weights that takes a few milliseconds for a token, and never ends by itself."""
    folder.mkdir()
    shutil.copy(tokenizer, folder)
    E, F, layers, V = 256, 1024, 10, 359
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": E, "intermediate_size": F,
              "num_hidden_layers": layers, "num_attention_heads": 8, "num_key_value_heads": 8, "vocab_size": V,
              "max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "hidden_act": "silu", "tie_word_embeddings": True}
    (folder / "config.json").write_text(json.dumps(config))
    shapes = {"model.embed_tokens.weight": [V, E], "model.norm.weight": [E]}
    for i in range(layers):
        p = f"model.layers.{i}."
        shapes |= {p + "input_layernorm.weight": [E], p + "post_attention_layernorm.weight": [E]}
        shapes |= {p + f"self_attn.{x}_proj.weight": [E, E] for x in "qkvo"}
        shapes |= {p + "mlp.gate_proj.weight": [F, E], p + "mlp.up_proj.weight": [F, E], p + "mlp.down_proj.weight": [E, F]}
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    draw = random.Random(1)
    block = array.array("f", (draw.gauss(0, 0.06) for _ in range(65537))).tobytes()
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        while offset > 0:
            file.write(block[:offset])
            offset -= len(block)


def check_texts(stories):
    with serving("--model", stories, "--threads", "2") as server:
        check(server.ask("/health") == (200, {"status": "ok"}), "/health")
        check([m["id"] for m in server.ask("/v1/models")[1]["data"]] == [stories.name], "/v1/models")
        body = {"model": "any", "prompt": "Once upon a time", "max_tokens": 40, "temperature": 0}
        status, alone = server.ask("/v1/completions", body)
        check(status == 200 and alone["object"] == "text_completion" and alone["choices"][0]["text"], f"completion: {alone}")
        usage = alone["usage"]
        check(usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"], f"usage: {usage}")

        # In company, in any order, each has what it has alone.
        prompts = ["Once upon a time", "The cat", "One day", "A"] * 4
        bodies = [{**body, "prompt": p, "max_tokens": 20 + i, "temperature": i % 2, "seed": i} for i, p in enumerate(prompts)]
        expected = [server.ask("/v1/completions", b)[1]["choices"] for b in bodies]
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            got = list(pool.map(lambda b: server.ask("/v1/completions", b)[1]["choices"], bodies))
        check(got == expected, "completions differ in company")

        events = list(server.stream("/v1/completions", {**body, "stream_options": {"include_usage": True}}))
        check(events[-1] == "[DONE]", f"last event {events[-1]}")
        chunks = [json.loads(e) for e in events[:-1]]
        check("".join(c["choices"][0]["text"] for c in chunks if c["choices"]) == alone["choices"][0]["text"], "stream: the text")
        check(chunks[-1]["usage"]["completion_tokens"] == usage["completion_tokens"], "stream: the usage")
        check(chunks[-2]["choices"][0]["finish_reason"] == alone["choices"][0]["finish_reason"], "stream: the reason")

        told = server.ask("/v1/completions", {**body, "logprobs": 2})[1]["choices"][0]["logprobs"]
        check(len(told["tokens"]) == len(told["token_logprobs"]) and all(len(t) <= 2 for t in told["top_logprobs"]), f"logprobs: {told}")
        check("".join(told["tokens"]) == alone["choices"][0]["text"], f"logprobs: {told['tokens']}, of {alone['choices'][0]['text']!r}")
        cut = alone["choices"][0]["text"][5:9]
        stopped = server.ask("/v1/completions", {**body, "stop": [cut]})[1]["choices"][0]
        check(cut not in stopped["text"] and stopped["finish_reason"] == "stop", f"stop: {stopped}")

        messages = [{"role": "user", "content": [{"type": "text", "text": "Who is"}]}, {"role": "user", "content": "there?"}]
        chat = {"model": "any", "messages": messages, "max_completion_tokens": 15, "temperature": 0}
        status, answer = server.ask("/v1/chat/completions", {**chat, "logprobs": True, "top_logprobs": 2})
        check(status == 200 and answer["choices"][0]["message"]["role"] == "assistant", f"chat: {answer}")
        check(len(answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]) == 2, f"chat: {answer['choices']}")
        deltas = [json.loads(e)["choices"][0]["delta"] for e in server.stream("/v1/chat/completions", chat) if e != "[DONE]"]
        check("".join(d.get("content", "") for d in deltas) == answer["choices"][0]["message"]["content"], "chat: the stream")
        check(deltas[0]["role"] == "assistant", "chat: the role")

        for wrong, what in [({}, "prompt"), ({"prompt": 1}, "prompt"), ({"prompt": "a", "temperature": -1}, "temperature"),
                            ({"prompt": "a", "n": 129}, "'n'"), ({"prompt": []}, "prompt"), ({"prompt": [99999]}, "99999"),
                            ({"prompt": "a", "max_tokens": "b"}, "max_tokens"), ([], "object"), ({"prompt": "a " * 9000}, "context")]:
            status, answer = server.ask("/v1/completions", wrong)
            check(status == 400 and what in answer["error"]["message"], f"{str(wrong)[:60]}: {status} {answer}")
        check(server.ask("/v1/embeddings", {"input": "a"})[0] == 404, "embeddings without an encoder")
        check(server.metric("attend_generated_tokens_total") > 100, "/metrics: tokens")
        check(server.metric('attend_responses_total{path="/v1/completions",status="400"}') == 9, "/metrics: responses")
        check(server.wait_for("attend_requests_running", 0), "/metrics: running")
        check_openai(server, chat, body, answer=alone)


def check_openai(server, chat, body, answer):
    try:
        import openai
    except ImportError:
        print("without the package openai")
        return
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="none", max_retries=0)
    check(client.completions.create(**body).choices[0].text == answer["choices"][0]["text"], "openai: completions")
    whole = client.chat.completions.create(**chat).choices[0].message.content
    parts = client.chat.completions.create(**chat, stream=True)
    check("".join(p.choices[0].delta.content or "" for p in parts) == whole, "openai: the stream of a chat")
    warm = {**chat, "temperature": 1, "seed": 7}
    three = client.chat.completions.create(**warm, n=3)
    one = client.chat.completions.create(**{**warm, "seed": 9}).choices[0].message.content
    check([c.index for c in three.choices] == [0, 1, 2] and three.choices[2].message.content == one, "openai: n of 3")
    pieces = {0: "", 1: "", 2: ""}
    for part in client.chat.completions.create(**warm, n=3, stream=True, stream_options={"include_usage": True}):
        for choice in part.choices:
            pieces[choice.index] += choice.delta.content or ""
    check(list(pieces.values()) == [c.message.content for c in three.choices], "openai: n of 3 as a stream")
    check(part.usage == three.usage, f"openai: usage {part.usage}, {three.usage}")
    both = client.completions.create(**{**body, "prompt": ["The cat", body["prompt"]]}, logprobs=1)
    check(both.choices[1].text == answer["choices"][0]["text"], "openai: two prompts")
    check(both.choices[1].logprobs.text_offset[:2] == [0, len(both.choices[1].logprobs.tokens[0])], "openai: text_offset")
    check(client.models.retrieve(client.models.list().data[0].id).object == "model", "openai: a model")
    for wrong, kind in [({"n": 500}, openai.BadRequestError), ({"top_p": 3}, openai.BadRequestError)]:
        try:
            client.chat.completions.create(**chat, **wrong)
            check(False, f"openai: {wrong} is taken")
        except kind as error:
            check(error.body["message"].startswith("request"), f"openai: {error.message}")
    try:
        client.images.generate(prompt="a cat")
        check(False, "openai: images")
    except openai.NotFoundError as error:
        check("no model" in error.message, f"openai: {error.message}")


def check_vectors(models):
    folders = [models / "sentence_transformers" / n for n in ("pool_mean", "cross_encoder")]
    with serving("--model", folders[0], "--model", folders[1]) as server:
        texts = ["one cat", "two dogs and a bird", ""]
        status, answer = server.ask("/v1/embeddings", {"input": texts, "model": "any"})
        check(status == 200 and [d["index"] for d in answer["data"]] == [0, 1, 2], f"embeddings: {answer}")
        packed = server.ask("/v1/embeddings", {"input": texts, "model": "any", "encoding_format": "base64"})[1]
        for a, b in zip(answer["data"], packed["data"]):
            bits = array.array("f", base64.b64decode(b["embedding"]))
            check(bits == array.array("f", a["embedding"]), "embeddings: base64 is not float")
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            got = list(pool.map(lambda i: server.ask("/v1/embeddings", {"input": texts[i % 3]})[1]["data"][0]["embedding"], range(24)))
        check(all(v == answer["data"][i % 3]["embedding"] for i, v in enumerate(got)), "embeddings differ in company")
        short = server.ask("/v1/embeddings", {"input": "one cat", "dimensions": 4})[1]
        check(short["data"][0]["embedding"] == answer["data"][0]["embedding"][:4], "embeddings: dimensions")
        check(server.ask("/v1/embeddings", {"input": []})[0] == 400, "embeddings of nothing")
        status, ranks = server.ask("/v1/rerank", {"query": "who?", "documents": ["a cat", {"text": "a dog"}, "you"], "top_n": 2, "return_documents": True})
        scores = [r["relevance_score"] for r in ranks["results"]]
        check(status == 200 and len(scores) == 2 and scores == sorted(scores, reverse=True), f"rerank: {ranks}")
        by_ids = server.ask("/v1/embeddings", {"input": [[5, 6], [7]]})[1]["data"]
        check(by_ids[0]["embedding"] == server.ask("/v1/embeddings", {"input": [5, 6]})[1]["data"][0]["embedding"], "embeddings of ids")
        try:
            import openai
            client = openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="none")
            ids = client.embeddings.create(input=[[5, 6], [7]], model="any").data
            check([list(array.array("f", i.embedding)) for i in ids] == [i["embedding"] for i in by_ids], "openai: embeddings of ids")
            got = client.embeddings.create(input=texts, model="any").data
            check(all(list(array.array("f", g.embedding)) == d["embedding"] for g, d in zip(got, answer["data"])), "openai: embeddings")
        except ImportError:
            pass


def has_ipv6():
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def check_limits(slow, scratch):
    long = {"prompt": "a", "max_tokens": 1500, "temperature": 0}
    keys = scratch / "keys"
    keys.write_bytes(b"first\r\nsecond\n")
    with serving("--model", slow, "--api-key-file", keys, "--max-body", "1000") as server:
        check(server.ask("/health")[0] == 200, "/health without a key")
        for key, status in [({}, 401), ({"Authorization": "Bearer third"}, 401), ({"Authorization": "Bearer second"}, 200), ({"Authorization": "Bearer first"}, 200), ({"Authorization": "Bearer "}, 401)]:
            check(server.ask("/v1/models", **key)[0] == status, f"{key}: not {status}")
        check(server.ask("/v1/completions", {"prompt": "a" * 2000}, Authorization="Bearer first")[0] == 413, "a body that is too long")
        check(server.ask("/v1/completions", {"prompt": "a"}, Authorization="Bearer third")[0] == 401, "a request with a wrong key")
        # Nor do chunks or compression lead round the limit.
        head = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer first\r\n"
        small, big = b'{"prompt": "a", "max_tokens": 1}', b'{"prompt": "' + b"a\n" * 10000000 + b'"}'
        for body, status in (small, 200), (big[:5000], 413), (big, 413):
            step = max(11, len(body) // 1000)
            chunks = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in (body[i:i + step] for i in range(0, len(body), step))) + b"0\r\n\r\n"
            got = server.raw((head + "Transfer-Encoding: chunked\r\n\r\n").encode() + chunks)
            check(got[0] == status, f"in chunks: {got}")
        for body, status in (small, 200), (big, 413):
            packed = gzip.compress(body, 9)
            got = server.raw((head + f"Content-Encoding: gzip\r\nContent-Length: {min(len(packed), 900)}\r\n\r\n").encode() + packed[:900])
            check(got[0] == status, f"compressed: {got}")
        # What is refused gets an answer in JSON, a long body of it or not, and ends its connection.
        for request, status in [("PUT /v1/completions", 405), ("OPTIONS /v1/completions", 405), ("GET /nothing", 404), ("POST /v1/completions", 413),
                                ("POST /nothing", 413), ("GET /" + "a" * 9000, 414), ("\x00\x01", 400)]:
            for body in b"", big:
                if body or status != 413:
                    got = server.raw(f"{request} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer first\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
                    check(got[0] == status and b"invalid_request_error" in got[1], f"{request[:40]}, {len(body)} bytes: {got}")
        check(server.raw(b"HEAD /health HTTP/1.1\r\n\r\n") == (200, b""), "HEAD")
        got = server.raw(b"POST /v1/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(big) + big)
        check(got[0] == 401 and b"invalid_api_key" in got[1], f"a long request without a key: {got}")
        for text in b'{"prompt": "\xff"}', b'{"prompt": "\\ud800"}', b"[" * 900, b'{"prompt": "a", "prompt": "b"}':
            got = server.raw((head + f"Content-Length: {len(text)}\r\n\r\n").encode() + text)
            check(got[0] == 400 and b"invalid_request_error" in got[1], f"{text[:40]}: {got}")
        # Many at once are all answered, as are those beside clients that never end their requests.
        idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(500)]
        for one in idle:
            one.sendall(b"POST /v1/completions HTTP/1.1\r\nX: ")
        with concurrent.futures.ThreadPoolExecutor(60) as pool:
            statuses = list(pool.map(lambda _: server.ask("/health")[0], range(60)))
        check(statuses == [200] * 60, f"beside connections that wait: {statuses}")
        begin = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        while server.process.poll() is None and time.monotonic() < begin + 30:
            for one in idle:
                with contextlib.suppress(OSError):
                    one.sendall(b"a")
            time.sleep(0.2)
        check(time.monotonic() < begin + 25, "SIGTERM: a client that never ends its request holds the server")
    if has_ipv6():
        with serving("--model", slow, "--host", "::1") as server:  # the address that it says is a URL
            check(server.ask("/v1/completions", {"prompt": "a", "max_tokens": 1})[0] == 200, "a request over IPv6")
    with serving("--model", slow, "--max-running", "1", "--max-waiting", "1", "--deadline", "3") as server:
        streams = [server.stream("/v1/completions", long) for _ in range(1)]
        next(streams[0])
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            asked = [pool.submit(server.ask, "/v1/completions", long) for _ in range(3)]
            statuses = sorted(a.result()[0] for a in asked)
        check(statuses.count(429) >= 1 and statuses.count(504) >= 1, f"queue and deadline: {statuses}")
        streams[0].close()
    with serving("--model", slow, "--max-running", "1") as server:
        stream = server.stream("/v1/completions", long)
        next(stream)
        check(server.wait_for("attend_requests_running", 1), "a stream runs")  # counted behind the step of its first token
        stream.close()  # the client goes away
        check(server.wait_for("attend_requests_running", 0), "the place of a client that has gone is not free")
        check(server.metric("attend_generated_tokens_total") < 1500, "a client that has gone gets all its tokens")
        before = server.metric("attend_generated_tokens_total")
        connection = server.connection()  # and one that waits for a whole answer
        connection.request("POST", "/v1/completions", json.dumps(long))
        check(server.wait_for("attend_requests_running", 1), "a request runs")
        connection.close()
        check(server.wait_for("attend_requests_running", 0), "the place of a client that has gone from a whole answer is not free")
        check(server.metric("attend_generated_tokens_total") < before + 1500, "a client that has gone from a whole answer gets all its tokens")
        # One that goes before its turn comes, as a stream or not; and while its prompt is computed.
        stream = server.stream("/v1/completions", long)
        next(stream)
        for kind in {}, {"stream": True}:
            connection = server.connection()
            connection.request("POST", "/v1/completions", json.dumps({**long, **kind}))
            check(server.wait_for("attend_requests_waiting", 1), "a request waits")
            connection.close()
            check(server.wait_for("attend_requests_waiting", 0, seconds=2), f"{kind}: a client that has gone still waits for its turn")
            check(server.metric("attend_requests_running") == 1, "what runs goes on")
        stream.close()
        check(server.wait_for("attend_requests_running", 0), "the stream has ended")
        connection = server.connection()
        connection.request("POST", "/v1/completions", json.dumps({"prompt": [300 + i % 50 for i in range(4000)], "max_tokens": 90}))
        check(server.wait_for("attend_requests_running", 1), "a prompt is computed")
        before = server.metric("attend_generated_tokens_total")
        connection.close()
        check(server.wait_for("attend_requests_running", 0), "the place of a client that has gone from its prompt is not free")
        check(server.metric("attend_generated_tokens_total") == before, "a prompt is computed to its end for nobody")
        stream = server.stream("/v1/completions", {**long, "max_tokens": 200})
        first = next(stream)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)  # from then on others are refused
        status = server.ask("/v1/completions", {"prompt": "a", "max_tokens": 1})[0]
        check(status == 503, f"a request behind SIGTERM: {status}")
        events = [first, *stream]
        check(events[-1] == "[DONE]" and json.loads(events[-2])["choices"][0]["finish_reason"] == "length", "SIGTERM ends what runs first")


parser = argparse.ArgumentParser()
parser.add_argument("--serve", type=pathlib.Path, required=True)
parser.add_argument("--models", type=pathlib.Path, required=True)
arguments = parser.parse_args()

if not arguments.serve.exists():
    print("serve is not built here: cpp-httplib is missing")
    raise SystemExit(0)
with tempfile.TemporaryDirectory() as name:
    scratch = pathlib.Path(name)
    stories = scratch / "stories"
    shutil.copytree(arguments.models / "stories", stories)
    (stories / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }} {% endfor %}")
    write_slow_model(scratch / "slow", stories / "tokenizer.json")
    check_texts(stories)
    check_vectors(arguments.models)
    check_limits(scratch / "slow", scratch)
for failure in failures:
    print(failure)
raise SystemExit(1 if failures else 0)
