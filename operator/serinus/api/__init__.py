"""The API of Serinus: the ModelDeployment resource as pydantic models, its names, its conditions and its CRD.

The models are the source; ``crds/`` is generated from them (``python -m serinus.api.crd``). Every other layer imports
from here, and this layer from none.
"""
