"""Checks of the administration of simulated machines: each problem, and its absence."""

import os
import time
from pathlib import Path

import pytest

from cryofs.doctor import administration as checks
from cryofs.doctor.finding import Finding, Level

UNIT = "ExecStartPre=-/usr/local/bin/cryofs umount\nExecStart=/usr/local/bin/cryofs mount\nExecReload=/bin/kill\n"
MOUNTS = "22 1 0:21 / / rw - ext4 /dev/vda rw\n23 22 0:22 / /far rw - nfs4 server:/ rw\n"
LINE = "/archive/session /mnt/movies fuse.cryofs allow_other,uid=1,cache_size=8GiB 0 0\n"
CONF = "# session\nARCHIVE=/archive/session\nMOUNTPOINT = '/mnt/movies'\nOPTIONS=-o allow_other\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Simulated machine with everything set up correctly."""
    for folder in ("archive/session", "mnt/movies", "far/session", "sbin", "opt"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("opt/bin/mount.cryofs", "opt/bin/mount.fuse.cryofs", "usr/local/bin/cryofs"):
        fake(tmp_path, name, "").chmod(0o755)
    for name in ("mount.cryofs", "mount.fuse.cryofs"):
        (tmp_path / "sbin" / name).symlink_to(tmp_path / "opt/bin" / name)
    fake(tmp_path, "etc/fstab", f"# archives\n/dev/vda / ext4 defaults 0 1\n{LINE}")
    fake(tmp_path, "etc/systemd/system/cryofs@.service", UNIT)
    fake(tmp_path, "opt/share/cryofs/systemd/cryofs@.service", UNIT)
    fake(tmp_path, "etc/cryofs/session.conf", CONF)
    fake(tmp_path, "proc/self/mountinfo", MOUNTS)
    return tmp_path


def fake(root: Path, name: str, text: str) -> Path:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)
    return root / name


def found(root: Path) -> list[Finding]:
    """Return the findings that are not ok."""
    findings = checks.check_administration(root, root / "opt")
    assert all(bool(finding.remedy) for finding in findings if finding.level is not Level.OK)
    return [finding for finding in findings if finding.level is not Level.OK]


def only(root: Path) -> Finding:
    (finding,) = found(root)
    return finding


def test_machine_without_problems(root: Path) -> None:
    assert found(root) == []
    texts = [finding.what for finding in checks.check_administration(root, root / "opt")]
    assert len(texts) == 5
    assert any("/etc/fstab, /mnt/movies: valid (archive /archive/session)" in what for what in texts)
    assert any("/archive/session at /mnt/movies, by cryofs@session" in what for what in texts)


def test_machine_without_administration(tmp_path: Path) -> None:
    fake(tmp_path, "proc/self/mountinfo", MOUNTS)
    (finding,) = checks.check_administration(tmp_path, tmp_path / "opt")
    assert finding.level is Level.OK
    assert f"ln -sf {tmp_path}/opt/bin/mount.fuse.cryofs /sbin/mount.fuse.cryofs" in finding.remedy


def test_fstab_line_needs_its_helper(root: Path) -> None:
    (root / "sbin/mount.fuse.cryofs").unlink()
    assert only(root).level is Level.PROBLEM
    assert "mount(8) cannot use lines of /etc/fstab" in only(root).what
    (root / "sbin/fs.d").mkdir()
    (root / "sbin/fs.d/mount.fuse.cryofs").symlink_to(root / "opt/bin/mount.fuse.cryofs")
    assert found(root) == []


def test_mountpoint_that_is_not_empty(root: Path) -> None:
    fake(root, "mnt/movies/notes.txt", "")
    findings = found(root)
    assert [finding.level for finding in findings] == [Level.PROBLEM] * 2
    assert all("is not empty" in finding.what and "nonempty" in finding.remedy for finding in findings)
    fake(root, "etc/fstab", LINE.replace("uid=1", "nonempty"))
    fake(root, "etc/cryofs/session.conf", CONF.replace("allow_other", "allow_other,nonempty"))
    assert found(root) == []
    # an existing mount is not accessed
    fake(root, "etc/fstab", LINE)
    fake(root, "etc/cryofs/session.conf", CONF)
    fake(root, "proc/self/mountinfo", MOUNTS + "24 22 0:23 / /mnt/movies ro - fuse.cryofs /archive/session ro\n")
    assert found(root) == []


