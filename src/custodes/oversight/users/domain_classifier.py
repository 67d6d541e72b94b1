"""A classifier of queries into domains: the check that a User asks about the right domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["FOLDS", "DomainClassifier"]

FOLDS = 5


class DomainClassifier:
    """Logistic regression on words (TF-IDF, balanced classes).

    Args:
        examples: By domain, texts of it: two or more domains, each with five or more texts.

    Attributes:
        recall: By domain, the share of its texts that five-fold cross-validation recognises, in
            [0, 1]: how far predictions can be trusted.
        accuracy: Their mean, the balanced accuracy.
    """

    def __init__(self, examples: Mapping[str, Sequence[str]]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import cross_val_predict
        from sklearn.pipeline import make_pipeline

        texts = [text for own in examples.values() for text in own]
        domains = [domain for domain, own in examples.items() for _ in own]
        self._model = make_pipeline(
            TfidfVectorizer(sublinear_tf=True, token_pattern=r"\w+"),
            LogisticRegression(C=10.0, class_weight="balanced"),
        )
        predictions = cross_val_predict(self._model, texts, domains, cv=FOLDS)
        right: dict[str, list[bool]] = {domain: [] for domain in examples}
        for domain, predicted in zip(domains, predictions, strict=True):
            right[domain].append(domain == predicted)
        self.recall = {domain: sum(own) / len(own) for domain, own in right.items()}
        self.accuracy = sum(self.recall.values()) / len(self.recall)
        self._model.fit(texts, domains)

    def predict(self, texts: Sequence[str]) -> list[str]:
        """Return the most probable domain of each text."""
        return [str(domain) for domain in self._model.predict(list(texts))] if texts else []
