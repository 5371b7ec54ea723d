"""Packs buffers with known lifetimes into one arena: dynamic storage allocation with everything known beforehand.

Two buffers may share bytes unless their lifetimes meet; where an `Overlap` says how one dies while the other grows,
part of them even then. The problem is NP-hard, but the arena can never be smaller than the bytes alive at the busiest
call, and a greedy placement in a good order comes close to that bound: buffers are taken one by one, and each goes to
the lowest (first fit) or the tightest (best fit) gap between those already placed that live at the same time. Several
orders are tried; then a local search moves the buffer that broke the arena's height forward in the order, and stops at
the bound or when its budget of steps is used up. The budget counts work, not time, and the random generator is seeded:
the same buffers give the same arena on every machine.
"""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

_SEARCH_WORK = 4_000_000  # comparisons of two buffers; about half a second
_RESTART_AFTER = 60  # tries without a better arena before the search shakes its order


@dataclass(frozen=True)
class Buffer:
    """`size` bytes that must stay untouched from call `first` to call `last`, both inclusive."""

    name: str
    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Overlap:
    """`lower` is written from its beginning while `upper` is read from its beginning: they may share bytes as long as
    `upper` starts at least `distance` bytes (not below 0) behind the start of `lower`."""

    lower: str
    upper: str
    distance: int


@dataclass(frozen=True)
class Placement:
    """Byte offset of every buffer by name, the arena's size, and the size below which no arena exists."""

    offsets: dict[str, int]
    arena_bytes: int
    lower_bound: int


@dataclass(frozen=True)
class Peak:
    """The call at which most bytes are alive, that many (aligned) bytes, and the buffers they belong to."""

    call: int
    size: int
    buffers: tuple[Buffer, ...]


def pack(buffers: Iterable[Buffer], overlaps: Iterable[Overlap] = (), alignment: int = 8) -> Placement:
    """Give every buffer an offset that is a multiple of `alignment`; sizes are rounded up to it.

    Raises ValueError for two buffers of one name, a negative size, a lifetime that ends before it begins, or an
    alignment that is not a power of two.
    """
    items, pairs = list(buffers), list(overlaps)
    _check(items, alignment)
    busiest = peak(items, pairs, alignment)
    bound = busiest.size
    solid = [b for b in items if b.size > 0]
    placer = _Placer(solid, pairs, alignment)
    order, best_fit, offsets, arena = _best_greedy(placer, _orders(solid, busiest.call), bound)
    if arena > bound:
        offsets, arena = _search(placer, order, best_fit, offsets, arena, bound)
    placed = {b.name: offset for b, offset in zip(solid, offsets, strict=True)}
    return Placement({b.name: placed.get(b.name, 0) for b in items}, arena, bound)


def peak(buffers: Iterable[Buffer], overlaps: Iterable[Overlap] = (), alignment: int = 8) -> Peak:
    """The busiest call: the earliest at which most bytes are alive."""
    items = list(buffers)
    levels = alive(items, overlaps, alignment)
    call, size = max(levels, key=lambda level: (level[1], -level[0]), default=(0, 0))
    return Peak(call, size, tuple(b for b in items if b.size > 0 and b.first <= call <= b.last))


def alive(buffers: Iterable[Buffer], overlaps: Iterable[Overlap] = (), alignment: int = 8) -> list[tuple[int, int]]:
    """(call, bytes alive from it on) wherever that changes, ascending: the aligned sizes of the living buffers, less
    what overlapping ones share at best."""
    items = list(buffers)
    change: dict[int, int] = {}

    def count(size: int, first: int, last: int) -> None:
        change[first] = change.get(first, 0) + size
        change[last + 1] = change.get(last + 1, 0) - size

    for b in items:
        count(_aligned(b.size, alignment), b.first, b.last)
    by_name = {b.name: b for b in items}
    for pair in overlaps:
        lower, upper = by_name[pair.lower], by_name[pair.upper]
        below = _aligned(lower.size, alignment) - _aligned(pair.distance, alignment)
        shared = min(_aligned(upper.size, alignment), below)
        if shared > 0 and max(lower.first, upper.first) <= min(lower.last, upper.last):
            count(-shared, max(lower.first, upper.first), min(lower.last, upper.last))
    levels, size = [], 0
    for call in sorted(change):
        size += change[call]
        levels.append((call, size))
    return levels


def _aligned(size: int, alignment: int) -> int:
    return (size + alignment - 1) & -alignment


def _check(buffers: Sequence[Buffer], alignment: int) -> None:
    if alignment < 1 or alignment & (alignment - 1):
        raise ValueError(f"alignment {alignment} is not a power of two")
    seen: set[str] = set()
    for b in buffers:
        if b.name in seen:
            raise ValueError(f"two buffers are named '{b.name}'")
        if b.size < 0 or b.last < b.first:
            raise ValueError(f"buffer '{b.name}' has size {b.size} and lifetime {b.first}..{b.last}")
        seen.add(b.name)


