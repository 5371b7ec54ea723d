"""Which files a library has in each ecosystem, and where they lie.

CMake: a package for `add_subdirectory` or `find_package`. PlatformIO: library.json
(https://docs.platformio.org/en/latest/manifests/library-json/index.html). Arduino: library.properties, 1.5 format
(https://arduino.github.io/arduino-cli/latest/library-specification). Zephyr: a module
(https://docs.zephyrproject.org/latest/develop/modules.html).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mcugrad import __version__
from mcugrad.emit.environment import template_environment
from mcugrad.emit.folder import generated_files
from mcugrad.errors import McugradError
from mcugrad.simulate.build import read_manifest

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+"([^"]+)"', re.MULTILINE)
_CODE = (".c", ".S", ".h", ".inc")
Files = dict[str, str]


def library(folder: Path, layout: str) -> Files:
    """The files of the compiled model in `folder` as a library, by their path in it: `layout` is a key of LAYOUTS.

    Raises McugradError when the folder is no compiled model, or a file of it is missing.
    """
    manifest = read_manifest(folder)
    names = sorted(name for name in generated_files(folder) or () if name.endswith(_CODE))
    try:
        code = {name: (folder / name).read_text(encoding="utf-8") for name in names}
    except FileNotFoundError as problem:
        raise McugradError(f"{problem.filename} is missing: compile the model again") from problem
    public = _public(manifest["name"], code)
    return LAYOUTS[layout](_Library(manifest, code, public))


def _public(name: str, code: Mapping[str, str]) -> set[str]:
    """The model's headers, and what they include."""
    found: set[str] = set()
    waiting = [n for n in code if n.endswith(".h") and (n == f"{name}.h" or n.startswith(f"{name}_"))]
    while waiting:
        header = waiting.pop()
        if header in code and header not in found:
            found.add(header)
            waiting += _INCLUDE.findall(code[header])
    return found


class _Library:
    """What the layouts are made from: `code` by file name, `public` headers among it, and the templates' values."""

    def __init__(self, manifest: dict[str, Any], code: Mapping[str, str], public: set[str]) -> None:
        self.code, self.public = code, public
        name = manifest["name"]
        inputs, outputs = manifest["input"]["shape"], manifest["output"]["shape"]
        self.values: dict[str, Any] = {
            "name": name,
            "upper": name.upper(),
            "version": __version__,
            "source": manifest["source"],
            "trains": manifest["loss"] is not None,
            "targets": manifest["loss"] == "mse",
            "pushed": f"#define {name.upper()}_PUSHED 1" in code[f"{name}.h"],
            "shapes": f"input {inputs}, output {outputs}",
            "sram": manifest["static_bytes"],
            "sources": sorted(n for n in code if n.endswith((".c", ".S"))),
            "public": sorted(public),
        }

    def split(self) -> Files:
        """include/ for the model's users, src/ for the rest."""
        return {f"{'include' if name in self.public else 'src'}/{name}": text for name, text in self.code.items()}

    def render(self, template: str) -> str:
        return template_environment("mcugrad.export").get_template(template).render(self.values)

    def readme(self, layout: str) -> Files:
        return {"README.md": self.render(f"readme_{layout}.md.j2")}


def _cmake(library: _Library) -> Files:
    name = library.values["name"]
    files = {"CMakeLists.txt": "cmake.txt.j2", f"{name}Config.cmake": "config.cmake.j2", "example/main.c": "main.c.j2"}
    return {**library.split(), **library.readme("cmake"), **{to: library.render(t) for to, t in files.items()}}


def _platformio(library: _Library) -> Files:
    values = library.values
    facts = {
        "name": values["name"],
        "version": values["version"],
        "description": f"{values['source']} as C that infers{' and trains' if values['trains'] else ''} in int8",
        "keywords": "machine learning, neural network, int8, training, microcontroller",
        "license": "Apache-2.0",
        "frameworks": "*",
        "platforms": "*",
        "headers": values["public"],
        # float32 results are the same everywhere only without contraction and fast-math
        "build": {"srcDir": "src", "includeDir": "include", "flags": ["-ffp-contract=off", "-fno-fast-math"]},
        "examples": [{"name": "once", "base": "examples/once", "files": ["main.c"]}],
    }
    return {
        **library.split(),
        **library.readme("platformio"),
        "library.json": json.dumps(facts, indent=2) + "\n",
        "examples/once/main.c": library.render("main.c.j2"),
    }


def _arduino(library: _Library) -> Files:
    name = library.values["name"]
    return {
        **{f"src/{file}": text for file, text in library.code.items()},
        **library.readme("arduino"),
        "library.properties": library.render("library.properties.j2"),
        f"examples/{name}_button/{name}_button.ino": library.render("sketch.ino.j2"),
    }


def _zephyr(library: _Library) -> Files:
    files = {
        "zephyr/module.yml": "module.yml.j2",
        "zephyr/Kconfig": "Kconfig.j2",
        "zephyr/CMakeLists.txt": "zephyr.txt.j2",
        "example/main.c": "main.c.j2",
    }
    return {**library.split(), **library.readme("zephyr"), **{to: library.render(t) for to, t in files.items()}}


LAYOUTS: dict[str, Callable[[_Library], Files]] = {
    "cmake": _cmake,
    "platformio": _platformio,
    "arduino": _arduino,
    "zephyr": _zephyr,
}
