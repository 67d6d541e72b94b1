"""What an Expert was not fitted on, and so does not rate: nothing, another language, code.

Only positive evidence counts. Word salad belongs to no language and is no code: it is rated, and
rated low, because an Expert that abstains on a broken Worker would hide it.
"""

from __future__ import annotations

import re

__all__ = ["out_of_scope"]

_WORD = re.compile(r"[^\W\d_]+")
_FENCE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_CODE = re.compile(
    r"^\s*(?:def |class |import |from \w+ import |return\b|if \(|for \(|while \(|#include|"
    r"public |private |const |let |var |function\b|SELECT |INSERT |</?\w+[^>]*>\s*$|@\w+|"
    r"print\(|elif |else:|try:|except\b|\}|\{|//|/\*)|"
    r"[;{}]\s*$|^\s*\w+(?:\.\w+)*\(.*\);?\s*$|^\s*\w+ = .+[()\[\]]"
)

# The commonest words of some languages, without those that are English words too.
_LANGUAGES = {
    "Spanish": "el los las una que por con para del se su como pero más muy está son también es y",
    "French": "le les des une et est que qui dans pour pas sur avec vous je ce il elle nous "
    "du au sont",
    "German": "der und ist nicht das ein eine ich sie es den mit auf für zu von dem sind "
    "wie auch wir",
    "Italian": "il che di è per una non con sono gli della più ma anche questo ho lo nel alla si",
    "Portuguese": "o os que de não uma para com é por mais como mas foi são ao você muito "
    "também em",
    "Dutch": "het een van niet en dat zijn voor ik je met op te maar ook wij naar deze wordt",
    "Polish": "nie jest się na to że z w do jak co ale tak czy przez po za dla tego są",
    "Turkish": "bir ve bu için ile çok da ne gibi daha olarak ben var değil ama olan mi en kadar",
    "Swedish": "och att det som en är av för inte på med jag den till har om vi kan ett du",
    "Indonesian": "yang dan di untuk dengan ini itu tidak dari pada adalah saya ke akan bisa "
    "atau kamu",
}
_COMMON = {name: frozenset(words.split()) for name, words in _LANGUAGES.items()}
_ENGLISH = frozenset(
    [
        "the",
        "of",
        "and",
        "to",
        "is",
        "in",
        "that",
        "it",
        "for",
        "you",
        "was",
        "on",
        "are",
        "with",
        "as",
        "be",
        "this",
        "have",
        "from",
        "or",
        "by",
        "not",
        "but",
        "what",
        "all",
        "were",
        "we",
        "when",
        "your",
        "can",
        "there",
        "an",
        "which",
        "their",
        "if",
        "will",
        "how",
        "they",
        "so",
        "would",
        "has",
        "more",
        "about",
    ]
)

_LEAST_WORDS = 5


def out_of_scope(prompt: str, answer: str) -> str:
    """Say why an exchange is outside what the shipped Experts were fitted on.

    Args:
        prompt: The user's last message.
        answer: The answer to it.

    Returns:
        The reason in words, "" if the exchange can be rated.
    """
    if not answer.strip():
        return "the answer is empty"
    for name, text in (("answer", answer), ("prompt", prompt)):
        language = _language(text)
        if language:
            return f"the {name} is in {language}; this Expert was fitted on English"
    if _is_code(answer):
        return "the answer is code; this Expert was fitted on prose"
    return ""


def _language(text: str) -> str:
    """Name the language of a text where it is plainly not English, else ""."""
    letters = [c for c in text if c.isalpha()]
    if len(letters) >= 3 and sum(ord(c) > 0x24F for c in letters) > 0.5 * len(letters):
        return "another script"
    words = [word.lower() for word in _WORD.findall(text)]
    if len(words) < _LEAST_WORDS:
        return ""
    english = sum(word in _ENGLISH for word in words)
    counts = {name: sum(word in known for word in words) for name, known in _COMMON.items()}
    best = max(counts, key=lambda name: counts[name])
    kinds = len(_COMMON[best] & set(words))
    if kinds >= 3 and counts[best] > 0.18 * len(words) and counts[best] > 2 * english:
        return best
    return ""


def _is_code(text: str) -> bool:
    fenced = sum(len(block) for block in _FENCE.findall(text))
    if fenced > 0.5 * len(text.strip()):
        return True
    lines = [line for line in text.splitlines() if line.strip()]
    return len(lines) >= 3 and sum(_CODE.search(line) is not None for line in lines) > 0.5 * len(
        lines
    )