@pytest.mark.parametrize(
    "line", ["\\", r"/a\777 /b\000 fuse.cryofs", "/a /b", "fuse.cryofs", "/a /b ext4 \udcff", "\t"]
)
def test_fstab_lines_that_do_not_parse(root: Path, line: str) -> None:
    before = checks.check_administration(root, root / "opt")
    fstab = root / "etc/fstab"
    fstab.write_bytes(os.fsencode(f"{line}\n") + fstab.read_bytes())
    assert [finding for finding in checks.check_administration(root, root / "opt") if finding in before] == before


def test_helper_of_another_installation(root: Path) -> None:
    (root / "sbin/mount.cryofs").unlink()
    (root / "sbin/mount.cryofs").symlink_to("nowhere")
    assert only(root).level is Level.PROBLEM
    fake(root, "sbin/nowhere", "").chmod(0o755)
    assert only(root).level is Level.WARNING
    assert "another installation" in only(root).what


@pytest.mark.parametrize(
    ("archive", "place", "options", "level", "what", "remedy"),
    [
        (
            "/nowhere",
            "/mnt/movies",
            "allow_other",
            "problem",
            "the archive /nowhere does not exist",
            "mount the storage",
        ),
        ("/archive/session", "/no", "allow_other", "problem", "the mountpoint /no does not exist", "mkdir -p /no"),
        ("/archive/session", "/mnt/movies", "allow_othr,allow_other", "problem", "did you mean allow_other", "correct"),
        (
            "/archive/session",
            "/mnt/movies",
            "allow_other,jobs=0",
            "problem",
            "jobs: invalid value '0'; expected a",
            "correct the line",
        ),
        ("/archive/session", "/mnt/movies", "allow_other,uid=no-such-user", "problem", "unknown user", "correct"),
        ("archive/session", "/mnt/movies", "allow_other", "problem", "relative path of the archive", "absolute"),
        (
            "/archive/session",
            "/mnt/movies",
            "allow_other,metrics=abc",
            "problem",
            "metrics: invalid address 'abc'",
            "correct",
        ),
        ("/archive/session", "/mnt/movies", "allow_other,cache_size=8", "problem", "cache_size: ", "correct the line"),
        ("/archive/session", "/mnt/movies", "allow_other,eer_gain=no.gain", "problem", "no.gain is missing", "correct"),
        (
            "/archive/session",
            "/mnt/movies",
            "allow_other,eer_gain=/no.gain",
            "problem",
            "no.gain is missing",
            "correct",
        ),
        ("/far/session", "/mnt/movies", "allow_other", "warning", "the archive is on nfs4", "_netdev"),
        ("/archive/session", "/mnt/movies", "", "warning", "only the user who mounts it", "allow_other"),
        (
            "/archive/session",
            "/mnt/movies",
            "allow_other,user",
            "warning",
            "users may mount this",
            "/etc/fuse.conf",
        ),
    ],
)
def test_fstab_lines_with_problems(
    root: Path, archive: str, place: str, options: str, level: str, what: str, remedy: str
) -> None:
    fake(root, "etc/fstab", f"{archive} {place} cryofs {options}\n")
    finding = only(root)
    assert (finding.level, what in finding.what, remedy in finding.remedy) == (level, True, True), finding


@pytest.mark.parametrize(
    "line",
    [
        "/far/session /mnt/movies cryofs allow_other,_netdev",
        "/far/session /mnt/movies cryofs allow_other,noauto,x-systemd.automount",
        r"/archive/my\040session /mnt/movies fuse.cryofs rw,allow_other",
        "# /nowhere /nowhere cryofs jobs=0",
        "/nowhere /nowhere ext4 jobs=0",
        "short",
    ],
)
def test_valid_fstab_lines(root: Path, line: str) -> None:
    (root / "archive/my session").mkdir()
    fake(root, "etc/fstab", line + "\n")
    assert found(root) == []


def test_fstab_line_whose_archive_has_invalid_settings(root: Path) -> None:
    fake(root, "archive/session/cryofs.toml", "jobs = 0")
    assert f"/etc/fstab, /mnt/movies: {root}/archive/session/cryofs.toml: jobs: " in only(root).what
    assert only(root).remedy == "correct this file in the archive"


