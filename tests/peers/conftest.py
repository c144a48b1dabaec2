"""PyTorch with one thread: small networks are slower with more, above all beside other tests."""
import torch

torch.set_num_threads(1)
