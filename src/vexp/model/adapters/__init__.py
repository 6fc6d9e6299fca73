"""Low-rank adapters (LoRA) of a model, through the ``peft`` library."""