def test_fstab_line_with_an_existing_gain(root: Path) -> None:
    fake(root, "falcon.gain", "")
    fake(root, "archive/session/falcon.gain", "")
    for gain in ("falcon.gain", "/falcon.gain"):
        fake(root, "etc/fstab", LINE.replace("uid=1", f"eer_gain={gain}"))
        assert found(root) == []


def test_fstab_line_with_permitted_users(root: Path) -> None:
    fake(root, "etc/fstab", "/archive/session /mnt/movies cryofs allow_other,users\n")
    fake(root, "etc/fuse.conf", "user_allow_other\n")
    assert found(root) == []


def test_mountpoint_in_use_is_not_accessed(root: Path) -> None:
    (root / "mnt/movies").rmdir()
    assert len(found(root)) == 2
    fake(root, "proc/self/mountinfo", MOUNTS + "24 22 0:23 / /mnt/movies ro - fuse.cryofs /archive/session ro\n")
    assert found(root) == []


def test_missing_command_of_a_service(root: Path) -> None:
    (root / "usr/local/bin/cryofs").unlink()
    assert only(root).level is Level.PROBLEM
    assert only(root).remedy == f"as root: ln -sf {root}/opt/bin/cryofs /usr/local/bin/cryofs"


def test_services_that_write_are_checked_too(root: Path) -> None:
    for name in ("cryofs-writable@.service", "cryofs-ingest@.service"):
        fake(root, f"etc/systemd/system/{name}", UNIT.replace("cryofs ", "missing "))
    assert [finding.what.partition(":")[0] for finding in found(root)] == [
        f"{root}/etc/systemd/system/cryofs-writable@.service",
        f"{root}/etc/systemd/system/cryofs-ingest@.service",
    ]


def test_unit_of_another_version(root: Path) -> None:
    fake(root, "opt/share/cryofs/systemd/cryofs@.service", UNIT + "Type=notify\n")
    assert only(root).level is Level.WARNING
    assert f"cp {root}/opt/share/cryofs/systemd/cryofs@.service {root}/etc/systemd/system" in only(root).remedy
    (root / "opt/share/cryofs/systemd/cryofs@.service").unlink()
    assert found(root) == []


@pytest.mark.parametrize(
    ("conf", "what"),
    [
        ("", "missing ARCHIVE and MOUNTPOINT"),
        ("ARCHIVE=/archive/session\nMOUNTPOINT=\n", "missing MOUNTPOINT"),
        ("ARCHIVE=session\nMOUNTPOINT=/mnt/movies\n", "missing ARCHIVE"),
        (CONF.replace("/archive", "/nowhere"), "the archive /nowhere/session does not exist"),
        (CONF.replace("/mnt", "/nowhere"), "the mountpoint /nowhere/movies does not exist"),
    ],
)
def test_configurations(root: Path, conf: str, what: str) -> None:
    fake(root, "etc/cryofs/session.conf", conf)
    assert only(root).level is Level.PROBLEM
    assert what in only(root).what


def test_unreadable_configuration(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = root / "etc/cryofs/session.conf"
    path.chmod(0)
    if os.access(path, os.R_OK):
        path.unlink()
        path.mkdir()
    assert only(root).level is Level.WARNING
    assert "not readable" in only(root).what


@pytest.mark.parametrize("name", ["etc/fstab", "etc/cryofs", "proc/self/mountinfo"])
def test_failed_check_is_one_finding_and_the_others_run(root: Path, name: str) -> None:
    before = len(checks.check_administration(root, root / "opt"))
    (root / name).rename(root / "kept")
    # reading it fails for root too
    (root / name).symlink_to(root / name)
    findings = checks.check_administration(root, root / "opt")
    (failed,) = [finding for finding in findings if "check failed" in finding.what]
    assert failed.level is Level.WARNING
    assert name in failed.what
    assert len(findings) >= before - 1


def test_an_archive_whose_storage_hangs_delays_no_other_check(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.is_dir

    def is_folder(path: Path) -> bool:
        if path == root / "archive/session":
            time.sleep(60)
        return real(path)

    monkeypatch.setattr(Path, "is_dir", is_folder)
    monkeypatch.setattr(checks, "_SECONDS", 0.2)
    fstab, configuration = found(root)
    assert fstab.level is configuration.level is Level.PROBLEM
    assert fstab.what == "/etc/fstab, /mnt/movies: storage did not respond within 0.2 s"
    assert configuration.what == f"{root}/etc/cryofs/session.conf: storage did not respond within 0.2 s"
