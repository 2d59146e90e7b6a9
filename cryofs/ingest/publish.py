"""Give the draft of an archived movie its name, and remove the plain movie that it replaces.

`publish` is the last part of an ingestion, in the process that knows the writers of the plain file. `cryofs ingest`
knows them by leases (`cryofs.storage.leases.LeaseUsers`), a writable mount by its table of open files.
"""

from cryofs.errors import ChangedError
from cryofs.ingest.draft import Ready
from cryofs.storage.checksum_lists import recorded, replacing, update
from cryofs.storage.file_state import is_still
from cryofs.storage.steps import Ended, Users, replace_twin


def publish(ready: Ready, users: Users) -> Ended:
    """Replace a plain movie by its archived movie, durably; the draft is gone afterwards.

    The caller holds the lock of the archive, and, in a mount, that of the file.

    Raises
    ------
    ChangedError
        The plain movie changed since its draft was begun, or has a writer. Nothing was done.
    OSError
        A call failed. The plain movie is there, or the journal has a line for a recovery.
    """
    try:
        # `users` compares with the state that it was given; the draft was compared with this one
        if not is_still(ready.plain, ready.state):
            raise ChangedError(f"{ready.plain}: changed or replaced since it was read; retry later")
        # a file that had the name of the archived movie may have left a line
        with replacing(ready.target):
            ended = replace_twin("ingest", ready.draft, ready.target, ready.plain, users)
        if ended is not Ended.PUT_BACK and recorded(ready.plain) is not None:
            # an earlier attempt kept it plain, or compress copied it
            update(ready.plain.parent, {ready.plain.name: None})
        return ended
    finally:
        ready.discard()
