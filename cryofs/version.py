"""The version, in a module without further imports."""

VERSION = "0.1.0"
