"""The BentoML service of the digits example: reads one handwritten digit, and says which model version read it.

Started as ``bentoml serve service:Digits``. The model is loaded by the worker only, so that the process that
supervises it stays small.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import bentoml
from pydantic import BaseModel, Field

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MODEL_FOLDER = Path(os.environ.get("MODEL_FOLDER", Path(__file__).parent / "model"))
MODEL_VERSION = os.environ["MODEL_VERSION"]
VERSION_HEADER = b"x-model-version"

Pixels = Annotated[list[Annotated[float, Field(ge=0, le=16)]], Field(min_length=64, max_length=64)]


class Reading(BaseModel):
    """What one image shows, and who says so."""

    digit: int
    model_version: str = MODEL_VERSION


class ModelVersionHeader:
    """Puts the model version on every answer, errors of the model included."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer back with the header."""

        async def send_with_version(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (VERSION_HEADER, MODEL_VERSION.encode())]
            await send(message)

        await self.app(scope, receive, send_with_version)


@bentoml.service(logging={"access": {"enabled": False}})
class Digits:
    """One model, loaded once."""

    def __init__(self) -> None:
        import joblib  # noqa: PLC0415 - brings numpy and scikit-learn, which only the worker needs

        self.classifier = joblib.load(MODEL_FOLDER / "model.joblib")
        first = json.loads((MODEL_FOLDER / "held_out.json").read_text())[0]
        self.classifier.read(first["body"]["pixels"])  # what is loaded late is loaded now, not for the first client

    @bentoml.api
    def read(self, pixels: Pixels) -> Reading:
        """The digit in an image of 8x8 pixels, given row by row from 0 (paper) to 16 (ink)."""
        return Reading(digit=self.classifier.read(pixels))


Digits.add_asgi_middleware(ModelVersionHeader)
