"""WTForms classes of the pages, one file per feature, with the same name in `own_smtp.web.views` and the templates.

A form reads and checks what a person typed. It knows what a relay may be (`own_smtp.relays`), and no route or page.
"""
