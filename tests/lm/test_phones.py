import pyarrow as pa
import pytest

from speechtok.errors import DatasetError
from speechtok.lm import Vocabulary, phone_set


class Columns:
    """What `phone_set` reads of a dataset without annotations."""

    path, annotations = "data", ()

    def __init__(self, **columns):
        self._columns = columns

    def column(self, name):
        return pa.chunked_array([self._columns[name]])


def test_without_a_statement_the_phones_are_those_that_occur(factors):
    lists = Columns(phones=pa.array([["b", "a"], None, ["ə", "a"]], pa.list_(pa.string())))
    assert phone_set(lists) == ("a", "b", "ə")
    strings = Columns(phones=pa.array(["b a", None, " ə  a"]))
    assert phone_set(strings) == ("a", "b", "ə")
    assert Vocabulary.of(factors, text=phone_set(lists)).text == ("a", "b", "ə")


def test_columns_of_other_types_are_refused():
    with pytest.raises(
        DatasetError, match=r"^The column 'phone' of data holds int64, neither lists nor strings of phones\.$"
    ):
        phone_set(Columns(phone=pa.array([1])), "phone")
