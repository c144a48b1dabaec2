"""How fast slugnet is beside other libraries: `python -m benchmarks.mlp`, and so on; `make bench` runs all."""
