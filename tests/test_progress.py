from __future__ import annotations

import io

from rich.console import Console

from custodes.progress import _bars


def test_what_goes_on_is_no_markup() -> None:
    file = io.StringIO()
    with _bars(Console(file=file, force_terminal=True, width=120)) as progress:
        progress("A answers (say [/red] [bold]x)", 1, 3)
    assert "say [/red] [bold]x" in file.getvalue()
