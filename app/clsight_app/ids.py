"""The id of every component that a callback, a style sheet or a browser test refers to.

An id holds no "." and no "{": Dash gives both a meaning of their own.
"""

from typing import Final

URL: Final = "url"
PAGE: Final = "page"
COLOR_SCHEME: Final = "color-scheme"
SCHEME: Final = "scheme"
CATALOG: Final = "catalog"
LIMITS: Final = "limits"
VIEW: Final = "view"
BUSY: Final = "busy"
INSPECT_LINK: Final = "link-inspect"
COMPARE_LINK: Final = "link-compare"

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
COMPARISON: Final = "comparison"
STRATEGIES: Final = "strategies-side-by-side"
LAYER: Final = "layer"
FAILURE: Final = "failure"
INSPECT_STATUS: Final = "inspect-status"
COMPARE_STATUS: Final = "compare-status"
DOCTOR: Final = "doctor"
PANELS: Final = "panels"
DETAIL: Final = "detail"
DEPTH: Final = "over-depth"
