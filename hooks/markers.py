"""The pluggy project and its markers."""

import pluggy

PROJECT = "survey"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
