"""The loop that most public FER-2013 code trains with, a stronger one, and ours, timed on the same faces.

All three train the same network in batches of 128 with torch's own number of threads. Measured is the training part
of an epoch; the first batches, in which workers start and the network warms up, are outside the clock.

usual_loop: torchvision's ImageFolder of JPEG files, PIL transforms, a DataLoader with 2 workers, float32, Adam.
cached_rival: decoded faces in memory, torchvision.transforms.v2 changes each by itself, a DataLoader with 2 workers
or none, whichever a short trial finds faster, our precision and channels_last, fused Adam.
ours: training.fit as notebook 03 calls it; 7 val faces, one batch, are scored inside its time.
"""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import datasets, transforms
from torchvision.transforms import v2

from fer_helpers import augment, devices, models, networks, settings, training
from fer_helpers.faces import EMOTIONS, SIDE, Faces, Preprocess

# notebook 03's, except for the epochs
CONFIG = settings.TrainConfig(epochs=1, peak_lr=0.002, weight_decay=0.01, augment=augment.Augment())
CPU = torch.device("cpu")


def four_layer(dropout=nn.Dropout) -> nn.Module:
    """The usual four-layer CNN: 32 to 256 filters, each with batch norm, and a 2304–512–256–7 head."""
    parts, channels = [], 1
    for wide in (32, 64, 128, 256):
        parts += [nn.Conv2d(channels, wide, 3, padding=1), nn.BatchNorm2d(wide), nn.ReLU()]
        parts += [nn.MaxPool2d(2), dropout(0.25)]
        channels = wide
    parts += [nn.Flatten(), nn.Linear(2304, 512), nn.ReLU(), dropout(0.5)]
    parts += [nn.Linear(512, 256), nn.ReLU(), dropout(0.5), nn.Linear(256, len(EMOTIONS))]
    model = nn.Sequential(*parts)
    model.preprocess, model.recipe = Preprocess(), {"architecture": "four_layer", "arguments": {}}
    return model


def plain_baseline() -> nn.Module:
    """The baseline as most code writes it: ReLU before pooling, torch's dropout. It computes the same."""
    parts = []
    for channels, wide in ((1, 32), (32, 64), (64, 128)):
        parts += [nn.Conv2d(channels, wide, 3), nn.ReLU(), nn.MaxPool2d(2)]
    parts += [nn.Flatten(), nn.Dropout(0.5), nn.Linear(2048, 512), nn.ReLU(), nn.Dropout(0.5)]
    return nn.Sequential(*parts, nn.Linear(512, len(EMOTIONS)))


# The rivals' network and ours: the same layers and numbers of weights; ours draws dropout faster (networks.Dropout)
NETWORKS = {"baseline": (plain_baseline, lambda: models.build("baseline"))}
NETWORKS |= {"four_layer": (four_layer, lambda: four_layer(networks.Dropout))}


def build(network: str, usual: bool = False) -> nn.Module:
    """A network by name, with the same first weights each time."""
    training.seed_everything(0)
    return NETWORKS[network][0 if usual else 1]()


def write_faces(people: Faces, folder: Path, count: int) -> None:
    """The training faces, shuffled, as arrays; the first `count` of them as JPEG files too, a folder an emotion."""
    train = people.part("train")
    train = train.select(np.random.default_rng(0).permutation(len(train)))
    train.images.numpy().tofile(folder / "images")
    np.save(folder / "labels.npy", train.labels.numpy())
    for row, image in enumerate(train.images.numpy()[:count]):
        file = folder / "jpeg" / EMOTIONS[train.labels[row]] / f"{row:05d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file, quality=95)


def read_faces(folder: str, count: int) -> Faces:
    """The first `count` of the written faces; if there are fewer, they are repeated."""
    images = np.fromfile(Path(folder) / "images", np.uint8, count * SIDE**2).reshape(-1, SIDE, SIDE)
    labels = np.load(Path(folder) / "labels.npy")[:count]
    if len(images) < count:
        images, labels = (array[np.arange(count) % len(array)] for array in (images, labels))
    names = np.array([f"row_{row:05d}" for row in range(count)])
    return Faces(torch.from_numpy(images), torch.from_numpy(labels), np.full(count, "train"), names)


