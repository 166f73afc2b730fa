"""The README is executed: its commands start the platform, its button sends, and its links work."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from email import message_from_bytes, policy
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import insert

from own_smtp.delivery.workers import drain_job
from own_smtp.storage.models import ProjectRoute, Relay

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
ABOVE_THE_PLATFORM = ("python3 -m venv", "pip install")
"""Commands that are not needed where tests run."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands(block: str) -> list[str]:
    return [line.removeprefix("$ ").partition("   #")[0].strip() for line in block.splitlines()]


def run_shell(script: str, folder: Path) -> dict[str, str]:
    """Run commands in a shell as a newcomer does, and return the resulting environment."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("FLASK_", "OWN_SMTP_"))}
    result = subprocess.run(
        ["bash", "-euc", f"{script}\nprintf '\\0\\0'; env -0"],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        env=clean | {"PATH": programs, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert result.returncode == 0, result.stderr
    # A variable may contain line ends, like exported shell functions; none contains two NULs.
    lines = result.stdout.partition("\0\0")[2].split("\0")
    return dict(line.split("=", 1) for line in lines if line.startswith("FLASK_"))


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scripted: Any) -> Iterator[ModuleType]:
    """The README's platform, set up by the README's commands, with a server that listens on loopback."""
    (tmp_path / "app.py").write_text("\n".join(blocks("python")), encoding="utf-8")
    set_up = next(block for block in blocks("console") if "db upgrade" in block)
    script = [line for line in commands(set_up) if not line.startswith(ABOVE_THE_PLATFORM)]
    for_tests = {
        "FLASK_OWN_SMTP_REDIS_URL": "redis://127.0.0.1:1/0",
        "FLASK_OWN_SMTP_ALLOWED_NETWORKS": "127.0.0.0/8",
        "FLASK_OWN_SMTP_ALLOWED_PORTS": f"[{scripted.port}]",
        "FLASK_OWN_SMTP_ALLOW_PLAINTEXT": "true",
    }
    for key, value in (run_shell("\n".join(script), tmp_path) | for_tests).items():
        monkeypatch.setenv(key, value)
    module = load(tmp_path / "app.py", monkeypatch)
    yield module
    with module.app.app_context():
        module.db.engine.dispose()


def load(path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("app", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "app", module)
    spec.loader.exec_module(module)
    return module


def test_the_platform_has_15_lines() -> None:
    """The use of the extension is shown completely, and is short."""
    assert len([line for line in blocks("python")[0].splitlines() if line.strip()]) == 15


def test_the_platform_sends_through_the_tenants_server(platform: ModuleType, scripted: Any) -> None:
    """The README's code: without a server the platform sends itself, with one the invitation arrives."""
    browser = platform.app.test_client()
    assert browser.get("/own-smtp/").status_code == 200
    assert browser.post("/send").text == "This project uses the platform's mail.\n"
    relay_id = add_relay(platform, scripted)
    assert browser.post("/send").text == "1 taken over, 0 refused; on their way.\n"
    drain_job.run_drains(platform.own_smtp.runtime, relay_id)
    platform.own_smtp.runtime.engine.dispose()
    (copy,) = scripted.copies
    assert copy.recipients == ("kim@example.org",)
    message = message_from_bytes(copy.data, policy=policy.default)
    assert message["Subject"] == "Your opinion, Kim"
    text = " ".join(message.get_content().split())
    assert text == "Dear Kim, please take part: https://surveys.example.org/s/8f3a"


def add_relay(platform: ModuleType, scripted: Any) -> int:
    values = {"tenant_id": "acme", "label": "Acme", "security": "none", "state": "active"}
    with platform.app.app_context(), platform.db.engine.begin() as connection:
        relay = insert(Relay).values(
            host=scripted.host, port=scripted.port, sender_address="surveys@acme.example", **values
        )
        relay_id = int(connection.execute(relay).inserted_primary_key[0])
        connection.execute(insert(ProjectRoute).values(tenant_id="acme", project_id="7", relay_id=relay_id))
    return relay_id


def test_every_command_of_make_exists() -> None:
    """The README names only targets of the Makefile."""
    named = set(re.findall(r"\bmake ([a-z-]+)", README)) - {"sure"}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named
    assert named <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    """Links between documents, to pictures and to headings have existing targets."""
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, heading = target.partition("#")
        path = document.parent / name if name else document
        assert path.exists(), f"{document.name} links to {target}"
        assert not heading or heading in headings(path), f"{document.name} links to {target}"


def headings(path: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_missing_settings_stop_the_start_and_say_what_to_do(tmp_path: Path) -> None:
    """Without a key for cookies or for passwords nothing starts; each message names the key and the command that makes
    one.
    """
    (tmp_path / "app.py").write_text(blocks("python")[0], encoding="utf-8")
    settings = {"FLASK_SQLALCHEMY_DATABASE_URI": "sqlite://"}
    assert "Set SECRET_KEY: sessions and forms need it. Make one with `python -c" in refusal(tmp_path, settings)
    settings["FLASK_SECRET_KEY"] = "not empty"
    assert "Set OWN_SMTP_ENCRYPTION_KEYS" in refusal(tmp_path, settings)
    assert "Make one with `flask own-smtp make-key`" in refusal(tmp_path, settings)
    settings["FLASK_OWN_SMTP_ENCRYPTION_KEYS"] = "nonsense"
    assert "Encryption key 1 does not look like" in refusal(tmp_path, settings)
    settings["FLASK_OWN_SMTP_ENCRYPTION_KEY"] = "a typing error"
    assert "Unknown setting OWN_SMTP_ENCRYPTION_KEY." in refusal(tmp_path, settings)


def refusal(folder: Path, settings: dict[str, str]) -> str:
    """Return the error output of a start that must fail."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("FLASK_")}
    command = [sys.executable, "-m", "flask", "own-smtp", "worker"]
    result = subprocess.run(
        command, check=False, cwd=folder, capture_output=True, text=True, env=clean | settings, timeout=60
    )
    assert result.returncode != 0
    return result.stderr
