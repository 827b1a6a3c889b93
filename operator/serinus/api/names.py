"""The generation of the resource's schema, and the annotation that carries it.

Labels and annotations of children stand in ``serinus.api.kinds``, names of children in ``serinus.api.revision``.
"""

from typing import Final

from serinus.api.kinds import GROUP

SCHEMA_VERSION: Final = 4
"""Generation of the resource's schema. Raised with every change of the models that changes the CRD's fields: the CRD
carries it as an annotation, and the operator does not lead on a CRD with a lower one, which would drop what it
writes."""

SCHEMA_VERSION_ANNOTATION: Final = f"{GROUP}/schema-version"
