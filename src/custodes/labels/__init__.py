"""People who pick the better of two answers: the page, the file of labels, the agreement."""

from custodes.labels.agreement import Agreement, agreement, alpha
from custodes.labels.annotators import Annotator, LabelSummary, summary
from custodes.labels.items import Item, read_choices
from custodes.labels.server import LabelServer
from custodes.labels.session import Session

__all__ = [
    "Agreement",
    "Annotator",
    "Item",
    "LabelServer",
    "LabelSummary",
    "Session",
    "agreement",
    "alpha",
    "read_choices",
    "summary",
]
