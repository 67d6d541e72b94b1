"""The stages of constitutional training, and what each is made of."""
