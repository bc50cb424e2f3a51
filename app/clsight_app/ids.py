"""The id of every component that a callback, a style sheet or a browser test refers to.

An id holds no "." and no "{": Dash gives both a meaning of their own.
"""

from typing import Final

URL: Final = "url"
PAGE: Final = "page"
NAVIGATION: Final = "navigation"
COLOR_SCHEME: Final = "color-scheme"
KEY_PRESS: Final = "key-press"

MODEL: Final = "model"
PREVIOUS: Final = "previous-example"
SAMPLE: Final = "example"
NEXT: Final = "next-example"
DIRECTION: Final = "direction"
CONTROLS: Final = "controls"
CONTENT: Final = "content"

GRID: Final = "layer-head-grid"
ATTENDS_TO: Final = "attends-to-map"
ATTENDED_BY: Final = "attended-by-map"
COMPARISON: Final = "strategy-comparison"
STATUS: Final = "status"
