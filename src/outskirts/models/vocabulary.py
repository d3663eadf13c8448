"""What a tokenizer and the text encoder beside it must agree on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import OutskirtsError

__all__ = ["require_known_tokens"]


def require_known_tokens(tokenizer: Any, ids: Iterable[int | None], size: int) -> None:
    """Raise unless a text encoder knows all tokens of a text: tokenizers add those that their vocabulary lacks.

    Arguments:
        tokenizer: Tokenizer of transformers.
        ids: Token ids; None where the tokenizer has no token for the beginning or the end of a text.
        size: Number of tokens that the text encoder knows.
    """
    for number in ids:
        if number is None or not 0 <= number < size:
            token = "" if number is None else f" {tokenizer.convert_ids_to_tokens(number)!r}"
            raise OutskirtsError(
                f"The text encoder, of {size} tokens, does not know the token{token} of its tokenizer, or there is no "
                "token for the beginning and the end of a text; use the tokenizer's files that came with the model."
            )
