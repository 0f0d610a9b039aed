"""Data sets as tensors (digits, MNIST, Fashion-MNIST, CIFAR-10/100, image folders); splits, order of images, augmentation."""

from resexp.datasets.batches import AUGMENTATIONS, normalization_stats, normalize
from resexp.datasets.images import DataError, Images, Source
from resexp.datasets.readers import DATASETS, SHAPES, checksum, data_root
from resexp.datasets.splits import first, held_out, limited, order, train_validation_split
