"""Object files kept from one build to the next.

Every model's kernels and start-up code are the same files, and compiling them takes longer than everything else that a
small model needs. An object's key is all that its bytes depend on: the compiler, the flags, the text of the source and
of every header that it includes.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

_INCLUDE = re.compile(r"^[ \t]*#[ \t]*include[ \t]+(\S+)", re.MULTILINE)
_SUFFIXES = (".o", ".su")  # the object, and the frame sizes of its functions


def object_key(source: Path, compiler: str, flags: Sequence[str]) -> str | None:
    """The key of what `compiler` (its version's text) makes of `source` by `flags`, where folders are searched by -I.

    None where a header's name is a macro: what such a source includes is not known here. A -D counts only where the
    text has its name, so that one model's name does not separate its kernels from another's.
    """
    folders = [Path(flag[2:]) for flag in flags if flag.startswith("-I")]
    texts: dict[Path, str] = {}
    waiting = [source]
    while waiting:
        path = waiting.pop()
        if path in texts:
            continue
        texts[path] = path.read_text(encoding="utf-8")
        for name in _INCLUDE.findall(texts[path]):
            if name.startswith("<"):
                continue
            if not name.startswith('"'):
                return None
            found = next((f / name[1:-1] for f in (path.parent, *folders) if (f / name[1:-1]).is_file()), None)
            if found is None:
                return None  # the compiler will say it
            waiting.append(found)
    whole = "\0".join([source.name, *(texts[path] for path in sorted(texts, key=lambda p: (p.name, texts[p])))])
    used = [f for f in flags if not f.startswith("-I") and (not f.startswith("-D") or f[2:].partition("=")[0] in whole)]
    return hashlib.sha256(repr((compiler, used, whole)).encode()).hexdigest()


def fetch(cache: Path, key: str, target: Path) -> bool:
    """Copy the object of `key` to `target` (an .o) and what belongs to it beside; False where the cache has none."""
    if not (cache / f"{key}.o").is_file():
        return False
    for suffix in _SUFFIXES:
        if (cache / f"{key}{suffix}").is_file():
            shutil.copyfile(cache / f"{key}{suffix}", target.with_suffix(suffix))
    return True


def keep(cache: Path, key: str, target: Path) -> None:
    """Put the object at `target` into the cache; the .o last, since its presence says that the entry is complete."""
    cache.mkdir(parents=True, exist_ok=True)
    for suffix in reversed(_SUFFIXES):
        made = target.with_suffix(suffix)
        if made.is_file():
            scratch = cache / f"{key}{suffix}.{os.getpid()}"
            shutil.copyfile(made, scratch)
            scratch.replace(cache / f"{key}{suffix}")
