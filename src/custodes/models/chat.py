"""Chats to token ids and back, the same way for every engine that runs here.

Message contents are untrusted. A template marks turns with control tokens such as ``<|im_end|>``,
and a tokenizer reads that spelling as the control token wherever it stands, so a user (or a model)
who types it could end a turn and open another. Here only the template's own control tokens become
control tokens; the same spelling inside a message is encoded as the ordinary text it is. For every
other message the ids are exactly those of the tokenizer's own ``apply_chat_template``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from custodes.conversation import Chat, Message
from custodes.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["cut_at_stop", "decode", "encode_chats", "encode_texts", "render_chats"]

# A Unicode noncharacter: text has no use for it, and chat templates leave it alone.
_MARK = "\ufdd0"


def encode_chats(
    tokenizer: PreTrainedTokenizerBase, chats: Sequence[Chat], *, reply: bool = True
) -> list[list[int]]:
    """Turn chats into token ids through the tokenizer's chat template.

    Args:
        tokenizer: A tokenizer with a chat template.
        chats: The chats; contents may be anything, control token spellings included.
        reply: End with the header of the assistant's turn, for the model to go on from. False
            for chats that are complete.

    Returns:
        One list of ids for each chat. Nothing is added to what the template writes: no second
        beginning-of-sequence token.

    Raises:
        ModelError: The tokenizer has no chat template.
    """
    spelling = _control_spelling(tokenizer)
    attacked = [any(spelling.search(m["content"]) for m in chat) for chat in chats]
    plain = [chat for chat, bad in zip(chats, attacked, strict=True) if not bad]
    texts = render_chats(tokenizer, plain, reply=reply)
    ids = iter(tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else ())
    return [
        _encode_attacked(tokenizer, chat, spelling, reply=reply) if bad else next(ids)
        for chat, bad in zip(chats, attacked, strict=True)
    ]


def render_chats(
    tokenizer: PreTrainedTokenizerBase, chats: Sequence[Chat], *, reply: bool = True
) -> list[str]:
    """Turn chats into the text of the prompt, to read or to log.

    To feed a model use `encode_chats`: encoding this text again would promote control tokens that
    a message only spells.

    Raises:
        ModelError: The tokenizer has no chat template.
    """
    if not chats:
        return []
    if not tokenizer.chat_template:
        raise ModelError(
            f"the tokenizer of {tokenizer.name_or_path or 'this model'} has no chat template",
            "use an instruct model, or instruction-tune this one first (the Instructor)",
        )
    rendered: list[str] = tokenizer.apply_chat_template(
        [list(chat) for chat in chats], tokenize=False, add_generation_prompt=reply
    )
    return rendered


def encode_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Turn untrusted texts (completions, say) into ids, none of which is a control token."""
    if not texts:
        return []
    encoded = tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)
    ids: list[list[int]] = encoded["input_ids"]
    return ids


def decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[Sequence[int]]) -> list[str]:
    """Turn completions back into text, without control tokens."""
    texts: list[str] = tokenizer.batch_decode(
        [list(row) for row in ids], skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return texts


def cut_at_stop(text: str, stop: Sequence[str]) -> str:
    """Cut a completion before the first of the stop strings in it.

    >>> cut_at_stop("A. Because", (".", "Bec"))
    'A'
    """
    return text[: min((at for s in stop if (at := text.find(s)) >= 0), default=len(text))]


def _control_spelling(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    """Match the spelling of any control token, the longest first."""
    tokens = {t.content for t in tokenizer.added_tokens_decoder.values() if t.special and t.content}
    longest_first = sorted(tokens, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


def _encode_attacked(
    tokenizer: PreTrainedTokenizerBase, chat: Chat, spelling: re.Pattern[str], *, reply: bool
) -> list[int]:
    """Encode a chat some message of which spells a control token."""
    # A mark inside each spelling in a message tells it from the template's own after rendering. It
    # is longer than any run of itself that a message could have brought along.
    runs = re.findall(f"{_MARK}+", "\0".join(message["content"] for message in chat))
    mark = _MARK * (1 + max(map(len, runs), default=0))

    def marked(match: re.Match[str]) -> str:
        return match[0][0] + mark + match[0][1:]

    guarded: list[Message] = [
        {"role": m["role"], "content": spelling.sub(marked, m["content"])} for m in chat
    ]
    (text,) = render_chats(tokenizer, [guarded], reply=reply)
    ids: list[int] = []
    for piece in re.split(f"({spelling.pattern})", text):
        if spelling.fullmatch(piece):
            ids.append(int(tokenizer.convert_tokens_to_ids(piece)))
        elif piece:
            ids += encode_texts(tokenizer, [piece.replace(mark, "")])[0]
    return ids
