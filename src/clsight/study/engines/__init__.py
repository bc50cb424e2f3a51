"""Where the runs of a study are made: in processes of this machine, or on a Ray cluster."""

from clsight.study.engines.finishing import Engine, Failure, Finished
from clsight.study.engines.local import LocalEngine
from clsight.study.engines.on_ray import RayEngine

__all__ = ["Engine", "Failure", "Finished", "LocalEngine", "RayEngine"]
