"""rankbench: a reproducible benchmark harness for parameter-efficient fine-tuning.

Data flows one way: config -> inputs -> training -> records -> analysis (docs/architecture.md). `bench.engine` is a
library by itself, and `bench.analysis` never imports torch.
"""
