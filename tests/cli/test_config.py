"""`cryofs config` prints the effective settings and their origins."""

import json
from pathlib import Path

from cryofs.config.settings import Settings
from tests.support import cryofs, run_in_process


def test_defaults_and_lines_of_the_file(tmp_path: Path) -> None:
    text = '# settings\njobs = 3\n\n  "cache_size" = \'8GiB\'  # large\neer_gain = "falcon.gain"\n# readahead = 5\n'
    (tmp_path / "cryofs.toml").write_text(text)
    facts = json.loads(cryofs("config", tmp_path, "--json").stdout)
    assert list(facts) == list(Settings.__struct_fields__)
    assert facts["jobs"] == {"value": 3, "origin": "cryofs.toml", "line": 2}
    assert facts["cache_size"] == {"value": 8 << 30, "origin": "cryofs.toml", "line": 4}
    assert facts["eer_gain"] == {"value": str(tmp_path / "falcon.gain"), "origin": "cryofs.toml", "line": 5}
    assert facts["readahead"] == {"value": 1 << 20, "origin": "default", "line": None}
    lines = run_in_process("config", tmp_path).stdout.splitlines()
    assert len(lines) == len(facts)
    assert any(line.split() == ["jobs", "3", "cryofs.toml,", "line", "2"] for line in lines)
    assert any(line.split() == ["eer_apply_gain", "false", "default"] for line in lines)


def test_invalid_settings_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "cryofs.toml").write_text("cache_sise = 4\n")
    done = run_in_process("config", tmp_path, check=False)
    assert done.returncode == 1
    assert "cryofs.toml: unknown setting 'cache_sise'; did you mean cache_size?" in done.stderr