class _Placer:
    """Places buffers, known by their index, in any order. `work` counts comparisons.

    `extents[i]`: for each of `neighbours[i]`, the bytes around its offset that are closed to buffer i.
    """

    def __init__(self, buffers: Sequence[Buffer], overlaps: Sequence[Overlap], alignment: int) -> None:
        self.sizes = [_aligned(b.size, alignment) for b in buffers]
        self.neighbours = [
            [j for j, other in enumerate(buffers) if j != i and other.first <= b.last and b.first <= other.last]
            for i, b in enumerate(buffers)
        ]
        index = {b.name: i for i, b in enumerate(buffers)}
        distances = {
            (index[o.lower], index[o.upper]): _aligned(o.distance, alignment)
            for o in overlaps
            if o.lower in index and o.upper in index
        }
        self.extents = [[self._closed(i, j, distances) for j in near] for i, near in enumerate(self.neighbours)]
        self.work = 0

    def _closed(self, i: int, j: int, distances: Mapping[tuple[int, int], int]) -> tuple[int, int]:
        """Begin and end, relative to the offset of j, of what i must not touch."""
        if (i, j) in distances:  # i may reach into j from below
            return self.sizes[i] - distances[i, j], self.sizes[j]
        return 0, distances.get((j, i), self.sizes[j])

    def place(self, order: Sequence[int], best_fit: bool, limit: int | None = None) -> tuple[list[int], int, int]:
        """Offsets by index, the arena's size, and the index of the buffer at its top.

        With a `limit` it gives up at the first buffer that reaches it: the arena is then at least `limit`.
        """
        sizes, neighbours, extents = self.sizes, self.neighbours, self.extents
        offsets = [-1] * len(sizes)
        arena, top = 0, -1
        for i in order:
            self.work += len(neighbours[i])
            near = zip(neighbours[i], extents[i], strict=True)
            taken = sorted([(offsets[j] + begin, offsets[j] + end) for j, (begin, end) in near if offsets[j] >= 0])
            offsets[i] = offset = _gap(taken, sizes[i], best_fit)
            if offset + sizes[i] > arena:
                arena, top = offset + sizes[i], i
                if limit is not None and arena >= limit:
                    break
        return offsets, arena, top


def _gap(taken: Sequence[tuple[int, int]], size: int, best_fit: bool) -> int:
    """Start of the lowest, or of the smallest, gap of `size` bytes between the sorted intervals `taken`."""
    found, found_size, end = -1, 0, 0
    for start, stop in taken:
        free = start - end
        if free >= size and (found < 0 or free < found_size):
            if not best_fit:
                return end
            found, found_size = end, free
        if stop > end:
            end = stop
    return end if found < 0 else found


def _orders(buffers: Sequence[Buffer], busiest: int) -> list[list[int]]:
    """Orders worth trying. Ties are broken by lifetime and name, never by the order in which buffers arrived."""

    def span(b: Buffer) -> int:
        return b.last - b.first + 1

    def at_peak(b: Buffer) -> bool:
        return b.first <= busiest <= b.last

    keys: list[Callable[[Buffer], tuple[int, ...]]] = [
        # Those that make the bound, the longest-lived at the bottom: the rest find one free block above them.
        lambda b: (not at_peak(b), -span(b), -b.size),
        lambda b: (not at_peak(b), -b.size * span(b)),
        lambda b: (-b.size,),
        lambda b: (-b.size * span(b),),
        lambda b: (-span(b), -b.size),
        lambda b: (b.first, -b.last),
        lambda b: (-b.last, b.first),
    ]
    indices = range(len(buffers))
    ranks = [[(*key(b), b.first, b.name) for b in buffers] for key in keys]
    return [sorted(indices, key=rank.__getitem__) for rank in ranks]


def _best_greedy(placer: _Placer, orders: Sequence[list[int]], bound: int) -> tuple[list[int], bool, list[int], int]:
    """The best of every order with first and best fit: (order, best fit?, offsets, arena size)."""
    best: tuple[list[int], bool, list[int], int] | None = None
    for order in orders:
        for best_fit in (False, True):
            offsets, arena, _ = placer.place(order, best_fit, None if best is None else best[3])
            if best is None or arena < best[3]:
                best = (order, best_fit, offsets, arena)
            if arena <= bound:
                return best
    assert best is not None
    return best


def _search(
    placer: _Placer, order: list[int], best_fit: bool, offsets: list[int], arena: int, bound: int
) -> tuple[list[int], int]:
    """Local search from `order`: bring the buffer that stands out forward, keep what is not worse."""
    generator = random.Random(0)
    current, since = list(order), 0
    culprit = placer.place(current, best_fit)[2]
    placer.work = 0
    while arena > bound and placer.work < _SEARCH_WORK:
        trial = list(current)
        _bring_forward(trial, culprit, placer, generator)
        for _ in range(2 if since > _RESTART_AFTER else 0):
            _bring_forward(trial, generator.choice(trial), placer, generator)
        found, size, top = placer.place(trial, best_fit, arena + 1)
        if size <= arena:
            since = 0 if size < arena else since + 1
            current, culprit = trial, top
            offsets, arena = found, size
        else:
            since += 1
            if since % _RESTART_AFTER == 0:
                best_fit = not best_fit
            culprit = top if generator.random() < 0.5 else culprit
    return offsets, arena


def _bring_forward(order: list[int], item: int, placer: _Placer, generator: random.Random) -> None:
    """Move `item` before one of the earlier buffers that it competes with."""
    at = order.index(item)
    rivals = set(placer.neighbours[item])
    earlier = [k for k in range(at) if order[k] in rivals]
    if earlier:
        order.insert(generator.choice(earlier), order.pop(at))
