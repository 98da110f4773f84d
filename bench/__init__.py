"""rankbench: a reproducible benchmark harness for parameter-efficient fine-tuning.

Data flows one way: spec -> prepare -> train -> record -> analyze. `bench.spec` imports nothing of the rest,
`bench.analysis` never imports torch.
"""
