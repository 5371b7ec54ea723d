"""Model, Selection  becomes  the same network with its channels in another order, and the same selection in that order.

A scheme may list the channels of a weight that train. Where the layers around them allow it, the listed ones become the
first ones, and training them costs what training "the first n" costs: no index is read at run time. Where several lists
ask for one order (the blocks of a residual stage read the same channels), nested lists are all served; of others the
one that trains most comes first, and the rest are a few runs of consecutive channels.

Operators say which of their axes count the same channels; axes that do are one class, and a class has one order. The
network's input and output keep theirs. The forward pass is the same to the bit; only a float32 classifier adds its
products in the new order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import tvm
from tvm import relax
from tvm.ir.expr import Constant

from mcugrad.graph import Model, Parameter
from mcugrad.ops.operator import Axis, operator, shape
from mcugrad.passes.functions import bindings, op_name
from mcugrad.passes.loss import substitute
from mcugrad.scheme import Runs, Selection, Subset, runs

Order = tuple[int, ...]  # channel order[i] of the imported model is channel i


def permute_channels(model: Model, selection: Selection) -> tuple[Model, Selection]:
    """The model to compile for `selection`; both unchanged where every trained channel is among the first already.

    `model` is as imported: its channels are ONNX's.
    """
    main = model.module["main"]
    weights = dict(zip((p.name for p in model.parameters), main.params[1:], strict=True))
    classes = _classes(main)
    orders: dict[Axis, Order] = {}
    for root, wanted in _wanted(selection, weights, classes, _positions(main)).items():
        order = tuple(prefix_order(classes.size[root], wanted))
        if order != tuple(range(len(order))):
            orders[root] = order
    if not orders:
        return model, selection
    of = _Orders(classes, orders)
    parameters = tuple(_parameter(p, of.tensor(weights[p.name])) for p in model.parameters)
    module = tvm.IRModule({"main": _with_constants(main, of)})
    subsets = {name: _subset(subset, of.tensor(weights[name])) for name, subset in selection.subsets.items()}
    return replace(model, module=module, parameters=parameters), replace(selection, subsets=subsets)


# ---- classes of axes ------------------------------------------------------------------------------------------------


@dataclass
class _Classes:
    """Disjoint sets of axes; the set of `fixed` keeps its order."""

    fixed: Axis
    parent: dict[Axis, Axis] = field(default_factory=dict)
    size: dict[Axis, int] = field(default_factory=dict)  # channels of an axis

    def find(self, axis: Axis) -> Axis:
        """The axis that stands for the set of `axis`."""
        self.size.setdefault(axis, shape(axis[0])[axis[1]])
        while (parent := self.parent.setdefault(axis, axis)) != axis:
            axis = parent
        return axis

    def join(self, group: Iterable[Axis]) -> None:
        first, *others = (self.find(axis) for axis in group)
        for other in others:
            self.parent[self.find(other)] = self.find(first)


def _classes(main: relax.Function) -> _Classes:
    """Which axes of the tensors of `main` must have the same order."""
    classes = _Classes((main.params[0], 1))
    for var, value in bindings(main):
        groups = _groups(var, value)
        for group in groups:
            classes.join(group)
        free = {axis for group in groups for axis in group}
        axes = {(tensor, a) for tensor in (var, *_tensors(value)) for a in range(len(shape(tensor)))}
        classes.join([classes.fixed, *(axis for axis in axes if axis not in free)])
    classes.join([classes.fixed, (main.body.body, 1)])
    return classes


def _groups(var: relax.Var, value: relax.Expr) -> list[list[Axis]]:
    """The axes of one binding that count the same channels."""
    if isinstance(value, relax.Var):
        return [[(var, a), (value, a)] for a in range(len(shape(var)))]
    if op_name(value) == "relax.reshape":  # a view: the channels stay where they are, or vanish in another axis
        same = shape(var)[1:2] == shape(value.args[0])[1:2]
        return [[(var, 1), (value.args[0], 1)]] if same else []
    declared = operator(value)
    return declared.channels(var, value) if declared is not None and declared.channels is not None else []


def _tensors(value: relax.Expr) -> list[relax.Expr]:
    operands = value.args if isinstance(value, relax.Call) else [value]
    return [operand for operand in operands if isinstance(operand, (relax.Var, Constant))]


# ---- orders ---------------------------------------------------------------------------------------------------------


def _positions(main: relax.Function) -> dict[relax.Expr, int]:
    """For each parameter, at how many positions of the result it is used: MACs are weights times these."""
    found = {}
    for var, value in bindings(main):
        for tensor in _tensors(value):
            found[tensor] = int(np.prod(shape(var)[2:]))
    return found


def _wanted(
    selection: Selection, weights: Mapping[str, relax.Var], classes: _Classes, positions: Mapping[relax.Expr, int]
) -> dict[Axis, list[list[int]]]:
    """The lists of channels that each class should begin with, those that train more first."""
    found: dict[Axis, list[tuple[int, list[int]]]] = {}
    for name, subset in selection.subsets.items():
        weight = weights[name]
        sides = [[c for run in side for c in range(*run)] for side in (subset.outputs, subset.inputs)]
        macs = positions[weight] * len(sides[0]) * len(sides[1]) * int(np.prod(shape(weight)[2:]))
        for axis, channels in enumerate(sides):
            root = classes.find((weight, axis))
            if root != classes.find(classes.fixed):
                found.setdefault(root, []).append((macs, channels))
    return {root: [c for _, c in sorted(lists, key=lambda x: -x[0])] for root, lists in found.items()}


def prefix_order(count: int, lists: Sequence[Iterable[int]]) -> list[int]:
    """An order of `count` channels that begins with the first list, and in which the other lists are few runs.

    Lists that are nested all become prefixes. Found by splitting blocks list after list, as one recognises the
    consecutive-ones property, but without looking back: of three lists or more it need not be the best order.
    """
    blocks = [list(range(count))]
    for channels in lists:
        blocks = _split(blocks, set(channels))
    return [channel for block in blocks for channel in block]


def _split(blocks: list[list[int]], chosen: set[int]) -> list[list[int]]:
    """Each block as its channels in `chosen` and the others; the chosen ones beside a neighbour's if there are any."""
    parts: list[list[int]] = []
    for block, following in zip(blocks, [*blocks[1:], []], strict=True):
        inside, outside = [c for c in block if c in chosen], [c for c in block if c not in chosen]
        continues = bool(parts) and parts[-1][-1] in chosen
        last = not continues and not chosen.isdisjoint(following)
        parts += [part for part in ((outside, inside) if last else (inside, outside)) if part]
    return parts


