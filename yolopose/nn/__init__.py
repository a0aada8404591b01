"""The network: layers, head, and the parser of model YAML files."""
