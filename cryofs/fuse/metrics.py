"""The figures of a mount for Prometheus, over HTTP.

Threads: the library's server has its own; each request asks the file system for its figures as of then.
"""

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cryofs.errors import MountError, SettingsError

_LOCAL = "127.0.0.1"
# by the name of a figure: what it is
_COUNTERS = {
    "reads": "Requests of the kernel for bytes.",
    "bytes_read": "Bytes given to readers.",
    "hits": "Frames that were in the cache, or on their way into it.",
    "misses": "Frames that a reader had to have decoded.",
    "decodes": "Frames decoded.",
    "decode_seconds": "Time that decodes took, those side by side added up.",
    "read_ahead": "Frames decoded before a reader asked.",
    "failures": "Frames that could not be decoded.",
    "eer_damaged_frames": "Frames of EER movies that were left out.",
    "eer_saturated_values": "Values of fractions that were too large for their type.",
}
_GAUGES = {
    "open_files": "Open files.",
    "cached_bytes": "Bytes of the frames in the cache.",
    "budget_bytes": "Bytes that the cache may take.",
    "seconds": "Time since the mount was made.",
}


def serve_metrics(address: str, facts: Callable[[], dict[str, Any]]) -> None:
    """Serve figures at ``http://ADDRESS/metrics`` until the process ends.

    Parameters
    ----------
    address : str
        ``HOST:PORT``, or a port alone, which is then reached from this machine only.
    facts : callable
        The figures as of now.

    Raises
    ------
    SettingsError
        No such address.
    MountError
        It cannot be used.
    """
    host, port = _parse(address)
    registry = CollectorRegistry()
    registry.register(_Figures(facts))
    try:
        start_http_server(port, host, registry)
    except OSError as error:
        raise MountError(f"{address}: no metrics can be served there ({error}); choose another --metrics") from error


def _parse(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise SettingsError(f"{address!r} is no address; write a port, as in 9555, or HOST:PORT")
    return host.strip("[]") or _LOCAL, int(port)


class _Figures(Collector):
    """What a scrape is given."""

    def __init__(self, facts: Callable[[], dict[str, Any]]):
        self._facts = facts

    def collect(self) -> Iterator[Metric]:
        facts = self._facts()
        labels = [str(facts["archive"])]
        for names, family in ((_COUNTERS, CounterMetricFamily), (_GAUGES, GaugeMetricFamily)):
            for name, meaning in names.items():
                metric = family(f"cryofs_{name}", meaning, labels=["archive"])
                # before the mount is live there is no cache
                if name in facts:
                    metric.add_metric(labels, float(facts[name]))
                yield metric
