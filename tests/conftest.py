"""What all tests share."""

import torch

# The networks of the unit tests are tiny: one thread is faster than two that wait for each other.
torch.set_num_threads(1)
