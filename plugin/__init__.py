"""Own SMTP: the tenants of a Flask survey platform send invitations through their own mail server.

Importing this package loads neither Flask nor SQLAlchemy, so that importing a hook marker stays cheap.
"""

from typing import TYPE_CHECKING, Any

from own_smtp._version import __version__
from own_smtp.hooks.markers import hookimpl

if TYPE_CHECKING:
    from own_smtp.extension import OwnSMTP

__all__ = ["OwnSMTP", "__version__", "hookimpl"]


def __getattr__(name: str) -> Any:
    if name == "OwnSMTP":
        from own_smtp.extension import OwnSMTP

        return OwnSMTP
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
