"""What a site would write in an afternoon: FastAPI and eager PyTorch, one model, no queue, no key.

``python -m benchmarks.plain_service PORT MODELS_FOLDER MODEL``
"""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, UploadFile
from fastapi.params import File
from monai.bundle.config_parser import ConfigParser
from PIL import Image

from dicom_node.inference.definition import WEIGHTS_FILE, BundleDefinition


def create_app(folder: Path) -> FastAPI:
    """The same network, weights and preprocessing as the node's, in float32."""
    definition = BundleDefinition.load(folder)
    network = definition.network()
    prepare = ConfigParser(dict(definition.inference)).get_parsed_content("preprocessing")
    network.load_state_dict(torch.load(folder / WEIGHTS_FILE, map_location="cpu", weights_only=True))
    network.eval()
    app = FastAPI()

    @app.post("/predict")
    def predict(image: Annotated[UploadFile, File()]) -> dict[str, float]:
        grey = np.asarray(Image.open(BytesIO(image.file.read())).convert("L"), np.float32) / np.float32(255)
        with torch.inference_mode():
            logits = network(prepare({"image": torch.from_numpy(grey)[None]})["image"][None])
        probabilities = torch.softmax(logits / definition.manifest.calibration.temperature, 1)[0].tolist()
        return dict(zip(definition.manifest.classes, probabilities, strict=True))

    return app


if __name__ == "__main__":
    port, models, name = sys.argv[1:]
    uvicorn.run(create_app(Path(models, name)), port=int(port), log_level="warning")
