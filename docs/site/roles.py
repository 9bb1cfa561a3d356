"""References in docstrings, as the site shows them: links to what the API page has, plain names of all else."""

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:func|class|mod|data|meth|attr):`~?([\w.]+)`")
_JOINT = re.compile(r"^(\s+)(\w+(?:, \w+)+)(?=: )", re.MULTILINE)  # parameters that share a description
_PACKAGE = "internimage"


class Roles(griffe.Extension):
    """Rewrites each docstring once it was read."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        public = {name: f"{_PACKAGE}.{name}" for name in pkg.exports or ()}
        self._walk(pkg, {str(name): path for name, path in public.items()}, set())

    def _walk(self, one: Any, public: dict[str, str], seen: set[str]) -> None:
        if one.is_alias or one.path in seen:
            return
        seen.add(one.path)
        if one.docstring is not None:
            value = _ROLE.sub(lambda found: _written(found[1], public), one.docstring.value)
            one.docstring.value = _JOINT.sub(_apart, value)
        for member in getattr(one, "members", {}).values():
            self._walk(member, public, seen)


def _apart(found: re.Match[str]) -> str:
    """Each parameter on a line of its own; all but the last refer to it."""
    *others, last = found[2].split(", ")
    return "\n".join([*(f"{found[1]}{name}: see `{last}`." for name in others), f"{found[1]}{last}"])


def _written(name: str, public: dict[str, str]) -> str:
    last = name.rsplit(".", 1)[-1]
    known = name in public or (name.startswith(f"{_PACKAGE}.") and last in public)
    return f"[`{last}`][{public[last]}]" if known else f"`{name}`"
