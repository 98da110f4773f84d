"""What the YAML files in workflow/ mean: tasks, backbones, methods and studies, and the cells that a study resolves to.

A file goes through `yaml_source` (text to mapping, with line numbers), one of the models (`task`, `backbone`, `method`,
`study`), `catalog` (all files together) and `resolve` (one study to its cells). Snakemake reads a study at the start of
every job, so nothing here imports torch, PEFT or pandas before a function needs it.
"""
