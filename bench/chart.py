"""The chart of bench/compare.py: a row for each problem, a dot for each peer, how many times attend's time it takes."""

import math
from xml.sax.saxutils import escape

# Apart in hue and lightness, and legible on white and on black; shapes tell them apart without colour.
COLOURS = ["#d9572b", "#b07aa1", "#c9911c", "#3f8fd2", "#8c6bd8", "#2e9e83"]
STYLE = """text{font:13px system-ui,sans-serif;fill:#222}.grid{stroke:#888;stroke-opacity:.3}
.one{stroke:#888;stroke-width:2}.small{font-size:11px;fill:#555}
@media(prefers-color-scheme:dark){text{fill:#e4e4e4}.small{fill:#aaa}}"""


def mark(shape, x, y, colour):
    if shape % 3 == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>'
    points = {1: [(-5, -5), (5, -5), (5, 5), (-5, 5)], 2: [(0, -6.5), (6, 5), (-6, 5)]}[shape % 3]
    text = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in points)
    return f'<polygon points="{text}" fill="{colour}"/>'


def chart(rows, peers, caption):
    """rows {problem: {peer: ratio}} as the text of an SVG, on a logarithmic axis. A "; " ends a line of the caption."""
    left, right, top, step = 330, 30, 64, 24
    width, bottom = 900, top + step * len(rows)
    height = bottom + 24 + 16 * (2 + caption.count("; "))
    values = [ratio for row in rows.values() for ratio in row.values()] + [1]
    low, high = math.log(min(0.8, min(values) * 0.95)), math.log(max(2, max(values) * 1.05))
    place = lambda ratio: left + (width - left - right) * (math.log(ratio) - low) / (high - low)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
           "<title>How many times attend's time each peer takes</title>", f"<style>{STYLE}</style>"]
    for i, peer in enumerate(peers):
        x = 14 + i * 145
        out.append(mark(i, x, 18, COLOURS[i % len(COLOURS)]) + f'<text x="{x + 12}" y="22">{escape(peer)}</text>')
    for tick in (0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 10, 20, 40, 100):
        if low <= math.log(tick) <= high:
            x = place(tick)
            out.append(f'<line class="{"one" if tick == 1 else "grid"}" x1="{x:.1f}" x2="{x:.1f}" y1="{top - 14}" '
                       f'y2="{bottom}"/>'
                       f'<text class="small" text-anchor="middle" x="{x:.1f}" y="{top - 20}">{tick:g}×</text>')
    for i, (problem, row) in enumerate(rows.items()):
        y = top + step * i + step / 2
        out.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y}" y2="{y}"/>'
                   f'<text text-anchor="end" x="{left - 12}" y="{y + 4.5}">{escape(problem)}</text>')
        out += [mark(peers.index(peer), place(ratio), y, COLOURS[peers.index(peer) % len(COLOURS)])
                for peer, ratio in row.items()]
    lines = ["Right of 1×: attend is faster. Time of a call of the peer over attend's.", *caption.split("; ")]
    out += [f'<text class="small" x="14" y="{bottom + 24 + 16 * i}">{escape(line)}</text>'
            for i, line in enumerate(lines)]
    return "\n".join([*out, "</svg>"]) + "\n"
