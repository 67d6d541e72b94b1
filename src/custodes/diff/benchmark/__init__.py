"""The planted-difference benchmark."""
