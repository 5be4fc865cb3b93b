"""The chart of bench/compare.py: a row for each problem, a mark for each peer, how many times attend's time it takes."""

import math
import textwrap
from xml.sax.saxutils import escape

# Apart in hue and in shape, and legible on white and on black.
COLOURS = ["#d9572b", "#3f8fd2", "#c9911c", "#2e9e83", "#b565c9", "#8a8f98"]
SHAPES = [None, [(-5.5, -5.5), (5.5, -5.5), (5.5, 5.5), (-5.5, 5.5)], [(0, -7), (6.5, 5.5), (-6.5, 5.5)],
          [(0, -7.5), (7, 0), (0, 7.5), (-7, 0)], [(0, 7), (6.5, -5.5), (-6.5, -5.5)],
          [(-2, -6), (2, -6), (2, -2), (6, -2), (6, 2), (2, 2), (2, 6), (-2, 6), (-2, 2), (-6, 2), (-6, -2), (-2, -2)]]
STYLE = """text{font:15px system-ui,sans-serif;fill:#222}.grid{stroke:#888;stroke-opacity:.35}.one{stroke:#888;stroke-width:2}
.small{font-size:13.5px;fill:#555}@media(prefers-color-scheme:dark){text{fill:#e4e4e4}.small{fill:#b4b4b4}}"""
WIDTH = 620  # so that letters are 11 pixels high where half of a page is left for the chart


def mark(which, x, y):
    colour, shape = COLOURS[which % len(COLOURS)], SHAPES[which % len(SHAPES)]
    if shape is None:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{colour}"/>'
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in shape)
    return f'<polygon points="{points}" fill="{colour}"/>'


def chart(rows, peers, caption):
    """rows {problem: {peer: ratio}} as the text of an SVG, on a logarithmic axis. A "; " ends a line of the caption."""
    lines = ["Right of 1×: attend is faster. Time of a call of the peer over attend's.", *caption.split("; ")]
    lines = [piece for line in lines for piece in textwrap.wrap(line, 84)]
    left, right, step = 24 + 8.1 * max(map(len, rows)), 22, 28
    columns = max(1, WIDTH // round(34 + 8.5 * max(map(len, peers))))
    top = 28 * math.ceil(len(peers) / columns) + 34
    bottom = top + step * len(rows)
    values = [ratio for row in rows.values() for ratio in row.values()] + [1]
    low, high = math.log(min(0.8, min(values) * 0.95)), math.log(max(2, max(values) * 1.05))
    place = lambda ratio: left + (WIDTH - left - right) * (math.log(ratio) - low) / (high - low)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 18 + 19 * len(lines)}" role="img">',
           "<title>How many times attend's time each peer takes</title>", f"<style>{STYLE}</style>"]
    for i, peer in enumerate(peers):
        x, y = 14 + WIDTH // columns * (i % columns), 18 + 28 * (i // columns)
        out.append(mark(i, x, y) + f'<text x="{x + 13}" y="{y + 5}">{escape(peer)}</text>')
    free = -math.inf  # where the next number of the axis has room
    for tick in (1, 0.25, 0.5, 0.75, 1.5, 2, 3, 4, 6, 10, 20, 40, 100):
        if low <= math.log(tick) <= high:
            x = place(tick)
            out.append(f'<line class="{"one" if tick == 1 else "grid"}" x1="{x:.1f}" x2="{x:.1f}" y1="{top - 10}" y2="{bottom}"/>')
            if tick <= 1 or x > free:
                out.append(f'<text class="small" text-anchor="middle" x="{x:.1f}" y="{top - 15}">{tick:g}×</text>')
                free = x + 36 if tick >= 1 else free
    for i, (problem, row) in enumerate(rows.items()):
        y = top + step * i + step / 2
        out.append(f'<line class="grid" x1="{left:.1f}" x2="{WIDTH - right}" y1="{y}" y2="{y}"/>'
                   f'<text text-anchor="end" x="{left - 10:.1f}" y="{y + 5}">{escape(problem)}</text>')
        out += [mark(peers.index(peer), place(ratio), y) for peer, ratio in row.items()]
    out += [f'<text class="small" x="14" y="{bottom + 24 + 19 * i}">{escape(line)}</text>' for i, line in enumerate(lines)]
    return "\n".join([*out, "</svg>"]) + "\n"
