"""memcpy and memset of targets/cores/: every length and alignment, and no byte beside."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_support import run_body

pytestmark = pytest.mark.device

BODY = """
    static unsigned char from[96], to[96];
    void *(*volatile copy)(void *, const void *, __SIZE_TYPE__) = __builtin_memcpy;
    void *(*volatile fill)(void *, int, __SIZE_TYPE__) = __builtin_memset;
    for (unsigned n = 0; n < 70; n++)
        for (unsigned at = 0; at < 16; at++) {
            const unsigned source = at & 3u, target = at >> 2;
            for (volatile unsigned i = 0; i < 96; i++) from[i] = (unsigned char)(i * 7u + n), to[i] = 0xA5;
            bool right = copy(to + target, from + source, n) == to + target;
            for (volatile unsigned i = 0; i < 96; i++)
                right = right && to[i] == (i < target || i >= target + n ? 0xA5 : from[i - target + source]);
            right = right && fill(to + target, 0x1C3, n) == to + target;
            for (volatile unsigned i = 0; i < 96; i++)
                right = right && to[i] == (i < target || i >= target + n ? 0xA5 : 0xC3);
            if (!right) {
                mg_semihosting_error("wrong\\n");
                mg_semihosting_exit(3);
            }
        }
    mg_semihosting_error("right\\n");
"""


@pytest.mark.parametrize("board", ["mps2-an386", "mps2-an505", "qemu-riscv32"])
def test_memcpy_and_memset(tmp_path: Path, board: str) -> None:
    _, output = run_body(tmp_path, board, BODY)
    assert (output.exit_code, output.stderr) == (0, "right\n")
