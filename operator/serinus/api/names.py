"""Names of the resource itself: the generation of its schema, and the annotations by which people act on it.

Labels and annotations of children stand in ``serinus.api.kinds``, names of children in ``serinus.api.revision``.
"""

from enum import StrEnum
from typing import Final

from serinus.api.kinds import GROUP

SCHEMA_VERSION: Final = 1
"""Generation of the resource's schema. Raised with every change of the models that changes the CRD's fields: the CRD
carries it as an annotation, and the operator does not lead on a CRD with a lower one, which would drop what it
writes."""

SCHEMA_VERSION_ANNOTATION: Final = f"{GROUP}/schema-version"


class Action(StrEnum):
    """What people ask for by annotation; the member's value is the annotation's name without its prefix."""

    PROMOTE = "promote"
    ABORT = "abort"
    RETRY = "retry"
    RETURN_TO = "return-to"
    APPROVE = "approve"
    SKIP_STEP = "skip-step"
    PAUSE = "pause"

    @property
    def annotation(self) -> str:
        """The annotation's full name."""
        return f"{GROUP}/{self.value}"
