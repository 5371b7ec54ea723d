"""The HTML report in a real browser: it loads nothing, complains of nothing, fits the window, and answers the mouse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browser import Page, browse
from report_pages import compile_page

WIDTH, HEIGHT = 1280, 900
BOX = "(e => { const b = e.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; })"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("page")
    return folder / "net.html", compile_page(folder)[0]


@pytest.fixture(scope="module")
def page(compiled: tuple[Path, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browse(tmp_path_factory.mktemp("browser")) as page:
        page.open(compiled[0], WIDTH, HEIGHT)
        yield page
        assert page.complaints == []
        assert page.requests == [compiled[0].resolve().as_uri()]


def _show(page: Page, selector: str) -> tuple[float, float]:
    """Scroll there; the middle of the element, in the window."""
    page.run(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center'}})")
    x, y, width, height = page.run(f"{BOX}(document.querySelector({selector!r}))")
    return x + width / 2, y + height / 2


def _block(page: Page, name: str) -> tuple[float, float, float, float]:
    """Scroll to the memory map; the box of a tensor in it."""
    _show(page, "#map")
    box = page.run(
        f"{BOX}([...document.querySelectorAll('#map .block')].find(b => b.dataset.tip.startsWith({name + chr(10)!r}))"
        ".querySelector('rect'))"
    )
    return tuple(box)


def test_it_loads_without_a_word(page: Page, compiled: tuple[Path, dict[str, Any]]) -> None:
    assert page.run("document.title") == "net on mps2-an386"
    assert page.requests == [compiled[0].resolve().as_uri()]
    assert page.complaints == []


def test_it_fits_the_window(page: Page) -> None:
    assert page.run("document.documentElement.scrollWidth") <= WIDTH
    wide = "[...document.querySelectorAll('section')].filter(s => s.scrollWidth > s.clientWidth).map(s => s.id)"
    assert page.run(wide) == []
    cut = "[...document.querySelectorAll('.row > span:not(.op)')].filter(s => s.scrollWidth > s.clientWidth)"
    assert page.run(f"{cut}.map(s => s.textContent.trim())") == []


def test_the_drawn_nodes_are_beside_their_rows(page: Page) -> None:
    middle = "b => { const r = b.getBoundingClientRect(); return r.y + r.height / 2; }"
    rows = page.run(f"[...document.querySelectorAll('.row:not(.head)')].map({middle})")
    nodes = page.run(f"[...document.querySelectorAll('.flow circle')].map({middle})")
    assert len(rows) == len(nodes) > 15
    np.testing.assert_allclose(rows, nodes, atol=1)
    kinds = "e => [...e.classList].find(c => c.startsWith('n-'))"
    of_rows = page.run(f"[...document.querySelectorAll('.row:not(.head)')].map({kinds})")
    assert of_rows == page.run(f"[...document.querySelectorAll('.flow circle')].map({kinds})")
    skips = page.run("document.querySelectorAll('.flow .skip').length")
    assert skips >= 6
    assert page.run("[...document.querySelectorAll('.flow .skip')].every(p => p.getBoundingClientRect().x >= 30)")


def test_hover_tells_tensor_and_call(page: Page, compiled: tuple[Path, dict[str, Any]]) -> None:
    row = next(row for row in compiled[1]["tensors"] if row["name"] == "stem.y")
    x, y, width, height = _block(page, "stem.y")
    first, last = row["lifetime"]
    call = (first + last) // 2
    page.mouse(x + width * (call - first + 0.5) / (last - first + 1), y + height / 2)
    tip = page.run("document.getElementById('tip').innerText")
    for words in ("stem.y", "activation", f"{row['bytes']} bytes at {row['offset']}", f"calls {first} … {last}"):
        assert words in tip
    left, top, wide, high = page.run(f"{BOX}(document.getElementById('tip'))")
    assert left >= 0
    assert top >= 0
    assert left + wide <= WIDTH
    assert top + high <= HEIGHT
    readout = page.run("document.getElementById('readout').textContent")
    assert readout.startswith(f"Call {call}: ")
    assert compiled[1]["calls"][call]["kernel"] in readout
    page.mouse(2, 2)
    assert page.run("document.getElementById('tip').hidden")
    assert page.run("document.getElementById('readout').textContent").startswith("Most bytes alive")


def test_tables_sort(page: Page) -> None:
    read = "[...document.querySelectorAll('#layer-table tbody tr')].map(r => Number(r.cells[2].dataset.v))"
    before = page.run(read)
    head = "#layer-table th:nth-child(3)"
    page.mouse(*_show(page, head), click=True)
    assert page.run(read) == sorted(before, reverse=True) != before
    page.mouse(*_show(page, head), click=True)
    assert page.run(read) == sorted(before)
    page.mouse(*_show(page, "#layer-table th:nth-child(1)"), click=True)
    names = page.run("[...document.querySelectorAll('#layer-table tbody tr')].map(r => r.cells[0].textContent)")
    assert names[0] == "avg"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(page: Page, scheme: str) -> None:
    page.prefer(scheme)
    x, y, width, height = _block(page, "stem.y")
    pixels = page.look().astype(float)
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    paper = pixels[HEIGHT // 2, 4].mean()
    assert paper > 230 if scheme == "light" else paper < 40
    # The block is where the page says it is, in the colour of activations: blue, against its surroundings.
    red, _, blue = pixels[int(y + height / 4), int(x + width / 4)]
    assert blue > red + 80
    for selector in ("h1", ".quiet", ".row .name", ".verdict", "td", ".tick"):
        assert _contrast(page, selector) >= 4.5, (scheme, selector)


def _contrast(page: Page, selector: str) -> float:
    """WCAG's ratio of an element's colour and the panel's."""
    colour = "fill" if selector == ".tick" else "color"
    ink = page.run(f"getComputedStyle(document.querySelector({selector!r})).{colour}")
    panel = page.run("getComputedStyle(document.querySelector('section')).backgroundColor")
    light, dark = sorted((_luminance(ink), _luminance(panel)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(rgb: str) -> float:
    parts = np.array([float(v) for v in rgb[rgb.index("(") + 1 : -1].split(",")[:3]]) / 255
    linear = np.where(parts <= 0.03928, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def test_the_button_changes_light_and_dark(page: Page) -> None:
    page.prefer("light")
    paper = "getComputedStyle(document.body).backgroundColor"
    before = page.run(paper)
    page.run("scrollTo(0, 0)")
    page.mouse(*_show(page, "#theme"), click=True)
    assert _luminance(page.run(paper)) < 0.05 < _luminance(before)
    page.mouse(*_show(page, "#theme"), click=True)
    assert page.run(paper) == before
