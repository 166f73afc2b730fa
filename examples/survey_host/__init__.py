"""A small survey platform for the example: it runs with Own SMTP installed, and without."""

from survey_host.app import create_app

__all__ = ["create_app"]
