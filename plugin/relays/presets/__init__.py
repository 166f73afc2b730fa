"""Presets of mail providers: their servers, published limits and advice.

Plain data. Providers change their settings without notice, so each page that shows a preset shows its date and sources.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from own_smtp.relays.presets.mailboxes import MAILBOXES
from own_smtp.relays.presets.provider import Preset
from own_smtp.relays.presets.sending_services import SENDING_SERVICES

__all__ = ["PRESETS", "Preset"]

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {preset.key: preset for preset in sorted((*MAILBOXES, *SENDING_SERVICES), key=lambda preset: preset.key)}
)
"""All presets by key, in alphabetical order: keys begin like names."""
