"""The pages: access, routes and what they show.

A route checks who is acting (`access`), calls one function of another room, and shows on the next page what came of it.
`host_menus` gives the host's own pages their links and senders. One file per feature, with the same name in
`views`, in `own_smtp.forms` and in the templates.

It imports no part of the engine: what must be sent is enqueued. `__all__` names the modules that others may import.
"""

__all__ = [
    "host_menus",
    "views",
]
