"""Times over tokens as an SVG, both axes logarithmic, with the roofline."""

import math

COLOURS = ["#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#17becf", "#7f7f7f"]
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 480, 70, 190, 40, 50


def times(title, records):
    """guild's line is thick; the roofline (of guild's first pass) is dashed."""
    lines = {}
    for r in records:
        lines.setdefault(r["contender"], {}).setdefault(r["T"], r["seconds"] * 1e3)
        lines.setdefault("limit", {}).setdefault(r["T"], r["limit_seconds"] * 1e3)
    tokens = sorted(lines["limit"])
    values = [v for line in lines.values() for v in line.values()]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    first, span = math.log2(tokens[0]), max(math.log2(tokens[-1]) - math.log2(tokens[0]), 1)

    def x(T):
        return LEFT + (math.log2(T) - first) / span * (WIDTH - LEFT - RIGHT)

    def y(ms):
        return HEIGHT - BOTTOM - (math.log10(ms) - low) / max(high - low, 1) * (HEIGHT - TOP - BOTTOM)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="{TOP - 16}" font-size="15">{title}</text>',
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">tokens</text>',
        f'<text x="18" y="{(TOP + HEIGHT - BOTTOM) / 2}" text-anchor="middle" transform="rotate(-90 18 {(TOP + HEIGHT - BOTTOM) / 2})">ms</text>',
    ]
    for T in tokens:
        out.append(f'<line x1="{x(T):.1f}" x2="{x(T):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="#eee"/>')
        out.append(f'<text x="{x(T):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{T}</text>')
    for decade in range(low, high + 1):
        at = y(10.0**decade)
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{10.0**decade:g}</text>')
    order = ["guild", *sorted(n for n in lines if n not in ("guild", "limit")), "limit"]
    for i, name in enumerate(n for n in order if n in lines):
        colour = "#000" if name == "limit" else COLOURS[i % len(COLOURS)]
        style = 'stroke-width="3"' if name == "guild" else 'stroke-dasharray="6 4"' if name == "limit" else 'stroke-width="1.5"'
        points = " ".join(f"{x(T):.1f},{y(ms):.1f}" for T, ms in sorted(lines[name].items()))
        out.append(f'<polyline points="{points}" fill="none" stroke="{colour}" {style}/>')
        at = TOP + 20 + 22 * i
        out.append(f'<line x1="{WIDTH - RIGHT + 20}" x2="{WIDTH - RIGHT + 50}" y1="{at}" y2="{at}" stroke="{colour}" {style}/>')
        out.append(f'<text x="{WIDTH - RIGHT + 58}" y="{at + 4}">{"roofline" if name == "limit" else name}</text>')
    return "\n".join([*out, "</svg>", ""])
