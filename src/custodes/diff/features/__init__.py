"""Features: the behaviours of responses that a diff looks at."""
