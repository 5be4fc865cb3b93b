#!/usr/bin/env python3
"""Load for a server of OpenAI's completions: clients that ask one request after the other, streamed, and what they get.

    load.py --port N [--clients 1 4 16] [--requests 4] [--prompt 32] [--tokens 32] [--vocabulary 32000] [--ignore-eos]

A line for each number of clients: tokens a second of all together, and milliseconds to the first token, median and 99 %.
"""

import argparse
import asyncio
import json
import random
import statistics
import time


async def ask(draw, first):
    ids = [draw.randrange(300, arguments.vocabulary) for _ in range(arguments.prompt)]
    body = {"model": "any", "prompt": ids, "max_tokens": arguments.tokens, "temperature": 0, "stream": True}
    if arguments.ignore_eos:  # llama.cpp's server takes it
        body["ignore_eos"] = True
    data = json.dumps(body).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", arguments.port)
    begin = time.perf_counter()
    writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
    status = await reader.readline()
    if b" 200" not in status:
        raise SystemExit(status.decode() + (await reader.read(1000)).decode())
    events = 0
    while b"[DONE]" not in (line := await reader.readline()):
        if not line:
            raise SystemExit("the server has closed the connection")
        if line.startswith(b"data: "):
            if events == 0:
                first.append(1000 * (time.perf_counter() - begin))
            events += 1
    writer.close()
    if events < arguments.tokens:
        print(f"an answer of {events} events, not {arguments.tokens}")


async def load(clients):
    first = []

    async def client(number):
        draw = random.Random(number)
        for _ in range(arguments.requests):
            await ask(draw, first)

    begin = time.perf_counter()
    await asyncio.gather(*map(client, range(clients)))
    seconds = time.perf_counter() - begin
    late = sorted(first)[min(len(first) - 1, len(first) * 99 // 100)]
    print(f"{clients:3} clients: {len(first) * arguments.tokens / seconds:8.1f} tokens/s, first token {statistics.median(first):7.1f} ms median, "
          f"{late:7.1f} ms at 99 %", flush=True)


parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
for name, value in ("--requests", 4), ("--prompt", 32), ("--tokens", 32), ("--vocabulary", 32000):
    parser.add_argument(name, type=int, default=value)
parser.add_argument("--ignore-eos", action="store_true")
arguments = parser.parse_args()
for number in arguments.clients:
    asyncio.run(load(number))
