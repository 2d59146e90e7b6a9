"""Settings: sizes, the settings file of an archive, and options that override it."""

import contextlib
import errno
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryofs.config.settings import FILE_NAME, Settings, load_settings, parse_address, parse_size
from cryofs.errors import SettingsError, UsageError
from cryofs.system.resources import default_cache_size, usable_cores


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("1000", 1000),
        (1000, 1000),
        ("500MB", 500 * 10**6),
        ("4GiB", 4 << 30),
        ("4gib", 4 << 30),
        ("4Gi", 4 << 30),
        ("4G", 4 * 10**9),
        ("64 KiB", 64 << 10),
        ("1.5MiB", 3 << 19),
        ("2TB", 2 * 10**12),
        ("2TiB", 2 << 40),
        ("7B", 7),
        (" 8k ", 8000),
    ],
)
def test_sizes(text: str | int, expected: int) -> None:
    assert parse_size(text) == expected


@given(st.integers(0, 2**63 - 1))
def test_plain_numbers_are_bytes(number: int) -> None:
    assert parse_size(str(number)) == parse_size(number) == number


@pytest.mark.parametrize("text", ["", "much", "-1", "1e5", "4 Gibi", "4iB", "GiB", "4GiB more", "1.", ".5M", "9" * 400])
def test_invalid_sizes(text: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(repr(text))):
        parse_size(text)


@given(st.text())
def test_any_text_is_a_size_or_an_error(text: str) -> None:
    with contextlib.suppress(SettingsError):
        assert parse_size(text) >= 0


def load(folder: Path, text: str, **options: Any) -> Settings:
    (folder / FILE_NAME).write_text(text)
    return load_settings(folder, options)


def test_options_as_text(tmp_path: Path) -> None:
    texts = {"jobs": "3", "readahead": "1MiB", "eer_upsampling": "2", "request_timeout": "1.5", "eer_gain": "a.gain"}
    found = load(tmp_path, "jobs = 1", **texts, eer_apply_gain="true", metrics="9555")
    assert (found.jobs, found.readahead, found.eer_upsampling, found.request_timeout) == (3, 1 << 20, 2, 1.5)
    assert (found.eer_apply_gain, found.metrics, found.eer_gain) == (True, "9555", str(tmp_path / "a.gain"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("jobs", "0"), ("jobs", "many"), ("jobs", True), ("metrics", True), ("readahead", True), ("eer_gain", True)),
        *(
            ("eer_upsampling", "3"),
            ("eer_crop", "4"),
            ("request_timeout", "nan"),
            ("eer_apply_gain", "maybe"),
            ("eer_dtype", "int32"),
        ),
    ],
)
def test_error_begins_with_the_name_of_the_option(tmp_path: Path, name: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"^{name}: "):
        load_settings(tmp_path, {name: value})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("jobs", "0", "invalid value '0'; expected a whole number above 0"),
        ("eer_upsampling", 3, "invalid value 3; expected 1, 2 or 4"),
        ("eer_dtype", "int32", "invalid value 'int32'; expected float32, int16, int8 or uint16"),
        ("eer_apply_gain", "maybe", "invalid value 'maybe'; expected true or false"),
        ("request_timeout", "0", "invalid value '0'; expected a number above 0 up to 86400"),
        ("eer_dose_per_fraction", -1, "invalid value -1; expected a number above 0 up to 1e+06"),
        ("eer_gain", 1, "invalid value 1; expected text"),
        ("cache_size", "8", "8 bytes is too small for a frame; expected at least 1MB, such as 8GiB"),
        ("cache_size", 0, "0 bytes is too small"),
        ("cache_size", 999_999, "999999 bytes is too small"),
    ],
)
def test_error_contains_the_expected_value(tmp_path: Path, name: str, value: object, message: str) -> None:
    with pytest.raises(UsageError, match=f"^{name}: {re.escape(message)}"):
        load_settings(tmp_path, {name: value})


def test_smallest_cache(tmp_path: Path) -> None:
    assert load(tmp_path, 'cache_size = "1MB"').cache_size == 10**6
    with pytest.raises(SettingsError, match=f"{FILE_NAME}: cache_size: 8 bytes is too small for a frame"):
        load(tmp_path, "cache_size = 8")


@pytest.mark.parametrize("gain", ["link.gain", "../other.gain", "sub/../../other.gain"])
def test_relative_gain_must_not_lead_out_of_the_archive(tmp_path: Path, gain: str) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    (tmp_path / "other.gain").touch()
    (archive / "link.gain").symlink_to(tmp_path / "other.gain")
    with pytest.raises(SettingsError, match=r"cryofs\.toml: eer_gain = .*: file outside the archive"):
        load(archive, f'eer_gain = "{gain}"')
    # an absolute path is allowed
    assert load(archive, f'eer_gain = "{tmp_path}/other.gain"').eer_gain == f"{tmp_path}/other.gain"


@pytest.mark.parametrize("text", ["9555", '"9555"', '"localhost:9555"', '"[::1]:9555"'])
def test_addresses(tmp_path: Path, text: str) -> None:
    found = load(tmp_path, f"metrics = {text}").metrics
    assert found == text.strip('"')
    hosts = {"localhost:9555": "localhost", "[::1]:9555": "::1"}
    assert parse_address(found) == (hosts.get(found, "127.0.0.1"), 9555)


@pytest.mark.parametrize("value", ["abc", "99999", 99999, 0, -1, "host:", "", True, 1.5])
def test_invalid_addresses(tmp_path: Path, value: object) -> None:
    with pytest.raises(UsageError, match=r"^metrics: invalid address "):
        load_settings(tmp_path, {"metrics": value})


