"""Finds, installs and runs each peer."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.composing import CONTENT, IDENTITY, ours, recipients
from benchmarks.measure import ROOT, Figures, NotInstalledError, run_json, run_python, with_rate
from benchmarks.sinks import find
from tests.setup import servers

HERE = Path(__file__).parent
INSTALLED = ROOT / ".demo" / "peers"
"""Where peers from other registries are installed; git ignores it, and `make clean` deletes it."""
PHPMAILER = Path("/usr/share/php/libphp-phpmailer/autoload.php")


def smtp_source(port: int, messages: int, connections: int, *, reuse: bool) -> Figures:
    """Postfix's load generator: written in C, without a database or records."""
    command = [find("smtp-source", package="postfix"), "-s", str(connections), "-m", str(messages)]
    command += ["-l", str(message_size()), "-f", IDENTITY.address, "-t", "person@example.net"]
    command += ["-d"] if reuse else []
    started = time.perf_counter()
    subprocess.run([*command, f"127.0.0.1:{port}"], check=True, capture_output=True, timeout=240)
    return with_rate({"seconds": time.perf_counter() - started, "messages": messages})


@cache
def message_size() -> int:
    """Return the median size of our messages in octets."""
    compose = ours()
    sizes = sorted(len(compose(number, values)) for number, values in recipients(5))
    return sizes[2]


def flask_mail(port: int, messages: int) -> Figures:
    return run_python("benchmarks.peers.flask_mail_loop", {"port": port, "messages": messages})


def rq_jobs(port: int, redis_url: str, messages: int) -> Figures:
    return run_python("benchmarks.peers.rq_worker", {"port": port, "redis": redis_url, "messages": messages})


def one_connection(library: str, port: int, messages: int) -> Figures:
    """Run smtplib or aiosmtplib."""
    environment = {} if library == "smtplib" else {"PYTHONPATH": _aiosmtplib()}
    arguments = {"library": library, "port": port, "messages": messages}
    return run_python("benchmarks.peers.one_connection", arguments, **environment)


def nodemailer(port: int, messages: int, connections: int) -> Figures:
    folder = _nodemailer()
    given = _given(port, messages) | {"connections": connections}
    command = [find("node", package="nodejs"), str(HERE / "nodemailer.cjs"), json.dumps(given)]
    return run_json(command, NODE_PATH=folder)


def phpmailer(port: int, messages: int, connections: int) -> Figures:
    """PHP has one connection per process: it runs as many processes as the others have connections."""
    php = _php()
    given = json.dumps(_given(port, messages // connections))
    command = [php, "-d", "opcache.enable_cli=1", str(HERE / "phpmailer.php"), given, str(PHPMAILER)]
    with ThreadPoolExecutor(connections) as pool:
        runs = [json.loads(output) for output in pool.map(_output, [command] * connections)]
    seconds = max(run["ended"] for run in runs) - min(run["begun"] for run in runs)
    return with_rate({"seconds": seconds, "messages": sum(run["messages"] for run in runs)})


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=240).stdout


def _given(port: int, messages: int) -> dict[str, Any]:
    return {
        "port": port,
        "messages": messages,
        "subject": CONTENT.subject,
        "text": CONTENT.text,
        "html": CONTENT.html,
        "sender": IDENTITY.address,
        "sender_name": IDENTITY.name,
        "reply_to": IDENTITY.reply_to,
    }


@cache
def _nodemailer() -> str:
    """Install Nodemailer unless it is there, and return the folder of its modules."""
    modules = INSTALLED / "node_modules"
    if not (modules / "nodemailer").exists():
        INSTALLED.mkdir(parents=True, exist_ok=True)
        npm = find("npm", package="npm")
        _install([npm, "install", "--no-audit", "--no-fund", "--prefix", str(INSTALLED), "nodemailer"], "nodemailer")
    return str(modules)


@cache
def _aiosmtplib() -> str:
    """Install aiosmtplib in a folder apart from our packages, and return the environment that finds it."""
    folder = INSTALLED / "python"
    if importlib.util.find_spec("aiosmtplib") is None and not (folder / "aiosmtplib").exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _install([*pip, "--target", str(folder), "aiosmtplib"], "aiosmtplib")
    return os.pathsep.join([str(ROOT), str(folder), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)


@cache
def _php() -> str:
    """Return PHP with PHPMailer; both are installed if we are root and Debian's apt-get exists."""
    packages = [name for name in ("php-cli", "libphp-phpmailer") if not servers.is_installed(name)]
    if packages and os.geteuid() == 0 and Path("/usr/bin/apt-get").exists():
        servers.install(packages)
    if not PHPMAILER.exists():
        raise NotInstalledError("libphp-phpmailer")
    return find("php", package="php-cli")


def _install(command: list[str], package: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=240)
    if done.returncode:
        raise NotInstalledError(package)
