"""What the package promises before any graph is compiled: its data, its pins, its command."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import mcugrad
from mcugrad import resources
from mcugrad.errors import McugradError

ROOT = Path(__file__).resolve().parents[2]


def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_resources_are_found_in_the_checkout() -> None:
    assert resources.runtime_dir() == ROOT / "runtime_c"
    assert (resources.runtime_dir() / "include" / "mcugrad.h").is_file()
    assert resources.targets_dir() == ROOT / "targets"


def test_a_damaged_installation_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "lib" / "mcugrad")
    with pytest.raises(McugradError, match="runtime_c/ is missing"):
        resources.runtime_dir()


def test_saving_tvm_graphs_does_not_crash() -> None:
    # apache-tvm-ffi 0.1.15 dies of SIGSEGV here. In a subprocess: a wrong pin is a failure, not the end of pytest.
    done = _python(
        "import tvm; from tvm import relax;print(len(tvm.ir.save_json(relax.Var('x', relax.TensorType((2,), 'int8')))))"
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0


def test_onnxruntime_leaves_no_trace_in_the_home_folder(tmp_path: Path) -> None:
    without = {k: v for k, v in os.environ.items() if k not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")}
    code = "import mcugrad, onnxruntime"
    subprocess.run([sys.executable, "-c", code], env={**without, "HOME": str(tmp_path)}, check=True)
    assert not list(tmp_path.iterdir())


def test_importing_the_command_line_leaves_heavy_packages_alone() -> None:
    done = _python(
        "import sys, mcugrad.cli;"
        "print([m for m in ('tvm', 'onnx', 'onnxruntime', 'numpy', 'matplotlib', 'pydantic') if m in sys.modules])"
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_carries_runtime_and_targets(wheel: Path) -> None:
    assert wheel.name.startswith(f"mcugrad-{mcugrad.__version__}-py3-none")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for folder in ("runtime_c", "targets"):
        # The same files as git tracks, so that neither a kernel nor somebody's build output decides what is shipped.
        listed = subprocess.run(["git", "ls-files", "-z", folder], cwd=ROOT, capture_output=True, text=True, check=True)
        tracked = {f"mcugrad/_data/{name}" for name in listed.stdout.split("\0") if name}
        assert tracked
        assert tracked <= names


def test_an_installed_wheel_finds_its_data(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    done = _python(
        f"import sys; sys.path.insert(0, {str(tmp_path)!r});"
        "from mcugrad import resources; print(resources.runtime_dir(), resources.targets_dir(), sep='\\n')"
    )
    data = tmp_path / "mcugrad" / "_data"
    assert done.stdout.splitlines() == [str(data / "runtime_c"), str(data / "targets")], done.stderr
