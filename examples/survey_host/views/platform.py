"""The pages for platform administrators: tenants."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, session, url_for
from flask_babel import gettext as _
from sqlalchemy import select

from survey_host import plugins
from survey_host.access import needs
from survey_host.extensions import db
from survey_host.forms import EmptyForm, TenantForm
from survey_host.models import Role, Tenant
from survey_host.views.settings import is_name_free

blueprint = Blueprint("platform", __name__, url_prefix="/platform")


@blueprint.route("/tenants", methods=["GET", "POST"])
@needs(Role.PLATFORM_ADMIN)
def tenants() -> Any:
    form = TenantForm()
    if form.validate_on_submit() and is_name_free(form):
        tenant = Tenant()
        form.populate_obj(tenant)
        db.session.add(tenant)
        db.session.commit()
        flash(_("The tenant is added."), "success")
        return redirect(url_for("platform.tenants"))
    rows = db.session.scalars(select(Tenant).order_by(Tenant.name)).all()
    status = 200 if request.method == "GET" else 422
    return render_template("platform/tenants.html", form=form, rows=rows), status


@blueprint.post("/tenants/switch")
@needs(Role.PLATFORM_ADMIN)
def switch() -> Any:
    """Switch to another tenant."""
    tenant = db.get_or_404(Tenant, request.form.get("tenant", type=int))
    session["tenant_id"] = tenant.id
    return redirect(url_for("surveys.index"))


@blueprint.route("/tenants/<int:tenant_id>/delete", methods=["GET", "POST"])
@needs(Role.PLATFORM_ADMIN)
def delete(tenant_id: int) -> Any:
    row = db.get_or_404(Tenant, tenant_id)
    form = EmptyForm()
    if not form.validate_on_submit():
        return render_template("platform/delete.html", form=form, row=row)
    plugins.current().tenant_deleted(str(row.id))
    db.session.delete(row)
    db.session.commit()
    flash(_("The tenant is deleted."), "success")
    return redirect(url_for("platform.tenants"))
