"""Logs which files a process opens; imported by processes of a run that a test starts."""

import os
import sys

_log = os.open(os.environ["CRYOFS_TEST_OPENS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC)


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str):
        os.write(_log, os.fsencode(arguments[0]) + b"\n")


sys.addaudithook(_hook)
