"""Shows a file in the browser of whoever sits here, without a word where there is none."""

import shutil
import subprocess
import sys
from pathlib import Path

import click

_WAIT_S = 5.0


def open_page(path: Path) -> bool:
    """Whether a browser was started on the file."""
    if sys.platform in ("darwin", "win32"):
        return click.launch(str(path)) == 0
    # click.launch answers 0 whatever xdg-open makes of it, and lets it print its search for a browser.
    opener = shutil.which("xdg-open")
    if opener is None:
        return False
    quiet = subprocess.DEVNULL
    started = subprocess.Popen([opener, str(path)], stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)
    try:
        return started.wait(timeout=_WAIT_S) == 0
    except subprocess.TimeoutExpired:  # it is the browser itself, and shows the page
        return True
