"""What the commands print, as rich renderables. Every input is a plain dataclass of this file; nothing is decided here.

    console.print(inspect_view(...)), compile_view(...), demo_view(...), bench_view(...)

Bytes and instructions are integers, accuracies shares from 0 to 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mcugrad.report.numbers import bytes_text, count_text, share_text

_BAR_CELLS = 20
_GOOD, _CLOSE, _BAD = "green", "yellow", "bold red"
_CLOSE_SHARE = 0.9  # of a budget


@dataclass(frozen=True)
class Usage:
    """`used` bytes of `budget`; `parts` says what they are made of, in the order to print them."""

    name: str
    used: int
    budget: int
    parts: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class InspectLayer:
    """One ONNX node. `problem` is empty, or the reason why it is not supported and what to do."""

    name: str
    op: str
    shape: tuple[int, ...]
    parameters: int
    macs: int
    activation_bytes: int
    problem: str = ""


@dataclass(frozen=True)
class InspectReport:
    """`verdict` is the last sentence; `fits` colours it."""

    model: str
    board: str
    layers: Sequence[InspectLayer]
    usages: Sequence[Usage]
    verdict: str
    fits: bool


@dataclass(frozen=True)
class CompileReport:
    """`facts` are further lines, a name and a value each."""

    name: str
    board: str
    folder: str
    usages: Sequence[Usage]
    arena_bytes: int
    arena_lower_bound: int
    forward_calls: int
    backward_calls: int
    facts: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class DemoAccuracy:
    """One line of the demo: a wearer, on the device and with the same fine-tune in float32 on the host."""

    who: str
    before: float
    after: float
    float_before: float
    float_after: float


@dataclass(frozen=True)
class DemoMemory:
    """SRAM or flash of the demo, or a part of one, which has no `budget` of its own (None). `measured` is None where
    there is nothing that only a run shows."""

    name: str
    predicted: int
    linked: int
    measured: int | None
    budget: int | None


@dataclass(frozen=True)
class DemoReport:
    """`claims` are sentences and whether they hold; `notes` are sentences under them: where the picture is."""

    title: str
    accuracies: Sequence[DemoAccuracy]
    memories: Sequence[DemoMemory]
    forward_instructions: int
    step_instructions: int
    clock_hz: int
    notes: Sequence[str] = ()
    claims: Sequence[tuple[str, bool]] = ()


@dataclass(frozen=True)
class BenchLayer:
    name: str
    op: str
    instructions: int
    macs: int


@dataclass(frozen=True)
class BenchReport:
    """What `mcugrad bench --json` writes, to be read by people. `macs`: forward, dgrad, wgrad."""

    model: str
    board: str
    forward_instructions: int
    step_instructions: int
    macs: tuple[int, int, int]
    usages: Sequence[Usage]
    layers: Sequence[BenchLayer] = field(default=())


def inspect_view(report: InspectReport) -> RenderableType:
    """Layers, what stands in the way, memory against the board, and the verdict."""
    table = _table(f"{report.model} on {report.board}")
    table.add_column("layer", overflow="fold")
    table.add_column("op", no_wrap=True)
    table.add_column("output", no_wrap=True)
    for heading in ("params", "MACs", "int8 bytes"):
        table.add_column(heading, justify="right", no_wrap=True)
    for layer in report.layers:
        table.add_row(
            Text(layer.name),
            Text(layer.op),
            "×".join(map(str, layer.shape)),
            count_text(layer.parameters) if layer.parameters else "",
            count_text(layer.macs) if layer.macs else "",
            bytes_text(layer.activation_bytes),
            style="red" if layer.problem else "",
        )
    table.add_section()
    total = [sum(column) for column in zip(*((x.parameters, x.macs) for x in report.layers), strict=True)] or [0, 0]
    table.add_row("total", "", "", count_text(total[0]), count_text(total[1]), "", style="bold")
    problems = [Text(f"{x.name} ({x.op}): {x.problem}", style="red") for x in report.layers if x.problem]
    verdict = Text(report.verdict, style=_GOOD if report.fits else _BAD)
    return Group(table, *problems, _usage_view(report.usages), verdict)


def compile_view(report: CompileReport) -> RenderableType:
    """Where it went, SRAM and flash against their budgets, how tightly the arena is packed."""
    excess = report.arena_bytes / report.arena_lower_bound - 1 if report.arena_lower_bound else 0.0
    closeness = "no smaller one exists" if excess == 0 else f"{excess:.1%} above the lower bound"
    bound = f"{report.arena_bytes:,} B, lower bound {report.arena_lower_bound:,} B ({closeness})"
    calls = f"{report.forward_calls} forward, {report.backward_calls} backward"
    facts = _facts([("arena", bound), ("kernel calls", calls), *report.facts, ("written to", report.folder)])
    title = Text(f"{report.name} for {report.board}", style="bold")
    return Group(title, _usage_view(report.usages), facts)


def demo_view(report: DemoReport) -> RenderableType:
    """Accuracy before and after, memory, speed."""
    accuracy = _table(report.title)
    accuracy.add_column("", no_wrap=True)
    for heading in ("before", "after", "gain", "float32: before", "after", "difference"):
        accuracy.add_column(heading, justify="right", no_wrap=True)
    for line in report.accuracies:
        accuracy.add_row(
            Text(line.who),
            f"{line.before:.1%}",
            Text(f"{line.after:.1%}", style="bold"),
            Text(f"{100 * (line.after - line.before):+.1f}", style=_GOOD if line.after > line.before else _BAD),
            f"{line.float_before:.1%}",
            f"{line.float_after:.1%}",
            f"{100 * (line.after - line.float_after):+.1f}",
        )
    speed = _speed_table(report.forward_instructions, report.step_instructions, report.clock_hz)
    claims = [Text(("✓ " if holds else "✗ ") + text, style=_GOOD if holds else _BAD) for text, holds in report.claims]
    return Group(accuracy, _memory_table(report.memories), speed, *claims, *(Text(note) for note in report.notes))


def bench_view(report: BenchReport) -> RenderableType:
    """Instructions and MACs in total and by layer, memory."""
    totals = _table(f"{report.model} on {report.board}")
    totals.add_column("")
    for heading in ("instructions", "MACs", "per MAC"):
        totals.add_column(heading, justify="right", no_wrap=True)
    forward, dgrad, wgrad = report.macs
    backward = report.step_instructions - report.forward_instructions
    _add_speed(totals, "inference", report.forward_instructions, forward)
    if report.step_instructions:  # compiled without training there is no step
        _add_speed(totals, "training step", report.step_instructions, forward + dgrad + wgrad)
        _add_speed(totals, "  beyond inference", backward, dgrad + wgrad)
    layers = _table(None)
    layers.add_column("layer", overflow="fold")
    layers.add_column("op", no_wrap=True)
    for heading in ("instructions", "share", "MACs", "per MAC"):
        layers.add_column(heading, justify="right", no_wrap=True)
    everything = sum(x.instructions for x in report.layers)
    for x in report.layers:
        ratio = f"{x.instructions / x.macs:.2f}" if x.macs else ""
        layers.add_row(
            Text(x.name),
            Text(x.op),
            f"{x.instructions:,}",
            share_text(x.instructions, everything),
            f"{x.macs:,}" if x.macs else "",
            ratio,
        )
    parts: list[RenderableType] = [totals, _usage_view(report.usages)]
    return Group(*parts, layers) if report.layers else Group(*parts)


def _table(title: str | None) -> Table:
    # Text, not str: names come from graphs, and a bracket in a str would be read as markup.
    heading = None if title is None else Text(title)
    return Table(title=heading, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)


def _budget_style(used: int, budget: int) -> str:
    return _BAD if used > budget else _CLOSE if used > _CLOSE_SHARE * budget else _GOOD


def _usage_view(usages: Sequence[Usage]) -> RenderableType:
    """A bar and the share of the budget; under it, what the bytes are made of. Fits 80 columns."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for usage in usages:
        style = _budget_style(usage.used, usage.budget)
        filled = min(_BAR_CELLS, -(-usage.used * _BAR_CELLS // usage.budget)) if usage.budget else 0
        bar = Text("█" * filled, style=style) + Text("░" * (_BAR_CELLS - filled), style="dim")
        share = f"{usage.used:,} B, {share_text(usage.used, usage.budget)} of {bytes_text(usage.budget)}"
        parts = " + ".join(f"{name} {size:,}" for name, size in usage.parts)
        text = Text(share, style=style)
        table.add_row(usage.name, bar, text + Text(f"\n{parts}", style="dim") if parts else text)
    return table


def _facts(facts: Sequence[tuple[str, str]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name, Text(value))
    return table


def _memory_table(memories: Sequence[DemoMemory]) -> Table:
    table = _table(None)
    table.add_column("memory", no_wrap=True)
    for heading in ("predicted", "linked", "measured", "budget", "used"):
        table.add_column(heading, justify="right", no_wrap=True)
    for part in memories:
        measured = "" if part.measured is None else f"{part.measured:,} B"
        limits: tuple[str | Text, ...] = ()
        if part.budget is not None:
            used = part.linked if part.measured is None else max(part.linked, part.measured)
            share = Text(share_text(used, part.budget), style=_budget_style(used, part.budget))
            limits = (bytes_text(part.budget), share)
        table.add_row(part.name, f"{part.predicted:,} B", f"{part.linked:,} B", measured, *limits)
    return table


def _speed_table(forward: int, step: int, clock_hz: int) -> Table:
    table = _table(None)
    table.add_column("speed")
    table.add_column("instructions", justify="right", no_wrap=True)
    # One instruction a cycle is what an emulator can say; a real core needs somewhat more.
    table.add_column(f"at {clock_hz / 1e6:g} M instructions/s", justify="right", no_wrap=True)
    for name, instructions in (("inference", forward), ("training step", step)):
        table.add_row(name, f"{instructions:,}", f"{1000 * instructions / clock_hz:.1f} ms")
    return table


def _add_speed(table: Table, name: str, instructions: int, macs: int) -> None:
    table.add_row(name, f"{instructions:,}", f"{macs:,}", f"{instructions / macs:.2f}" if macs else "")
