"""A vocabulary of characters."""

from __future__ import annotations

from dataclasses import dataclass

SPACE = "▁"
ENGLISH = SPACE + "abcdefghijklmnopqrstuvwxyz'"


@dataclass(frozen=True)
class CharacterVocabulary:
    """One token per character; `▁` is the space between words, the blank comes last."""

    characters: str = ENGLISH

    def encode(self, text: str) -> list[int]:
        """Ids of the lower-cased text; characters outside the vocabulary are left out."""
        spaced = SPACE.join(text.lower().split())
        return [self.characters.index(c) for c in spaced if c in self.characters]

    def decode(self, ids: list[int]) -> str:
        """Text of a sequence of ids."""
        return " ".join("".join(self.characters[i] for i in ids).replace(SPACE, " ").split())

    def __len__(self) -> int:
        return len(self.characters)
