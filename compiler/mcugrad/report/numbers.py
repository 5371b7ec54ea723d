"""Numbers as people read them."""

KB = 1024


def bytes_text(count: int) -> str:
    """Bytes with at most three figures and a unit: 640 B, 5.7 KB, 256 KB, 1 MB (of 1024, as on data sheets)."""
    value, unit = float(count), "B"
    for larger in ("KB", "MB", "GB"):
        if abs(value) < KB:
            break
        value, unit = value / KB, larger
    return f"{_three_figures(value)} {unit}"


def count_text(count: int) -> str:
    """A count with at most three figures: 640, 12.5 k, 1.24 M, 3.1 G (powers of 1000)."""
    value, unit = float(count), ""
    for larger in (" k", " M", " G", " T"):
        if abs(value) < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{_three_figures(value)}{unit}"


def share_text(part: float, whole: float) -> str:
    """Percentage with one decimal; a dash when there is no whole."""
    return f"{part / whole:.1%}" if whole else "-"


def _three_figures(value: float) -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
