"""The checks, one topic a file, found on import."""
