"""Detection of the overflow rule of an EER file.

A run length of all ones places no event. Cameras and readers disagree on whether meaningless sub-pixel bits follow it.
A frame that is read by the wrong rule ends at its last pixel only by chance, so the first frames reveal the rule of a
file. These frames decide for every fraction, so that fractions do not depend on the order of reading.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofs.formats import eer
from cryofs.formats.eer import EerIndex, EventCode, EventStreams
from cryofs.kernels import eer_events
from cryofs.kernels.eer_events import SummedEvents
from cryofs.storage.byte_source import ByteSource

# Number of frames that determine the rule.
_FRAMES = 8
# A frame that follows the rule of the file is intact, whatever bytes come after its end. A frame of the other rule must
# end within the last code and the padding of its stream: one damaged frame in fifty ends at the last pixel by chance.
_MOST_UNREAD_BITS = 96


def find_code(source: ByteSource, index: EerIndex) -> EventCode:
    """Return the bit layout by which more of the first frames are intact; on a tie, the usual layout.

    Raises
    ------
    ChangedError
        The file was truncated after it was indexed.
    """
    if index.other_code is None:
        return index.code
    frames = np.flatnonzero(index.intact)[:_FRAMES].tolist()
    streams = eer.read_streams(source, index, frames)

    def intact(code: EventCode) -> tuple[int, int]:
        found = eer_events.sum_events(streams.words, streams.starts, streams.ends, index.shape, code.parts, 1)
        is_intact = found.events >= 0
        return int(is_intact.sum()), -int(found.unread[is_intact].sum())

    return max(index.code, index.other_code, key=intact)


def sum_frames(
    streams: EventStreams,
    index: EerIndex,
    code: EventCode,
    upsampling: int,
    memory: NDArray[Any] | None = None,
) -> SummedEvents:
    """Return the summed image of some frames; read frames that are damaged by the rule of the file by the other rule.

    Parameters
    ----------
    code : EventCode
        Result of `find_code`.
    memory : ndarray or None
        See `eer_events.sum_events`.
    """
    found = eer_events.sum_events(
        streams.words, streams.starts, streams.ends, index.shape, code.parts, upsampling, memory
    )
    damaged = np.flatnonzero(found.events < 0)
    if not len(damaged) or index.other_code is None:
        return found
    parts = (index.other_code if code == index.code else index.code).parts
    starts, ends = streams.starts[damaged], streams.ends[damaged]
    other = eer_events.sum_events(streams.words, starts, ends, index.shape, parts, 1)
    is_intact = (other.events >= 0) & (other.unread <= _MOST_UNREAD_BITS)
    if not is_intact.any():
        return found
    more = eer_events.sum_events(streams.words, starts[is_intact], ends[is_intact], index.shape, parts, upsampling)
    events = found.events.copy()
    events[damaged[is_intact]] = more.events
    image = np.add(found.image, more.image, dtype=np.min_scalar_type(len(events)))
    return SummedEvents(image, events, found.unread)
