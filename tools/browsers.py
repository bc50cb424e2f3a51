"""Find a Chromium or Chrome for the browser tests; run as a script, install Debian's when there is none.

Exits 0 when a browser is there at the end, else 1 with one sentence that says what to do.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC_APPS = (
    "Chromium.app/Contents/MacOS/Chromium",
    "Google Chrome.app/Contents/MacOS/Google Chrome",
)


def find_browser() -> str | None:
    """Return the path of the first browser found, on the path or among the Mac applications, or None."""
    on_path = (shutil.which(name) for name in NAMES)
    folders = (Path("/Applications"), Path.home() / "Applications")
    in_applications = (
        str(folder / app) for folder in folders for app in MAC_APPS if (folder / app).is_file()
    )
    return next((path for path in (*on_path, *in_applications) if path), None)


def install_command() -> list[str] | None:
    """Return the words that run apt-get as root here, or None where that cannot be done."""
    if not shutil.which("apt-get"):
        return None
    if os.geteuid() == 0:
        return ["apt-get"]
    if not shutil.which("sudo"):
        return None
    return ["sudo", "apt-get"] if sys.stdin.isatty() else ["sudo", "-n", "apt-get"]


def advice() -> str:
    """Return the one sentence for a machine where no browser is and none can be installed from here."""
    how = "brew install --cask chromium" if sys.platform == "darwin" else "apt-get install chromium"
    return (
        f"`make test`: expected Chromium or Google Chrome, but got neither ({', '.join(NAMES)}). "
        f"Install one, for example with `{how}`, then run `make test` again."
    )


def main() -> int:
    """Install Debian's chromium when there is no browser, and tell whether there is one now."""
    if find_browser():
        return 0
    apt_get = install_command()
    if apt_get:
        for words in (["update", "-qq"], ["install", "-y", "-qq", "chromium"]):
            if subprocess.run([*apt_get, *words], check=False).returncode != 0:
                break
    if find_browser():
        return 0
    sys.stderr.write(advice() + "\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
