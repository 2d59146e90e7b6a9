"""Options of `-o`: each kind of option, errors, and escapes."""

import contextlib
import os
import pwd

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryofs.config.mount_options import (
    MountOptions,
    escaped,
    fuse_options,
    parse_options,
    split_options,
    without_mount_words,
)
from cryofs.errors import UsageError


def test_empty_list_gives_the_defaults() -> None:
    assert parse_options("") == parse_options(",,") == (MountOptions(), {})
    assert fuse_options(MountOptions()) == {}


def test_each_kind_of_option() -> None:
    name = pwd.getpwuid(os.getuid()).pw_name
    options, settings = parse_options(
        f"allow_other,uid={name},gid=7,umask=027,ro,cache-size=8GiB,jobs=4,eer_apply_gain"
    )
    assert (options.allow_other, options.uid, options.gid, options.umask) == (True, os.getuid(), 7, 0o27)
    assert settings == {"cache_size": "8GiB", "jobs": "4", "eer_apply_gain": True}


def test_spaces_around_names_are_ignored() -> None:
    assert parse_options("allow_other, umask=027 , ,rw ") == parse_options("allow_other,umask=027")
    assert without_mount_words("noauto, _netdev , x-systemd.automount") == ""


def test_last_value_applies() -> None:
    options, settings = parse_options("umask=1,jobs=1,umask=2,jobs=2")
    assert (options.umask, settings) == (2, {"jobs": "2"})
    assert [parse_options(text)[0].noexec for text in ("noexec,exec", "exec,noexec")] == [False, True]


def test_options_for_libfuse() -> None:
    options, _ = parse_options(r"attr_timeout=0,context=a:b\,c,noexec,uid=1,log_level=debug,fsname=x")
    assert fuse_options(options) == {"attr_timeout": "0.0", "context": r"a:b\,c", "noexec": True}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("allow_othr", "-o allow_othr: unknown option; did you mean allow_other"),
        ("cache-sise=4", "did you mean cache_size"),
        ("noauto", "unknown option"),
        ("kernel_cache", "remove this option"),
        *((f"writable,{option}", "mutually exclusive") for option in ("uid=0", "gid=0", "umask=022", "ro")),
        ("umask=9", "umask: invalid umask '9'; expected octal permission bits"),
        ("umask", "-o umask: missing value; write umask=027"),
        ("cache_size", "-o cache_size: missing value; write cache_size=8GiB"),
        ("umask=0o7", "octal"),
        ("uid=no-such-name", "unknown user 'no-such-name'"),
        ("gid=no-such-name", "unknown group"),
        ("uid=", "unknown user ''"),
        ("uid=-1", "unknown user"),
        ("uid=4294967295", "invalid user id"),
        ("uid", "-o uid: missing value; write uid=..."),
        ("ro=1", "-o ro: unexpected value; write ro alone"),
        ("remount", "keep their options until they are unmounted"),
        ("zzzzz", "-o zzzzz: unknown option; valid options: uid, gid, umask"),
        ("allow_other=perhaps", "allow_other: invalid value 'perhaps'; expected true or false"),
        ("log_level=warn", "log_level: invalid value 'warn'; expected debug, error, info or warning"),
        ("log_file=here.log", "not an absolute path"),
        ("allow_root,allow_other", "allow_other and allow_root are mutually exclusive"),
        ("max_idle_threads=0", "max_idle_threads: invalid value '0'; expected a whole number above 0"),
        ("attr_timeout=nan", "attr_timeout"),
    ],
)
def test_errors(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_options(text)
    assert message in str(caught.value)


@given(st.lists(st.text(alphabet=st.sampled_from("ab,\\= é"), min_size=1)))
def test_escaped_values_round_trip(values: list[str]) -> None:
    pieces = split_options(",".join(f"log_file=/{escaped(value)}" for value in values))
    assert [parse_options(piece)[0].log_file for piece in pieces] == [f"/{value}" for value in values]


@given(st.text())
def test_any_text_is_valid_or_an_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        parse_options(text)


def test_backslash_at_the_end() -> None:
    assert parse_options("log_file=/a\\")[0].log_file == "/a\\"


def test_words_of_mount_and_systemd_are_removed() -> None:
    others = "rw,defaults,noauto,nofail,_netdev,user,x-systemd.automount,X-a=b,comment=c,x-systemd.idle-timeout=5min"
    assert without_mount_words(f"{others},allow_other,{others}") == "allow_other"
    assert without_mount_words(others) == ""
    assert without_mount_words(r"fsname=a\,noauto,rww") == r"fsname=a\,noauto,rww"
