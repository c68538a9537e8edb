"""Hazard: the first start in containers writes a secret to the container's log, or leaves nobody able to sign in."""

from __future__ import annotations

import re
from pathlib import Path

from click.testing import CliRunner

from cell_monitor.cli import main


def test_the_log_of_the_first_start_has_no_secret_and_says_how_to_sign_in(empty_database: str, tmp_path: Path) -> None:
    run = CliRunner(env={"COLUMNS": "200"}).invoke
    assert run(main, ["admin", "create-secrets", str(tmp_path)]).exit_code == 0
    (tmp_path / "database-url").write_text(empty_database, encoding="utf-8")
    for start in ("first", "second"):
        result = run(main, ["admin", "prepare", str(tmp_path)])
        assert result.exit_code == 0, (start, result.output)
        secrets = {
            secret
            for file in tmp_path.iterdir()
            for secret in re.findall(r"[\w+/=-]{20,}", file.read_text(encoding="utf-8"))
        }
        assert len(secrets) > 8
        assert [secret for secret in secrets if secret in result.output] == []
        assert "docker compose run --rm tools sign-in-link --url http://127.0.0.1:8900" in result.output
