"""EER files: location of the event stream of each frame, bit layout of events, metadata.

There are two containers: BigTIFF (or classic TIFF) with one image directory per frame, and an older container without
TIFF, in which each frame is followed by its size and a footer. `cryofs.kernels.eer_events` decodes the events.

Format rules: the EER specification and readers of Thermo Fisher Scientific (github.com/fei-company/EerReaderLib), and
RELION. Whether a run of all ones is followed by meaningless sub-pixel bits differs between cameras and readers;
`cryofs.movies.eer_overflow` finds out.
"""

from cryofs.formats.eer.index import EerIndex, EventCode
from cryofs.formats.eer.reader import EventStreams, read_index, read_streams

__all__ = ["EerIndex", "EventCode", "EventStreams", "read_index", "read_streams"]
