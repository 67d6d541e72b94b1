"""People who pick the better of two answers: the page, the file of labels, the agreement."""
