"""Checks of what an administrator has set up, shown on fake machines: each problem, and the absence of it."""

import os
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
    """A machine that is well, with everything set up."""
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
    """What is not well."""
    findings = checks.check_administration(root, root / "opt")
    assert all(bool(finding.remedy) for finding in findings if finding.level is not Level.OK)
    return [finding for finding in findings if finding.level is not Level.OK]


def only(root: Path) -> Finding:
    (finding,) = found(root)
    return finding


def test_a_machine_that_is_well(root: Path) -> None:
    assert found(root) == []
    said = [finding.what for finding in checks.check_administration(root, root / "opt")]
    assert len(said) == 5
    assert any("/etc/fstab, /mnt/movies: can be mounted, shows /archive/session" in what for what in said)
    assert any("/archive/session at /mnt/movies, by cryofs@session" in what for what in said)


def test_a_machine_without_any_of_it(tmp_path: Path) -> None:
    fake(tmp_path, "proc/self/mountinfo", MOUNTS)
    (finding,) = checks.check_administration(tmp_path, tmp_path / "opt")
    assert finding.level is Level.OK
    assert f"ln -sf {tmp_path}/opt/bin/mount.fuse.cryofs /sbin/mount.fuse.cryofs" in finding.remedy


def test_a_line_of_fstab_needs_its_helper(root: Path) -> None:
    (root / "sbin/mount.fuse.cryofs").unlink()
    assert only(root).level is Level.PROBLEM
    assert "mount(8) cannot mount by /etc/fstab" in only(root).what
    (root / "sbin/fs.d").mkdir()
    (root / "sbin/fs.d/mount.fuse.cryofs").symlink_to(root / "opt/bin/mount.fuse.cryofs")
    assert found(root) == []


def test_a_helper_that_leads_elsewhere(root: Path) -> None:
    (root / "sbin/mount.cryofs").unlink()
    (root / "sbin/mount.cryofs").symlink_to("nowhere")
    assert only(root).level is Level.PROBLEM
    fake(root, "sbin/nowhere", "").chmod(0o755)
    assert only(root).level is Level.WARNING
    assert "another installation" in only(root).what


@pytest.mark.parametrize(
    ("archive", "place", "options", "level", "what", "remedy"),
    [
        ("/nowhere", "/mnt/movies", "allow_other", "problem", "there is no archive /nowhere", "mount the storage"),
        ("/archive/session", "/no", "allow_other", "problem", "there is no mountpoint /no", "mkdir -p /no"),
        ("/archive/session", "/mnt/movies", "allow_othr,allow_other", "problem", "did you mean allow_other", "correct"),
        (
            "/archive/session",
            "/mnt/movies",
            "allow_other,jobs=0",
            "problem",
            "jobs: '0' cannot be; write a",
            "correct the line",
        ),
        ("/archive/session", "/mnt/movies", "allow_other,uid=no-such-user", "problem", "there is no user", "correct"),
        ("archive/session", "/mnt/movies", "allow_other", "problem", "is looked for in the folder where", "absolute"),
        ("/archive/session", "/mnt/movies", "allow_other,metrics=abc", "problem", "metrics: 'abc' is no", "correct"),
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
        ("/far/session", "/mnt/movies", "allow_other", "warning", "its archive is on nfs4", "_netdev"),
        ("/archive/session", "/mnt/movies", "", "warning", "only who mounts it", "allow_other"),
        ("/archive/session", "/mnt/movies", "allow_other,user", "warning", "users may mount it", "/etc/fuse.conf"),
    ],
)
def test_lines_of_fstab(root: Path, archive: str, place: str, options: str, level: str, what: str, remedy: str) -> None:
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
def test_lines_of_fstab_that_are_well(root: Path, line: str) -> None:
    (root / "archive/my session").mkdir()
    fake(root, "etc/fstab", line + "\n")
    assert found(root) == []


def test_a_line_of_fstab_whose_archive_has_settings_of_no_use(root: Path) -> None:
    fake(root, "archive/session/cryofs.toml", "jobs = 0")
    assert f"/etc/fstab, /mnt/movies: {root}/archive/session/cryofs.toml: jobs: " in only(root).what
    assert only(root).remedy == "correct this file of the archive"


def test_a_line_of_fstab_with_a_gain_that_is_there(root: Path) -> None:
    fake(root, "falcon.gain", "")
    fake(root, "archive/session/falcon.gain", "")
    for gain in ("falcon.gain", "/falcon.gain"):
        fake(root, "etc/fstab", LINE.replace("uid=1", f"eer_gain={gain}"))
        assert found(root) == []


def test_users_may_mount_where_they_may(root: Path) -> None:
    fake(root, "etc/fstab", "/archive/session /mnt/movies cryofs allow_other,users\n")
    fake(root, "etc/fuse.conf", "user_allow_other\n")
    assert found(root) == []


def test_a_mountpoint_that_is_in_use_is_not_looked_at(root: Path) -> None:
    (root / "mnt/movies").rmdir()
    assert len(found(root)) == 2
    fake(root, "proc/self/mountinfo", MOUNTS + "24 22 0:23 / /mnt/movies ro - fuse.cryofs /archive/session ro\n")
    assert found(root) == []


def test_the_command_of_a_service(root: Path) -> None:
    (root / "usr/local/bin/cryofs").unlink()
    assert only(root).level is Level.PROBLEM
    assert only(root).remedy == f"as root: ln -sf {root}/opt/bin/cryofs /usr/local/bin/cryofs"


def test_a_unit_of_another_version(root: Path) -> None:
    fake(root, "opt/share/cryofs/systemd/cryofs@.service", UNIT + "Type=notify\n")
    assert only(root).level is Level.WARNING
    assert f"cp {root}/opt/share/cryofs/systemd/cryofs@.service {root}/etc/systemd/system" in only(root).remedy
    (root / "opt/share/cryofs/systemd/cryofs@.service").unlink()
    assert found(root) == []


@pytest.mark.parametrize(
    ("conf", "what"),
    [
        ("", "names no ARCHIVE and no MOUNTPOINT"),
        ("ARCHIVE=/archive/session\nMOUNTPOINT=\n", "names no MOUNTPOINT"),
        ("ARCHIVE=session\nMOUNTPOINT=/mnt/movies\n", "names no ARCHIVE"),
        (CONF.replace("/archive", "/nowhere"), "there is no archive /nowhere/session"),
        (CONF.replace("/mnt", "/nowhere"), "there is no mountpoint /nowhere/movies"),
    ],
)
def test_configurations(root: Path, conf: str, what: str) -> None:
    fake(root, "etc/cryofs/session.conf", conf)
    assert only(root).level is Level.PROBLEM
    assert what in only(root).what


def test_a_configuration_that_cannot_be_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = root / "etc/cryofs/session.conf"
    path.chmod(0)
    if os.access(path, os.R_OK):
        path.unlink()
        path.mkdir()
    assert only(root).level is Level.WARNING
    assert "cannot be read" in only(root).what


@pytest.mark.parametrize("name", ["etc/fstab", "etc/cryofs", "proc/self/mountinfo"])
def test_what_cannot_be_looked_at_is_one_finding_and_the_others_go_on(root: Path, name: str) -> None:
    well = len(checks.check_administration(root, root / "opt"))
    (root / name).rename(root / "kept")
    # reading it fails for root, too
    (root / name).symlink_to(root / name)
    findings = checks.check_administration(root, root / "opt")
    (told,) = [finding for finding in findings if "cannot be checked by this user" in finding.what]
    assert told.level is Level.WARNING
    assert name in told.what
    assert len(findings) >= well - 1
