"""EER files: where the event stream of each frame lies, how its bits are laid out, what the metadata say.

Two containers: BigTIFF (or classic TIFF) with an image directory a frame, and the older one without TIFF, in which each
frame is followed by its size and a footer. Nothing here decodes events; `cryofs.kernels.eer_events` does.

Format rules: the EER specification and readers of Thermo Fisher Scientific (github.com/fei-company/EerReaderLib), and
RELION where readers differ (a run of all ones in 8-bit files is followed by sub-pixel bits that mean nothing).
"""

from cryofs.formats.eer.index import EerIndex, EventCode
from cryofs.formats.eer.reader import EventStreams, read_index, read_streams

__all__ = ["EerIndex", "EventCode", "EventStreams", "read_index", "read_streams"]
