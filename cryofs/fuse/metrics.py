"""The figures of a mount for Prometheus, over HTTP.

Threads: the library's server has its own; each request asks the file system for its figures as of then.
"""

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cryofs.config.settings import Address, parse_address
from cryofs.errors import MountError

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


def serve_metrics(address: Address, facts: Callable[[], dict[str, Any]]) -> None:
    """Serve figures at ``http://ADDRESS/metrics`` until the process ends.

    Parameters
    ----------
    address : Address
        Where.
    facts : callable
        The figures as of now.

    Raises
    ------
    MountError
        It cannot be used.
    """
    host, port = parse_address(address)
    registry = CollectorRegistry()
    registry.register(_Figures(facts))
    try:
        start_http_server(port, host, registry)
    except OSError as error:
        raise MountError(f"{address}: no metrics can be served there ({error}); choose another --metrics") from error


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
