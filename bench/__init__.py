"""rankbench: a reproducible benchmark harness for parameter-efficient fine-tuning.

Data flows one way: spec -> prepare -> train -> record -> analyse. `bench.spec` imports nothing of the rest,
`bench.analysis` never imports torch.
"""