class Cached(Dataset):
    """Decoded faces in memory, each changed by itself when it is asked for."""

    def __init__(self, people: Faces):
        self.images, self.labels = people.images, people.labels.tolist()
        self.change = v2.Compose([*changes(v2), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.508], [0.255])])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple:
        return self.change(self.images[row][None]), self.labels[row]


def changes(kind) -> list:
    """The usual augmentation, by torchvision's module of transforms."""
    crop, light = kind.RandomResizedCrop(48, scale=(0.8, 1.0)), kind.ColorJitter(brightness=0.2, contrast=0.2)
    return [kind.RandomHorizontalFlip(), kind.RandomRotation(10), crop, light]


def usual_loop(network: str, people: Faces, warm: int, precision: str, folder: str) -> dict:
    """Faces per second of the usual loop. It reads the files that write_faces wrote, as many as there are `people`."""
    change = [transforms.Grayscale(), transforms.Resize(SIDE), *changes(transforms)]
    change += [transforms.ToTensor(), transforms.Normalize([0.508], [0.255])]
    files, model = datasets.ImageFolder(Path(folder) / "jpeg", transforms.Compose(change)), build(network, usual=True)
    return {"usual_loop": rate(files, model, torch.optim.Adam(model.parameters(), lr=1e-3), "float32", warm)}


def cached_rival(network: str, people: Faces, warm: int, precision: str, folder: str) -> dict:
    """Faces per second of the stronger rival."""

    def tried(faces: Faces, workers: int) -> float:
        model = build(network, usual=True).to(memory_format=torch.channels_last)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
        return rate(Cached(faces), model, optimizer, precision, warm, workers, torch.channels_last)

    few = people.select(np.arange(2 * warm * CONFIG.batch_size))
    workers = max((0, 2), key=lambda workers: tried(few, workers))
    return {"cached_rival": tried(people, workers), "cached_rival_workers": workers}


def rate(data: Dataset, model, optimizer, precision, warm: int, workers=2, layout=torch.contiguous_format) -> float:
    """Faces per second of the common loop over a DataLoader, after `warm` batches."""
    loader = DataLoader(data, batch_size=CONFIG.batch_size, shuffle=True, num_workers=workers)
    loss_of = nn.CrossEntropyLoss()
    total = right = seen = 0
    model.train()
    for k, (faces, labels) in enumerate(loader, 1):
        with devices.numbers(precision, CPU):
            logits = model(faces.contiguous(memory_format=layout))
            loss = loss_of(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
        right += (logits.argmax(1) == labels).sum().item()
        seen += len(labels)
        if k == warm:
            start, before = time.perf_counter(), seen
    return (seen - before) / (time.perf_counter() - start)


def ours(network: str, people: Faces, warm: int, precision: str, folder: str) -> dict:
    """Faces per second of an epoch of training.fit over all but the first `warm` batches of faces."""
    first = np.arange(len(people)) < warm * CONFIG.batch_size
    return {"ours": fit_rate(network, people.select(first), people.select(~first), precision)}


def fit_rate(network: str, warm: Faces, people: Faces, precision: str) -> float:
    """Faces per second of an epoch of training.fit on `people`, after an epoch on `warm` that doesn't count."""
    cfg, val = replace(CONFIG, precision=precision), warm.select(np.arange(7))
    for train in (warm, people):
        fit = training.fit(build(network), train, val, cfg, log=lambda line: None)
    return fit.images_per_second


LOOPS = {"ours": ours, "cached_rival": cached_rival, "usual_loop": usual_loop}


def side_by_side(folder: str, count: str, warm: str, turn: str) -> list[dict]:
    """For each network the faces per second of the three loops, which begin with another one each turn; and the ratios.

    count: faces that are measured; warm: batches before them.
    """
    warm, turn, rows, precision = int(warm), int(turn), [], devices.pick_precision("auto", CPU)
    people = read_faces(folder, int(count) + warm * CONFIG.batch_size)
    for network in NETWORKS:
        row = {"network": network, "turn": turn, "precision": precision}
        for loop in np.roll([*LOOPS], -turn):
            row |= LOOPS[loop](network, people, warm, precision, folder)
        rows.append(row | {f"{name}_ratio": row["ours"] / row[name] for name in LOOPS if name != "ours"})
    return rows
