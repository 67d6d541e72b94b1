"""Controls of an overseen run: for every result, what would have exposed it."""
