"""Commands in processes of their own, and the error line of a command that fails."""

import os
import subprocess
import sys

PYTHON = (sys.executable, "-m", "cryofs")


def error_line(done: subprocess.CompletedProcess[str], code: int = 1) -> str:
    """Return the only error line of a failed command."""
    # Matplotlib prints a line when it is first used
    ignored = (": good", ": restored", "building the font cache; this may take a moment.")
    (line,) = [line for line in done.stderr.splitlines() if not line.endswith(ignored)]
    assert done.returncode == code, done
    assert line.startswith("cryofs: ")
    return line


def run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command; keep only the error lines of cryofs in its standard error."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)
    done.stderr = "".join(line for line in done.stderr.splitlines(keepends=True) if line.startswith("cryofs: "))
    return done
