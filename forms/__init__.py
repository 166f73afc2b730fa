"""WTForms classes of the pages, one file per feature, with the same name in `own_smtp.web.views` and the templates.

A form reads and checks input. It imports `own_smtp.relays` for the rules of a relay, and no route or page.
"""
