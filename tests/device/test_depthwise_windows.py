"""The compiler knows which windows of depthwise convolutions a core will ask for: no others are in a firmware."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from mcugrad.emit.kernels import kernel_files
from mcugrad.emit.windows import window
from mcugrad.resources import runtime_dir
from mcugrad.simulate.board import load_board
from mcugrad.simulate.build import build_program
from mcugrad.simulate.run import run_program

PROGRAM = """#include "depthwise_conv2d_dgrad_s8.c"
static const struct {{ mg_conv2d_t g; bool turned; int32_t window; }} cases[] = {{
{cases}
}};
int main(void);
int main(void) {{
    static int16_t scratch[4];
    for (uint32_t i = 0; i < sizeof cases / sizeof *cases; i++) {{
        const mg_conv2d_t *g = &cases[i].g, turned = transposed(g);
        const mg_layout_t x = {{g->in_h * g->in_w, g->in_w, g->in_h}};
        mg_depthwise_t d;
        mg_depthwise_begin(&d, cases[i].turned ? &turned : g, &x, NULL, g->out_h, scratch);
        if (d.taps.square != cases[i].window) return 1;
    }}
    return 0;
}}
"""


def _draw(rng: random.Random) -> dict[str, int]:
    kernel, stride = rng.choice((1, 2, 3, 3, 3, 4, 5, 7, 9)), rng.choice((1, 1, 2, 2, 3))
    conv = {"k_h": kernel, "k_w": kernel, "stride_h": stride, "stride_w": stride, "dilation_h": 1, "dilation_w": 1}
    if rng.random() < 0.2:
        conv |= {"k_h": rng.randint(1, 9), "dilation_h": rng.randint(1, 2), "dilation_w": rng.randint(1, 2)}
    conv |= {"in_h": 9, "in_w": rng.choice((1, 2, 3, rng.randint(4, 90))), "pad_top": 1, "pad_left": rng.randint(0, 5)}
    return {**conv, "out_h": 5, "out_w": rng.randint(1, 90)}


@pytest.mark.device
def test_the_compiler_and_the_core_agree(tmp_path: Path) -> None:
    rng = random.Random(5)
    drawn = [(_draw(rng), rng.random() < 0.3) for _ in range(2000)]
    expected = [window(conv, turned=turned) for conv, turned in drawn]
    assert set(expected) == set(range(9))
    rows = (
        f"{{{{{', '.join(f'.{k} = {v}' for k, v in conv.items())}}}, {str(turned).lower()}, {answer}}},"
        for (conv, turned), answer in zip(drawn, expected, strict=True)
    )
    source = tmp_path / "program.c"
    source.write_text(PROGRAM.format(cases="\n".join(rows)), encoding="utf-8")
    files = [p for p in kernel_files(["mg_depthwise_conv2d_dgrad_s8"]) if p.suffix in (".c", ".S")]
    files = [p for p in files if p.name != "depthwise_conv2d_dgrad_s8.c"]
    includes = (runtime_dir() / "src", runtime_dir() / "include")
    board = load_board("mps2-an386")
    firmware = build_program([source, *files], board, build_dir=tmp_path, includes=includes, check_stack=False)
    assert run_program(firmware, tmp_path, timeout=60).exit_code == 0
