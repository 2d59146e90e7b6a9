"""The version, in one place that nothing heavy has to be imported for."""

VERSION = "0.1.0"
