"""The Jinja templates of the pages and mails, under `own_smtp/` so that a host's loader keeps them apart."""
