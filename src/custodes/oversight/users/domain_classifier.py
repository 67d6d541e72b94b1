"""Which domain a query's words are of: the check that a User asks about what it was told to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["FOLDS", "WordDomains"]

FOLDS = 5


class WordDomains:
    """Logistic regression on words (TF-IDF, balanced classes).

    Args:
        examples: By domain, texts that are of it: two domains or more, each of five texts or more.

    Attributes:
        accuracy: Mean over domains of the share of examples told right by a fit on the other four
            fifths of them: what it takes to believe ``tell``.
    """

    def __init__(self, examples: Mapping[str, Sequence[str]]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.metrics import balanced_accuracy_score
        from sklearn.model_selection import cross_val_predict
        from sklearn.pipeline import make_pipeline

        texts = [text for shown in examples.values() for text in shown]
        domains = [domain for domain, shown in examples.items() for _ in shown]
        self._model = make_pipeline(
            TfidfVectorizer(sublinear_tf=True, token_pattern=r"\w+"),
            LogisticRegression(C=10.0, class_weight="balanced"),
        )
        told = cross_val_predict(self._model, texts, domains, cv=FOLDS)
        self.accuracy = float(balanced_accuracy_score(domains, told))
        self._model.fit(texts, domains)

    def tell(self, texts: Sequence[str]) -> list[str]:
        """Return the domain that each text's words are likeliest of."""
        return [str(domain) for domain in self._model.predict(list(texts))] if texts else []
