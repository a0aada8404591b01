"""Sizes, names and copies that a pickle asks for are bounded."""

import pytest
from helpers.pickles import HEAD, big, name, numbers, storage, tensor

from yolopose.checkpoint import unpickle
from yolopose.errors import PoseError


def refusal(data: bytes) -> str:
    with pytest.raises(PoseError) as caught:
        unpickle.read_pickle(data, "evil.pt")
    return str(caught.value)


@pytest.mark.parametrize(
    ("shape", "stride", "offset"),
    [
        ((0, 2**50), (1, 1), 0),
        ((0,), (2**63,), 0),
        ((0,), (1,), 2**63),
        ((0, 2**30, 2**30), (1, 1, 1), 0),
        ((4,), (1,), 2**62),
    ],
)
def test_a_tensor_of_impossible_size_or_place_is_refused(shape, stride, offset):
    data = HEAD + tensor(storage(4), big(offset), numbers(*shape), numbers(*stride)) + b"."
    assert "impossible shape or stride" in refusal(data)


def test_an_empty_tensor_keeps_its_shape():
    value = unpickle.read_pickle(HEAD + tensor(storage(4), big(9), numbers(0, 3), numbers(7, 7)) + b".", "f.pt")
    assert (value.shape, value.offset) == ((0, 3), 0)


def test_one_long_list_of_arguments_is_not_copied_again_and_again():
    many = b"(" + b"N" * 100_000 + b"tq\x00"
    assert "copies more than" in refusal(HEAD + many + (name("ultralytics.a", "B") + b"h\x00R") * 1000 + b".")


def test_a_name_of_many_characters_is_refused():
    assert "a global whose name has 1013 characters" in refusal(HEAD + name("ultralytics." + "a" * 1000, "B") + b".")
