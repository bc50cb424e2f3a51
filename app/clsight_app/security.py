"""What every answer of the server forbids the browser, and how much it takes from it."""

from typing import Final

from flask import Flask, Response

from clsight_app.uploads import MOST_BYTES

_POLICY: Final = "; ".join(
    [
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline'",  # Dash starts itself with an inline script
        "style-src 'self' 'unsafe-inline'",  # plotly and Mantine write inline styles
        "img-src 'self' data: blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)


def forbid_other_hosts(server: Flask) -> None:
    """Add a content security policy, and no sniffing and no referrer, to each answer of a server."""
    server.after_request(_with_policy)


def bound_requests(server: Flask) -> None:
    """Let a server refuse a request larger than a dropped file can be, before it is read."""
    server.config["MAX_CONTENT_LENGTH"] = 2 * MOST_BYTES


def _with_policy(answer: Response) -> Response:
    answer.headers["Content-Security-Policy"] = _POLICY
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Referrer-Policy"] = "no-referrer"
    return answer
