"""Install the servers and the browser that the tests talk to, where this machine lets us; say what is missing.

Only where we are root and Debian's apt-get is there. Elsewhere nothing is done, and each test that misses a program is
skipped with the name of the package. Uses the standard library only.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGES = (
    "redis-server",
    "postgresql",
    "mariadb-server",
    "postfix",
    "sasl2-bin",
    "libsasl2-modules",
    "chromium",
    "fonts-dejavu-core",
    "fonts-noto-core",
    "fonts-noto-cjk",
)


def main() -> None:
    missing = [name for name in PACKAGES if not is_installed(name)]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"Installing for the tests: {' '.join(missing)}", flush=True)
        install(missing)
        missing = [name for name in PACKAGES if not is_installed(name)]
    if missing:
        print(f"Not installed, and the tests that need them are skipped: {' '.join(missing)}", flush=True)


def is_installed(package: str) -> bool:
    command = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", package]
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout == "installed"


def install(packages: list[str]) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    preseed = "postfix postfix/main_mailer_type select No configuration\n"
    with NoServices():
        run(["apt-get", "update", "-q"], environment)
        run(["debconf-set-selections"], environment, preseed)
        run(["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages], environment)


class NoServices:
    """Keeps Debian's packages from starting their services: the tests start their own.

    `invoke-rc.d` asks this program for leave; 101 is "no". One that is already there stays.
    """

    PATH = Path("/usr/sbin/policy-rc.d")

    def __enter__(self) -> None:
        self.is_ours = not self.PATH.exists()
        if self.is_ours:
            self.PATH.write_text("#!/bin/sh\nexit 101\n")
            self.PATH.chmod(0o755)

    def __exit__(self, *_error: object) -> None:
        if self.is_ours:
            self.PATH.unlink()


def run(command: list[str], environment: dict[str, str], text: str = "") -> None:
    """Run a step of the installation; its output is shown only when it fails."""
    with tempfile.TemporaryFile("w+") as output:
        result = subprocess.run(
            command, check=False, input=text, text=True, stdout=output, stderr=subprocess.STDOUT, env=environment
        )
        if result.returncode:
            output.seek(0)
            print(f"{' '.join(command)} failed:\n{output.read()[-4000:]}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
