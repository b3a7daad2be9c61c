"""Data sets, transforms and the loader."""

from . import transforms
from .catalog import check_name, load, names
from .dataset import Dataset, ImageDataset, Subset, TensorDataset, default_collate
from .errors import DataError
from .idx import read_idx
from .image import read_image
from .image_files import ImageFiles
from .loader import DataLoader

__all__ = [
    "DataError",
    "DataLoader",
    "Dataset",
    "ImageDataset",
    "ImageFiles",
    "Subset",
    "TensorDataset",
    "check_name",
    "default_collate",
    "load",
    "names",
    "read_idx",
    "read_image",
    "transforms",
]
