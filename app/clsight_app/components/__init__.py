"""The pieces that pages are made of; each function returns one region."""
