"""Install the servers and the browser that the tests talk to, where this machine lets us; say what is missing.

Only where we are root and Debian's apt-get is there. Elsewhere nothing is done, and each test that misses a program is
skipped with the name of the package. Uses the standard library only.

Debian lets a machine have one mail server, and Postfix is it. Exim is therefore unpacked beside it, into `EXIM`, and
nothing of the system knows of it, except for the user that Debian built it for.
"""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGES = (
    "redis-server",
    "postgresql",
    "pgbouncer",
    "mariadb-server",
    "postfix",
    "sasl2-bin",
    "libsasl2-modules",
    "chromium",
    "fonts-dejavu-core",
    "fonts-noto-core",
    "fonts-noto-cjk",
    "libmime-tools-perl",
    "gir1.2-gmime-3.0",
    "python3-gi",
)
PARSERS = Path(__file__).parents[2] / ".demo" / "parsers"
"""The folder of a mail parser from npm; git ignores it, and `make clean` deletes it."""
NPM_PACKAGE = "postal-mime@4.0.0"
EXIM = Path("/opt/own-smtp-tests/exim")
EXIM_PACKAGE = "exim4-daemon-light"
EXIM_USER = "Debian-exim"
QUIET = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}


def main() -> None:
    missing = find_missing()
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"Installing for the tests: {' '.join(missing)}", flush=True)
        run(["apt-get", "update", "-q"])
        if packages := [name for name in missing if name != EXIM_PACKAGE]:
            install(packages)
        if EXIM_PACKAGE in missing:
            unpack_exim()
        missing = find_missing()
    if not has_parser() and shutil.which("npm"):
        PARSERS.mkdir(parents=True, exist_ok=True)
        run(["npm", "install", "--no-audit", "--no-fund", "--prefix", str(PARSERS), NPM_PACKAGE])
    if not has_parser():
        missing.append(f"{NPM_PACKAGE} (needs npm)")
    if missing:
        print(f"Not installed, and the tests that need them are skipped: {' '.join(missing)}", flush=True)


def find_missing() -> list[str]:
    missing = [name for name in PACKAGES if not is_installed(name)]
    return missing if has_exim() else [*missing, EXIM_PACKAGE]


def is_installed(package: str) -> bool:
    command = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", package]
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout == "installed"


def has_parser() -> bool:
    return (PARSERS / "node_modules" / NPM_PACKAGE.partition("@")[0]).exists()


def install(packages: list[str]) -> None:
    preseed = "postfix postfix/main_mailer_type select No configuration\n"
    with NoServices():
        run(["debconf-set-selections"], text=preseed)
        run(["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages])


def has_exim() -> bool:
    """Whether the unpacked Exim starts: it needs its libraries and its user."""
    program = EXIM / "usr/sbin/exim4"
    return (
        program.exists()
        and subprocess.run([program, "-C", "/dev/null", "-bV"], check=False, capture_output=True).returncode == 0
    )


def unpack_exim() -> None:
    """Unpack Debian's package without installing it, install its dependencies, and add its user."""
    EXIM.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=EXIM.parent) as name:
        folder = Path(name)
        # As root: apt's own user may not write there.
        if not run(["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", EXIM_PACKAGE], folder=folder):
            return
        (archive,) = folder.glob("*.deb")
        fields = subprocess.run(["dpkg-deb", "--field", archive, "Depends"], check=True, capture_output=True, text=True)
        libraries = [part.split()[0] for part in fields.stdout.split(",") if part.strip().startswith("lib")]
        run(["apt-get", "install", "-y", "-q", "--no-install-recommends", *libraries])
        if run(["dpkg-deb", "--extract", str(archive), str(folder / "exim")]):
            # No setuid: a mail server without updates must not run as root.
            (folder / "exim/usr/sbin/exim4").chmod(0o755)
            shutil.rmtree(EXIM, ignore_errors=True)
            (folder / "exim").rename(EXIM)
    add_exim_user()


def add_exim_user() -> None:
    """As the package itself does. Its name has a capital letter, which `useradd` rejects by default."""
    try:
        pwd.getpwnam(EXIM_USER)
    except KeyError:
        home = ["--no-create-home", "--home-dir", "/var/spool/exim4", "--shell", "/usr/sbin/nologin"]
        run(["useradd", "--badname", "--system", "--user-group", *home, EXIM_USER])


class NoServices:
    """Prevents Debian's packages from starting their services: the tests start their own.

    `invoke-rc.d` asks this program for permission; 101 means no. An existing one stays.
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


def run(command: list[str], *, text: str = "", folder: Path | None = None) -> bool:
    """Run a step of the installation, and return whether it succeeded; its output is shown only on failure."""
    with tempfile.TemporaryFile("w+") as output:
        result = subprocess.run(
            command, check=False, input=text, text=True, stdout=output, stderr=subprocess.STDOUT, env=QUIET, cwd=folder
        )
        if result.returncode:
            output.seek(0)
            print(f"{' '.join(command)} failed:\n{output.read()[-4000:]}", file=sys.stderr, flush=True)
    return result.returncode == 0


if __name__ == "__main__":
    main()
