"""The clsight dashboard: look at what [CLS] attends to, and compare init strategies, in a browser.

`serve(models, host=..., port=..., open_browser=...)` runs it; `create_app(models)` gives the Dash app for
another server. Both names load on first use, so that `import clsight_app` loads neither dash nor torch.
"""

from typing import TYPE_CHECKING, Any

__all__ = ["create_app", "serve"]

if TYPE_CHECKING:
    from clsight_app.application import create_app
    from clsight_app.server import serve


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name == "serve":
        from clsight_app.server import serve

        return serve
    if name == "create_app":
        from clsight_app.application import create_app

        return create_app
    raise AttributeError(f"module 'clsight_app' has no attribute {name!r}")