# ---- the model in its new order -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Orders:
    classes: _Classes
    orders: Mapping[Axis, Order]

    def tensor(self, tensor: relax.Expr) -> dict[int, Order]:
        """The new order of the axes of a tensor that have one."""
        roots = {axis: self.classes.find((tensor, axis)) for axis in range(len(shape(tensor)))}
        return {axis: self.orders[root] for axis, root in roots.items() if root in self.orders}


def _permuted(values: np.ndarray, order: Mapping[int, Order]) -> np.ndarray:
    for axis, channels in order.items():
        values = values.take(channels, axis)
    return values


def _parameter(parameter: Parameter, order: Mapping[int, Order]) -> Parameter:
    scale = _permuted(parameter.scale, {axis: channels for axis, channels in order.items() if axis == 0})
    return replace(parameter, value=_permuted(parameter.value, order), scale=scale, order=order)


def _subset(subset: Subset, order: Mapping[int, Order]) -> Subset:
    return Subset(_moved(subset.inputs, order.get(1)), _moved(subset.outputs, order.get(0)))


def _moved(trained: Runs, order: Order | None) -> Runs:
    """The places of the trained channels."""
    if order is None:
        return trained
    place = {channel: i for i, channel in enumerate(order)}
    return runs(place[channel] for run in trained for channel in range(*run))


def _with_constants(main: relax.Function, of: _Orders) -> relax.Function:
    """`main` with its constants in their new order."""
    builder = relax.BlockBuilder()
    with builder.function("main", list(main.params)):
        with builder.dataflow():
            new: dict[relax.Var, relax.Expr] = {}
            for var, value in bindings(main):
                for constant in (t for t in _tensors(value) if isinstance(t, Constant)):
                    new[constant] = relax.const(_permuted(constant.value.numpy(), of.tensor(constant)))
                if var.same_as(main.body.body):
                    new[var] = builder.emit_output(substitute(value, new), var.name)
                else:
                    new[var] = builder.emit(substitute(value, new), var.name)
        builder.emit_func_output(new[main.body.body])
    return builder.get()["main"]
