"""The typed configuration: schema, Hydra composition, overrides, provenance and error messages."""
