"""The version of cryofs. This module imports nothing, so that any module can import it."""

VERSION = "0.1.0"
