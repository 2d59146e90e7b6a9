"""compare with a real mount: a mount is rejected as SOURCE, and shows the files that compare reports as equal."""

from pathlib import Path

from tests.mounted.support import NEEDS_MOUNTS
from tests.small_session import make_small
from tests.support import cryofs, mounted, same_tree

pytestmark = NEEDS_MOUNTS


def test_a_mount_is_rejected_as_source_and_as_archive(tmp_path: Path) -> None:
    source, archive = make_small(tmp_path)
    with mounted(archive, tmp_path / "mnt") as mount:
        same_tree(source, mount)
        for arguments in ((mount, archive), (mount / "Movies", archive / "Movies"), (source, mount)):
            done = cryofs("compare", *arguments, "--remove-source", check=False)
            assert done.returncode == 1
            assert "a cryofs mount" in done.stderr
        same_tree(source, mount)
        # a mount of the archive does not interfere
        assert cryofs("compare", source, archive, "--remove-source").returncode == 0
        assert list(source.iterdir()) == []
        assert (mount / "Movies" / "a.mrc").stat().st_size > 0
