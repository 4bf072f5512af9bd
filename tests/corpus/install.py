"""Install the clients of the corpus: all at once, exactly as pinned; or, where one cannot be had here, one by one.

Without their dependencies, which are pinned as well: no two clients of hundreds agree on everything.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PINNED = Path(__file__).with_name("requirements.txt")


def pip(*arguments: str) -> bool:
    """Run pip's `install`; whether it succeeded."""
    command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", *arguments]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def main() -> None:
    """Install what can be installed, once, and say what cannot."""
    stamp = Path(sys.prefix, ".corpus")
    pinned = PINNED.read_text(encoding="utf-8")
    if stamp.exists() and stamp.read_text(encoding="utf-8") == pinned:
        return
    print("installing the clients of the corpus (once; some minutes)", flush=True)
    if not pip("-r", str(PINNED)):
        for line in pinned.splitlines():
            if line and not line.startswith("#") and not pip(line):
                print(f"NOT INSTALLED: {line}", flush=True)
    stamp.write_text(pinned, encoding="utf-8")


if __name__ == "__main__":
    main()
