"""A small survey platform that Own SMTP can be installed into, and that also runs without it."""

from survey_host.app import create_app

__all__ = ["create_app"]
