"""A tenant's settings, its people, and each person's own profile."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, flash, g, redirect, render_template, request, url_for
from flask_babel import gettext as _
from flask_babel import ngettext
from sqlalchemy import select
from werkzeug.security import check_password_hash, generate_password_hash

from survey_host import people as participants
from survey_host.access import needs
from survey_host.extensions import db
from survey_host.forms import AccountForm, ForgetForm, ProfileForm, TenantForm
from survey_host.models import Account, Role, Tenant

blueprint = Blueprint("settings", __name__, url_prefix="/settings")


@blueprint.route("", methods=["GET", "POST"])
@needs(Role.TENANT_ADMIN)
def index() -> Any:
    form = TenantForm(obj=g.tenant)
    if form.validate_on_submit() and is_name_free(form, g.tenant):
        form.populate_obj(g.tenant)
        db.session.commit()
        flash(_("Saved."), "success")
        return redirect(url_for("settings.index"))
    return render_template("settings/index.html", form=form), _status()


def is_name_free(form: TenantForm, tenant: Tenant | None = None) -> bool:
    """Return whether no other tenant has this name; otherwise set the field's error."""
    other = db.session.scalar(select(Tenant).where(Tenant.name == form.name.data))
    if other is None or other is tenant:
        return True
    form.name.errors = (*form.name.errors, _("This name is in use."))
    return False


@blueprint.get("/people")
@needs(Role.TENANT_ADMIN)
def people() -> Any:
    query = select(Account).where(Account.tenant_id == g.tenant.id).order_by(Account.name)
    return render_template("settings/people.html", people=db.session.scalars(query).all())


@blueprint.route("/people/new", methods=["GET", "POST"])
@needs(Role.TENANT_ADMIN)
def create_person() -> Any:
    form = AccountForm()
    if form.validate_on_submit() and _is_complete(form):
        return _save(Account(tenant_id=g.tenant.id), form)
    return render_template("settings/person.html", form=form, person=None), _status()


@blueprint.route("/people/<int:account_id>", methods=["GET", "POST"])
@needs(Role.TENANT_ADMIN)
def edit_person(account_id: int) -> Any:
    person = db.session.get(Account, account_id)
    if person is None or person.tenant_id != g.tenant.id:
        abort(404)
    form = AccountForm(obj=person)
    if form.validate_on_submit() and _is_complete(form, person):
        return _save(person, form)
    return render_template("settings/person.html", form=form, person=person), _status()


def _is_complete(form: AccountForm, person: Account | None = None) -> bool:
    other = db.session.scalar(select(Account).where(Account.email == form.email.data.lower()))
    if other is not None and other is not person:
        form.email.errors = (*form.email.errors, _("This address is in use."))
    if person is None and not form.password.data:
        form.password.errors = (*form.password.errors, _("A new person needs a password."))
    if person is g.account and (not form.is_active.data or form.role.data != person.role):
        form.role.errors = (*form.role.errors, _("You cannot take your own rights away."))
    return not form.errors


def _save(person: Account, form: AccountForm) -> Any:
    person.name, person.email = form.name.data, form.email.data.lower()
    person.role, person.language = form.role.data, form.language.data
    person.is_active = form.is_active.data
    if form.password.data:
        person.password_hash = generate_password_hash(form.password.data)
    db.session.add(person)
    db.session.commit()
    flash(_("Saved."), "success")
    return redirect(url_for("settings.people"))


@blueprint.route("/forget", methods=["GET", "POST"])
@needs(Role.TENANT_ADMIN)
def forget() -> Any:
    form = ForgetForm()
    if not form.validate_on_submit():
        return render_template("settings/forget.html", form=form), _status()
    number = participants.forget(g.tenant, form.email.data)
    db.session.commit()
    flash(ngettext("Deleted from %(num)s survey.", "Deleted from %(num)s surveys.", number), "success")
    return redirect(url_for("settings.forget"))


@blueprint.route("/profile", methods=["GET", "POST"])
def profile() -> Any:
    if g.account is None:
        return redirect(url_for("auth.sign_in", next=url_for("settings.profile")))
    form = ProfileForm(obj=g.account)
    if form.validate_on_submit() and _knows_password(form):
        g.account.language = form.language.data
        if form.password.data:
            g.account.password_hash = generate_password_hash(form.password.data)
        db.session.commit()
        flash(_("Saved."), "success")
        return redirect(url_for("settings.profile"))
    return render_template("settings/profile.html", form=form), _status()


def _knows_password(form: ProfileForm) -> bool:
    if not form.password.data or check_password_hash(g.account.password_hash, form.present.data or ""):
        return True
    form.present.errors = (*form.present.errors, _("This is not your present password."))
    return False


def _status() -> int:
    return 200 if request.method == "GET" else 422
