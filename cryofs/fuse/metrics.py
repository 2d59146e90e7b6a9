"""Prometheus metrics of a mount over HTTP.

Threads: the HTTP server has its own threads; each request reads the current figures of the file system.
"""

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cryofs.config.settings import Address, parse_address
from cryofs.errors import MountError

# description of each metric
_COUNTERS = {
    "reads": "Read requests from the kernel.",
    "bytes_read": "Bytes returned to readers.",
    "hits": "Requested frames found in the cache or already being decoded.",
    "misses": "Requested frames that had to be decoded.",
    "decodes": "Frames decoded.",
    "decode_seconds": "Time spent decoding, summed over threads.",
    "read_ahead": "Frames decoded by read-ahead.",
    "failures": "Frames that failed to decode.",
    "eer_damaged_frames": "Damaged EER frames excluded from fractions.",
    "eer_saturated_values": "Values of EER fractions clipped to the limits of their type.",
}
_GAUGES = {
    "open_files": "Open files.",
    "damaged_files": "Files with a movie name that appear damaged.",
    "cached_bytes": "Size of the frames in the cache in bytes.",
    "budget_bytes": "Maximum size of the cache in bytes.",
    "seconds": "Time since mounting in seconds.",
}

# figures of a writable mount
_INGEST_COUNTERS = {
    "ingested": "Written movies that became archived movies.",
    "original_bytes": "Size of the ingested movies before in bytes.",
    "stored_bytes": "Size of the ingested movies in the archive in bytes.",
    "kept_plain": "Written files with a movie name that stay plain files.",
}
_INGEST_GAUGES = {"failed": "Written movies that could not be archived."}
# figures of each reason why movies wait
_WAITING = {
    "files": "Written movies that wait to be archived, by reason.",
    "bytes": "Size of the movies that wait to be archived in bytes, by reason.",
    "oldest_seconds": "Time that the oldest movie has waited in seconds, by reason.",
}


def serve_metrics(address: Address, facts: Callable[[], dict[str, Any]]) -> None:
    """Serve metrics at ``http://ADDRESS/metrics`` until the process ends.

    Parameters
    ----------
    address : Address
        Host and port.
    facts : callable
        Function that returns the current figures.

    Raises
    ------
    MountError
        If the address is not available.
    """
    host, port = parse_address(address)
    registry = CollectorRegistry()
    registry.register(_Figures(facts))
    try:
        start_http_server(port, host, registry)
    except OSError as error:
        raise MountError(f"{address}: cannot serve metrics ({error}); choose another address with --metrics") from error


class _Figures(Collector):
    """Prometheus collector that returns the current figures."""

    def __init__(self, facts: Callable[[], dict[str, Any]]):
        self._facts = facts

    def collect(self) -> Iterator[Metric]:
        facts = self._facts()
        archive = str(facts["archive"])
        yield from _metrics(archive, facts, "", _COUNTERS, _GAUGES)
        if ingest := facts.get("ingest"):
            yield from _metrics(archive, ingest, "ingest_", _INGEST_COUNTERS, _INGEST_GAUGES)
            for name, meaning in _WAITING.items():
                metric = GaugeMetricFamily(f"cryofs_waiting_{name}", meaning, labels=["archive", "reason"])
                for reason, figures in ingest["waiting"].items():
                    metric.add_metric([archive, reason], float(figures[name]))
                yield metric


def _metrics(
    archive: str, facts: dict[str, Any], prefix: str, counters: dict[str, str], gauges: dict[str, str]
) -> Iterator[Metric]:
    for names, family in ((counters, CounterMetricFamily), (gauges, GaugeMetricFamily)):
        for name, meaning in names.items():
            metric = family(f"cryofs_{prefix}{name}", meaning, labels=["archive"])
            # the cache does not exist before the mount is live
            if name in facts:
                metric.add_metric([archive], float(facts[name]))
            yield metric
