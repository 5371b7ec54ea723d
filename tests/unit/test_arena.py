"""The arena packer: what must hold for every input, and how close to the bound it comes on what training looks like."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcugrad.plan.arena import Buffer, Overlap, Placement, pack, peak


def _aligned(size: int, alignment: int) -> int:
    return (size + alignment - 1) // alignment * alignment


def _assert_sound(buffers: list[Buffer], placement: Placement, alignment: int) -> None:
    assert set(placement.offsets) == {b.name for b in buffers}
    solid = [b for b in buffers if b.size]
    for i, a in enumerate(solid):
        start = placement.offsets[a.name]
        assert start % alignment == 0
        assert start >= 0
        assert start + a.size <= placement.arena_bytes
        for b in solid[i + 1 :]:
            if a.first <= b.last and b.first <= a.last:
                other = placement.offsets[b.name]
                assert start + a.size <= other or other + b.size <= start, f"{a} and {b} overlap"
    calls = {b.first for b in solid}
    live = [sum(_aligned(b.size, alignment) for b in solid if b.first <= t <= b.last) for t in calls]
    assert placement.lower_bound == max(live, default=0)
    assert placement.arena_bytes >= placement.lower_bound


@st.composite
def _any_buffers(draw: st.DrawFn) -> list[Buffer]:
    spans = draw(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 20), st.integers(0, 12)), max_size=24))
    return [Buffer(f"b{i}", size, first, first + more) for i, (size, first, more) in enumerate(spans)]


@given(_any_buffers(), st.sampled_from([1, 4, 8, 32]))
@settings(deadline=None)
def test_living_buffers_never_overlap(buffers: list[Buffer], alignment: int) -> None:
    _assert_sound(buffers, pack(buffers, alignment=alignment), alignment)


@given(_any_buffers(), st.integers(0, 600), st.sampled_from([1, 8]), st.integers(0, 2**16))
@settings(deadline=None)
def test_only_declared_pairs_share_bytes_and_at_their_distance(
    buffers: list[Buffer], distance: int, alignment: int, seed: int
) -> None:
    rng = random.Random(seed)
    names = [b.name for b in buffers]
    rng.shuffle(names)
    pairs = {(a, b): rng.randint(0, distance) for a, b in zip(names[::2], names[1::2], strict=False)}
    placement = pack(buffers, [Overlap(a, b, d) for (a, b), d in pairs.items()], alignment=alignment)
    at = placement.offsets
    assert placement.arena_bytes >= placement.lower_bound
    for a in (b for b in buffers if b.size):
        assert 0 <= at[a.name] <= placement.arena_bytes - a.size
        for b in (b for b in buffers if b.size and b.name != a.name and a.first <= b.last and b.first <= a.last):
            apart = at[a.name] + a.size <= at[b.name] or at[b.name] + b.size <= at[a.name]
            below = (a.name, b.name) in pairs and at[a.name] + pairs[a.name, b.name] <= at[b.name]
            above = (b.name, a.name) in pairs and at[b.name] + pairs[b.name, a.name] <= at[a.name]
            assert apart or below or above, (a, b)


def test_a_tensor_grows_over_the_one_that_dies_under_it() -> None:
    """Each is written while its predecessor is read: together they take hardly more than the largest."""
    sizes = [49152, 32768, 16384, 16384, 8192]
    buffers = [Buffer(f"t{i}", size, i, i + 1) for i, size in enumerate(sizes)]
    pairs = [Overlap(f"t{i + 1}", f"t{i}", 256) for i in range(4)]
    placement = pack(buffers, pairs)
    assert placement.arena_bytes == placement.lower_bound == sizes[0] + 256


@given(_any_buffers(), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=40)
def test_the_order_of_arrival_does_not_matter(buffers: list[Buffer], shuffler: random.Random) -> None:
    shuffled = list(buffers)
    shuffler.shuffle(shuffled)
    assert pack(shuffled) == pack(buffers)


def training_buffers(layers: int, seed: int) -> list[Buffer]:
    """Lifetimes of a training step of a residual chain: calls 0..layers-1 forward, then as many backward.

    Activations that a weight gradient needs live until the backward call of their layer, others until the next layer
    (or the end of their skip connection); below a random depth nothing trains. Errors pass from call to call, masks
    bridge both passes, and every backward call has some scratch. Sizes shrink with depth as in convolutional networks.
    """
    rng = random.Random(seed)
    sizes = [
        int(rng.choice([0.5, 1, 1, 1, 2, 6]) * rng.randint(200, 8000) / (1 + 3 * i / layers)) for i in range(layers + 1)
    ]
    lowest = rng.randrange(layers)
    skips = {i: i + 3 for i in range(layers - 3) if rng.random() < 0.3}

    def backward(layer: int) -> int:
        return 2 * layers - 1 - layer

    buffers = []
    for i, size in enumerate(sizes):
        first, last = max(i - 1, 0), max(skips.get(i, i), i)
        if i >= lowest and rng.random() < 0.7:
            last = backward(min(i, layers - 1))
        buffers.append(Buffer(f"activation{i}", size, first, last))
    for i in range(lowest, layers):
        born, dies = backward(i), backward(max(i - 1, 0))
        if i in skips:
            born = min(born, backward(skips[i] - 1))
        wide = rng.choice([1, 1, 1, 2])
        buffers.append(Buffer(f"error{i}", sizes[i] * wide, born, max(born, dies)))
        buffers.append(Buffer(f"mask{i}", sizes[i + 1] // 8 + 1, i, backward(i)))
        buffers.append(Buffer(f"scratch{i}", rng.randint(16, 3000), backward(i), backward(i)))
    return buffers


@pytest.mark.parametrize("layers", [8, 20, 55, 100])
def test_training_steps_pack_to_within_two_percent(layers: int) -> None:
    # 5 % is required. Over seeds 0..199 the worst is 0.0, 0.6, 1.2 and 1.1 %; 2 % notices when the packer gets worse.
    worst = 0.0
    for seed in range(6):
        buffers = training_buffers(layers, seed)
        placement = pack(buffers)
        _assert_sound(buffers, placement, 8)
        worst = max(worst, placement.arena_bytes / placement.lower_bound - 1)
    assert worst <= 0.02


def test_search_closes_what_greedy_leaves_open() -> None:
    rng = random.Random(5)
    buffers = []
    for i in range(50):
        first = rng.randrange(100)
        buffers.append(Buffer(f"b{i}", rng.randint(1, 10000), first, first + int(rng.expovariate(0.15))))
    placement = pack(buffers)
    _assert_sound(buffers, placement, 8)
    assert placement.arena_bytes == placement.lower_bound


def test_known_small_case() -> None:
    # c can only lie where a was: b is between them and still alive.
    placement = pack([Buffer("a", 10, 0, 1), Buffer("b", 8, 0, 3), Buffer("c", 16, 2, 3)])
    assert (placement.arena_bytes, placement.lower_bound) == (24, 24)
    assert placement.offsets["a"] == placement.offsets["c"]


def test_nothing_and_empty_buffers() -> None:
    assert pack([]) == Placement({}, 0, 0)
    assert pack([Buffer("none", 0, 3, 4)]) == Placement({"none": 0}, 0, 0)


def test_peak_names_the_earliest_busiest_call_and_who_is_alive() -> None:
    a, b, c = Buffer("a", 5, 0, 1), Buffer("b", 9, 1, 2), Buffer("c", 8, 2, 2)
    found = peak([a, b, c])
    assert (found.call, found.size, found.buffers) == (1, 24, (a, b))


@pytest.mark.parametrize(
    ("buffers", "alignment", "words"),
    [
        ([Buffer("x", 1, 0, 0), Buffer("x", 2, 1, 1)], 8, "two buffers are named 'x'"),
        ([Buffer("x", -1, 0, 0)], 8, "'x' has size -1"),
        ([Buffer("x", 1, 2, 1)], 8, "lifetime 2..1"),
        ([Buffer("x", 1, 0, 0)], 12, "12 is not a power of two"),
    ],
)
def test_nonsense_is_refused(buffers: list[Buffer], alignment: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        pack(buffers, alignment=alignment)
