"""Why a file is not read: told where it is found, made into a message where the file's name is known."""

from clsight.errors import CheckpointError


class RefusedError(Exception):
    """A file that is broken, hostile, or holds what cannot be read without running it.

    Args:
        expected: What an honest file would have there.
        got: What stands there.
        next_step: One thing the user can do; `{file}` becomes the file's name.
    """

    def __init__(
        self, expected: str, got: str, next_step: str = "Copy the file anew from its source, or save it again"
    ) -> None:
        super().__init__(f"expected {expected}, but got {got}")
        self.expected = expected
        self.got = got
        self.next_step = next_step

    def about(self, file: object) -> CheckpointError:
        """Return the error that names the file."""
        return CheckpointError(
            str(file),
            expected=self.expected,
            got=self.got,
            next_step=self.next_step.replace("{file}", str(file)),
        )


def quoted(name: object) -> str:
    """Return a name out of a file as a message can hold it: printable, and not endless."""
    text = repr(name) if isinstance(name, str | int) else type(name).__name__
    return text if len(text) <= 100 else f"{text[:97]}…"
