"""The dense codes of docs/codec-format-rd.md, read literally: no code is shared with the codec."""

from __future__ import annotations


class RefusedError(Exception):
    pass


def require(condition):
    if not condition:
        raise RefusedError


class Lanes:
    def __init__(self, reader):
        (count,) = reader.fields("H")
        require(count and len(reader.data) - reader.at <= 4096 * count)
        heights = reader.packed(count, 4)
        low = reader.varied([16 + h for h in heights])
        self.states = [2 ** (16 + h) + x for h, x in zip(heights, low, strict=True)]
        self.reader = reader
        self.turns = 0

    def decide(self, chances):
        found = []
        self.turns += -(-len(chances) // len(self.states))
        require(self.turns <= 2**16)
        for i, f in enumerate(chances):
            lane = i % len(self.states)
            x = self.states[lane]
            m = x % 2**15
            found.append(m < f)
            x = (x >> 15) * f + m if m < f else (x >> 15) * (2**15 - f) + m - f
            if x < 2**16:
                x = x * 2**16 + self.reader.fields("H")[0]
            self.states[lane] = x
        return found

    def learn(self, kinds, expected):
        """Decisions of a learning pass; what is expected in the end goes into ``expected``."""
        found, seen = [None] * len(kinds), {}
        before = dict(expected)
        parts = [[], [], [], []]
        for i in range(len(kinds)):
            parts[0 if i % 16 == 0 else 1 if i % 4 == 0 else 2 if i % 2 == 0 else 3].append(i)
        for part in parts:
            chances = [min(max(expected[kinds[i]] >> 1, 512), 32256) for i in part]
            for i, bit in zip(part, self.decide(chances), strict=True):
                found[i] = bit
                a, s = seen.get(kinds[i], (0, 0))
                seen[kinds[i]] = a + 1, s + bit
            for kind, (a, s) in seen.items():
                expected[kind] = (s * 2**16 + 6 * before[kind]) // (a + 6)
        return found

    def levels(self, count):
        values, alive = [0] * count, list(range(count))
        while alive:
            more = self.decide([2**14] * len(alive))
            alive = [i for i, bit in zip(alive, more, strict=True) if bit]
            for i in alive:
                values[i] += 1
                require(values[i] <= 64)
        odd = self.decide([2**14] * count)
        levels = []
        for z in [2 * value + bit for value, bit in zip(values, odd, strict=True)]:
            rise = -(z + 1) // 2 if z % 2 else z // 2
            levels.append((levels[-1] if levels else 0) + rise + 2)
            require(0 <= levels[-1] <= 63)
        return levels

    def finish(self, needed):
        """The raw bits."""
        require(all(2**16 <= x < 2**17 for x in self.states))
        bits = [x >> j & 1 for x in self.states for j in range(16)]
        require(not any(bits[needed:]))
        return bits[:needed] + self.reader.packed(max(needed - len(bits), 0), 1)


def none(v, h):
    q = 2**58 // (2**26 + (16384, 19484, 23170, 27554)[v % 4] * 2 ** (v // 4))
    for _ in range(h):
        q = q**2 >> 32
    return q


def some(v, h):
    return min(max(2**32 - none(v, h) >> 17, 1), 32767)


def first(v, h):
    return 2**47 // (2**32 + none(v, h))


def height(v):
    return max([h for h in range(14) if none(v, h) >= 2**31], default=0)


def read_places(lanes, sizes, levels):
    """Numbers within its context of the codes that are not zero, of each context."""
    runs = [
        (c, start, height(v))
        for c, v in levels.items()
        if v
        for start in range(0, sizes[c], 2 ** height(v))
    ]
    held = lanes.decide([some(levels[c], h) for c, _, h in runs])
    runs = [run for run, bit in zip(runs, held, strict=True) if bit]
    for h in range(max((run[2] for run in runs), default=0), 0, -1):
        mine = sorted(run for run in runs if run[2] == h)
        half = 2 ** (h - 1)
        whole = [(c, at) for c, at, _ in mine if sizes[c] - at > half]
        firsts = dict(
            zip(whole, lanes.decide([first(levels[c], h - 1) for c, _ in whole]), strict=True)
        )
        asked = [run for run in whole if firsts[run]]
        seconds = dict(
            zip(asked, lanes.decide([some(levels[c], h - 1) for c, _ in asked]), strict=True)
        )
        runs = [run for run in runs if run[2] < h]
        for c, at, _ in mine:
            if firsts.get((c, at), True):
                runs.append((c, at, h - 1))
            if seconds.get((c, at), (c, at) in firsts and not firsts[c, at]):
                runs.append((c, at + half, h - 1))
    return [sorted(at for c, at, _ in runs if c == context) for context in range(len(sizes))]


def read_dense(reader, sizes, signed):
    """As :func:`read_codes`."""
    lanes = Lanes(reader)
    used = [c for c, z in enumerate(sizes) if z]
    levels = dict(zip(used, lanes.levels(len(used)), strict=True))
    places = read_places(lanes, sizes, levels)
    used = [c for c, row in enumerate(places) if row]
    levels = dict(zip(used, lanes.levels(len(used)), strict=True))
    found = [(c, at) for c, row in enumerate(places) for at in row]
    asked = [one for one in found if levels[one[0]]]
    flags = lanes.decide([some(levels[c], 0) for c, _ in asked])
    large = [one for one, bit in zip(asked, flags, strict=True) if bit]
    length = dict.fromkeys(large, 0)
    expected = {c: 2**32 - none(v, 0) >> 16 for c, v in levels.items()}
    for j in range(23):
        alive = [one for one in large if length[one] == j]
        for one, bit in zip(alive, lanes.learn([c for c, _ in alive], expected), strict=True):
            length[one] += bit
    t = dict.fromkeys(large, 1)
    for p in (1, 2):
        alive = [one for one in large if length[one] >= p]
        kinds = [(one[0], length[one], t[one]) for one in alive]
        found_bits = lanes.learn(kinds, dict.fromkeys(kinds, 28672))
        for one, bit in zip(alive, found_bits, strict=True):
            t[one] = 2 * t[one] + bit
    kinds = [(one[0], length[one]) for one in large]
    negative = lanes.learn(kinds, dict.fromkeys(kinds, 32768)) if signed else [False] * len(large)
    ones = [one for one in found if one not in t]
    widths = [max(length[one] - 2, 0) for one in large]
    raw = iter(lanes.finish(len(ones) * signed + sum(widths)))
    codes = [[0] * z for z in sizes]
    for c, at in ones:
        codes[c][at] = -1 if signed and next(raw) else 1
    for (c, at), width, minus in zip(large, widths, negative, strict=True):
        magnitude = (t[c, at] << width) + sum(next(raw) << j for j in range(width)) + 1
        codes[c][at] = -magnitude if minus else magnitude
    return codes
