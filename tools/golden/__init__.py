"""The golden models that tools/gen_golden_models.py writes, one module a source of models."""
