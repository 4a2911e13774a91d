"""Times over tokens as an SVG, both axes logarithmic, with the roofline."""

import html
import math

INK, FAINT, GRID = "#1f2328", "#59636e", "#e6eaef"
COLOURS = {"guild": "#cf222e", "PyTorch": "#8250df", "onnxruntime": "#1a7f37", "vllm": "#0969da", "llama.cpp": "#bc4c00", "kt-kernel": "#57606a"}
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 520, 72, 196, 84, 112
NOTES = [
    "dashed: the roofline, the least time that bytes over bandwidth and operations over peak allow, both probed in the rounds of the same run.",
    "It is as steady as the host: where the peak was probed in a slower minute than that in which a layer ran, the layer lies below the line.",
]


def times(title, records):
    """One line a library, the fastest of its ways; guild's is thick. The roofline is that of guild's first pass."""
    lines = {}
    for r in records:
        pytorch = r["contender"].startswith("pytorch")
        line = lines.setdefault("PyTorch" if pytorch else r["contender"], {})
        line[r["T"]] = min(line.get(r["T"], math.inf), r["seconds"] * 1e3) if pytorch else line.get(r["T"], r["seconds"] * 1e3)
        lines.setdefault("roofline", {}).setdefault(r["T"], r["limit_seconds"] * 1e3)
    tokens = sorted(lines["roofline"])
    values = [v for line in lines.values() for v in line.values()]
    low, high = math.log10(min(values)) - 0.08, math.log10(max(values)) + 0.08
    first, span = math.log2(tokens[0]), max(math.log2(tokens[-1]) - math.log2(tokens[0]), 1)

    def x(T):
        return LEFT + (math.log2(T) - first) / span * (WIDTH - LEFT - RIGHT)

    def y(ms):
        return HEIGHT - BOTTOM - (math.log10(ms) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def text(at_x, at_y, what, size=12, colour=FAINT, anchor="start", more=""):
        return f'<text x="{at_x:.1f}" y="{at_y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" {more}>{html.escape(what)}</text>'

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        "font-family=\"Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif\" role=\"img\">",
        f"<title>Time of a layer over tokens: {html.escape(title)}</title>",
        f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" fill="#ffffff" stroke="#d8dee4" rx="8"/>',
        text(LEFT, 34, "Time of a layer over tokens", 18, INK, more='font-weight="600"'),
        text(LEFT, 56, f"{title}; milliseconds, both axes logarithmic, lower is faster", 13),
    ]
    for T in tokens:
        out.append(f'<line x1="{x(T):.1f}" x2="{x(T):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="{GRID}"/>')
        out.append(text(x(T), HEIGHT - BOTTOM + 18, str(T), anchor="middle"))
    out.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - BOTTOM + 38, "tokens T", anchor="middle"))
    for tick in (m * 10**d for d in range(math.floor(low), math.ceil(high)) for m in (1, 2, 5)):
        if low <= math.log10(tick) <= high:
            out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="{GRID}"/>')
            out.append(text(LEFT - 8, y(tick) + 4, f"{tick:g}", anchor="end"))

    # Names of lines that end close together are moved apart, the lowest line's first, and together down where that leaves the picture.
    ends = sorted(((name, line[max(line)]) for name, line in lines.items()), key=lambda end: end[1])
    places = []
    for _, last in ends:
        places.append(min(y(last), places[-1] - 17 if places else math.inf))
    below = max(TOP + 4 - places[-1], 0)
    for (name, last), place in zip(ends, places):
        at = place + below
        colour = INK if name == "roofline" else COLOURS.get(name, "#9a6700")
        style = 'stroke-width="3.5"' if name == "guild" else 'stroke-width="1.5" stroke-dasharray="6 4"' if name == "roofline" else 'stroke-width="1.75"'
        line = sorted(lines[name].items())
        points = " ".join(f"{x(T):.1f},{y(ms):.1f}" for T, ms in line)
        out.append(f'<polyline points="{points}" fill="none" stroke-linejoin="round" stroke-linecap="round" stroke="{colour}" {style}/>')
        if name != "roofline":
            out += [f'<circle cx="{x(T):.1f}" cy="{y(ms):.1f}" r="{4 if name == "guild" else 2.5}" fill="{colour}"/>' for T, ms in line]
        label = name if name == "roofline" else f"{name} {last:.0f} ms" if last >= 100 else f"{name} {last:.3g} ms"
        out.append(f'<line x1="{x(line[-1][0]) + 6:.1f}" y1="{y(last):.1f}" x2="{WIDTH - RIGHT + 20}" y2="{at:.1f}" stroke="{colour}" stroke-width="0.75"/>')
        out.append(text(WIDTH - RIGHT + 24, at + 4, label, 13, colour, more='font-weight="600"' if name == "guild" else ""))
    out += [text(LEFT, HEIGHT - 36 + 18 * i, note, 11) for i, note in enumerate(NOTES)]
    return "\n".join([*out, "</svg>", ""])
