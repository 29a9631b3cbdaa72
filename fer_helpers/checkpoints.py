"""The state of a training after each epoch, in one file, so that an interruption costs at most an epoch."""

import io
import pickle
from pathlib import Path

import torch

from fer_helpers import paths


class Keeper:
    """Reads, restores and writes the checkpoint of the training `key`, no other; without a path it does nothing.

    recipe: the key without the number of epochs. epochs: how many there will be. precision: auto for that of before.
    """

    def __init__(self, path, key: str, recipe: str, *, epochs: int, precision: str = "auto", log=print):
        self.path, self.keys, self.saved = path and Path(path), {"key": key, "recipe": recipe}, {}
        if not path or not self.path.exists():
            return
        try:
            saved = torch.load(self.path, weights_only=True, map_location="cpu")  # executes nothing from the file
            problem = "" if saved.get("key") == key else "belongs to other settings or faces"
            if problem and saved.get("recipe") == recipe:
                again = "START= of notebook 03 begins with trained weights"
                problem = f"has another number of epochs, and {epochs} are a new schedule ({again})"
            elif not problem and len(saved["history"]) > epochs:
                problem = f"holds more epochs than {epochs}"
            elif not problem and precision not in ("auto", saved["precision"]):
                problem = f"was trained in {saved['precision']}"
        except (OSError, RuntimeError, EOFError, AttributeError, pickle.UnpicklingError) as error:
            problem = f"can't be read ({type(error).__name__})"
        if problem:
            log(f"{self.path.name} {problem}: this training starts from the beginning")
        else:
            self.saved = saved
            log(f"going on after epoch {len(saved['history'])} of an earlier run ({self.path.name})")

    def restore(self, parts: dict, generators: list) -> tuple[list, dict]:
        """Put back what was saved into parts (things with a state_dict, or None) and generators.

        returns: (history, weights of the best epoch), both empty for a training that begins.
        """
        self.parts, self.generators = {name: part for name, part in parts.items() if part is not None}, generators
        if not self.saved:
            return [], {}
        for name, part in self.parts.items():
            part.load_state_dict(self.saved["parts"][name])
        for generator, state in zip(generators, self.saved["generators"], strict=True):
            generator.set_state(state)
        torch.set_rng_state(self.saved["dropout"])
        if self.saved["dropout_cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(self.saved["dropout_cuda"][: torch.cuda.device_count()])
        return list(self.saved["history"]), self.saved["best"]

    def write(self, history: list, best: dict, precision: str) -> None:
        """Save everything that the next epoch depends on; the old file stays until the new one is whole."""
        if not self.path:
            return
        state = {**self.keys, "history": history, "best": best, "precision": precision}
        state |= {"parts": {name: part.state_dict() for name, part in self.parts.items()}}
        state |= {"generators": [each.get_state() for each in self.generators], "dropout": torch.get_rng_state()}
        state |= {"dropout_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}
        content = io.BytesIO()
        torch.save(state, content)  # torch's own writing to a full disk ends in no sentence
        with paths.whole(self.path) as temporary:
            temporary.write_bytes(content.getbuffer())
