"""What is known of mail providers: where their servers are, what they publish as limits, what to know first.

Plain data. Providers change such things without notice, so each page that shows a preset says of when it is and where
it is known from.
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
"""All presets by key, in the order in which they are offered: that of the alphabet, as keys begin like names."""