def test_defaults(tmp_path: Path) -> None:
    found = load_settings(tmp_path, {})
    assert (found.cache_size, found.readahead) == (default_cache_size(), 1 << 20)
    assert found.jobs == usable_cores()
    assert load(tmp_path, "") == found


def test_options_override_the_file(tmp_path: Path) -> None:
    text = 'cache_size = "8GiB"  # as text\nreadahead = 4096  # as a number\njobs = 3\n'
    assert load(tmp_path, text) == Settings(cache_size=parse_size("8GiB"), readahead=parse_size(4096), jobs=3)
    found = load(tmp_path, text, cache_size="1GB", jobs=5, readahead=None)
    assert found == Settings(cache_size=parse_size("1GB"), readahead=parse_size(4096), jobs=5)


@pytest.mark.parametrize(
    "text",
    [
        "cache_sise = 5",
        "jobs = 0",
        "jobs = -1",
        'jobs = "4"',
        "jobs = 1.5",
        'cache_size = "large"',
        "cache_size = -1",
        "cache_size = 1.5",
        "cache_size = true",
        "cache_size = [1]",
        "readahead = 1979-05-27",
        "[mount]\njobs = 4",
        "jobs = ",
        "jobs 4",
        "jobs = " + "9" * 5000,
        "jobs = " + "[" * 10_000,
    ],
)
def test_invalid_files(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, text)
    assert str(tmp_path / FILE_NAME) in str(caught.value)
    # the valid names are listed only if a name is unknown
    unknown = "unknown setting" in str(caught.value)
    assert unknown == (text.startswith(("cache_sise", "[mount]")))
    assert unknown == ("valid settings: cache_size, jobs, readahead" in str(caught.value))


def test_size_without_quotes(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r'line 1.*; write .* quote text and sizes: cache_size = "8GiB"'):
        load(tmp_path, "cache_size = 8GiB")


def test_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    assert load(tmp_path, "\ufeffjobs = 3\n").jobs == 3


def test_only_a_missing_file_means_defaults(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.mkdir()
    with pytest.raises(SettingsError, match=f"{FILE_NAME}: not a regular file; .* remove it"):
        load_settings(tmp_path, {})
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(SettingsError, match="not a regular file"):
        load_settings(tmp_path, {})
    path.unlink()
    path.symlink_to("nowhere")
    with pytest.raises(SettingsError, match=f"{FILE_NAME}: dangling link to nowhere; correct"):
        load_settings(tmp_path, {})
    (tmp_path / "nowhere").write_text("jobs = 3")
    assert load_settings(tmp_path, {}).jobs == 3


def test_file_without_read_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    (tmp_path / FILE_NAME).touch()
    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(SettingsError, match=f"{FILE_NAME}: Permission denied; grant read permission$"):
        load_settings(tmp_path, {})


@pytest.mark.parametrize(
    ("name", "suggestion"), [("cache_sise", "cache_size"), ("eer-grouping", "eer_grouping"), ("job", "jobs")]
)
def test_unknown_name_suggests_the_closest_one(tmp_path: Path, name: str, suggestion: str) -> None:
    with pytest.raises(SettingsError, match=f"{FILE_NAME}: unknown setting '{name}'; did you mean {suggestion}\\?"):
        load(tmp_path, f"{name} = 4")


def test_unknown_name_lists_valid_settings(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="unknown setting 'colour'; valid settings:"):
        load(tmp_path, "colour = 4")


def test_file_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"jobs = \xff")
    with pytest.raises(SettingsError, match=f"{FILE_NAME}: not valid UTF-8; save the file as UTF-8"):
        load_settings(tmp_path, {})


@pytest.mark.parametrize("options", [{"jobs": 0}, {"cache_size": "large"}, {"color": "blue"}], ids=str)
def test_errors_of_options_do_not_name_the_file(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, "jobs = 3", **options)
    assert FILE_NAME not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("eer_grouping = 0", "eer_grouping"),
        ("eer_upsampling = 3", "eer_upsampling"),
        ('eer_dtype = "int32"', "eer_dtype"),
        ('eer_leftover = "pad"', "eer_leftover"),
        ("eer_dose_per_fraction = -1.0", "eer_dose_per_fraction"),
        ("eer_apply_gain = true", "eer_gain"),
        ("eer_crop = 1", "eer_crop must be less than eer_upsampling"),
        ("eer_upsampling = 2\neer_crop = 2", "eer_crop must be less than eer_upsampling"),
        ("eer_upsampling = 4\neer_crop = 3", "eer_crop"),
        ('eer_upsampling = 4\neer_crop = 1\neer_dtype = "int8"', "eer_crop yields float32 or int16"),
        ("eer_grouping = 4\neer_dose_per_fraction = 1.0", "are mutually exclusive"),
    ],
)
def test_invalid_eer_settings(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / FILE_NAME).write_text(line)
    with pytest.raises(SettingsError, match=f"{FILE_NAME}.*{message}"):
        load_settings(tmp_path, {})


def test_grouping_option_replaces_a_dose_in_the_file(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("eer_dose_per_fraction = 1.0\n")
    assert load_settings(tmp_path, {}).eer_dose_per_fraction == 1.0
    found = load_settings(tmp_path, {"eer_grouping": 8})
    assert (found.eer_grouping, found.eer_dose_per_fraction) == (8, None)
    with pytest.raises(SettingsError, match="mutually exclusive"):
        load_settings(tmp_path, {"eer_grouping": 8, "eer_dose_per_fraction": 1.0})


def test_relative_gain_of_the_file_is_in_the_archive(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text('eer_gain = "falcon.gain"\n')
    assert load_settings(tmp_path, {}).eer_gain == str(tmp_path / "falcon.gain")
    assert load_settings(tmp_path, {"eer_gain": "/other.gain"}).eer_gain == "/other.gain"
