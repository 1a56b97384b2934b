"""How components are written: ``NAME[:option=value,...]``, several joined by ``+``.

This is only the grammar; a `Registry` says what a name stands for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from attnrec.core.errors import InputError

_OF_NOTEBOOK = re.compile(r"/classes/[0-9a-f]{16}/\w+\.py$")  # `attnrec.training.given` keeps copies of classes there


@dataclass(frozen=True)
class Spec:
    """A component's name, file or module, and its options as text."""

    name: str
    options: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return self.name + "".join(
            f"{':' if place == 0 else ','}{key}={value}" for place, (key, value) in enumerate(self.options)
        )

    @property
    def file(self) -> Path | None:
        """The Python file that the component is read from; None if it is a name or in a module."""
        place = self.name.partition(":")[0]
        return Path(place) if place.endswith(".py") else None

    @property
    def is_source(self) -> bool:
        """Whether it is in a file or module of the user, and not a registered name."""
        return ":" in self.name or self.file is not None

    @property
    def attribute(self) -> str:
        """The class in a file or module; "" if none is named."""
        return self.name.partition(":")[2]

    @property
    def label(self) -> str:
        """What tables call it: its specification, but only the name for a class of a notebook."""
        file = self.file
        if file is None or file.stem != self.attribute or not _OF_NOTEBOOK.search(file.as_posix()):
            return str(self)
        return str(Spec(self.attribute, self.options))

    @classmethod
    def parse(cls, text: str) -> Spec:
        """Read ``NAME``, ``FILE.py:CLASS`` or ``MODULE:CLASS``, with or without ``:option=value,...`` after it.

        Raises InputError if the text is not of that form.
        """
        name, colon, rest = text.partition(":")
        first, further, tail = rest.partition(":")
        if first.isidentifier():
            name, colon, rest = f"{name}:{first}", further, tail
        if not name or (colon and not rest):
            raise InputError(f"{text!r} is not of the form NAME[:option=value,...]")
        options = []
        for item in rest.split(",") if rest else []:
            key, equals, value = item.partition("=")
            if not (key and equals and value):
                raise InputError(f"{text!r}: {item!r} is not of the form option=value")
            options.append((key, value))
        if len(dict(options)) < len(options):
            raise InputError(f"{text!r} gives an option twice")
        return cls(name, tuple(options))


@dataclass(frozen=True)
class Specs:
    """One component for all blocks of a model, or one for each."""

    parts: tuple[Spec, ...]

    def __str__(self) -> str:
        return "+".join(map(str, self.parts))

    @property
    def label(self) -> str:
        """What tables call them, as `Spec.label`."""
        return "+".join(part.label for part in self.parts)

    def of_block(self, number: int) -> Spec:
        """The component of a block, counted from 0."""
        return self.parts[number if len(self.parts) > 1 else 0]

    @classmethod
    def parse(cls, text: str) -> Specs:
        """Read components joined by ``+``; InputError as `Spec.parse`."""
        return cls(tuple(Spec.parse(part) for part in text.split("+")))
