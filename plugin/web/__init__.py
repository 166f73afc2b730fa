"""The pages: access, routes and view models.

A route checks the acting person (`access`), calls one function of another room, and shows the result on the next page.
`host_menus` gives the host's own pages their links and senders. There is one file per feature, with the same name in
`views`, in `own_smtp.forms` and in the templates.

This room imports no part of the engine: routes enqueue jobs that send. `__all__` names the modules that others may
import.
"""

__all__ = [
    "host_menus",
    "views",
]
