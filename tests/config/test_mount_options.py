"""What stands behind `-o`: each kind of option, what is refused, and escapes."""

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
    without_words_of_mount,
)
from cryofs.errors import UsageError


def test_nothing_is_the_default() -> None:
    assert parse_options("") == parse_options(",,") == (MountOptions(), {})
    assert fuse_options(MountOptions()) == {}


def test_each_kind() -> None:
    name = pwd.getpwuid(os.getuid()).pw_name
    options, settings = parse_options(
        f"allow_other,uid={name},gid=7,umask=027,ro,cache-size=8GiB,jobs=4,eer_apply_gain"
    )
    assert (options.allow_other, options.uid, options.gid, options.umask) == (True, os.getuid(), 7, 0o27)
    assert settings == {"cache_size": "8GiB", "jobs": "4", "eer_apply_gain": True}


def test_spaces_around_names_mean_nothing() -> None:
    assert parse_options("allow_other, umask=027 , ,ro ") == parse_options("allow_other,umask=027")
    assert without_words_of_mount("noauto, _netdev , x-systemd.automount") == ""


def test_the_last_of_two_counts_as_for_mount() -> None:
    options, settings = parse_options("umask=1,jobs=1,umask=2,jobs=2")
    assert (options.umask, settings) == (2, {"jobs": "2"})
    assert [parse_options(text)[0].noexec for text in ("noexec,exec", "exec,noexec")] == [False, True]


def test_fuse_gets_what_is_its_own() -> None:
    options, _ = parse_options(r"attr_timeout=0,context=a:b\,c,noexec,uid=1,log_level=debug,fsname=x")
    assert fuse_options(options) == {"attr_timeout": "0.0", "context": r"a:b\,c", "noexec": True}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("allow_othr", "-o allow_othr: there is no such option; did you mean allow_other"),
        ("cache-sise=4", "did you mean cache_size"),
        ("noauto", "there is no such option"),
        ("rw", "always read-only; leave this option out"),
        ("kernel_cache", "leave this option out"),
        ("umask=9", "umask: '9' is no umask; write permissions in octal"),
        ("umask", "-o umask: has no value; write umask=027"),
        ("cache_size", "-o cache_size: has no value; write cache_size=8GiB"),
        ("umask=0o7", "octal"),
        ("uid=nobody-of-this-name", "there is no user 'nobody-of-this-name'"),
        ("gid=nobody-of-this-name", "there is no group"),
        ("uid=", "there is no user ''"),
        ("uid=-1", "there is no user"),
        ("uid=4294967295", "is no number of a user"),
        ("uid", "-o uid: has no value; write uid=..."),
        ("ro=1", "-o ro: takes no value; write ro alone"),
        ("remount", "keep their options until they are unmounted"),
        ("zzzzz", "-o zzzzz: there is no such option; there are uid, gid, umask"),
        ("allow_other=perhaps", "allow_other: 'perhaps' cannot be; write true or false"),
        ("log_level=warn", "log_level: 'warn' cannot be; write debug, error, info or warning"),
        ("log_file=here.log", "write an absolute path"),
        ("allow_root,allow_other", "allow_other and allow_root exclude each other"),
        ("max_idle_threads=0", "max_idle_threads: '0' cannot be; write a whole number above 0"),
        ("attr_timeout=nan", "attr_timeout"),
    ],
)
def test_what_cannot_be_is_told(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_options(text)
    assert said in str(caught.value)


@given(st.lists(st.text(alphabet=st.sampled_from("ab,\\= é"), min_size=1)))
def test_values_come_back_from_a_list(values: list[str]) -> None:
    pieces = split_options(",".join(f"log_file=/{escaped(value)}" for value in values))
    assert [parse_options(piece)[0].log_file for piece in pieces] == [f"/{value}" for value in values]


@given(st.text())
def test_any_text_is_options_or_refused(text: str) -> None:
    with contextlib.suppress(UsageError):
        parse_options(text)


def test_a_backslash_at_the_end_is_one() -> None:
    assert parse_options("log_file=/a\\")[0].log_file == "/a\\"


def test_words_of_mount_and_systemd_are_none_of_ours() -> None:
    theirs = "rw,defaults,noauto,nofail,_netdev,user,x-systemd.automount,X-a=b,comment=c,x-systemd.idle-timeout=5min"
    assert without_words_of_mount(f"{theirs},allow_other,{theirs}") == "allow_other"
    assert without_words_of_mount(theirs) == ""
    assert without_words_of_mount(r"fsname=a\,noauto,rww") == r"fsname=a\,noauto,rww"
