"""The graph of the HTML report: one node a layer in the order of execution, edges between them, from a manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mcugrad.report.facts import ParameterFacts

Rows = Sequence[Mapping[str, Any]]
KEPT = ("input", "activation", "mask", "vector")


@dataclass
class Node:
    """One layer, or several that one kernel call computes. Bytes and MACs are of one step, batch 1.

    `part`: weights (trains at least one weight), biases (trains biases only), passes (the gradient goes through),
    frozen (no backward), or input, loss. `kept` bytes wait in the arena for the backward.
    """

    name: str
    op: str
    layers: tuple[str, ...]
    part: str = "frozen"
    shape: tuple[int, ...] = ()
    dtype: str = ""
    output: int = 0
    forward: int = 0
    dgrad: int = 0
    wgrad: int = 0
    flash: int = 0
    state: int = 0
    kept: int = 0
    errors: int = 0
    weights: list[ParameterFacts] = field(default_factory=list)
    biases: list[ParameterFacts] = field(default_factory=list)

    @property
    def backward(self) -> int:
        return self.dgrad + self.wgrad


@dataclass(frozen=True)
class Edge:
    """The output of node `source` is read by node `target`; `error`: its gradient is computed too.

    `lane` keeps edges that pass by other nodes apart; -1 where they are neighbours.
    """

    source: int
    target: int
    error: bool
    lane: int


@dataclass(frozen=True)
class Graph:
    """`nodes[0]` is the input; the last one is the loss when the model trains."""

    nodes: list[Node]
    edges: list[Edge]

    @property
    def lanes(self) -> int:
        return 1 + max((edge.lane for edge in self.edges), default=-1)


def build_graph(manifest: Mapping[str, Any], parameters: Sequence[ParameterFacts]) -> Graph:
    """Nodes and edges of the compiled `manifest`; `parameters` say what trains."""
    by_layer = {p.layer: [q for q in parameters if q.layer == p.layer] for p in parameters}
    groups = _groups(manifest["calls"])
    grids = {row["name"]: row for row in manifest["tensors"]}
    nodes = [Node("input", "Input", ("input",), "input")]
    nodes += [_node(group, by_layer, {p.name: p.layer for p in parameters}, grids) for group in groups]
    pairs = _pairs(groups, grids)
    if manifest["loss"]:
        nodes.append(Node("loss", "MSE" if manifest["loss"] == "mse" else "Cross entropy", ("loss",), "loss"))
        pairs.append((len(nodes) - 2, len(nodes) - 1))
    _describe_input(nodes[0], manifest)
    _add_work(nodes, manifest)
    _add_bytes(nodes, manifest)
    return Graph(nodes, _edges(pairs, _needs_error(nodes, pairs)))


def _groups(calls: Rows) -> list[Rows]:
    """Forward calls of one layer that follow each other; what only saves a mask belongs to no node of its own."""
    groups: list[list[Mapping[str, Any]]] = []
    for call in calls:
        if call["phase"] != "forward" or call["op"] == "Mask":
            continue
        if groups and groups[-1][-1]["layer"] == call["layer"]:
            groups[-1].append(call)
        else:
            groups.append([call])
    return [tuple(group) for group in groups]


def _node(
    group: Rows,
    by_layer: Mapping[str, list[ParameterFacts]],
    layer_of: Mapping[str, str],
    tensors: Mapping[str, Mapping[str, Any]],
) -> Node:
    written = [tensors[name] for name in group[-1]["writes"]]
    first, output = group[0], next(t for t in reversed(written) if t["kind"] != "scratch")
    reads = [layer_of[name] for call in group for name in call["reads"] if name in layer_of]
    layers = tuple(dict.fromkeys([*reads, *([] if len(set(reads)) > 1 else [first["layer"]])]))
    node = Node(first["layer"], next((c["op"] for c in group if c["work"] == "forward"), first["op"]), layers)
    node.shape, node.dtype, node.output = tuple(output["shape"]), output["dtype"], output["bytes"]
    own = [p for layer in layers for p in by_layer.get(layer, [])]
    node.weights, node.biases = [p for p in own if not p.is_bias], [p for p in own if p.is_bias]
    if any(p.trains for p in own):
        node.part = "weights" if any(p.trains for p in node.weights) else "biases"
    return node


def _pairs(groups: Sequence[Rows], tensors: Mapping[str, Mapping[str, Any]]) -> list[tuple[int, int]]:
    """(source, target) node numbers. A view that no call writes is what was last written to the same bytes."""
    writer: dict[str, int] = {}
    owner: dict[str, int] = {}
    pairs: list[tuple[int, int]] = []
    for number, group in enumerate(groups, 1):
        for call in group:
            for name in call["reads"]:
                root = tensors[name].get("shares_bytes_of", name)
                source = writer.get(name, owner.get(root, 0 if tensors[root]["kind"] == "input" else None))
                if source is not None:  # constants have no writer, nor has the scratch of the call itself
                    pairs.append((source, number))
            for name in call["writes"]:
                writer[name] = owner[tensors[name].get("shares_bytes_of", name)] = number
    return [pair for pair in dict.fromkeys(pairs) if pair[0] != pair[1]]


def _describe_input(node: Node, manifest: Mapping[str, Any]) -> None:
    node.shape, node.dtype = tuple(manifest["input"]["shape"]), manifest["input"]["dtype"]
    node.output = sum(row["bytes"] for row in manifest["tensors"] if row["kind"] == "input" and _owns(row))


def _owns(row: Mapping[str, Any]) -> bool:
    return "offset" in row and "shares_bytes_of" not in row


def _homes(nodes: Sequence[Node]) -> dict[str, Node]:
    """The node of every layer's name."""
    homes = {node.name: node for node in nodes}
    for node in nodes:
        homes |= dict.fromkeys(node.layers, node)
    return homes


