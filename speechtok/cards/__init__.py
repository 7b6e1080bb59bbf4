"""Tokenizer cards and recipes: YAML in, frozen dataclasses out. Starts without torch."""

from speechtok.cards.find import (
    card_folders,
    find_card,
    find_recipe,
    list_recipes,
    list_tokenizers,
    recipe_folders,
)
from speechtok.cards.markdown import merge, split_head, with_head
from speechtok.cards.recipe import RaySection, Recipe, read_recipe
from speechtok.cards.tokenizer_card import CARD_FILE, CardFile, TokenizerCard, read_tokenizer_card
from speechtok.cards.yaml_file import dump_yaml

__all__ = [
    "CARD_FILE",
    "CardFile",
    "RaySection",
    "Recipe",
    "TokenizerCard",
    "card_folders",
    "dump_yaml",
    "find_card",
    "find_recipe",
    "list_recipes",
    "list_tokenizers",
    "merge",
    "read_recipe",
    "read_tokenizer_card",
    "recipe_folders",
    "split_head",
    "with_head",
]
