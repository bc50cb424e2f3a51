"""What a layer on a GPU leaves open until the next one comes.

A program queues work for a GPU and runs ahead of it. To ask for a result is to wait until the queue is empty,
and the device then idles until new work arrives. So what has to be known of a layer (does its column need
blocks, which linear map is its output projection) is asked one layer later, when there is work meanwhile.
"""

from dataclasses import dataclass, field

from torch import Tensor

from clsight.hooks.assembly import Layer
from clsight.hooks.cls_view import ClsView, glimpse_cls, is_blurred, view_cls
from clsight.hooks.operations import AttentionCall
from clsight.hooks.positions import Position
from clsight.hooks.projection import ProjectionFinder
from clsight.hooks.shelf import Shelf


@dataclass
class OpenLayer:
    """One layer, its call, which is held as long, and what was asked of the device.

    Attributes:
        layer: The layer.
        call: Its attention call.
        position: Where CLS stands.
        finder: What notes the linear maps that may be its output projection, or None.
    """

    layer: Layer
    call: AttentionCall
    position: Position
    finder: ProjectionFinder | None = None
    _bound: Tensor | None = None
    _versions: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        self._versions = self.call.versions

    def glimpse(self) -> ClsView:
        """Return what CLS sees, unless `settle` finds that its column needs blocks."""
        view, self._bound = glimpse_cls(self.call, self.position)
        return view

    def settle(self, shelf: Shelf) -> None:
        """Wait for the answers; look again where they ask for it, and give the layer the norms of its values.

        Where queries, keys or values were overwritten since, the view stays as it is, without norms.
        """
        self.layer.is_overwritten = self.call.versions != self._versions
        if self.layer.is_overwritten:
            return
        if self._bound is not None and is_blurred(self.call, float(self._bound)):
            self.layer.view = view_cls(self.call, self.position).on(shelf)
        gram = None if self.finder is None else self.finder.noted_gram()
        if gram is not None and self.finder is not None:
            self.layer.value_norm = shelf.keep(self.finder.value_norm(gram))
