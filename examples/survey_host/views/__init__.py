"""The platform's pages, one blueprint per feature."""

from survey_host.views import (
    auth,
    participants,
    platform,
    public,
    questions,
    responses,
    sends,
    settings,
    surveys,
    wording,
)

BLUEPRINTS = (
    auth.blueprint,
    participants.blueprint,
    platform.blueprint,
    public.blueprint,
    questions.blueprint,
    responses.blueprint,
    sends.blueprint,
    settings.blueprint,
    surveys.blueprint,
    wording.blueprint,
)

__all__ = ["BLUEPRINTS"]
