"""Plugin managers for hosts: our hook specifications, and checks of the implementations."""

from __future__ import annotations

from typing import Any

import pluggy

from own_smtp.errors import ConfigurationError
from own_smtp.hooks import host as host_specs
from own_smtp.hooks import survey
from own_smtp.hooks.markers import PROJECT

HOST_PREFIX = "own_smtp_"


class ObjectPluginManager(pluggy.PluginManager):
    """For a host without pluggy: any method whose name begins like our hooks is an implementation."""

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        if name.startswith(HOST_PREFIX) and callable(getattr(plugin, name, None)):
            return pluggy.HookimplOpts(
                wrapper=False,
                hookwrapper=False,
                optionalhook=False,
                tryfirst=False,
                trylast=False,
                specname=None,
            )
        return super().parse_hookimpl_opts(plugin, name)


def manager_for(host: object | None) -> pluggy.PluginManager:
    """Return a plugin manager that knows only `host`. Raises `ConfigurationError` for a class in an object's place."""
    if isinstance(host, type):
        raise ConfigurationError(f"`host` must be an object, not a class: write {host.__name__}().")
    plugins = ObjectPluginManager(PROJECT)
    if host is not None:
        plugins.register(host)
    return plugins


def add_specifications(plugins: pluggy.PluginManager) -> None:
    """Add our specifications, and refuse implementations that none of them describes.

    Raises `pluggy.PluginValidationError` for a misspelt hook, and for one without `@hookimpl`: none would be called.
    """
    for specs in (host_specs, survey):
        if not _knows(plugins, specs):
            plugins.add_hookspecs(specs)
    plugins.check_pending()
    for _name, plugin in plugins.list_name_plugin():
        if plugin is not None:  # which stands for one that the host has blocked
            _check_marked(plugins, plugin)


def _check_marked(plugins: pluggy.PluginManager, plugin: object) -> None:
    marked = {caller.name for caller in plugins.get_hookcallers(plugin) or ()}
    for name in sorted({name for name in dir(plugin) if name.startswith(HOST_PREFIX)} - marked):
        if hasattr(host_specs, name) and callable(getattr(plugin, name)):
            raise pluggy.PluginValidationError(
                plugin, f"{name!r} in plugin {plugin!r} would never be called: put @hookimpl above it"
            )


def _knows(plugins: pluggy.PluginManager, specs: object) -> bool:
    name = next(name for name in dir(specs) if name.startswith(("survey_", HOST_PREFIX)))
    caller = getattr(plugins.hook, name, None)
    return caller is not None and caller.spec is not None
