"""The name that a model's files and C symbols get."""

from pathlib import Path

import pytest

from mcugrad.pipeline import model_name


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("watch-unseen-2.onnx", "watch_unseen_2"),
        ("folder/Key Word.v2.onnx", "key_word_v2"),
        ("müller.onnx", "m_ller"),
        ("日本.onnx", "model"),
        ("5fps.onnx", "m_5fps"),
        ("int8.onnx", "m_int8"),  # int8_t
        ("size.onnx", "m_size"),  # size_t
        ("mg_store.onnx", "m_mg_store"),  # mg_store_t
        ("mcugrad.onnx", "m_mcugrad"),  # mcugrad.h
        ("random.onnx", "m_random"),  # random.c
        ("model", "model"),
    ],
)
def test_a_name_is_a_c_identifier_that_nothing_else_has(file: str, name: str) -> None:
    assert model_name(Path(file)) == name
