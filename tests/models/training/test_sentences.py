from __future__ import annotations

from random import Random

from confpress.models.training.sentences import COMMANDS, MONTHS, is_plain, sentence, spell
from confpress.models.training.vocabulary import CharacterVocabulary


def test_sentences_repeat_with_the_seed_and_vary_without() -> None:
    first = [sentence(Random(seed)) for seed in range(200)]
    assert first == [sentence(Random(seed)) for seed in range(200)]
    assert len(set(first)) > 150


def test_every_kind_of_sentence_comes() -> None:
    random = Random(3)
    texts = [sentence(random) for _ in range(2000)]
    words = {word for text in texts for word in text.split()}
    assert set(COMMANDS) | set(MONTHS) <= words
    assert set("abcdefghijklmnopqrstuvwxyz") <= words
    assert any("nineteen" in text for text in texts)


def test_all_text_is_in_the_vocabulary() -> None:
    vocabulary, random = CharacterVocabulary(), Random(4)
    for text in (sentence(random) for _ in range(500)):
        assert text == " ".join(text.split())
        assert vocabulary.decode(vocabulary.encode(text)) == text


def test_vocabulary_lowers_and_drops_what_it_lacks() -> None:
    vocabulary = CharacterVocabulary()
    assert vocabulary.decode(vocabulary.encode("It's  9 O'CLOCK!")) == "it's o'clock"
    assert len(vocabulary) == 28


def test_words_that_are_left_out_leave_no_space_behind() -> None:
    vocabulary = CharacterVocabulary()
    assert vocabulary.encode("5 dogs – 2 cats …") == vocabulary.encode("dogs cats")
    assert vocabulary.encode("12 34") == []


def test_plain_sentences_are_told_from_the_others() -> None:
    assert is_plain("we moved the old clock near the river")
    assert is_plain("please call me at nine thirty")
    assert not is_plain("rubout a b c four thousand")
    assert not is_plain("eleven maple street")
    random = Random(5)
    share = sum(is_plain(sentence(random)) for _ in range(3000)) / 3000
    assert 0.25 < share < 0.35


def test_spelling() -> None:
    assert spell("abc") == "a b c"