def _add_work(nodes: Sequence[Node], manifest: Mapping[str, Any]) -> None:
    homes = _homes(nodes)
    for call in manifest["calls"]:
        node = homes.get(call["layer"], nodes[-1])
        if call["work"] == "forward":
            node.forward += call["macs"]
        elif call["work"] == "dgrad":
            node.dgrad += call["macs"]
        elif call["work"] == "wgrad":
            dgrad = call.get("dgrad_macs", 0)  # where one call makes both gradients
            node.wgrad += call["macs"] - dgrad
            node.dgrad += dgrad


def _add_bytes(nodes: Sequence[Node], manifest: Mapping[str, Any]) -> None:
    homes = _homes(nodes)
    forward = sum(call["phase"] == "forward" for call in manifest["calls"])
    users: dict[str, str] = {}
    for call in manifest["calls"]:
        for name in (*call["reads"], *call["writes"]):
            users.setdefault(name, call["layer"])
    for row in manifest["tensors"]:
        node = homes.get(row["layer"]) or _user(row["name"], users, homes) or nodes[-1]
        if row["kind"] == "const":
            node.flash += row["bytes"]
        elif row["kind"] == "state":
            node.state += row["bytes"]
        elif _owns(row) and row["kind"] == "error":
            node.errors += row["bytes"]
        elif _owns(row) and row["kind"] in KEPT and row["lifetime"][0] < forward <= row["lifetime"][1]:
            node.kept += row["bytes"]


def _user(name: str, users: Mapping[str, str], homes: Mapping[str, Node]) -> Node | None:
    """What belongs to no layer counts where it is used first, or (channel lists, error ratios) with what it describes,
    whose name it continues."""
    while name not in users or users[name] not in homes:
        if name in homes:
            return homes[name]
        if "." not in name:
            return None
        name = name.rpartition(".")[0]
    return homes[users[name]]


def _needs_error(nodes: Sequence[Node], pairs: Sequence[tuple[int, int]]) -> list[bool]:
    """Whether the gradient by a node's output is needed: something trains there or before. Marks what it passes."""
    needs = [node.part in ("weights", "biases") for node in nodes]
    for source, target in sorted(pairs, key=lambda pair: pair[1]):
        needs[target] |= needs[source]
    for node, needed in zip(nodes, needs, strict=True):
        if needed and node.part == "frozen":
            node.part = "passes"
    return needs


def _edges(pairs: Sequence[tuple[int, int]], needs: Sequence[bool]) -> list[Edge]:
    """With lanes: edges in one lane do not overlap, short ones lie inside."""
    edges: list[Edge] = []
    lanes: list[list[tuple[int, int]]] = []
    for source, target in sorted(pairs, key=lambda pair: (pair[1] - pair[0], pair)):
        lane = -1
        if target - source > 1:
            free = (i for i, used in enumerate(lanes) if all(target <= a or b <= source for a, b in used))
            lane = next(free, len(lanes))
            if lane == len(lanes):
                lanes.append([])
            lanes[lane].append((source, target))
        edges.append(Edge(source, target, needs[source], lane))
    return sorted(edges, key=lambda e: (e.target, e.source))
