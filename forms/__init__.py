"""WTForms classes of the pages."""
