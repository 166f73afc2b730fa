"""Signing in and out."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext as _

from survey_host import access
from survey_host.forms import SignInForm

blueprint = Blueprint("auth", __name__)


@blueprint.get("/")
def start() -> Any:
    return redirect(url_for("surveys.index"))


@blueprint.route("/sign-in", methods=["GET", "POST"])
def sign_in() -> Any:
    form = SignInForm(next=request.args.get("next", ""))
    if not form.validate_on_submit():
        return render_template("sign_in.html", form=form), 200 if request.method == "GET" else 422
    account = access.verify(form.email.data, form.password.data)
    if account is None:
        flash(_("Address and password do not fit together."), "danger")
        return render_template("sign_in.html", form=form), 422
    access.sign_in(account)
    return redirect(access.safe_path(form.next.data))


@blueprint.post("/sign-out")
def sign_out() -> Any:
    access.sign_out()
    flash(_("You are signed out."), "success")
    return redirect(url_for("auth.sign_in"))
