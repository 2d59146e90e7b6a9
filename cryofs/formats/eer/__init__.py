"""EER files: location of the event stream of each frame, bit layout of events, and metadata.

There are two containers: BigTIFF (or classic TIFF) with one image directory for each frame, and an older container
without TIFF, in which each frame is followed by its size and a footer. `cryofs.kernels.eer_events` decodes the events.

Format rules: the EER specification and readers of Thermo Fisher Scientific (github.com/fei-company/EerReaderLib), and
RELION. Cameras and readers disagree on whether unused sub-pixel bits follow a run length of all ones;
`cryofs.movies.eer_overflow` determines this for each file.
"""

from cryofs.formats.eer.index import EerIndex, EventCode
from cryofs.formats.eer.reader import EventStreams, content_digest, read_index, read_streams

__all__ = ["EerIndex", "EventCode", "EventStreams", "content_digest", "read_index", "read_streams"]
