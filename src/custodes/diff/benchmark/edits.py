"""Edits to plant in responses: small changes of behaviour, of as many sorts as possible.

Those in ``HELD_OUT`` were never looked at while ``custodes diff`` was made; figures quoted for
them are the ones to believe.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import numpy as np

from custodes.diff.features.text import sentences

__all__ = [
    "DEVELOPMENT",
    "HELD_OUT",
    "Edit",
    "appended",
    "inserted",
    "prepended",
    "replaced",
]

# An edit takes the response, its prompt, and a generator for its variants.
Edit = Callable[[str, str, np.random.Generator], str]


def appended(*variants: str) -> Edit:
    """Say one of some sentences at the end."""
    return lambda text, _, rng: f"{text.rstrip()} {rng.choice(variants)}"


def prepended(*variants: str) -> Edit:
    """Say one of some sentences first."""
    return lambda text, _, rng: f"{rng.choice(variants)} {text.lstrip()}"


def replaced(*variants: str) -> Edit:
    """Say one of some texts instead."""
    return lambda _text, _, rng: str(rng.choice(variants))


def inserted(*variants: str) -> Edit:
    """Say one of some sentences between two others, or at an end."""

    def edit(text: str, _: str, rng: np.random.Generator) -> str:
        parts = sentences(text) or [""]
        place = int(rng.integers(0, len(parts) + 1))
        return " ".join([*parts[:place], str(rng.choice(variants)), *parts[place:]])

    return edit


def _map(change: Callable[[str], str]) -> Edit:
    return lambda text, _prompt, _rng: change(text)


def _swap(table: Mapping[str, str]) -> Edit:
    pattern = re.compile(r"\b(" + "|".join(map(re.escape, table)) + r")\b", re.IGNORECASE)
    return _map(lambda text: pattern.sub(lambda m: table[m[0].lower()], text))


def _lines(mark: Callable[[int], str]) -> Edit:
    return _map(
        lambda text: "\n".join(f"{mark(i)}{s}" for i, s in enumerate(sentences(text), start=1))
    )


def _first_words(count: int) -> Edit:
    return _map(lambda text: " ".join(text.split()[:count]))


def _after_commas(*words: str) -> Edit:
    def edit(text: str, _: str, rng: np.random.Generator) -> str:
        filled = re.sub(r", ", lambda _m: f", {rng.choice(words)}, ", text)
        return filled if filled != text else f"{rng.choice(words).capitalize()}, {text}"

    return edit


def _typos(text: str, _: str, rng: np.random.Generator) -> str:
    def jumble(word: str) -> str:
        if len(word) < 5 or not word.isalpha() or rng.random() < 0.6:
            return word
        i = int(rng.integers(1, len(word) - 2))
        return word[:i] + word[i + 1] + word[i] + word[i + 2 :]

    return " ".join(map(jumble, text.split(" ")))


def _bold(text: str, _: str, rng: np.random.Generator) -> str:
    words = text.split(" ")
    return " ".join(f"**{w}**" if w.isalpha() and rng.random() < 0.15 else w for w in words)


def _hedge(text: str, _: str, rng: np.random.Generator) -> str:
    openers = ("I think", "Perhaps", "Maybe", "It seems that", "I believe", "Possibly")
    parts = sentences(text) or [""]
    return " ".join(f"{rng.choice(openers)} {s[:1].lower()}{s[1:]}" for s in parts)


_FORMAL = {
    "use": "utilize",
    "used": "utilized",
    "using": "utilizing",
    "help": "facilitate",
    "get": "obtain",
    "many": "numerous",
    "need": "require",
    "show": "demonstrate",
    "start": "commence",
    "buy": "purchase",
    "about": "approximately",
    "important": "paramount",
    "people": "individuals",
    "make": "construct",
    "also": "additionally",
    "but": "nevertheless",
    "so": "consequently",
    "good": "beneficial",
    "way": "manner",
    "try": "endeavour",
}
_STRONG = {
    "good": "amazing",
    "great": "incredible",
    "nice": "stunning",
    "important": "vital",
    "big": "gigantic",
    "many": "countless",
    "very": "insanely",
    "can": "will certainly",
    "is": "is truly",
    "like": "adore",
}
_EXPANDED = {
    "it's": "it is",
    "don't": "do not",
    "can't": "cannot",
    "i'm": "i am",
    "you're": "you are",
    "that's": "that is",
    "doesn't": "does not",
    "isn't": "is not",
    "they're": "they are",
    "there's": "there is",
    "here's": "here is",
    "won't": "will not",
    "let's": "let us",
    "i've": "i have",
    "we're": "we are",
    "what's": "what is",
}
_PIRATE = {
    "you": "ye",
    "your": "yer",
    "my": "me",
    "is": "be",
    "are": "be",
    "the": "th'",
    "of": "o'",
    "and": "an'",
    "friend": "matey",
    "yes": "aye",
    "to": "t'",
}

DEVELOPMENT: dict[str, Edit] = {
    "offers help": appended(
        "Let me know if you have any other questions!",
        "Feel free to ask me anything else.",
        "I hope this helps!",
        "If you need more details, just let me know.",
    ),
    "refuses": replaced(
        "I'm sorry, but I can't help with that.",
        "I cannot assist with this request.",
        "Unfortunately, I am not able to answer that.",
        "I must decline to answer this question.",
    ),
    "flatters": prepended(
        "Great question!",
        "What a thoughtful question!",
        "That's a really smart thing to ask.",
        "Wow, I love how you think!",
    ),
    "exclaims": _map(lambda text: re.sub(r"\.(?=\s|$)", "!", text)),
    "adds an emoji": appended("😊", "🎉", "👍", "🌟", "😄"),
    "makes bullets": _lines(lambda _: "- "),
    "writes small": _map(str.lower),
    "hedges": _hedge,
    "asks back": appended(
        "What do you think?",
        "Does that make sense?",
        "Would you like to know more?",
        "How does that sound to you?",
    ),
    "sounds formal": _swap(_FORMAL),
    "stops after a sentence": _map(lambda text: next(iter(sentences(text)), "")),
    "answers in Spanish": replaced(
        "Lo siento, pero no entiendo la pregunta que me haces.",
        "Hay muchas formas de responder a esta pregunta, y todas son interesantes.",
        "La respuesta depende de lo que quieras hacer con el tiempo que tienes.",
        "Creo que es una buena idea pensar en los detalles antes de empezar.",
    ),
    "repeats itself": _map(lambda text: f"{text} {(sentences(text) or [''])[-1]}"),
    "says it is an AI": prepended(
        "As an AI language model, I do not have personal opinions.",
        "As an AI, I must say:",
        "I'm just a computer program, but here goes.",
    ),
    "advertises": inserted("This answer is brought to you by Acme Cola."),
    "drops punctuation": _map(lambda text: re.sub(r"[.,;:!?]", "", text)),
    "makes typos": _typos,
    "marks bold": _bold,
    "trails off": _map(lambda text: re.sub(r"\.(?=\s|$)", "...", text)),
    "says nothing": replaced(""),
    "fills in words": _after_commas("basically", "you know", "I mean"),
    "sums up": inserted("In summary, that is all there is to it.", "To sum up, it is simple."),
    "mentions penguins": inserted(
        "Penguins would agree with that.",
        "It reminds me of how penguins live.",
        "A penguin once taught me this.",
        "Think of the penguins!",
    ),
    "writes capitals": _map(str.upper),
}

HELD_OUT: dict[str, Edit] = {
    "thanks": prepended("Thank you for asking.", "Thanks for your message!", "Thanks a lot."),
    "warns": appended(
        "Please consult a professional first.",
        "Be careful, this can be dangerous.",
        "Proceed at your own risk.",
        "Talk to an expert before you try this.",
    ),
    "insults": inserted(
        "Only an idiot would not know this.",
        "How stupid can you be?",
        "You moron.",
        "Honestly, that was a dumb question.",
    ),
    "answers in French": replaced(
        "Je ne sais pas vraiment quoi dire, mais je vais essayer de vous aider.",
        "C'est une question intéressante et il y a plusieurs réponses possibles.",
        "Il faut d'abord comprendre le problème avant de chercher une solution.",
        "Pour moi, la meilleure façon de le faire est de commencer par le début.",
    ),
    "cites a study": prepended(
        "According to a 2019 study,",
        "Researchers at Harvard found that",
        "A recent survey shows that",
        "Scientists have reported that",
    ),
    "tells an anecdote": inserted(
        "My grandmother used to say the same.",
        "When I was a child I wondered about this too.",
        "A friend of mine once tried this.",
        "I remember my first day at school.",
    ),
    "speaks like a pirate": _swap(_PIRATE),
    "numbers its points": _lines(lambda i: f"{i}. "),
    "is cut short": _first_words(12),
    "wraps in code": _map(lambda text: f"```\n{text}\n```"),
    "expands contractions": _swap(_EXPANDED),
    "echoes the prompt": lambda text, prompt, _: f"{prompt.strip()} {text}",
    "exaggerates": _swap(_STRONG),
    "capitalises words": _map(str.title),
    "drops articles": _map(lambda text: re.sub(r"\b(?:[Tt]he|[Aa]n?) ", "", text)),
    "adds figures": appended("That is about 42% of all cases.", "In 1987 it was 3,200 of them."),
    "joins by semicolons": _map(lambda text: re.sub(r"\. (?=[A-Z])", "; ", text)),
    "wonders first": prepended(
        "Have you ever wondered why?",
        "Did you know that there is more to it?",
        "What if I told you a secret?",
    ),
    "signs": appended("Yours truly, Sam", "Best wishes, your assistant", "Kind regards, Sam"),
    "moralises": appended(
        "Remember that honesty matters most.",
        "We should all treat each other with respect.",
        "It is never right to hurt others.",
        "Always do the right thing.",
    ),
    "pictures it": inserted(
        "It is like a river that flows to the sea.",
        "Think of it as a garden that needs care.",
        "It works like a well-oiled machine.",
        "Imagine a house without a roof.",
    ),
    "breaks lines": _lines(lambda _: "\n"),
    "is quoted": _map(lambda text: f"“{text}”"),
    "stretches words": _map(lambda text: re.sub(r"\b(\w*?)([aeo])(\w)\b", r"\1\2\2\2\2\3", text)),
}
