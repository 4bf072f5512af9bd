"""Frozen values that cost next to nothing to define.

Ground floor: imports nothing of the house. Every program that imports this library defines all of its classes, so what
a definition costs is a good part of what the import costs.
"""

from __future__ import annotations

from collections import namedtuple
from dataclasses import FrozenInstanceError, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

T = TypeVar("T")

if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple

    from typing_extensions import dataclass_transform
else:

    class _NamedTupleType(type):
        def __new__(meta, name, bases, namespace):
            if not bases:
                return super().__new__(meta, name, bases, namespace)
            fields = tuple(namespace.get("__annotations__", ()))
            defaults = [namespace[field] for field in fields if field in namespace]
            made = namedtuple(name, fields, defaults=defaults, module=namespace["__module__"])
            for key, value in namespace.items():
                if key not in fields and key not in ("__module__", "__qualname__"):
                    setattr(made, key, value)
            return made

    class NamedTuple(metaclass=_NamedTupleType):
        """`typing.NamedTuple` without compiling each annotation, which takes four times as long as all the rest."""


if TYPE_CHECKING:

    @dataclass_transform(frozen_default=True, kw_only_default=True)
    class Value:
        """A frozen value."""

        _fields: ClassVar[tuple[str, ...]]

else:

    class Value:
        """A frozen value with the fields that its class annotates, all by keyword; one with a default may be left out.

        By hand, because a dataclass compiles six functions for each class at every import: the events were a fifth
        of all that importing this library costs (measured, CPython 3.11).
        """

        _fields: ClassVar[tuple[str, ...]] = ()

        def __init_subclass__(cls) -> None:
            cls._fields += tuple(cls.__annotations__)

        def __init__(self, **values: Any) -> None:
            vars(self).update(values)
            if len(values) != len(self._fields) or not all(name in values for name in self._fields):
                missing = [name for name in self._fields if name not in values and not hasattr(self, name)]
                if missing or any(name not in self._fields for name in values):
                    raise TypeError(f"{type(self).__name__} takes exactly {', '.join(self._fields)}, by keyword")
                for name in self._fields:
                    vars(self).setdefault(name, getattr(self, name))

        def __setattr__(self, name: str, value: object) -> None:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")

        def __delattr__(self, name: str) -> None:
            raise FrozenInstanceError(f"cannot delete field {name!r}")

        def __setstate__(self, state: dict[str, Any]) -> None:
            vars(self).update(state)

        def __eq__(self, other: object) -> bool:
            return vars(self) == vars(other) if type(other) is type(self) else NotImplemented

        def __hash__(self) -> int:
            return hash(tuple(getattr(self, name) for name in self._fields))

        def __repr__(self) -> str:
            return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self._fields)})"


if TYPE_CHECKING:

    @dataclass_transform(frozen_default=True, kw_only_default=True)
    def frozen(cls: type[T]) -> type[T]:
        """Make a class a frozen dataclass with slots, whose `__init__` is its own."""
        return cls

else:
    frozen = dataclass(init=False, eq=False, repr=False, kw_only=True, slots=True)


class Frozen:
    """What a `frozen` class inherits: it cannot be changed, and pickles. Its `__init__` writes by `_put`."""

    __slots__ = ()

    def _put(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    if not TYPE_CHECKING:

        def __setattr__(self, name: str, value: object) -> None:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")

        def __delattr__(self, name: str) -> None:
            raise FrozenInstanceError(f"cannot delete field {name!r}")

    def _names(self) -> tuple[str, ...]:
        return tuple(self.__dataclass_fields__)  # type: ignore[attr-defined]  # `frozen` has put it there

    def __getstate__(self) -> object:
        return {name: getattr(self, name) for name in self._names()}

    def __setstate__(self, state: dict[str, object]) -> None:
        self._put(**state)
