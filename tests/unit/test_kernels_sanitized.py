"""The kernel tests again, the runtime under AddressSanitizer and UndefinedBehaviorSanitizer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FLAGS = "-g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all"
MODULES = ("gradient", "joined", "error", "forward", "float", "conv", "rows", "depthwise")


def test_kernels_are_clean(tmp_path: Path) -> None:
    """A new process: AddressSanitizer must be loaded before Python. onnxruntime's own comparison is left out."""
    command = ["gcc", "-print-file-name=libasan.so"]
    library = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    environment = os.environ | {
        "LD_PRELOAD": library,
        "ASAN_OPTIONS": "detect_leaks=0",
        "PYTHONMALLOC": "malloc",
        "KERNEL_FLAGS": FLAGS,
    }
    here = Path(__file__).parent
    tests = [str(here / f"test_kernels_{name}.py") for name in MODULES]
    options = ["-q", "-x", "-pno:cacheprovider", "-pno:xdist", f"--basetemp={tmp_path}/t", "-k", "not onnxruntime"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=here.parents[1],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
