"""A questionnaire of stated values: which statements a model agrees with, and what has changed."""
