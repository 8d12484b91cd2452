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
        words = ("".join(c for c in word if c in self.characters) for word in text.lower().split())
        # A word of which nothing is left takes its space with it: one space parts two words.
        return [self.characters.index(c) for c in SPACE.join(filter(None, words))]

    def decode(self, ids: list[int]) -> str:
        """Text of a sequence of ids."""
        return " ".join("".join(self.characters[i] for i in ids).replace(SPACE, " ").split())

    def __len__(self) -> int:
        return len(self.characters)
