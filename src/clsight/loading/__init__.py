"""From a path to a `Subject`: a model together with what is needed to ask it about its [CLS]."""

from clsight.loading.in_memory import subject_of
from clsight.loading.opening import load
from clsight.loading.own_folder import as_subject, sample_models_dir
from clsight.loading.subject import ClsVector, Subject
from clsight.preparation import Examples, Prepared

__all__ = [
    "ClsVector",
    "Examples",
    "Prepared",
    "Subject",
    "as_subject",
    "load",
    "sample_models_dir",
    "subject_of",
]
