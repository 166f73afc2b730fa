"""The form of a test mail."""

from __future__ import annotations

from wtforms import StringField
from wtforms.validators import ValidationError

from own_smtp.forms.base import BaseForm
from own_smtp.forms.checks import Address, required, stripped
from own_smtp.i18n import gettext
from own_smtp.i18n import lazy_gettext as _
from own_smtp.relays.test_mails import may_go_to
from own_smtp.settings import Settings


class TestMailForm(BaseForm):
    """The recipient of a test mail. If the platform allows no other recipients, the field is not shown."""

    address = StringField(_("Recipient"), [required(), Address()], filters=[stripped])

    def __init__(self, settings: Settings, own: str) -> None:
        """`own` is the acting person's address."""
        super().__init__(data={"address": own})
        self.settings = settings
        self.own = own
        if not settings.test_recipients:
            del self.address

    def validate_address(self, item: StringField) -> None:
        """Enforce the recipients that the platform allows."""
        if not may_go_to(self.settings, self.own, item.data):
            raise ValidationError(gettext("This platform does not allow test mails to this address."))

    @property
    def recipient(self) -> str:
        """The recipient's address. Only after `validate`."""
        return str(self.address.data) if self.address else self.own
